# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts share that test something on the host: a line for each test, and the counts.

passed=0 failed=0 skipped=0

# tally NAME COMMAND...: one test, which COMMAND passes when it succeeds. Only when it fails is shown what it printed, and
# the end of the file $shown, where there is one. COMMAND runs in a subshell, and set -e does not hold in it.
tally() {
	# No names that COMMAND might have for something of its own: it would see these.
	local tally_name=$1 tally_said
	shift
	if tally_said=$("$@" 2>&1); then
		echo "PASS $tally_name"
		passed=$((passed + 1))
	else
		echo "FAIL $tally_name"
		{
			[ -z "$tally_said" ] || printf '%s\n' "$tally_said"
			[ ! -f "${shown:-}" ] || tail -n 15 "$shown"
		} | sed 's/^/    /'
		failed=$((failed + 1))
	fi
}

# skip NAME WHY: one that this machine, or this checkout, cannot have.
skip() {
	echo "SKIP $1: $2"
	skipped=$((skipped + 1))
}

# tallied: the last line, and whether all is well.
tallied() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
}

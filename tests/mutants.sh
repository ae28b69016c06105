#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Do the tests notice when the module is wrong? Each tests/mutants/*.patch is a deliberate mistake; its head says
#
#	What:	what is wrong
#	Fails:	what has to fail then: "tests NNN" (tests/run NNN), "kunit GLOB" (those of the suites), or "lock NAME"
#		(tests/lock/NAME.sh)
#	Why:	a regular expression for what it must complain of. To fail for another reason is not to notice.
#	Quick:	yes, if that is soon known (-q: only those)
#
# Some are only noticed if somebody comes at the right moment. They are tried three times at most.
#
# They are applied to a copy, one at a time, and that is built and run; there are two such copies. Runs on the host: tests/mutants.sh [-l] [-q] [MUTANT]...
#
# Environment: VM, the test kernel (default um).

export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
arch=${VM:-um}

head_of() { sed -n "s/^$1: *//p;/^---/q" "$top/tests/mutants/$2.patch"; }

mutants=()
for patch in "$top"/tests/mutants/*.patch; do
	name=${patch##*/}
	mutants+=("${name%.patch}")
done
if [ "$1" = -l ]; then
	for name in "${mutants[@]}"; do
		echo "$name: $(head_of What "$name") ($(head_of Fails "$name"): $(head_of Why "$name"))"
	done
	exit 0
fi
if [ "$1" = -q ]; then
	shift
	all=("${mutants[@]}") mutants=()
	for name in "${all[@]}"; do
		[ "$(head_of Quick "$name")" != yes ] || mutants+=("$name")
	done
fi
[ $# = 0 ] || mutants=("$@")

# Always the same place, so that it is built anew only as far as a mutant reaches; nobody else's.
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/toyfs
base=$cache/mutants-$(echo "$top" | sha256sum | cut -c1-12)
mkdir -p "$cache/lock" || exit 1
exec 9>"$cache/lock/${base##*/}"
flock 9
trap 'rm -rf "$base"' EXIT
rm -rf "$base"

# copy: the work tree, without times: what an earlier run built is older.
copy()
{
	mkdir -p "$work/tree" || return
	(cd "$top" && git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' f; do
		[ ! -f "$f" ] || printf '%s\0' "$f"
	done | tar --null -cf - -T -) | tar -C "$work/tree" -xmf - || return
	cd "$work/tree" && export GIT_CEILING_DIRECTORIES=$work
}

# Runs what has to fail.
try()
{
	local what=$1
	shift
	case $what in
	tests)
		scripts/vm --arch "$arch" --timeout 300 -- tests/run "$@"
		;;
	kunit)
		scripts/vm --arch "$arch" --timeout 120 --kunit --append "kunit.filter_glob=$1" --log "$log.kernel" -- \
			sh -c 'insmod "$TOYFS_KO"'
		grep -E 'not ok|KTAP' "$log.kernel"
		! grep -q 'not ok' "$log.kernel"
		;;
	lock)
		"tests/lock/$1.sh" "$arch"
		;;
	*)
		echo "what is $what?"
		;;
	esac
}

# lane NUMBER MUTANT...: one after the other, in a copy of its own
lane()
{
	local name patch what fails why begin status verdict reason
	work=$base/$1 log=$base/$1/log said=$base/said.$1
	shift
	[ $# -gt 0 ] || return 0
	copy || { echo "FAIL mutants (no copy of the sources)"; return; }
	for name; do
		patch=$top/tests/mutants/$name.patch
		what=$(head_of What "$name") fails=$(head_of Fails "$name") why=$(head_of Why "$name")
		begin=$SECONDS status=0
		if [ -z "$why" ] || ! git apply "$patch" >"$log" 2>&1; then
			verdict="does not apply"
		else
			# What comes to light by chance has three.
			for _ in 1 2 3; do
				# shellcheck disable=SC2086
				try $fails >"$log" 2>&1 || status=$?
				[ $status = 0 ] || break
			done
			git apply -R "$patch" || exit 1
			# A build that failed has caught nothing.
			if [ $status = 0 ] || ! grep -qE '^FAIL |not ok' "$log"; then
				verdict="not caught, status $status"
			elif ! reason=$(grep -oE -m 1 -- "$why" "$log"); then
				verdict="caught, but not for this: $why"
			else
				echo "PASS mutant/$name ($what): caught by $fails in $((SECONDS - begin)) s: $reason" | tee -a "$said"
				continue
			fi
		fi
		echo "FAIL mutant/$name ($what): $fails: $verdict" | tee -a "$said"
		tail -n 60 "$log" | sed 's/^/    /'
	done
}

# Two at a time. What they said is counted at the end.
half=$(((${#mutants[@]} + 1) / 2)) lanes=()
trap 'kill "${lanes[@]}" 2>/dev/null; rm -rf "$base"' EXIT
trap 'exit 143' INT TERM
mkdir -p "$base" || exit 1
lane 1 "${mutants[@]:0:half}" & lanes+=($!)
lane 2 "${mutants[@]:half}" & lanes+=($!)
wait "${lanes[@]}"
passed=$(cat "$base"/said.* | grep -c '^PASS ') failed=$(cat "$base"/said.* | grep -c '^FAIL ')
[ $((passed + failed)) = ${#mutants[@]} ] || { echo "FAIL mutants (${#mutants[@]} of them)"; failed=$((failed + 1)); }
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Do the tests notice when the module is wrong? Builds it with one deliberate mistake at a time and runs the test that has
# to fail then. Runs on the host: tests/mutants.sh [-l] [MUTANT]...
#
# Environment: VM, the test kernel (default um).

export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
arch=${VM:-um}

# mutant, the tests of which one must fail, what is wrong in it
mutants=(
	"marker_ignored|001|the fault handler does not look at the marker"
	"pin_after_block|005|the buffer is pinned under Block"
	"pin_after_block|007|the buffer is pinned under Block"
	"add_across_copy|003|Add is held across the copy of a buffered write"
	"sleep_with_folio_locked|014|read_folio sleeps on the lock with the folio locked"
	"block_dropped_early|060|an asynchronous write gives up Block before it is complete"
)

if [ "$1" = -l ]; then
	for m in "${mutants[@]}"; do
		IFS='|' read -r name tests what <<<"$m"
		echo "$name: $what (tests/run $tests)"
	done
	exit 0
fi

log=$(mktemp /tmp/toyfs-mutants.XXXXXX) || exit 1
trap 'rm -f "$log"' EXIT
passed=0 failed=0
for m in "${mutants[@]}"; do
	IFS='|' read -r name tests what <<<"$m"
	[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] && continue
	# shellcheck disable=SC2086
	MUTANT=$name "$top/scripts/vm" --arch "$arch" --timeout 300 -- "$top/tests/run" $tests >"$log" 2>&1
	status=$?
	# A run that never came to the tests (a build that failed, say) has caught nothing.
	caught=$(sed -nE 's,^FAIL (toyfs/[0-9]{3}) \((.*)\) \[(.*)\].*,by \1 in \3: \2,p' "$log" | head -n 1)
	hint=$(grep -oE -m 1 'HANG: .*|possible circular locking dependency detected|possible recursive locking detected' "$log")
	if [ $status -ne 0 ] && [ -n "$caught" ]; then
		echo "PASS mutant/$name ($what) caught $caught${hint:+; $hint}"
		passed=$((passed + 1))
	else
		echo "FAIL mutant/$name ($what) not caught by $tests, status $status"
		tail -n 30 "$log" | sed 's/^/    /'
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]

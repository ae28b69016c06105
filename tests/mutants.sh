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
passed=0 failed=0 begin=0
for m in "${mutants[@]}"; do
	IFS='|' read -r name tests what <<<"$m"
	[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] && continue
	begin=${EPOCHREALTIME/./}
	# shellcheck disable=SC2086
	MUTANT=$name "$top/scripts/vm" --arch "$arch" --timeout 180 -- "$top/tests/run" $tests >"$log" 2>&1
	status=$?
	caught=$(sed -n 's,^FAIL \(toyfs/[0-9]*\).*,\1,p' "$log" | tr '\n' ' ')
	secs=$(((${EPOCHREALTIME/./} - begin) / 1000000))
	# A run that never came to the tests (a build that failed, say) has caught nothing.
	if [ $status -ne 0 ] && [ -n "$caught" ]; then
		echo "PASS mutant/$name (caught by ${caught% }) [${secs}s] $what"
		passed=$((passed + 1))
	elif [ $status -eq 98 ] && grep -q '^PASS\|^FAIL\|^SKIP' "$log"; then
		echo "PASS mutant/$name (caught by a hang) [${secs}s] $what"
		passed=$((passed + 1))
	else
		echo "FAIL mutant/$name (not caught by $tests, status $status) [${secs}s] $what"
		tail -n 30 "$log" | sed 's/^/    /'
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]

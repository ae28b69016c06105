#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/lockdep.sh [um|x86_64]: each misuse of the lock must be reported, in a kernel of its own because
# lockdep switches itself off after its first report; what should be done instead must not be.

. "${0%/*}/common"
build

# What should be done. One kernel will do, because nothing is reported.
good='recursion abba mutex tried mmap-lock fs-reclaim release uninit assert return-to-user'

# What should not be done, and the report. After `@`, what else the same misuse may give rise to.
bad()
{
	cat <<-'END'
	recursion-add		possible recursive locking detected
	recursion-block		possible recursive locking detected
	recursion-mixed		possible recursive locking detected
	nesting			possible recursive locking detected
	abba-mixed		possible circular locking dependency detected
	abba-add		possible circular locking dependency detected
	mutex			possible circular locking dependency detected
	tried			possible circular locking dependency detected
	mmap-lock		possible circular locking dependency detected
	fs-reclaim		possible circular locking dependency detected
	release			bad unlock balance detected@WARNING: .*rust/lock/mod\.rs:
	release-state		WARNING: .*rust/lock/mod\.rs:
	uninit			trying to register non-static key
	assert			WARNING: .*rust/lock/(helpers\.c|mod\.rs):
	assert-state		WARNING: .*rust/lock/mod\.rs:
	return-to-user		lock held when returning to user space|still has locks held
	END
}

while read -r name report; do
	expect=${report//@/|} report=${report%@*}
	# The report is what is expected; the rest of the case must work nevertheless.
	# shellcheck disable=SC2016
	if "$top/scripts/vm" --arch "$arch" --no-build --timeout 120 --log "$log" --expect-splat "$expect" -- \
		sh -c 'insmod "$LOCK_TORTURE_KO" mode="$1"' sh "bad-$name" >"$log.out" 2>&1 &&
		grep -qE "$report" "$log" && said | grep -q "^case bad-$name done"; then
		pass "lockdep-bad-$name: $report"
	else
		fail "lockdep-bad-$name" "not reported: $report"
		tail -n 20 "$log.out"
	fi
done < <(bad)

cases=$(for c in $good; do printf '%s ' "good-$c"; done)
# shellcheck disable=SC2016
if "$top/scripts/vm" --arch "$arch" --no-build --timeout 120 --log "$log" -- sh -c '
	for c; do insmod "$LOCK_TORTURE_KO" mode="$c" && rmmod lock_torture || exit 1; done
	grep -q "debug_locks: *1" /proc/lockdep_stats' sh $cases >"$log.out" 2>&1; then
	for c in $cases; do
		if said | grep -q "^case $c done"; then pass "lockdep-$c: silent"; else fail "lockdep-$c" "did not run"; fi
	done
else
	fail lockdep-good "something was reported"
	tail -n 60 "$log.out"
fi
summary

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/lockdep.sh [um|x86_64]: each misuse of the lock must be reported (on x86_64 one of each kind), in a kernel of its
# own because lockdep switches itself off after its first report; what should be done instead must not be.

. "${0%/*}/common"
build

# What should be done. One kernel will do, because nothing is reported.
good='recursion abba mutex tried mmap-lock i-rwsem invalidate-lock user fs-reclaim hand-off release uninit assert
return-to-user'

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
	i-rwsem			possible circular locking dependency detected
	i-rwsem-shared		possible circular locking dependency detected
	invalidate-lock		possible circular locking dependency detected
	invalidate-lock-shared	possible circular locking dependency detected
	user-copy		possible circular locking dependency detected
	user-pin		possible circular locking dependency detected
	hand-off-completion	possible circular locking dependency detected
	hand-off-completion-first	possible circular locking dependency detected
	hand-off-submission	possible circular locking dependency detected
	fs-reclaim		possible circular locking dependency detected
	release			bad unlock balance detected@WARNING: .*rust/lock/mod\.rs:
	release-state		WARNING: .*rust/lock/mod\.rs:
	kept			WARNING: .*rust/lock/kept\.rs:
	dropped			WARNING: .*rust/lock/mod\.rs:
	uninit			trying to register non-static key
	assert			WARNING: .*rust/lock/(helpers\.c|mod\.rs):
	assert-state		WARNING: .*rust/lock/mod\.rs:
	return-to-user		lock held when returning to user space|still has locks held
	c-recursion		possible recursive locking detected
	c-order			possible circular locking dependency detected
	END
}

# What depends on the architecture, through its page faults, its way back to user space, its interrupts, and whatever
# else may differ: one of each kind. The others are lockdep's own business, which is the same everywhere, and an emulated
# kernel takes 15 s to boot.
native='recursion-mixed abba-mixed mmap-lock user-copy user-pin hand-off-completion release uninit return-to-user
c-recursion c-order'

# misuse CASE REPORT, in a test kernel: the cases of lock_torture.ko, and those of a module in C.
misuse()
{
	# shellcheck disable=SC2016
	"$top/scripts/vm" --arch "$arch" --no-build --timeout 120 --log "$log" --expect-splat "${2//@/|}" -- sh -c '
		case $1 in
		bad-c-*)
			cd "${LOCK_TORTURE_KO%/*}" && insmod two_state_shared_lock.ko && insmod faults_disabled_mapping.ko &&
				insmod example_c.ko mode="${1#bad-c-}" && echo "lock_torture: case $1 done" ;;
		*) insmod "$LOCK_TORTURE_KO" mode="$1" ;;
		esac' sh "$1" >"$log.out" 2>&1 || return
	# The report is what is expected; the rest of the case must work nevertheless.
	grep -qE "${2%@*}" "$log" && cat "$log.out" "$log" | sed -n 's/^.*lock_torture: //p' | grep -q "^case $1 done"
}

# stream REMAINDER: every second case. To boot takes one processor, and most of the time.
stream()
{
	local n=0 name report
	log=$log.$1
	while read -r name report; do
		[ "$arch" = um ] || [[ " ${native//$'\n'/ } " = *" $name "* ]] || continue
		[ $((n++ % 2)) = "$1" ] || continue
		if misuse "bad-$name" "$report"; then
			pass "lockdep-bad-$name: ${report%@*}"
		else
			fail "lockdep-bad-$name" "not reported: ${report%@*}"
			tail -n 20 "$log.out"
		fi
	done < <(bad)
	summary >"$log.summary"
}

(stream 0) &
(stream 1)
wait
for s in 0 1; do
	read -r p _ f _ < <(grep passed "$log.$s.summary" || echo 0 x 1 x)
	passed=$((passed + p)) failed=$((failed + f))
done

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

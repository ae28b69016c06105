#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/visible.sh [um|x86_64]: the contention tracepoints see waits for the lock, as a rwsem's.

. "${0%/*}/common"
build
rc=0
# shellcheck disable=SC2016
"$top/scripts/vm" --arch "$arch" --no-build --timeout 120 --log "$log" -- sh -c '
	mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
	cd /sys/kernel/tracing 2>/dev/null && [ -d events/lock ] || exit 77
	echo 256 >buffer_size_kb
	echo 1 >events/lock/contention_begin/enable && echo 1 >events/lock/contention_end/enable || exit 77
	insmod "$LOCK_TORTURE_KO" seconds=1 || exit 1
	echo 0 >tracing_on
	export LC_ALL=C
	grep -m 1 "lock_torture.*contention_begin.*READ" trace
	grep -m 1 "lock_torture.*contention_begin.*WRITE" trace
	grep -m 1 "lock_torture.*contention_end.*ret=0" trace
	true' \
	>"$log.out" 2>&1 || rc=$?
case $rc in
77) skip tracepoints "this kernel has no lock events" ;;
0)
	for what in 'contention_begin.*READ' 'contention_begin.*WRITE' 'contention_end.*ret=0'; do
		if grep -q "$what" "$log.out"; then pass "tracepoints: $what"; else fail "tracepoints: $what" "not seen"; fi
	done
	[ "$failed" = 0 ] || tail -n 30 "$log.out"
	;;
*)
	fail tracepoints "status $rc"
	tail -n 20 "$log.out"
	;;
esac
summary

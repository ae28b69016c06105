#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/bench.sh [um|x86_64] [cost|grace]...: what the lock costs beside a rwsem, a percpu-rwsem and the unfair
# prototype, and how long waits are against the grace period; in the release configuration, on two CPUs. The
# figures of Documentation/two-state-shared-lock.rst are from here. Use a machine that does nothing else.

. "${0%/*}/common"
shift
config=release
build
vm="--config release --timeout 1800"

for what in "${@:-cost grace}"; do
	for mode in $what; do
		case $mode in
		cost) args=(mode=bench "rounds=${ROUNDS:-9}") ;;
		grace) args=(mode=grace "seconds=${SECONDS_EACH:-8}" threads=4) ;;
		*) fail "$mode" "no such measurement"; continue ;;
		esac
		if load "${args[@]}"; then
			pass "bench-$mode"
			said | grep -vE '^PASS'
		else
			fail "bench-$mode" "$(said | tail -n 1)"
			tail -n 20 "$log.out"
		fi
	done
done
summary

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/torture.sh [um|x86_64]: random states, ways to wait, hold times, signals and releases for
# $SECONDS_EACH seconds (default 30), with the invariants checked inside.

. "${0%/*}/common"
seconds=${SECONDS_EACH:-30}
build
vm="--timeout $((seconds * 3 + 60))"

for grace in -1 0 -2; do
	case $grace in
	-1) name=default s=$seconds ;;
	0) name=0 s=$((seconds / 3)) ;;
	-2) name=off s=$((seconds / 3)) ;;
	esac
	if load seconds=$s grace_us=$grace && said | grep -q '^PASS torture'; then
		pass "torture-$name: $(said | sed -n 's/^PASS torture: //p')"
	else
		fail "torture-$name" "$(said | tail -n 3 | tr '\n' ' ')"
		tail -n 40 "$log.out"
	fi
done
summary

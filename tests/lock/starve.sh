#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/lock/starve.sh [um|x86_64]: one state is held in an unbroken chain while a task asks for the other. The
# unfair prototype must be seen to starve it, in the run in which the lock must not.

. "${0%/*}/common"
build
vm="--timeout 240"
if load mode=starve seconds="${SECONDS_EACH:-3}" threads=4 && said | grep -q '^PASS starve'; then
	pass starve
else
	fail starve "$(said | grep -E 'FAIL' | head -n 2 | tr '\n' ' ')"
	tail -n 20 "$log.out"
fi
said | sed -n 's/^starve: /	/p'
summary

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/bench.sh [um|x86_64]: what the protocol costs and what fairness is worth, in the release configuration, on a RAM
# disk whose requests complete 100 us later. The figures of Documentation/direct-io-protocol.rst are from here. Use a
# machine that does nothing else.
#
# S12, S13: the worst latency of one direct writer among readers that fault without pause, and of one faulting reader
# among direct writers, with the default grace period and without fairness.
# S17: direct writes of 4 KiB to one file, from 1, 2 and 4 tasks, beside the same to the device itself.

export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
if [ "$1" != --guest ]; then
	exec "$top/scripts/vm" --arch "${1:-${VM:-um}}" --config release --timeout 900 -- "$0" --guest
fi

# shellcheck source=common/toyfs
. "$top/tests/common/toyfs"
_notrun() { echo "FAIL bench ($1)"; exit 1; }

_require_toyfs_null_blk
_toyfs_null_blk 100 256
mnt=$SCRATCH_MNT file=$SCRATCH_MNT/file passed=0 failed=0
# So long that it never ends.
off=$((2 ** 62))

toyfs() # GRACE COMMAND...
{
	local grace=$1 ret

	shift
	insmod "$TOYFS_KO" ${grace:+grace_us=$grace} && mkfs.toyfs -f "$SCRATCH_DEV" >/dev/null &&
		mount -t toyfs "$SCRATCH_DEV" "$mnt" && "$@"
	ret=$?
	umount "$mnt" && rmmod toyfs && [ $ret -eq 0 ]
}

result()
{
	if [ $? -eq 0 ]; then passed=$((passed + 1)); else echo "FAIL $1"; failed=$((failed + 1)); fi
}

# A run makes ten requests at least; who starves does not come to that. Without fairness, that is what is to be shown.
some() # FAIR WHO
{
	local ret=0

	timeout -s KILL 40 starve -n 8 -t 5 -l 60000 "$2" "$file" || ret=$?
	[ $ret -ne 137 ] || echo "not ten requests done in 30 s"
	[ $ret -eq 0 ] || { [ $ret -eq 137 ] && [ "$1" = no ]; }
}

for s in "S12 readers" "S13 writers"; do
	# -l: how long is too long is not what is asked here.
	echo "${s% *}, default grace"
	toyfs "" some yes "${s#* }"
	result "${s% *}, default grace"
	echo "${s% *}, no fairness"
	toyfs "$off" some no "${s#* }"
	result "${s% *}, no fairness"
done

writers() # FILE
{
	local n said

	for n in 1 2 4; do
		said=$(parallel -t 3000 $n "$1") || return
		echo "$n writers: $said"
		grep -q '^[1-9][0-9]* writes/s' <<<"$said" || return
	done
}
echo "S17, the device"
writers "$SCRATCH_DEV"
result "S17, the device"
echo "S17, toyfs"
toyfs "" writers "$file"
result "S17, toyfs"

_toyfs_null_blk_remove
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]

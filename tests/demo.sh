#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The demonstration: write(2) with O_DIRECT to a file from a mapping of the same file, under each strategy.
# Runs inside a test kernel; the last line is "demo: PASS" or "demo: FAIL (why)".

export LC_ALL=C
dir=$(cd "$(dirname "$0")" && pwd) || exit 1
dev=${SCRATCH_DEV:-$TEST_DEV}
mnt=$(mktemp -d /tmp/toyfs-demo.XXXXXX) || exit 1
loaded=no
pages=1
seconds=5

finish()
{
	mountpoint -q "$mnt" && umount "$mnt"
	[ $loaded = yes ] && rmmod toyfs
	rm -rf "${mnt:?}" "${mnt:?}.bin"
	if [ -n "$1" ]; then
		echo "demo: FAIL ($1)"
		exit 1
	fi
	echo "demo: PASS"
	exit 0
}

if ! demo=$(command -v demo) || ! pattern=$(command -v pattern); then
	make -s -C "$dir/src" OUT="$mnt.bin" >&2 || finish "the test programs do not compile"
	demo=$mnt.bin/demo pattern=$mnt.bin/pattern
fi
[ -b "$dev" ] || finish "SCRATCH_DEV does not name a block device"
if ! grep -qw toyfs /proc/filesystems; then
	insmod "$TOYFS_KO" || finish "insmod $TOYFS_KO"
	loaded=yes
fi
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
stats=/sys/kernel/debug/toyfs/$(basename "$(readlink -f "$dev")")/stats

retries()
{
	sed -n 's/^retries //p' "$stats"
}

# The words that the program prints become variables of these names.
result='' errno='' us='' killed='' death_us=''
bytes=$((pages * 4096))
failure=

# row STRATEGY BUFFER WRITE-PAGE BUFFER-PAGE
row()
{
	local before after said took word

	"$pattern" -s write "$mnt/file" 0 1m 1 || finish "cannot fill the file"
	before=$(retries)
	for word in $("$demo" "$mnt/file" "$3" "$4" $pages $seconds); do
		case $word in
		result=*|errno=*|us=*|killed=*|death_us=*) declare -g "$word" ;;
		*) finish "unexpected: $word" ;;
		esac
	done
	after=$(retries)
	if [ "$killed" = 1 ]; then
		said="still spinning after $seconds s, killed"
	elif [ "$errno" = 0 ]; then
		said="$result of $bytes bytes"
	else
		said="-1 $errno"
	fi
	if [ "$us" -lt 1000000 ]; then
		took="$us us"
	else
		took="$((us / 1000000)).$((us / 100000 % 10)) s"
	fi
	printf '%-10s %-10s %-34s %12s %9d\n' "$1" "$2" "$said" "$took" $((after - before))

	case $1/$2 in
	retry/self)
		[ "$killed" = 1 ] || failure=${failure:-"$1: the self-referential write came back"}
		[ $((after - before)) -gt 1000 ] || failure=${failure:-"$1: $((after - before)) retries only"}
		[ "$death_us" -lt 1000000 ] || failure=${failure:-"$1: $death_us us from SIGKILL to death"} ;;
	error/self)
		[ "$errno/$killed" = EFAULT/0 ] || failure=${failure:-"$1: $said instead of EFAULT"}
		[ "$us" -lt 1000000 ] || failure=${failure:-"$1: took $us us"} ;;
	*)
		[ "$errno/$killed/$result" = "0/0/$bytes" ] ||
			failure=${failure:-"$1, $2 buffer: $said instead of $bytes bytes"} ;;
	esac

	# Nothing but the written range may differ, and that only by what was to be written.
	if [ "$2" = disjoint ]; then
		"$pattern" -d check "$mnt/file" $(($3 * 4096)) $bytes 1 $(($4 * 4096)) &&
			"$pattern" check "$mnt/file" $(($3 * 4096 + bytes)) $((1048576 - $3 * 4096 - bytes)) 1
	else
		"$pattern" -d check "$mnt/file" 0 1m 1
	fi || failure=${failure:-"$1, $2 buffer: wrong data in the file"}
}

echo "write(F, one page) with O_DIRECT; the buffer is a cold mapping of the same page of F (self) or of another (disjoint)"
echo
printf '%-10s %-10s %-34s %12s %9s\n' strategy buffer 'write(2) returned' took retries
printf '%.0s-' $(seq 79)
echo
for strategy in retry error buffered; do
	mkfs.toyfs -f "$dev" >"$mnt.log" 2>&1 || { cat "$mnt.log"; finish "mkfs.toyfs"; }
	rm -f "$mnt.log"
	mount -t toyfs -o selfdio=$strategy "$dev" "$mnt" || finish "mount -o selfdio=$strategy"
	row $strategy self 0 0
	row $strategy disjoint 0 128
	umount "$mnt" || finish "umount after selfdio=$strategy"
done
echo
finish "$failure"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the on-disk format, the replay of its journal, and mkfs.toyfs, fsck.toyfs and dump.toyfs, on the host: no kernel and no root needed.
#
#	tests/format/run.sh [DIR]
#	tests/format/run.sh --fuzz SEED IMAGES
#
# DIR holds mkfs.toyfs, fsck.toyfs and dump.toyfs; without it they are compiled here. $RUSTC names the compiler.
# The second form only has the programs look at images that are made up at random, in four ways, and counts these.
# Prints a line for each group and ends with "N passed, M failed, 0 skipped".
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd) || exit 1
filter=() tools=
case ${1:-} in
--fuzz) filter=(fuzz) && export FUZZ_SEED=$2 FUZZ_ROUNDS=$((($3 + 3) / 4)) ;;
*) tools=${1:-} ;;
esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

. "$here/../../scripts/tally.sh"

rust()
{
	"${RUSTC:-rustc}" --edition 2021 -D warnings "$@"
}

checked=(-C opt-level=2 -C overflow-checks=on -C debug-assertions=on)

# The crates that the tests share.
crates()
{
	rust "${checked[@]}" --crate-type rlib --crate-name random "$here/random.rs" &&
		rust "${checked[@]}" --crate-type rlib --crate-name toyfs_format "$here/../../rust/format/lib.rs" &&
		rust "${checked[@]}" --crate-type rlib --crate-name toyfs_tools -L . --extern toyfs_format \
			"$here/../../rust/tools/common/lib.rs" &&
		rust "${checked[@]}" --crate-type rlib --crate-name kernel "$here/kernel.rs"
}

logic()
{
	rust "${checked[@]}" --test -L . --extern toyfs_format --extern kernel --extern random -o logic "$here/logic.rs" && ./logic
}

replay()
{
	rust "${checked[@]}" --test -L . --extern toyfs_format --extern random -o replay "$here/replay.rs" && ./replay "${filter[@]}"
}

fsck_unit()
{
	rust "${checked[@]}" --test -L . --extern toyfs_format --extern toyfs_tools --extern random -o fsck_unit "$here/../../rust/tools/fsck.rs" &&
		./fsck_unit "${filter[@]}"
}

build_tools()
{
	"$here/../../scripts/tools" --here "$tmp/bin"
}

# expect STATUS PATTERN COMMAND...: the command must exit so, with the pattern in its output.
expect()
{
	local status=$1 pattern=$2 got
	shift 2
	timeout 20 "$@" >out 2>&1
	got=$?
	[ $got = "$status" ] && grep -q -- "$pattern" out && return
	echo "$*: exit status $got, expected $status and '$pattern':"
	cat out
	return 1
}

# patch FILE OFFSET BYTES: as printf understands them.
patch()
{
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

sizes()
{
	local size least
	for size in 8M 10M 127M 128M 129M 1G 300G; do
		rm -f img
		expect 0 'uuid:' mkfs.toyfs img $size || return
		expect 0 ' clean, 1/' fsck.toyfs -n img || return
	done
	rm -f img
	expect 1 'too small: has 2047 blocks of 4096 bytes, and needs at least 2048$' mkfs.toyfs img 2047 || return
	expect 0 . mkfs.toyfs img 2048 && expect 0 clean fsck.toyfs -n img || return
	expect 1 'needs at least' mkfs.toyfs -fN 100000 img 8M && least=$(grep -o '[0-9]*$' out) || return
	expect 1 "at least $least$" mkfs.toyfs -fN 100000 img $((least - 1)) &&
		expect 0 . mkfs.toyfs -fN 100000 img "$least" && expect 0 clean fsck.toyfs -n img || return
	expect 1 'too many inodes' mkfs.toyfs -fN 99999999999 img 8M || return
	expect 1 'too large' mkfs.toyfs -f img 257T || return
	# A journal of another size.
	expect 1 'of 4 to 1024 MiB' mkfs.toyfs -fJ 3 img && expect 1 'of 4 to 1024 MiB' mkfs.toyfs -fJ 1025 img &&
		expect 1 'bad size of the journal' mkfs.toyfs -fJ 4M img || return
	rm -f img
	expect 0 ' 262144 blocks of journal' mkfs.toyfs -J 1024 img 2G && expect 0 clean fsck.toyfs -n img || return
	rm -f img
	expect 0 ' 1024 blocks of journal' mkfs.toyfs -J4 img 1100 && expect 0 clean fsck.toyfs -n img || return
	expect 1 'needs at least' mkfs.toyfs -fJ5 img || return
	# A size smaller than the file, and bytes after the last whole block.
	truncate -s 10000001 img2 || return
	expect 0 '^img2: toyfs, 2441 blocks' mkfs.toyfs img2 || return
	expect 0 clean fsck.toyfs img2 || return
	expect 0 ' 2100 blocks' mkfs.toyfs -f img2 2100 || return
	expect 0 clean fsck.toyfs img2 || return
	expect 0 ' 4096 inodes' mkfs.toyfs -fN 4081 img2 2100 || return
	expect 0 clean fsck.toyfs img2 || return
	truncate -s 9000000 img2 || return
	expect 0 clean fsck.toyfs img2
}

arguments()
{
	local uuid=01234567-89ab-cdef-0123-456789abcdef
	rm -f img
	expect 0 Usage mkfs.toyfs --help && expect 0 Usage mkfs.toyfs -h &&
		expect 0 'format version 2' mkfs.toyfs --version && expect 0 'mkfs.toyfs' mkfs.toyfs -V &&
		expect 1 'no device' mkfs.toyfs && expect 1 'unknown option' mkfs.toyfs -x img &&
		expect 1 'unknown option' mkfs.toyfs --foo img && expect 1 'needs a value' mkfs.toyfs -L &&
		expect 1 'bad UUID' mkfs.toyfs -U 123 img && expect 1 'bad size' mkfs.toyfs img x &&
		expect 1 'bad size' mkfs.toyfs img 99999999999999T &&
		expect 1 'bad number' mkfs.toyfs -N 0 img && expect 1 unexpected mkfs.toyfs img 1 2 &&
		expect 1 'unknown option --' mkfs.toyfs -f-x img && expect 1 'longer than' mkfs.toyfs -L 012345678901234567890123456789012 img &&
		expect 1 'No such file' mkfs.toyfs none && expect 1 'neither' mkfs.toyfs . &&
		expect 1 'neither' mkfs.toyfs /dev/null &&
		expect 0 '^label: 01234567890123456789012345678901$' \
			mkfs.toyfs -fL 01234567890123456789012345678901 img 8M &&
		expect 0 "^uuid: $uuid" mkfs.toyfs -f -U$uuid -L 'a b' -- img &&
		[ -z "$(mkfs.toyfs -fq img)" ] || return
	expect 0 Usage fsck.toyfs --help && expect 0 'format version 2' fsck.toyfs --version &&
		expect 16 'no device' fsck.toyfs && expect 16 'unknown option' fsck.toyfs -z img &&
		expect 16 unexpected fsck.toyfs img img && expect 8 'No such file' fsck.toyfs none &&
		expect 16 'only one of' fsck.toyfs -np img && expect 16 'only one of' fsck.toyfs -ay img &&
		expect 8 'no toyfs superblock' fsck.toyfs /bin/sh && expect 0 'clean, 1/' fsck.toyfs -af img &&
		expect 0 'clean$' fsck.toyfs -p img
}

# fsck.toyfs on files: -n and an absent terminal change no byte, -p only what is safe, -y all; with a terminal it asks.
repair()
{
	local bit=$((4096 * 3)) mode
	rm -f img
	mkfs.toyfs -q img 8M && cp img good || return
	# A block that is marked in use, and one of metadata that is marked free; and the orphan bitmap.
	patch img $((bit + 240)) '\377' && patch img "$bit" '\376' && patch img $((4096 * 2 + 1)) '\1' && cp img bad || return
	for mode in -n '' -nf; do
		# shellcheck disable=SC2086
		expect 4 '3 errors' fsck.toyfs $mode img && cmp img bad || return
	done
	# It is marked clean, and -p believes that.
	expect 0 'clean$' fsck.toyfs -p img && cmp img bad || return
	expect 1 'repaired, 1/' fsck.toyfs -fp img && cmp img good || return
	# What could lose something is left, and the mark says so.
	patch img $((4096 * 1060 + 100)) x && cp img bad || return
	expect 4 'not repaired' fsck.toyfs -fa img && expect 4 'marked as having errors' fsck.toyfs -n img || return
	expect 1 'damaged: empty it' fsck.toyfs -y img && cmp img good || return
	cp bad img
	script -qec 'fsck.toyfs img' out </dev/null >/dev/null
	grep -q 'empty it (y/n)?' out && expect 4 . fsck.toyfs -n img || { cat out; return 1; }
	# As many as the terminal takes at once, and more than are asked for.
	printf 'y\n%.0s' {1..40} | script -qec 'fsck.toyfs img; echo status $?' out >/dev/null
	grep -q 'status 1' out && cmp img good || { cat out; return 1; }
}

# When a run ends at any of its writes, nothing takes what is left for the old filesystem, by its copy of the superblock.
interrupted()
{
	local n
	mkfs.toyfs -fq old 20M || return
	for n in $(seq 100); do
		cp old img || return
		strace -qqo /dev/null -e trace=pwrite64 -e inject=pwrite64:error=EIO:when=$n+ mkfs.toyfs -fqL new img && break
		cmp -sn 4096 img /dev/zero || continue
		expect 8 'no toyfs superblock' fsck.toyfs img && continue
		# The last write: all but the superblock is there.
		grep -q ': 1 error, 1/' out || { echo "write $n failed"; return 1; }
	done
	[ "$n" -gt 4 ] && [ "$n" -lt 100 ] && expect 0 clean fsck.toyfs img
}

reproducible()
{
	local uuid=01234567-89ab-cdef-0123-456789abcdef f
	for f in a b; do
		SOURCE_DATE_EPOCH=1234567890 mkfs.toyfs -q -U $uuid -L x $f 20M || return
	done
	cmp a b || return
	# Whatever was there before, of the journal nothing is left, and an image stays sparse.
	yes toyfs | head -c 20M >c && SOURCE_DATE_EPOCH=1234567890 mkfs.toyfs -q -U $uuid -L x c || return
	cmp -n 4M -i $((84 * 4096)) a c && [ "$(stat -c %b a)" -lt 200 ] || return
	expect 1 'bad SOURCE' env SOURCE_DATE_EPOCH=x mkfs.toyfs c 20M
}

signatures()
{
	local what offset bytes
	while read -r what offset bytes; do
		rm -f img
		truncate -s 8M img && patch img "$offset" "$bytes" || return
		cp img before
		expect 1 "holds a.* $what.*use -f" mkfs.toyfs img && cmp img before || return
		expect 0 . mkfs.toyfs -f img && expect 0 clean fsck.toyfs img || return
		# Nothing is left for others to recognise.
		printf "$bytes" >magic
		if [ "$what" != toyfs ] && cmp -s -i 0:"$offset" -n "$(stat -c %s magic)" magic img; then
			echo "the $what signature is still there"
			return 1
		fi
	done <<-'END'
		toyfs 1024 toyfs\r\n\032
		ext4 1080 \123\357
		xfs 0 XFSB
		btrfs 65600 _BHRfS_M
		gfs2 65536 \001\026\031\160
		partition 510 \125\252
	END
	# Other things that blkid finds, if it is there.
	if command -v mke2fs >/dev/null; then
		rm -f img
		truncate -s 8M img && mke2fs -q img && expect 1 ext4 mkfs.toyfs img || return
	fi
}

damage()
{
	rm -f img
	mkfs.toyfs -q img 8M || return
	cp img good
	patch img 1030 x
	expect 4 'copy of it' fsck.toyfs img && expect 1 'repaired' fsck.toyfs -y img && cmp img good || return
	cp good img
	patch img 1100 x
	expect 4 'bad superblock checksum.*copy of it' fsck.toyfs img || return
	# The copy, in the last block, as well.
	patch img $((8388608 - 4096 + 1100)) x
	expect 4 'bad superblock checksum$' fsck.toyfs img || return
	# Of a change of state, only the sector with the checksum, and only the other one.
	cp good img
	patch img 1184 '\2'
	expect 0 'superblock: torn' fsck.toyfs img && expect 0 'was not unmounted' fsck.toyfs img || return
	# Where the superblock was, nothing is left.
	cp good img
	dd if=/dev/zero of=img bs=512 seek=2 count=2 conv=notrunc status=none
	expect 4 'copy of it, which is used' fsck.toyfs img && expect 4 ': 1 error, 1/' fsck.toyfs img || return
	cp good img
	truncate -s 7M img
	expect 4 'device has 1792' fsck.toyfs img || return
	# A reader who has seen enough. Errors of writing are another matter.
	cp good img
	patch img 1100 x
	fsck.toyfs img 2>out | :
	[ "${PIPESTATUS[0]}" = 4 ] && [ ! -s out ] || { echo "a broken pipe:"; cat out; return 1; }
	fsck.toyfs --help 2>out | :
	[ "${PIPESTATUS[0]}" = 0 ] && [ ! -s out ] || { echo "a broken pipe:"; cat out; return 1; }
	expect 8 'standard output: No space left' sh -c 'fsck.toyfs img >/dev/full' || return
	cp good img
	patch img 4096 '\0'
	expect 4 'no root directory' fsck.toyfs -n img && expect 4 '3 errors, 0/' fsck.toyfs -q img
}

# What dump.toyfs prints of a new file system, and of one that is damaged.
dump()
{
	local what
	rm -f img
	mkfs.toyfs -q -L name img 8M && cp img good || return
	expect 0 '^label: name$' dump.toyfs img && expect 0 '^journal: 36+1024$' dump.toyfs img super &&
		expect 0 'the log is empty$' dump.toyfs img journal && expect 0 '^mode: 40755, a directory$' dump.toyfs img inode 1 &&
		expect 0 '^  0+1 at 1060$' dump.toyfs img inode 1 && expect 0 '^inode 2: free$' dump.toyfs img inode 2 &&
		expect 0 '^0+2$' dump.toyfs img bitmap inode && expect 0 '^2047+1$' dump.toyfs img bitmap block &&
		[ -z "$(dump.toyfs img bitmap orphan)" ] && [ -z "$(dump.toyfs img dir 1)" ] &&
		expect 0 '^directory block of inode 1$' dump.toyfs img block 1060 &&
		expect 0 '^400  74 6f 79 66 73 0d 0a 1a .*toyfs...' dump.toyfs img block 0 || return
	expect 0 Usage dump.toyfs -h && expect 1 'no device' dump.toyfs && expect 1 'unknown: foo 1' dump.toyfs img foo 1 &&
		expect 1 'bad number' dump.toyfs img inode x && expect 1 'does not exist' dump.toyfs img inode 9999 &&
		expect 1 'does not exist' dump.toyfs img block 2048 && expect 1 'unknown option' dump.toyfs -x img &&
		expect 1 'bad inode magic' dump.toyfs img dir 2 && expect 1 'no toyfs superblock' dump.toyfs /bin/sh || return
	patch img 1100 x && expect 1 'wrong: superblock: damaged, this is its copy' dump.toyfs img || return
	cp good img
	patch img $((1060 * 4096 + 100)) x && expect 1 'wrong: block 1060: bad' dump.toyfs img dir 1 || return
	# What mkfs.toyfs does not make.
	WRITE_IMAGE=full ./fsck_unit write_image >out && expect 0 ' clean, ' fsck.toyfs -n full &&
		expect 0 '^flags: synchronous, .*, immutable, ' dump.toyfs full inode 2 &&
		expect 0 '^  user.name: value$' dump.toyfs full inode 2 &&
		what=$(sed -n 's/^attributes, in block \(.*\):$/\1/p' out) &&
		expect 0 '^  system.posix_acl_access: ' dump.toyfs full block "$what" &&
		grep -q '^attribute block of inode 2$' out &&
		patch full $((what * 4096 + 24)) '\5' &&
		expect 1 "^wrong: block $what: bad attribute block checksum" dump.toyfs full inode 2 &&
		expect 4 'not repaired' fsck.toyfs -fp full && expect 1 'drop it' fsck.toyfs -y full &&
		expect 0 ' clean, ' fsck.toyfs -n full || return
	# A chain that never ends, of extents that are everywhere.
	expect 1 'bad directory block magic$' dump.toyfs full.loop dir 4 || return
	# Nonsense in place of everything is printed, or refused.
	for what in journal 'inode 1' 'dir 1' 'block 84' 'bitmap block'; do
		head -c $((1060 * 4096)) /dev/urandom | dd of=img bs=4096 seek=1 conv=notrunc status=none
		# shellcheck disable=SC2086
		timeout 20 dump.toyfs img $what >out 2>&1
		[ $? -le 1 ] || { cat out; return 1; }
	done
	cmp -n 4096 img good
}

if [ ${#filter[@]} -gt 0 ]; then
	tally "crates" crates
	tally "replay of journals" replay
	tally "fsck.toyfs" fsck_unit
	[ "$failed" != 0 ] || passed=$((4 * FUZZ_ROUNDS))
	tallied
	exit
fi
tally "format: crates" crates
tally "format: logic" logic
tally "format: replay of the journal" replay
tally "format: fsck's own tests" fsck_unit
if [ -z "$tools" ]; then
	tally "format: build of the tools" build_tools
	tools=$tmp/bin
fi
PATH=$tools:$PATH
for group in sizes arguments interrupted reproducible signatures damage repair dump; do tally "format: $group" $group; done
tallied

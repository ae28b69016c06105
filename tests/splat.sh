#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests/splat.sh: what scripts/splat makes of pieces of kernel logs. No kernel runs. The last line counts.

export LC_ALL=C
splat=$(cd "$(dirname "$0")/../scripts" && pwd)/splat || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
. "${splat%/*}/tally.sh"

# finds WHAT HEADLINE...: of the log on stdin, exactly these are reported, in this order; without HEADLINE: nothing is.
finds() { tally "$1" headlines "${@:2}"; }
headlines()
{
	local want got ret=0

	cat >"$log"
	want=$([ $# = 0 ] || printf '%s\n' "$@")
	got=$("$splat" "$log") || ret=$?
	got=$(sed -n 's/^splat: //p' <<<"$got")
	[ "$got" = "$want" ] && [ $ret = $(($# > 0)) ] && return
	echo "status $ret"
	diff <(echo "$want") <(echo "$got")
	return 1
}

# The complaint that scripts/splat-known has, as user-mode Linux prints it.
known()
{
	cat <<-'LOG'
	[    9.100000] =============================
	[    9.100000] WARNING: suspicious RCU usage
	[    9.100000] 7.3.4-toyfs-debug #1 Not tainted
	[    9.100000] -----------------------------
	[    9.100000] lib/maple_tree.c:720 suspicious rcu_dereference_check() usage!
	[    9.100000]
	[    9.100000] other info that might help us debug this:
	[    9.100000]
	[    9.100000] rcu_scheduler_active = 2, debug_locks = 1
	[    9.100000] Call Trace:
	[    9.100000]  [<6061b140>] ? mtree_range_walk+0x0/0x410
	[    9.100000]  [<6005868c>] ? flush_tlb_mm+0x7c/0xd0
	[    9.100000]  [<6026c60f>] ? tlb_finish_mmu+0x12f/0x220
	[    9.100000]  [<60258024>] ? unmap_mapping_range_tree+0xd4/0x110
	[    9.100000]  [<602580bb>] ? unmap_mapping_pages+0x5b/0xb0
	LOG
}

kasan='BUG: KASAN: slab-use-after-free in iomap_dio_complete+0x24/0x60 [toyfs]'
rcu='WARNING: suspicious RCU usage'

finds "a log without complaints" <<'LOG'
[    0.100000] Linux version 7.3.4-toyfs-debug
[    0.200000] lock_torture: loading out-of-tree module taints kernel.
[    0.300000] Disabling lock debugging due to kernel taint
[    0.400000]     # Subtest: BUG: in the name of a test
[    0.500000]     ok 1 WARNING: in the name of a test
[    0.600000] kmemleak: Kernel memory leak detector disabled
LOG

# What is passed over, and how narrowly.
finds "a known complaint" < <(known)
finds "a known complaint, twice" < <(known; known)
finds "a known complaint of two CPUs, line by line" < <(paste -d '\n' <(known) <(known))
finds "the same from another place in the kernel" "$rcu" < <(known | sed 's/flush_tlb_mm/mas_find/')
finds "the same in another file" "$rcu" < <(known | sed 's/maple_tree\.c/radix-tree.c/')
finds "the same from another place, and a known one, line by line" "$rcu" \
	< <(paste -d '\n' <(known | sed 's/flush_tlb_mm/mas_find/') <(known))
finds "the same in another file, and a known one, line by line" "$rcu" \
	< <(paste -d '\n' <(known) <(known | sed 's/maple_tree\.c/radix-tree.c/'))

# A headline does not belong to a known complaint, however near to its own it stands.
for n in 2 3 4 5 6 7 10; do
	finds "KASAN, $((n - 1)) lines after the headline of a known complaint" "$rcu" "$kasan" \
		< <(known | head -n $n; echo "[    9.200000] $kasan"; known | sed "1,${n}d")
done
finds "KASAN, a line before a known complaint" "$kasan" < <(echo "[    9.000000] $kasan"; known)
finds "KASAN, a line after a known complaint" "$kasan" < <(known; echo "[    9.300000] $kasan")
finds "hung task amid a known complaint" "$rcu" "INFO: task dd:41 blocked for more than 60 seconds." \
	< <(known | head -n 3; echo "[    9.200000] INFO: task dd:41 blocked for more than 60 seconds."; known | sed 1,3d)

# Several headlines that are one complaint's.
finds "two headlines of one complaint" "refcount_t: underflow; use-after-free." <<'LOG'
[    2.000000] ------------[ cut here ]------------
[    2.000000] refcount_t: underflow; use-after-free.
[    2.000000] WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xd8/0xe0, CPU#1: dd/61
[    2.000000] Call Trace:
[    2.000000] ---[ end trace 0000000000000000 ]---
LOG

# One of each kind, by its headline.
while IFS= read -r line; do
	finds "$line" "$line" <<<"[    3.141592][   T60] $line"
done <<'LOG'
BUG: KASAN: slab-out-of-bounds in toyfs_read+0x1c/0x40 [toyfs]
BUG: KFENCE: use-after-free read in toyfs_read+0x1c/0x40 [toyfs]
BUG: kernel NULL pointer dereference, address: 0000000000000018
BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591
BUG: Bad page state in process fio  pfn:1a2b3
BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!
BUG kmalloc-64 (Not tainted): Right Redzone overwritten
BUG kmalloc-64 (Tainted: G O): Object already free
BUG toyfs_inode (Not tainted): Objects remaining on __kmem_cache_shutdown()
Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP
kernel BUG at mm/filemap.c:1234!
WARNING: fs/inode.c:417 at inc_nlink+0x30/0x40, CPU#0: mkdir/72
WARNING: possible circular locking dependency detected
WARNING: bad unlock balance detected!
INFO: task kworker/1:1:44 blocked for more than 60 seconds.
INFO: trying to register non-static key.
rcu: INFO: rcu_preempt self-detected stall on CPU
watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [dd:61]
rust_kernel: panicked at rust/toyfs/dio.rs:10:5:
VFS: Busy inodes after unmount of ram1 (toyfs)
list_del corruption. prev->next should be ffff888003a5c0e8, but was ffff888003a5c1e8
ODEBUG: free active (active state 0) object: 00000000 object type: work_struct
UBSAN: array-index-out-of-bounds in fs/iomap/direct-io.c:10:5
kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
kmemleak: 12 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
sysfs: cannot create duplicate filename '/fs/toyfs'
debugfs: 'toyfs' already exists in '/'
Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100
LOG

# After the time is up, the log holds what the tasks were doing.
finds "after the time-out" <<'LOG'
[    3.000000] toyfs-vm: time is up
[    3.000000] BUG: in a stack
LOG

tallied && [ "$passed" -gt 0 ]

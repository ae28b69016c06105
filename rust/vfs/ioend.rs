// SPDX-License-Identifier: GPL-2.0

//! What is left to do when I/O has ended: the ends of writeback that need process context.
//!
//! Nothing in this file runs where the block layer completes a request, which may be in a task that
//! others wait for, in order to have theirs dispatched: not even when sleeping would be allowed there.
//!
//! C header: `include/linux/iomap.h`.

use super::work_queue::WorkQueue;
use crate::bindings;
use core::{
    mem::{self, offset_of},
    ptr,
};
use kernel::{
    prelude::*,
    sync::{new_spinlock_irq, SpinLockIrq},
    types::Opaque,
};

/// The first of a chain of ioends, linked by `io_list.next`.
struct Chain(*mut bindings::iomap_ioend);

// SAFETY: The ioends belong to whoever has the chain.
unsafe impl Send for Chain {}

/// The ends of an inode's writeback that wait for process context. Part of each inode.
///
/// # Invariants
///
/// `work` is queued, or about to take the chain, if and only if the chain is not empty.
pub(super) struct IoEnds {
    chain: SpinLockIrq<Chain>,
    work: Opaque<bindings::work_struct>,
}

impl IoEnds {
    /// Initialises the one of a new inode, whose work is `finish`.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writing, and must not move; `finish` must expect its `work`.
    pub(super) unsafe fn init(
        slot: *mut Self,
        finish: unsafe extern "C" fn(*mut bindings::work_struct),
    ) {
        let chain = new_spinlock_irq!(Chain(ptr::null_mut()), "vfs_ioends");
        // SAFETY: By the caller's promise.
        unsafe {
            match chain.__init(ptr::addr_of_mut!((*slot).chain)) {
                Ok(()) => {}
            }
            bindings::vfs_init_work(Opaque::cast_into(ptr::addr_of!((*slot).work)), Some(finish));
        }
    }

    /// Has `ioend` finished soon. In any context.
    ///
    /// # Safety
    ///
    /// The I/O of `ioend` has ended, its folios are still under writeback, and belong to the inode that
    /// `self` is part of.
    pub(super) unsafe fn add(&self, queue: &WorkQueue, ioend: *mut bindings::iomap_ioend) {
        let mut chain = self.chain.lock();
        // SAFETY: The ioend is ours, its list unused. The folios keep the inode, and `self` with it,
        // until the work has taken the chain, for which it has to wait for us.
        unsafe {
            (*ioend).io_list.next = chain.0.cast();
            if chain.0.is_null() {
                queue.enqueue(self.work.get());
            }
        }
        chain.0 = ioend;
    }

    /// Takes all ends that wait, and gives the ioends, sorted and merged, to `finish` one by one.
    ///
    /// # Safety
    ///
    /// To be called from the work of an [`IoEnds`], with that work. `finish` must finish the ioend.
    pub(super) unsafe fn finish(
        work: *mut bindings::work_struct,
        finish: impl Fn(*mut bindings::iomap_ioend),
    ) {
        let ends = work.wrapping_byte_sub(offset_of!(Self, work));
        // SAFETY: There is a chain, or we would not have been called; its folios keep the inode.
        let mut chain = unsafe {
            let ends = ends.cast::<Self>();
            mem::replace(&mut *(*ends).chain.lock(), Chain(ptr::null_mut()))
        };
        // From the last ioend on there may be no inode any more, nor `ends`.
        // SAFETY: The ioends of the chain are ours, each until it is finished; `list` does not move.
        unsafe {
            let mut list: bindings::list_head = mem::zeroed();
            let list = ptr::addr_of_mut!(list);
            bindings::vfs_list_init(list);
            while !chain.0.is_null() {
                let links = ptr::addr_of_mut!((*chain.0).io_list);
                chain = Chain((*links).next.cast());
                bindings::vfs_list_add(links, list);
            }
            bindings::iomap_sort_ioends(list);
            loop {
                let links = (*list).next;
                if links == list {
                    break;
                }
                bindings::vfs_list_del_init(links);
                let ioend = links.wrapping_byte_sub(offset_of!(bindings::iomap_ioend, io_list));
                let ioend = ioend.cast();
                bindings::iomap_ioend_try_merge(ioend, list);
                finish(ioend);
            }
        }
    }
}

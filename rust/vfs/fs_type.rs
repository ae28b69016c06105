// SPDX-License-Identifier: GPL-2.0

//! File system types: what is there from registration to unregistration.
//!
//! C header: `include/linux/fs.h`.

use super::{debugfs::Dir, types::Types};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{self, offset_of},
    ptr,
};
use kernel::sync::atomic::{Atomic, Relaxed};

/// Registration data of the file system type `T`, which lockdep requires to be static.
pub(crate) struct FsStatics<T: Types> {
    pub(super) fs_type: UnsafeCell<bindings::file_system_type>,
    /// Whether a [`Registration`](super::Registration) owns the rest.
    pub(super) owned: Atomic<bool>,
    /// Whether a completion has come in a task that can be preempted in it.
    pub(super) ended_in_task: Atomic<bool>,
    pub(super) inode_cache: UnsafeCell<*mut bindings::kmem_cache>,
    pub(super) debugfs: UnsafeCell<Option<Dir>>,
    _fs: PhantomData<fn() -> T>,
}

// SAFETY: Written by the one `Registration` that owns it, before the type is visible to anybody, and after
// it no longer is; in between, the VFS synchronises its accesses to `fs_type`.
unsafe impl<T: Types> Sync for FsStatics<T> {}

impl<T: Types> FsStatics<T> {
    /// Unregistered.
    pub(crate) const fn new() -> Self {
        FsStatics {
            // SAFETY: All zeroes is a valid `file_system_type`: null pointers, empty lists and unused
            // lock class keys.
            fs_type: UnsafeCell::new(unsafe { mem::zeroed() }),
            owned: Atomic::new(false),
            ended_in_task: Atomic::new(false),
            inode_cache: UnsafeCell::new(ptr::null_mut()),
            debugfs: UnsafeCell::new(None),
            _fs: PhantomData,
        }
    }

    /// To be called first by each completion of I/O, in whatever context: unregistering waits for it to
    /// return.
    ///
    /// # Safety
    ///
    /// `sb` must be a super block of the registered type `T`.
    pub(super) unsafe fn completes(sb: *mut bindings::super_block) {
        // SAFETY: By the caller's promise.
        unsafe {
            let ended_in_task = &Self::of(sb).ended_in_task;
            // Written once: all CPUs come here with each request.
            if !bindings::vfs_bio_in_atomic() && !ended_in_task.load(Relaxed) {
                ended_in_task.store(true, Relaxed);
            }
        }
    }

    /// # Safety
    ///
    /// `sb` must be a super block of the registered type `T`, for the life of the result.
    pub(super) unsafe fn of<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the caller's promise, the type is the field of a value of ours.
        unsafe {
            let fs_type = (*sb).s_type;
            &*fs_type
                .wrapping_byte_sub(offset_of!(Self, fs_type))
                .cast::<Self>()
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Page faults on mapped files.
//!
//! C headers: `include/linux/mm.h`, `include/linux/iomap.h`.

use super::{
    file::file_inode,
    task::fatal_signal_pending,
    types::{Brand, CTables, Types},
};
use crate::bindings;
use core::{marker::PhantomData, ops::RangeInclusive};

/// How the [`PageMkwrite`] with the same lifetime was answered.
pub(crate) struct FaultResult<'a>(bindings::vm_fault_t, PhantomData<Brand<'a>>);

impl FaultResult<'_> {
    /// Whether the page has left the page cache, and the access is to be tried again.
    pub(crate) fn is_gone(&self) -> bool {
        self.0 & bindings::vm_fault_reason_VM_FAULT_NOPAGE != 0
    }

    /// For the kernel.
    pub(super) fn into_raw(self) -> bindings::vm_fault_t {
        self.0
    }
}

/// What to do about a page fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultAnswer {
    /// Bring the page in, as `filemap_fault()` does.
    Serve,
    /// SIGBUS for an access of the task's own, `EFAULT` for one of the kernel.
    Refuse,
}

/// A page is about to become writable (`->page_mkwrite()`).
pub(crate) struct PageMkwrite<'a, T: Types>(
    &'a mut bindings::vm_fault,
    PhantomData<(T, Brand<'a>)>,
);

impl<'a, T: CTables> PageMkwrite<'a, T> {
    /// The value must be the only one with its lifetime.
    ///
    /// # Safety
    ///
    /// The fault must be one on a file of `T` that stays open for `'a`, and wait for an answer.
    pub(super) unsafe fn new(vmf: &'a mut bindings::vm_fault) -> Self {
        PageMkwrite(vmf, PhantomData)
    }

    /// Updates the file's times; freezing is kept out and truncation excluded while `f` runs.
    pub(crate) fn serialised(self, f: impl FnOnce(Self) -> FaultResult<'a>) -> FaultResult<'a> {
        // SAFETY: Valid fault, whose file stays open for the call.
        unsafe {
            let file = bindings::vfs_vmf_file(self.0);
            let inode = file_inode(file);
            let (sb, mapping) = ((*inode).i_sb, (*inode).i_mapping);
            bindings::vfs_sb_start_pagefault(sb);
            bindings::file_update_time(file);
            bindings::vfs_filemap_invalidate_lock_shared(mapping);
            let ret = f(self);
            bindings::vfs_filemap_invalidate_unlock_shared(mapping);
            bindings::vfs_sb_end_pagefault(sb);
            ret
        }
    }

    /// The pages of the file that the folio has.
    pub(crate) fn pages(&self) -> RangeInclusive<u64> {
        let (mut first, mut last) = (0, 0);
        // SAFETY: Valid fault, which has a reference to the page. It may be in the cache no longer, but keeps its place.
        unsafe { bindings::vfs_folio_range(bindings::vfs_vmf_folio(self.0), &mut first, &mut last) }
        first as u64..=last as u64
    }

    /// Makes blocks for the page and marks it dirty. Wraps `iomap_page_mkwrite()`.
    pub(crate) fn serve(self) -> FaultResult<'a> {
        // SAFETY: Valid fault and tables.
        let mut result =
            unsafe { bindings::iomap_page_mkwrite(self.0, T::IOMAP_OPS, core::ptr::null_mut()) };
        if result & bindings::vm_fault_reason_VM_FAULT_NOPAGE != 0 && fatal_signal_pending() {
            // The page has left the cache. Others may bring that about for ever.
            result = bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        }
        FaultResult(result, PhantomData)
    }

    /// The access cannot be had: SIGBUS for one of the task's own, `EFAULT` for one of the kernel. Also for what a
    /// fatal signal ended: an access that is tried again, in the kernel, never comes to the signal.
    pub(crate) fn refuse(self) -> FaultResult<'a> {
        FaultResult(bindings::vm_fault_reason_VM_FAULT_SIGBUS, PhantomData)
    }
}

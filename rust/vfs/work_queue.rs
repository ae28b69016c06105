// SPDX-License-Identifier: GPL-2.0

//! Work queues.
//!
//! C header: `include/linux/workqueue.h`.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{error::Result, prelude::*, str::CStr, time::Msecs};

/// A work queue of a mount's own, which makes progress also when memory is short.
///
/// Dropping it waits until everything that was queued is done, and has returned.
pub(super) struct WorkQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Work queues are used by any number of tasks at once.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Makes one for the file system `fs` on the device `id`.
    pub(super) fn new(fs: &CStr, id: &CStr) -> Result<Self> {
        // SAFETY: Both are strings, for the call.
        let queue = unsafe { bindings::vfs_alloc_workqueue(fs.as_char_ptr(), id.as_char_ptr()) };
        NonNull::new(queue).map(WorkQueue).ok_or(ENOMEM)
    }

    /// Queues `work`, in any context; false if it waits for being run already.
    ///
    /// # Safety
    ///
    /// `work` must be initialised, and stay valid until its function is called.
    pub(super) unsafe fn enqueue(&self, work: *mut bindings::work_struct) -> bool {
        // SAFETY: By the caller's promise; the queue exists while the value does.
        unsafe { bindings::vfs_queue_work(self.0.as_ptr(), work) }
    }

    /// As [`Self::enqueue`], `ms` milliseconds later. Dropping the queue does not wait for what is not on it yet.
    ///
    /// # Safety
    ///
    /// As [`Self::enqueue`]; and something else must keep the queue until `work` is on it.
    pub(super) unsafe fn enqueue_later(
        &self,
        work: *mut bindings::delayed_work,
        ms: Msecs,
    ) -> bool {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vfs_queue_delayed_work(self.0.as_ptr(), work, ms) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: Nobody can queue anything any more.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) }
    }
}

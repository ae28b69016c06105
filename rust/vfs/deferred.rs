// SPDX-License-Identifier: GPL-2.0

//! What a mount has to do some time later, once for any number of reasons.
//!
//! C header: `include/linux/workqueue.h`.

use crate::bindings;
use core::{mem::offset_of, ptr};
use kernel::{time::Msecs, types::Opaque};

/// The work of one mount.
///
/// # Invariants
///
/// Once [`Self::init`] was called, `work` is initialised, and `sb` is the super block that this is a part of.
pub(super) struct Deferred {
    work: Opaque<bindings::delayed_work>,
    sb: *mut bindings::super_block,
}

// SAFETY: Work is queued by any number of tasks at once; the pointer is only handed on.
unsafe impl Send for Deferred {}
// SAFETY: As above.
unsafe impl Sync for Deferred {}

impl Deferred {
    /// One that waits for [`Self::init`].
    pub(super) const fn new() -> Self {
        Self {
            work: Opaque::uninit(),
            sb: ptr::null_mut(),
        }
    }

    /// Initialises that of the mount `sb`, whose work is `run`.
    ///
    /// # Safety
    ///
    /// `this` must be valid for writing, and must not move from now on; `sb` must live longer. `run` must expect its `work`.
    pub(super) unsafe fn init(
        this: *mut Self,
        sb: *mut bindings::super_block,
        run: unsafe extern "C" fn(*mut bindings::work_struct),
    ) {
        // SAFETY: By the caller's promise.
        unsafe {
            (*this).sb = sb;
            bindings::vfs_init_deferred_work((*this).work.get(), Some(run));
        }
    }

    /// Has the work done `ms` milliseconds from now, unless it is going to be done anyway.
    ///
    /// # Safety
    ///
    /// [`Self::init`] was called; [`Self::stop`] will be, before `self` is dropped.
    pub(super) unsafe fn ask(&self, ms: Msecs) {
        // SAFETY: By the caller's promise; this queue is always there. It may take its time, and memory need not wait for it.
        unsafe {
            bindings::vfs_queue_delayed_work(bindings::system_dfl_long_wq, self.work.get(), ms)
        };
    }

    /// The mount that a work belongs to.
    ///
    /// # Safety
    ///
    /// To be called from the work of a [`Deferred`], with that work.
    pub(super) unsafe fn sb(work: *mut bindings::work_struct) -> *mut bindings::super_block {
        let delayed = work.wrapping_byte_sub(offset_of!(bindings::delayed_work, work));
        let this = delayed.wrapping_byte_sub(offset_of!(Self, work));
        // SAFETY: By the type invariants; whoever ends the mount waits for the work to return.
        unsafe { (*this.cast::<Self>()).sb }
    }

    /// Waits until the work has returned if it has begun, and sees to it that it does not begin otherwise, unless somebody asks for
    /// it again. Not for the work itself.
    ///
    /// # Safety
    ///
    /// [`Self::init`] was called.
    pub(super) unsafe fn stop(&self) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}

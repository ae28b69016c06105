// SPDX-License-Identifier: GPL-2.0

//! What lockdep is told of the locks of folios.
//!
//! They are bits, of which lockdep knows nothing. One lock class stands for those of all files here, so that a task is
//! reported that waits with a folio locked for something under which others wait for folios.

use kernel::types::NotThreadSafe;

/// For lockdep, the current task has a folio locked.
pub(super) struct FolioLocked(NotThreadSafe);

impl FolioLocked {
    /// Whoever calls us has locked it: what is waited for from here on comes after.
    pub(super) fn found() -> Self {
        acquire(true);
        Self(NotThreadSafe)
    }

    /// The task is about to wait for it: it comes after what the task holds.
    pub(super) fn wait() -> Self {
        acquire(false);
        Self(NotThreadSafe)
    }

    /// Ends what was begun by a value that was forgotten.
    ///
    /// # Safety
    ///
    /// There must be such a value, of this task.
    pub(super) unsafe fn end_forgotten() {
        drop(Self(NotThreadSafe));
    }
}

impl Drop for FolioLocked {
    fn drop(&mut self) {
        release();
    }
}

/// Tells lockdep that the task may wait for the lock of a folio here.
pub(crate) fn might_lock_folio() {
    drop(FolioLocked::wait());
}

#[cfg(CONFIG_LOCKDEP)]
fn acquire(found: bool) {
    // SAFETY: Always safe to call.
    unsafe { crate::bindings::vfs_folio_map_acquire(found) }
}

#[cfg(CONFIG_LOCKDEP)]
fn release() {
    // SAFETY: Every value stands for one acquisition by its task.
    unsafe { crate::bindings::vfs_folio_map_release() }
}

#[cfg(not(CONFIG_LOCKDEP))]
#[inline(always)]
fn acquire(_found: bool) {}

#[cfg(not(CONFIG_LOCKDEP))]
#[inline(always)]
fn release() {}

// SPDX-License-Identifier: GPL-2.0

//! The current task: its allocations, its signals, and the processor that it has.
//!
//! C headers: `include/linux/sched.h`, `include/linux/sched/mm.h`, `include/linux/sched/signal.h`.

use crate::bindings;
use kernel::types::NotThreadSafe;

/// A scope in which memory allocations do not enter file system reclaim.
///
/// Taken before a lock that writeback or eviction also takes. Wraps `memalloc_nofs_save()`.
///
/// # Invariants
///
/// `0` is what `memalloc_nofs_save()` returned in this task. The type is not `Send`.
pub(crate) struct NofsScope(u32, NotThreadSafe);

impl NofsScope {
    /// Enters the scope; it ends when the value is dropped. Scopes nest.
    pub(crate) fn enter() -> Self {
        // SAFETY: Changes a flag of the current task only.
        let flags = unsafe { bindings::vfs_memalloc_nofs_save() };
        NofsScope(flags, NotThreadSafe)
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the value comes from the matching save in this task.
        unsafe { bindings::vfs_memalloc_nofs_restore(self.0) }
    }
}

/// Lets others run, in a loop that may take long.
pub(crate) fn cond_resched() {
    // SAFETY: Nothing is held that forbids to sleep, as everywhere in safe code of a file system.
    unsafe { bindings::vfs_cond_resched() }
}

/// Whether a fatal signal is pending for this task.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Looks at the current task only.
    unsafe { bindings::vfs_fatal_signal_pending() }
}

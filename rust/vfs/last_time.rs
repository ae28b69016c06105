// SPDX-License-Identifier: GPL-2.0

//! When something happened last, roughly.
//!
//! C header: `include/linux/jiffies.h`.

use crate::bindings;
use kernel::{
    sync::atomic::{Atomic, Relaxed},
    time::{msecs_to_jiffies, Msecs},
};

/// When something happened last, to within a tick of the kernel's clock: cheap to say, and cheap to ask.
pub(crate) struct LastTime(Atomic<usize>);

impl LastTime {
    const NEVER: usize = 0;

    /// It has never happened.
    pub(crate) const fn never() -> Self {
        Self(Atomic::new(Self::NEVER))
    }

    fn tick() -> usize {
        // SAFETY: Always safe to call.
        unsafe { bindings::vfs_jiffies() as usize }
    }

    /// It happens now.
    pub(crate) fn set(&self) {
        let now = Self::tick().max(Self::NEVER + 1);
        if self.0.load(Relaxed) != now {
            self.0.store(now, Relaxed);
        }
    }

    /// Whether it has happened at all.
    #[inline]
    pub(crate) fn is_ever(&self) -> bool {
        self.0.load(Relaxed) != Self::NEVER
    }

    /// Whether it has happened in the last `ms` milliseconds.
    pub(crate) fn is_within(&self, ms: Msecs) -> bool {
        let last = self.0.load(Relaxed);
        last != Self::NEVER && Self::tick().wrapping_sub(last) <= msecs_to_jiffies(ms) as usize
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A marker, and what it answers.

use core::{
    cell::Cell,
    ops::RangeInclusive, //
};

/// Names a mapping. Compared, never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingId(usize);

impl MappingId {
    /// Names the mapping at the address of `mapping` (a `struct address_space`, commonly).
    ///
    /// The name is good for as long as the mapping stays at that address.
    #[inline]
    pub fn of<T>(mapping: *const T) -> Self {
        Self(mapping.addr())
    }
}

/// What the fault handler is to do; ordered from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Verdict {
    /// Serve the fault: the task has no marker on this mapping.
    Serve,
    /// Serve the fault: the task is inside direct I/O on this mapping, but elsewhere in it.
    Disjoint,
    /// Refuse the fault: the page lies in the range of the task's direct I/O.
    Refuse,
    /// Refuse the fault and warn: the task keeps others out of this mapping and must not fault on
    /// it at all.
    Bug,
}

/// A marker that is set; handed to the closure of [`with()`](super::with).
pub struct Active {
    mapping: MappingId,
    pages: RangeInclusive<u64>,
    blocking: Cell<bool>,
    refusals: Cell<u32>,
    bugs: Cell<u32>,
    /// The next outer marker of the same task, or null.
    pub(super) outer: *const Active,
}

impl Active {
    /// A marker that is not set yet, within `outer`.
    pub(super) fn new(
        mapping: MappingId,
        pages: RangeInclusive<u64>,
        outer: *const Active,
    ) -> Self {
        Self {
            mapping,
            pages,
            blocking: Cell::new(false),
            refusals: Cell::new(0),
            bugs: Cell::new(0),
            outer,
        }
    }

    /// Returns whether a fault inside the marked range was refused.
    ///
    /// Tells the direct-I/O path whether an `EFAULT` came from an overlap. Resident pages are
    /// pinned without a fault, so a `false` does not prove that there is no overlap.
    pub fn refused(&self) -> bool {
        self.refusals.get() != 0
    }

    /// Returns how many faults inside the marked range were refused.
    pub fn refusals(&self) -> u32 {
        self.refusals.get()
    }

    /// Forgets the refusals so far, for another attempt under the same marker.
    pub fn clear_refused(&self) {
        self.refusals.set(0);
    }

    /// States whether the task keeps others out of the page cache of the mapping from here on.
    ///
    /// While it does, every fault of the task on the mapping gets [`Verdict::Bug`]. A marker
    /// starts with `false`.
    pub fn set_blocking(&self, blocking: bool) {
        self.blocking.set(blocking);
    }

    /// Returns how many faults got [`Verdict::Bug`] because of this marker.
    pub fn bugs(&self) -> u32 {
        self.bugs.get()
    }

    /// Answers for a fault of the task on page `index` of `mapping`, and counts it.
    pub(super) fn judge(&self, mapping: MappingId, index: u64) -> Verdict {
        if self.mapping != mapping {
            return Verdict::Serve;
        }
        let mut verdict = Verdict::Disjoint;
        if self.pages.contains(&index) {
            self.refusals.set(self.refusals.get().saturating_add(1));
            verdict = Verdict::Refuse;
        }
        if self.blocking.get() {
            self.bugs.set(self.bugs.get().saturating_add(1));
            verdict = Verdict::Bug;
        }
        verdict
    }
}

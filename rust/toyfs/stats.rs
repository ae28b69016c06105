// SPDX-License-Identifier: GPL-2.0

//! Counters of a mount, shown in debugfs as `toyfs/DEVICE/stats`: a name and a value on each line.

use kernel::{
    fmt,
    sync::atomic::{Atomic, Relaxed},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters; each only grows.
        pub(crate) struct Stats {
            $($(#[$doc])* pub(super) $name: Counter,)*
        }

        impl Stats {
            pub(super) fn new() -> Self {
                Stats { $($name: Counter(Atomic::new(0)),)* }
            }

            /// Prints all counters.
            pub(super) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, concat!(stringify!($name), " {}"), self.$name.get())?;)*
                Ok(())
            }
        }
    };
}

/// A number that only grows.
pub(super) struct Counter(Atomic<u64>);

impl Counter {
    /// Counts one.
    pub(super) fn inc(&self) {
        self.0.add(1u64, Relaxed);
    }

    /// The count so far.
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

counters! {
    /// Page faults of a task inside direct I/O on the mapping it faults on.
    marker_hits,
    /// Those that were refused: the page is in the range of the I/O.
    refused_faults,
    /// Those that came while the task held `Block`: always a bug.
    fault_bugs,
    /// Direct writes that found their buffer to be their target.
    overlaps,
    /// Acquisitions of the two-state lock that had to wait.
    lock_waits,
    /// Readahead given up because direct writes had shut the cache.
    readahead_skipped,
    /// Reads of a folio that waited for direct writes.
    read_waits,
    /// Rounds of `selfdio=retry`.
    retries,
    /// Direct writes that ended through the page cache.
    buffered_fallbacks,
    /// Direct writes, counted by part.
    direct_writes,
    /// Direct reads.
    direct_reads,
}

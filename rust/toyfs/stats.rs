// SPDX-License-Identifier: GPL-2.0

//! Counters and gauges of a mount, shown in debugfs as `toyfs/DEVICE/stats`: a name and a value on each line.
//!
//! A gauge says how many of something there are at the moment. Each is zero when nothing is going on.

use crate::{
    gauge::{Counter, Gauge},
    marker, vfs,
};
use kernel::{fmt, prelude::*};

macro_rules! stats {
    (
        gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }
        counters { $($(#[$doc:meta])* $name:ident,)* }
    ) => {
        /// The statistics.
        pub(crate) struct Stats {
            $($(#[$gauge_doc])* pub(super) $gauge: Gauge,)*
            $($(#[$doc])* pub(super) $name: Counter,)*
        }

        impl Stats {
            /// All zero.
            pub(super) fn new() -> impl Init<Self> {
                init!(Stats {
                    $($gauge <- Gauge::init(),)*
                    $($name <- Counter::init(),)*
                })
            }

            /// Prints everything.
            pub(super) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, concat!(stringify!($gauge), " {}"), self.$gauge.get())?;)*
                // Of all mounts together.
                writeln!(f, "pinned_pages {}", vfs::pinned_pages())?;
                writeln!(f, "markers {}", marker::outstanding())?;
                $(writeln!(f, concat!(stringify!($name), " {}"), self.$name.get())?;)*
                Ok(())
            }
        }
    };
}

stats! {
    gauges {
    /// Holds of the add lock in `Add`.
    add_holds,
    /// Holds of it in `Block`.
    block_holds,
    /// Direct requests that somebody is at work on: the call that made it, or its completion.
    direct_in_flight,
    }
    counters {
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
    /// Direct writes, counted by part, that went through the page cache because somebody wanted a page of theirs.
    pages_spared,
    /// Rounds of `selfdio=retry`.
    retries,
    /// Direct writes, counted by window, that ended through the page cache.
    buffered_fallbacks,
    /// Direct writes, counted by part.
    direct_writes,
    /// Direct reads.
    direct_reads,
    }
}

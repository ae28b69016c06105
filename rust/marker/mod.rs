// SPDX-License-Identifier: GPL-2.0

//! `faults_disabled_mapping`: marks a task as being inside direct I/O on a mapping.
//!
//! A direct write has to bring in the pages of its user buffer, and the buffer may be a mapping of
//! the very file that it writes. The direct-I/O path says so with [`with()`]: "this task is inside
//! direct I/O on that mapping, over those pages". The fault handler of the filesystem asks with
//! [`check()`] and refuses the faults that could not be served without deadlock or livelock.
//!
//! # What is guaranteed
//!
//! - A marker belongs to the task that set it and is seen by that task only.
//! - No interleaving of tasks makes a marker disappear, or appear to somebody else.
//! - [`check()`] takes no lock and never sleeps. When no task that hashes to the same line has a
//!   marker it costs one load and one branch.
//! - Markers nest: [`check()`] looks at every marker of the task, not only at the innermost one.
//! - A marker lasts exactly as long as the closure passed to [`with()`]. It can outlive that only
//!   if the task dies inside of the closure; then it never matches another task, and [`exit()`]
//!   reports it. (In C it lasts until it is removed, which is the caller's to do.)
//!
//! # How it works
//!
//! Markers live on the stack of [`with()`]. A hash table of cache-line-sized lines, keyed by the
//! task, holds for each marked task a pointer to its innermost marker. All markers of a task are
//! linked. A pointer is followed by nobody but the task that stored it, so markers need neither
//! locks nor reference counts.
//!
//! ```text
//!   hash(current)
//!        |       home line (64 bytes)                      overflow line
//!        |   +-------+------+------+------+------+     +---+------+------+------+------+
//!        +-> | count | next | slot | slot | slot |  +->| - | next | slot | slot | slot |
//!            +-------+---|--+------+------+------+  |  +---+------+------+------+------+
//!                        +--------------------------+
//!                 slot = { task, top } --> innermost marker --> outer marker --> NULL
//! ```
//!
//! # Ordering
//!
//! What a task reads of its own, it wrote itself, so program order and the coherence of each single
//! location are enough (a migration to another CPU is ordered by the scheduler):
//!
//! - `Slot::task`: once claimed, nobody but the owner writes it. A slot is claimed by one
//!   compare-and-exchange from `NULL`: of two tasks that saw it free, one gets it.
//! - `Line::count`: every task subtracts only what it has added before. So in the modification
//!   order of `count`, each value between a task's addition and its subtraction is at least one,
//!   and that task cannot read an older one. Zero therefore proves "I have no marker".
//! - `Slot::top`: passes from owner to owner. The release of a slot (`Release`) and the next claim
//!   of it (`Acquire`) order the last store of the old owner before the first of the new one.
//! - `Line::next`: set once, `NULL` to a complete line (`Release`), and read with `Acquire`.
//!
//! All operations are for process context. In an interrupt `current` is the interrupted task;
//! [`check()`] would answer for that task, with memory safety intact, as each step of setting and
//! clearing a marker is a single store. Page faults that reach a filesystem never come from there.
//!
//! See also `Documentation/faults-disabled-mapping.rst`.

use core::ops::RangeInclusive;
use kernel::prelude::*;

mod active;
#[cfg(marker_capi)]
pub(crate) mod capi;
mod table;
#[cfg(all(CONFIG_KUNIT = "y", not(suites_elsewhere)))]
mod tests;

pub use self::active::{
    Active,
    MappingId,
    Verdict, //
};
pub use self::table::Table;

/// Lines in the table behind [`with()`] and [`check()`].
///
/// 16 KiB. With as many tasks inside direct I/O as there are lines, one line in fifty overflows.
const LINES: usize = 256;

static MARKERS: Table<LINES> = Table::new();

/// Runs `f` while the current task is marked as inside direct I/O on `mapping`, over `pages`.
///
/// Fails with [`ENOMEM`], before anything is set and without running `f`, if there is no slot left
/// for the marker and no memory for more of them. May sleep.
///
/// # Examples
///
/// (`ignore`, as the kernel runs the examples of its own crate only. `tests/examples/example_rust.rs` has one in
/// a module that is compiled and run.)
///
/// ```ignore
/// let done = marker::with(MappingId::of(mapping), first..=last, |m| {
///     let pages = pin_user_pages(iter)?;
///     if m.refused() {
///         return Err(EFAULT);
///     }
///     submit(pages)
/// })??;
/// ```
pub fn with<R>(
    mapping: MappingId,
    pages: RangeInclusive<u64>,
    f: impl FnOnce(&Active) -> R,
) -> Result<R> {
    MARKERS.with(mapping, pages, f)
}

/// Asks what to do with a fault of the current task on page `index` of `mapping`.
///
/// To be called by the fault handler before it takes any lock that direct I/O holds.
#[inline]
pub fn check(mapping: MappingId, index: u64) -> Verdict {
    MARKERS.check(mapping, index)
}

/// Returns how many tasks have a marker at the moment.
///
/// Exact when nobody sets or clears one meanwhile.
pub fn outstanding() -> usize {
    MARKERS.outstanding()
}

/// Reports markers left behind and frees the memory of the table; for module exit.
///
/// To be called when no operation that uses markers can run any more. A marker that is still set
/// is then one whose task died inside of [`with()`]: a warning names it.
pub fn exit() {
    kernel::warn_on!(MARKERS.reclaim() != 0);
}

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
//!   reports it.
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

use core::{
    cell::Cell,
    ops::RangeInclusive,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    alloc::AllocError,
    bindings,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    task::Task, //
};

#[cfg(CONFIG_KUNIT = "y")]
mod tests;

/// Slots in a line; fills a line of 64 bytes on 64-bit machines.
const SLOTS: usize = 3;

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
    /// Refuse the fault and warn: the task blocks additions to this mapping and must not fault on
    /// it at all.
    Bug,
}

/// A marker that is set; handed to the closure of [`with()`].
pub struct Active {
    mapping: MappingId,
    pages: RangeInclusive<u64>,
    blocking: Cell<bool>,
    refusals: Cell<u32>,
    bugs: Cell<u32>,
    /// The next outer marker of the same task, or null.
    outer: *const Active,
}

impl Active {
    /// Returns whether a fault inside the marked range was refused.
    ///
    /// Tells the direct-I/O path whether an [`EFAULT`] came from an overlap. Resident pages are
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

    /// States whether the task blocks additions to the mapping from here on.
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

    fn judge(&self, mapping: MappingId, index: u64) -> Verdict {
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

/// The markers of one task.
///
/// # Invariants
///
/// - Only a task that finds `task` null sets it, to itself, and only that task sets it back.
/// - While `task` is not null, the task it points to is not freed.
/// - `top` is null, or points to an [`Active`] on the stack of `task` whose [`Table::with()`] has
///   not returned; so does `outer` of each [`Active`] reached from there. Only `task` follows them.
struct Slot {
    task: Atomic<*mut bindings::task_struct>,
    top: Atomic<*const Active>,
}

impl Slot {
    const fn new(task: *mut bindings::task_struct) -> Self {
        Self {
            task: Atomic::new(task),
            top: Atomic::new(ptr::null()),
        }
    }

    /// Claims the slot for `task`, which must be the current one; returns whether that worked.
    fn claim(&self, task: *mut bindings::task_struct) -> bool {
        self.claim_with(task, || ())
    }

    /// As [`claim()`](Self::claim); `between` is where others may come in between.
    #[inline(always)]
    fn claim_with(&self, task: *mut bindings::task_struct, between: impl FnOnce()) -> bool {
        // Only spares a taken slot the exclusive access; what counts comes below.
        if !self.is_free() {
            return false;
        }
        between();
        if cfg!(mutant_marker_test_then_store) {
            self.task.store(task, Relaxed);
            return true;
        }
        // `Acquire`, see "Ordering" above.
        self.task.cmpxchg(ptr::null_mut(), task, Acquire).is_ok()
    }

    fn is_free(&self) -> bool {
        self.task.load(Relaxed).is_null()
    }

    /// Makes `marker`, on the stack of the owner, the innermost one.
    fn push(&self, marker: &Active) {
        // INVARIANT: `with()`, the only caller, pops `marker` before it returns.
        self.top.store(marker, Relaxed);
    }

    /// Removes `marker`, the innermost one.
    fn pop(&self, marker: &Active) {
        self.top.store(marker.outer, Relaxed);
    }

    /// Gives the slot, which has no markers any more, back.
    fn release(&self) {
        // `Release`, see "Ordering" above.
        self.task.store(ptr::null_mut(), Release);
    }
}

/// Some slots, and the way to more.
///
/// # Invariants
///
/// - `count` is, in a home line, the number of claimed slots in this line and its overflow lines.
///   It may be short of those being claimed or released at the moment, but never of one whose
///   owner is inside of the closure of [`Table::with()`]. In an overflow line it is unused.
/// - `next` is null or points to a line from a [`KBox`], owned by this one. A line is freed only
///   when the table is gone, or when it is unreachable, a grace period has passed since, and no
///   slot in it is claimed.
#[repr(C, align(64))]
struct Line {
    count: Atomic<u32>,
    next: Atomic<*mut Line>,
    slots: [Slot; SLOTS],
}

#[cfg(CONFIG_64BIT)]
kernel::prelude::static_assert!(size_of::<Line>() == 64);

impl Line {
    /// Creates a line whose first slot is claimed by `task` unless that is null.
    const fn new(task: *mut bindings::task_struct) -> Self {
        Self {
            count: Atomic::new(0),
            next: Atomic::new(ptr::null_mut()),
            slots: [
                Slot::new(task),
                Slot::new(ptr::null_mut()),
                Slot::new(ptr::null_mut()),
            ],
        }
    }

    /// Creates a line in memory of its own, its first slot claimed by `task`.
    fn alloc(task: *mut bindings::task_struct) -> Result<KBox<Self>, AllocError> {
        KBox::new(Self::new(task), GFP_KERNEL)
    }

    /// Calls `f` for this line and its overflow lines until it returns something.
    ///
    /// The pointer that `f` returns is to a slot of the line that `f` was called with or of the one
    /// after that. It is valid while the slot is claimed.
    fn search(&self, mut f: impl FnMut(&Line) -> Option<NonNull<Slot>>) -> Option<NonNull<Slot>> {
        let found = f(self);
        if found.is_some() || self.next.load(Relaxed).is_null() {
            return found;
        }
        self.search_overflow(f)
    }

    #[cold]
    fn search_overflow(
        &self,
        mut f: impl FnMut(&Line) -> Option<NonNull<Slot>>,
    ) -> Option<NonNull<Slot>> {
        let mut line = self;
        // Keeps `reclaim()` from freeing lines in which the current task has no slot.
        let _rcu = rcu::read_lock();
        // SAFETY: By the type invariants `next` is null or points to a line, which is not freed
        // within this read-side critical section.
        while let Some(next) = unsafe { line.next.load(Acquire).as_ref() } {
            let found = f(next);
            if found.is_some() {
                return found;
            }
            line = next;
        }
        None
    }

    /// Finds the slot of `task`, which must be the current one.
    fn find(&self, task: *mut bindings::task_struct) -> Option<&Slot> {
        let slot = self.search(|line| {
            line.slots
                .iter()
                .find(|slot| slot.task.load(Relaxed) == task)
                .map(NonNull::from)
        })?;
        // SAFETY: The current task has claimed this slot, hence by the type invariants the line
        // stays for as long as the table does and the slot is not given back.
        Some(unsafe { slot.as_ref() })
    }

    /// Claims a slot for `task`, which must be the current one and have none yet.
    fn claim(
        &self,
        task: *mut bindings::task_struct,
        alloc: impl Fn(*mut bindings::task_struct) -> Result<KBox<Line>, AllocError>,
    ) -> Result<&Slot, AllocError> {
        let mut spare = None;
        loop {
            let slot = self.search(|line| {
                line.slots
                    .iter()
                    .find(|slot| slot.claim(task))
                    .map(NonNull::from)
                    .or_else(|| line.append(&mut spare))
            });
            if let Some(slot) = slot {
                // SAFETY: As in `find()`.
                return Ok(unsafe { slot.as_ref() });
            }
            spare = Some(alloc(task)?);
        }
    }

    /// Makes `spare` the next line if there is one to spare and no next line; returns its first
    /// slot.
    fn append(&self, spare: &mut Option<KBox<Line>>) -> Option<NonNull<Slot>> {
        let line = KBox::into_raw(spare.take()?);
        // INVARIANT: `line` comes from a `KBox`, which is given up. `Release` makes it complete
        // for those who find it.
        if self.next.cmpxchg(ptr::null_mut(), line, Release).is_err() {
            // Somebody was faster: the search goes on there.
            // SAFETY: `line` comes from `into_raw()` above and nobody else has seen it.
            *spare = Some(unsafe { KBox::from_raw(line) });
            return None;
        }
        // SAFETY: `line` was valid when published, and its first slot is claimed by the current
        // task, so it stays. Only the address of a field is taken.
        NonNull::new(unsafe { &raw mut (*line).slots[0] })
    }

    /// Frees `line` and all lines after it.
    ///
    /// # Safety
    ///
    /// `line` must be null or the value of a `next` that has been overwritten or is not used again,
    /// and nobody else may have or get access to it and to the lines after it.
    unsafe fn free_chain(mut line: *mut Line) {
        while !line.is_null() {
            // SAFETY: By the type invariants of `next` it comes from a `KBox`; by the requirements
            // of this function nobody else uses it.
            let owned = unsafe { KBox::from_raw(line) };
            line = owned.next.load(Relaxed);
        }
    }

    /// Reports every claimed slot in this line and its overflow lines; returns how many.
    fn report(&self) -> usize {
        let mut left = 0;
        // Keeps tasks that are just giving their slot back from being freed.
        let _rcu = rcu::read_lock();
        self.search(|line| {
            for slot in &line.slots {
                let task = slot.task.load(Relaxed);
                // SAFETY: By the type invariants of `Slot` the task was not freed while the slot
                // held it, and the memory of a task is not reused before a grace period is over.
                // CAST: `Task` is a transparent wrapper of `struct task_struct`.
                if let Some(task) = unsafe { task.cast::<Task>().as_ref() } {
                    pr_err!(
                        "faults_disabled_mapping: task {} left a marker behind\n",
                        task.pid()
                    );
                    left += 1;
                }
            }
            None
        });
        left
    }
}

/// A table of marked tasks, of `N` lines; `N` must be a power of two.
///
/// [`with()`] and [`check()`] use one for the whole module. A table of its own is for tests, or for
/// those who want to keep kinds of markers apart.
pub struct Table<const N: usize> {
    lines: [Line; N],
}

impl<const N: usize> Table<N> {
    /// Creates an empty table.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two()) };
        Self {
            lines: [const { Line::new(ptr::null_mut()) }; N],
        }
    }

    /// The home line of `task`.
    #[inline]
    fn home(&self, task: *mut bindings::task_struct) -> &Line {
        // Multiplicative hashing by 2^64 divided by the golden ratio. The highest bits of the
        // product depend on all bits of the address. Two shifts, as one by 64 (`N` is 1) fails.
        let hash = (task.addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.lines[(hash >> 32 >> (32 - N.ilog2())) as usize % N]
    }

    /// See [`check()`].
    #[inline]
    pub fn check(&self, mapping: MappingId, index: u64) -> Verdict {
        let task = Task::current_raw();
        let home = self.home(task);
        if home.count.load(Relaxed) == 0 {
            return Verdict::Serve;
        }
        Self::check_line(home, task, mapping, index)
    }

    #[cold]
    fn check_line(
        home: &Line,
        task: *mut bindings::task_struct,
        mapping: MappingId,
        index: u64,
    ) -> Verdict {
        let mut verdict = Verdict::Serve;
        if let Some(slot) = home.find(task) {
            let mut top = slot.top.load(Relaxed);
            // SAFETY: `task` is the current task and owns the slot, so by the type invariants of
            // `Slot` this is null or points to a marker further up the current stack.
            while let Some(marker) = unsafe { top.as_ref() } {
                verdict = verdict.max(marker.judge(mapping, index));
                top = marker.outer;
            }
        }
        verdict
    }

    /// See [`with()`].
    pub fn with<R>(
        &self,
        mapping: MappingId,
        pages: RangeInclusive<u64>,
        f: impl FnOnce(&Active) -> R,
    ) -> Result<R> {
        self.with_alloc(mapping, pages, f, Line::alloc)
    }

    fn with_alloc<R>(
        &self,
        mapping: MappingId,
        pages: RangeInclusive<u64>,
        f: impl FnOnce(&Active) -> R,
        alloc: impl Fn(*mut bindings::task_struct) -> Result<KBox<Line>, AllocError>,
    ) -> Result<R> {
        let task = Task::current_raw();
        let home = self.home(task);
        let nested = |slot: &Slot| {
            let marker = Active {
                mapping,
                pages,
                blocking: Cell::new(false),
                refusals: Cell::new(0),
                bugs: Cell::new(0),
                outer: slot.top.load(Relaxed),
            };
            slot.push(&marker);
            let result = f(&marker);
            slot.pop(&marker);
            result
        };

        if home.count.load(Relaxed) != 0 {
            if let Some(slot) = home.find(task) {
                return Ok(nested(slot));
            }
        }

        // If `f` never returns, this reference is never given up. So no task created later can
        // have the address of this one and take the marker, whose stack is gone, for its own.
        let _task: ARef<Task> = ARef::from(&**kernel::current!());
        let slot = home.claim(task, alloc)?;
        // Overflow of the counter would take more tasks than there can be.
        home.count.add(1, Relaxed);
        let result = nested(slot);
        home.count.fetch_sub(1, Relaxed);
        slot.release();
        Ok(result)
    }

    /// See [`outstanding()`].
    pub fn outstanding(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line.count.load(Relaxed) as usize)
            .sum()
    }

    /// Reports markers that are still set, returns how many, and frees overflow lines not in use.
    ///
    /// To be called when no other operation on the table runs. One that does anyway may lose its
    /// marker, but never touches freed memory.
    pub fn reclaim(&self) -> usize {
        self.lines
            .iter()
            .map(|home| {
                let mut left = home.report();
                if left != 0 {
                    return left;
                }
                let chain = home.next.xchg(ptr::null_mut(), Full);
                // SAFETY: `chain` is null or a line that is now unreachable. Nobody else frees it.
                if let Some(line) = unsafe { chain.as_ref() } {
                    rcu::synchronize_rcu();
                    left = line.report();
                    if left == 0 {
                        // SAFETY: Nobody has come to these lines since the grace period began, and
                        // those who came before have claimed no slot in them.
                        unsafe { Line::free_chain(chain) };
                    }
                }
                left
            })
            .sum()
    }
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for Table<N> {
    fn drop(&mut self) {
        for home in &mut self.lines {
            home.report();
            // SAFETY: All references to the table are gone, hence also those to its lines.
            unsafe { Line::free_chain(*home.next.get_mut()) };
        }
    }
}

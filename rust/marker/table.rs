// SPDX-License-Identifier: GPL-2.0

//! Where the markers of all tasks are found: a hash table of lines.
//!
//! Neither an xarray nor an rhashtable: to put a task into one takes a lock and, as a rule, memory, for each direct write;
//! here it takes a compare-and-exchange, and to find that there is no marker a load and a branch.

use super::active::{
    Active,
    MappingId,
    Verdict, //
};
use core::{
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

/// Slots in a line; fills a line of 64 bytes on 64-bit machines.
pub(super) const SLOTS: usize = 3;

/// The markers of one task.
///
/// # Invariants
///
/// - Only a task that finds `task` null sets it, to itself, and only that task sets it back.
/// - While `task` is not null, the task it points to is not freed.
/// - `top` is null, or points to an [`Active`] on the stack of `task` that has not been popped; so does `outer` of each [`Active`] reached from there. Only `task` follows them.
pub(super) struct Slot {
    pub(super) task: Atomic<*mut bindings::task_struct>,
    top: Atomic<*const Active>,
}

impl Slot {
    pub(super) const fn new(task: *mut bindings::task_struct) -> Self {
        Self {
            task: Atomic::new(task),
            top: Atomic::new(ptr::null()),
        }
    }

    /// Claims the slot for `task`, which must be the current one; returns whether that worked.
    pub(super) fn claim(&self, task: *mut bindings::task_struct) -> bool {
        self.claim_with(task, || ())
    }

    /// As [`claim()`](Self::claim); `between` is where others may come in between.
    #[inline(always)]
    pub(super) fn claim_with(
        &self,
        task: *mut bindings::task_struct,
        between: impl FnOnce(),
    ) -> bool {
        // Only spares a taken slot the exclusive access; what counts comes below.
        if !self.is_free() {
            return false;
        }
        between();
        // `Acquire`, see "Ordering" above.
        self.task.cmpxchg(ptr::null_mut(), task, Acquire).is_ok()
    }

    fn is_free(&self) -> bool {
        self.task.load(Relaxed).is_null()
    }

    /// Makes `marker`, on the stack of the owner, the innermost one.
    pub(super) fn push(&self, marker: &Active) {
        // INVARIANT: Who pushes pops before `marker` goes.
        self.top.store(marker, Relaxed);
    }

    /// Removes `marker`, the innermost one.
    pub(super) fn pop(&self, marker: &Active) {
        debug_assert!(self.is_innermost(marker));
        self.top.store(marker.outer, Relaxed);
    }

    /// The innermost marker, or null.
    pub(super) fn top(&self) -> *const Active {
        self.top.load(Relaxed)
    }

    /// Whether `marker` is the innermost one, and the current task's.
    pub(super) fn is_innermost(&self, marker: &Active) -> bool {
        self.task.load(Relaxed) == Task::current_raw() && ptr::eq(self.top(), marker)
    }

    /// Gives the slot, which has no markers any more, back.
    pub(super) fn release(&self) {
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
///   owner has a marker. In an overflow line it is unused.
/// - `next` is null or points to a line from a [`KBox`], owned by this one. A line is freed only
///   when the table is gone, or when it is unreachable, a grace period has passed since, and no
///   slot in it is claimed.
#[repr(C, align(64))]
pub(super) struct Line {
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
    pub(super) fn alloc(task: *mut bindings::task_struct) -> Result<KBox<Self>, AllocError> {
        KBox::new(Self::new(task), GFP_KERNEL)
    }

    /// Calls `f` for this line and its overflow lines until it returns something.
    ///
    /// The pointer that `f` returns is to a slot of the line that `f` was called with or of the one
    /// after that. It is valid while the slot is claimed.
    pub(super) fn search(
        &self,
        mut f: impl FnMut(&Line) -> Option<NonNull<Slot>>,
    ) -> Option<NonNull<Slot>> {
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
    pub(super) fn find(&self, task: *mut bindings::task_struct) -> Option<&Slot> {
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
    pub(super) fn claim(
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

/// The current task's way into its slot, for one marker.
pub(super) struct Mark<'a> {
    home: &'a Line,
    slot: &'a Slot,
    /// The task, if it had no slot before. If the marker is never removed, because the task dies before, this reference
    /// is never given up. So no task created later can have the address of that one and take the marker, whose stack is
    /// gone, for its own.
    claimed_by: Option<ARef<Task>>,
}

impl Mark<'_> {
    /// The slot.
    pub(super) fn slot(&self) -> &Slot {
        self.slot
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if self.claimed_by.is_some() {
            self.home.count.fetch_sub(1, Relaxed);
            self.slot.release();
        }
    }
}

/// A table of marked tasks, of `N` lines; `N` must be a power of two.
///
/// [`with()`](super::with) and [`check()`](super::check) use one for the whole module. A table of its own is for tests, or for
/// those who want to keep kinds of markers apart.
pub struct Table<const N: usize> {
    pub(super) lines: [Line; N],
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
    pub(super) fn home(&self, task: *mut bindings::task_struct) -> &Line {
        // Multiplicative hashing by 2^64 divided by the golden ratio. The highest bits of the
        // product depend on all bits of the address. Two shifts, as one by 64 (`N` is 1) fails.
        let hash = (task.addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.lines[(hash >> 32 >> (32 - N.ilog2())) as usize % N]
    }

    /// See [`check()`](super::check).
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

    /// See [`with()`](super::with).
    pub fn with<R>(
        &self,
        mapping: MappingId,
        pages: RangeInclusive<u64>,
        f: impl FnOnce(&Active) -> R,
    ) -> Result<R> {
        self.with_alloc(mapping, pages, f, Line::alloc)
    }

    pub(super) fn with_alloc<R>(
        &self,
        mapping: MappingId,
        pages: RangeInclusive<u64>,
        f: impl FnOnce(&Active) -> R,
        alloc: impl Fn(*mut bindings::task_struct) -> Result<KBox<Line>, AllocError>,
    ) -> Result<R> {
        let mark = self.enter(alloc)?;
        let marker = Active::new(mapping, pages, mark.slot().top());
        // INVARIANT: Popped below.
        mark.slot().push(&marker);
        let result = f(&marker);
        mark.slot().pop(&marker);
        Ok(result)
    }

    /// Gets the slot of the current task, which it then has until the result is dropped.
    pub(super) fn enter(
        &self,
        alloc: impl Fn(*mut bindings::task_struct) -> Result<KBox<Line>, AllocError>,
    ) -> Result<Mark<'_>> {
        let task = Task::current_raw();
        let home = self.home(task);
        if home.count.load(Relaxed) != 0 {
            if let Some(slot) = home.find(task) {
                return Ok(Mark {
                    home,
                    slot,
                    claimed_by: None,
                });
            }
        }
        let claimed_by: ARef<Task> = ARef::from(&**kernel::current!());
        let slot = home.claim(task, alloc)?;
        // Overflow of the counter would take more tasks than there can be.
        home.count.add(1, Relaxed);
        Ok(Mark {
            home,
            slot,
            claimed_by: Some(claimed_by),
        })
    }

    /// See [`outstanding()`](super::outstanding).
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

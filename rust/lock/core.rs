// SPDX-License-Identifier: GPL-2.0

//! Transition logic of the two-state shared lock.
//!
//! This file decides; it does not know how a task sleeps, how an atomic is spelled or what time it
//! is. Those come from `super::env`: the kernel's in `env.rs`, a model checker's on the host. Both
//! builds compile this file unchanged.
//!
//! # The word
//!
//! Everything that decides who may enter is one 64-bit word, so that every decision is one atomic
//! step:
//!
//! ```text
//! Bit  0     PHASE       state of the holders; with no holder, of the last ones (0 Add, 1 Block)
//! Bit  1     WAIT_ADD    the queue of Add has a waiter
//! Bit  2     WAIT_BLOCK  the queue of Block has a waiter
//! Bit  3     SHUT_ADD    door of Add is shut: some Block waiter has waited longer than its grace
//! Bit  4     SHUT_BLOCK  door of Block is shut: some Add waiter has waited longer than its grace
//! Bit  5     TELLING     some of the holders are waiters whose `queued` does not say yet that they have left their queue
//! Bits 8-63  number of holds
//! ```
//!
//! There is one count for both states, and the phase says which state it counts: that both states
//! are never held at once needs no proof, it cannot be written down. The count is at the top, so
//! a wrapped one cannot reach the flags, and 56 bits cannot overflow.
//!
//! With no hold and no waiter the lock is *idle*. With no hold and a waiter it is *handing over*:
//! nobody enters by the fast path, so nobody gets in between the last release and the batch that
//! the release admits.
//!
//! # Who changes what
//!
//! - PHASE and the count upwards: whoever enters, by compare-and-exchange, which succeeds only on
//!   a word that admits the state ([`admits`]); or [`Raw::admit`] under the inner lock, for a
//!   whole batch of waiters.
//! - The count downwards: a release, by fetch-and-subtract, without any lock.
//! - WAIT_*, SHUT_* and the queues: under the inner lock only. `WAIT_x` is set exactly if queue x
//!   is not empty, `SHUT_x` exactly if some waiter in the queue of the *other* state is marked
//!   `overdue`, whenever the inner lock is free.
//! - TELLING: under the inner lock only, see [large batches](self#large-batches).
//! - A waiter's links, `queued` and `overdue`, and the counts in the oldest: under the inner lock.
//!   The links of a batch belong to the granter once the batch is off the queue.
//! - A waiter's `stage`: SPINNING -> PARKED by the waiter, then -> GRANTED by the granter. The
//!   waiter is a variable on the stack of the waiting task: GRANTED is the granter's last access
//!   to it, and the reference to the task is taken before.
//!
//! # No lost wake-up
//!
//! A waiter queues by the same compare-and-exchange that sees that the word does not admit it. So
//! at that moment there is a hold, or a hand-over is due. (1) A hold: its release comes later in
//! the modification order of the word; the last such release sees `WAIT_x`, takes the inner lock
//! and admits. (2) A hand-over: the task that queued admits itself before it drops the inner
//! lock. Every other change that could make a waiter admissible (a door opening, a waiter that
//! gives up) is made under the inner lock and followed by [`Raw::admit`] before the inner lock is
//! dropped. Admitting twice is harmless, so it does not matter who comes first.
//!
//! # Large batches
//!
//! Nothing under the inner lock, with interrupts off, takes longer the more tasks wait. The oldest waiter of a queue
//! carries the counts of all, a queue leaves as one chain, and each waiter of the chain needs a look only to
//! say that it is not queued any more, lest it give up. Those looks are taken [`PART`] at a time, the inner lock
//! dropped and the waiters told in between ([`Raw::tell`]). TELLING is set as long as there is a waiter that holds the
//! lock although it seems to be queued. It is cleared before the last part is told, so while it is set a hold is out that
//! nobody can release yet: the phase lasts, and the lock is there.
//!
//! Who must know whether it is still queued waits until TELLING is clear ([`Raw::inner_once`]): who gives up always, who
//! shuts a door if the batch may be its own. The granter is running, with preemption off, and waits for nobody, so that
//! takes as long as waking the batch. A waiter that gives up stays in its queue until then, and the door that it shut
//! stays shut, so no door opens while TELLING is set: nobody could be admitted through it, because a second large batch
//! would make the bit ambiguous, and newcomers would pass those who wait.
//!
//! # Memory ordering
//!
//! Acquire orders with the releases of the *other* state: an entering compare-and-exchange is an
//! acquire, a release a release operation, and between them the word sees only read-modify-write
//! operations, which extend the release sequence of every earlier release. So an entering task
//! synchronizes with *all* holders of the previous phase, although it reads the value written by
//! the last only. A granted waiter does not touch the word: the granter's acquire in `admit`
//! happens before its release of `stage`, which the waiter acquires.
//!
//! Everything under the inner lock is ordered by that lock, so the loads and flag updates in there
//! are relaxed. `stage` and the scheduler: a waiter announces that it is going to sleep
//! (`prepare`, a full barrier) and then reads `stage`; a granter writes `stage` and then wakes (a
//! full barrier before it looks whether the task sleeps). One of the two sees the other.
//!
//! # Fairness
//!
//! Let a waiter W of state x arrive at time t. At t + grace at the latest it shuts the door of the
//! other state y: from then on nobody enters a phase of y in progress. The holds left end within
//! the longest hold H, and the last release admits the whole queue of x, W with it: grace + H. If
//! W arrives in a phase of its own state whose door is shut, that phase ends within H, and one
//! phase of y follows, whose door is shut from t + grace at the latest (from its beginning if that
//! has passed): max(H, grace) + H, so never more than grace and one phase of each. No other case
//! exists: an idle lock, or a phase of x with an open door, admits W at once.

use super::env::{
    relax,
    Acquire,
    Atomic,
    Hint,
    Inner,
    InnerGuard,
    NoPreempt,
    Parker,
    Relaxed,
    Release,
    Wait,
    PART, //
};
use super::queue::{Batch, Queue, Waiter, GRANTED, PARKED, SPINNING};
use super::types::{GiveUp, State, Woken};

const PHASE: u64 = 1 << 0;
const WAIT_ANY: u64 = wait(State::Add) | wait(State::Block);
const TELLING: u64 = 1 << 5;
/// One hold.
const ONE: u64 = 1 << 8;

#[inline(always)]
const fn phase(s: State) -> u64 {
    s.index() as u64
}

#[inline(always)]
const fn wait(s: State) -> u64 {
    1 << (1 + s.index())
}

#[inline(always)]
const fn shut(s: State) -> u64 {
    1 << (3 + s.index())
}

/// The state of the current or last holders.
#[inline(always)]
const fn phase_of(w: u64) -> State {
    if w & PHASE == 0 {
        State::Add
    } else {
        State::Block
    }
}

#[inline(always)]
const fn holds(w: u64) -> u64 {
    w / ONE
}

/// Whether a newcomer may take `s`, now.
///
/// While `s` is held: if its door is open. While nothing is held: if nobody waits, because
/// otherwise the lock is being handed over.
#[inline(always)]
const fn admits(w: u64, s: State) -> bool {
    if holds(w) == 0 {
        w & WAIT_ANY == 0
    } else {
        w & (PHASE | shut(s)) == phase(s)
    }
}

/// The word after `n` more holds of `s`.
#[inline(always)]
const fn entered(w: u64, s: State, n: u64) -> u64 {
    ((w & !PHASE) | phase(s)) + n * ONE
}

/// So many waits in a row have spun for nothing that one stops.
const FUTILE: u32 = 4;

/// Whether to spin again after `futile` waits in a row that did so for nothing.
///
/// The lock does not know whether the holders are running, only whether spinning has been of use.
/// Where they sleep it soon stops, but for a try now and then in case things have changed.
const fn spin_pays(futile: u32) -> bool {
    futile < FUTILE || futile % 64 == 0
}

/// What somebody who waits looks like to [`Raw::inspect`].
pub(crate) struct Waiting<'a> {
    /// What it waits for.
    pub(crate) state: State,
    /// When it began, in nanoseconds.
    pub(crate) since: u64,
    /// Whether its grace is over.
    pub(crate) overdue: bool,
    /// The task.
    pub(crate) parker: &'a Parker,
}

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The state held, if any.
    pub held: Option<State>,
    /// Number of holds.
    pub holds: u64,
    /// Whether somebody waits for `Add`, for `Block`.
    pub waiting: [bool; 2],
    /// Whether the door of `Add`, of `Block` is shut.
    pub shut: [bool; 2],
}

/// There was no hold to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotHeld;

/// The lock proper, without lockdep.
///
/// C mirrors it, see `rust/include/linux/two_state_shared_lock.h`.
#[repr(C)]
pub(crate) struct Raw {
    pub(super) word: Atomic<u64>,
    /// The waiters for each state. Protected by `inner`.
    pub(super) queue: [Queue; 2],
    pub(super) inner: Inner,
    /// How many waits in a row have spun for nothing.
    pub(super) futile_spins: Hint,
}

// SAFETY: The word is atomic, the queues are only touched under `inner`. What the queues point to
// are tasks that wait in a function that borrows `self`.
unsafe impl Send for Raw {}
// SAFETY: As above.
unsafe impl Sync for Raw {}

impl Raw {
    /// An idle lock around `inner`.
    pub(crate) const fn new(inner: Inner) -> Self {
        Self {
            word: Atomic::<u64>::new(0),
            queue: [Queue::new(), Queue::new()],
            inner,
            futile_spins: Hint::new(),
        }
    }

    /// The inner lock, for whoever has to initialise it in place.
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Takes `s` if that needs no waiting.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, s: State) -> bool {
        let mut w = self.word.load(Relaxed);
        while admits(w, s) {
            match self.word.cmpxchg(w, entered(w, s, 1), Acquire) {
                Ok(_) => return true,
                Err(now) => w = now,
            }
        }
        false
    }

    /// Gives back one hold of `s`, which the caller has. Never sleeps; legal in every context.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] if nobody has such a hold: then somebody else released the caller's.
    #[inline(always)]
    pub(crate) fn release(&self, s: State) -> Result<(), NotHeld> {
        let old = self.word.fetch_sub(ONE, Release);
        if old & PHASE != phase(s) || holds(old) == 0 {
            // Putting the count back keeps the lock usable, if nobody came or went in between. To look
            // first, as `release_checked` does, would cost every release; the mistake is reported.
            self.word.fetch_add(ONE, Relaxed);
            return Err(NotHeld);
        }
        self.released(old);
        Ok(())
    }

    /// As [`Raw::release`], for a caller who may be wrong about its hold.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] if nobody holds `s`. The lock is as before.
    pub(crate) fn release_checked(&self, s: State) -> Result<(), NotHeld> {
        let mut w = self.word.load(Relaxed);
        loop {
            if w & PHASE != phase(s) || holds(w) == 0 {
                return Err(NotHeld);
            }
            match self.word.cmpxchg(w, w - ONE, Release) {
                Ok(_) => break,
                Err(now) => w = now,
            }
        }
        self.released(w);
        Ok(())
    }

    /// A hold has gone to where no task runs, an I/O in flight say: to spin is of no use until shown otherwise.
    pub(crate) fn runs_nowhere(&self) {
        if self.futile_spins.get() < FUTILE {
            self.futile_spins.set(FUTILE);
        }
    }

    /// The rest of a release that found `old` in the word.
    #[inline(always)]
    fn released(&self, old: u64) {
        if holds(old) == 1 && old & WAIT_ANY != 0 {
            self.hand_over();
        }
    }

    /// Admits whom the last release left at the door.
    #[cold]
    #[inline(never)]
    fn hand_over(&self) {
        let _no_preempt = NoPreempt::new();
        let inner = self.inner.lock();
        // SAFETY: The inner lock is held.
        let batch = unsafe { self.admit() };
        drop(inner);
        self.tell(batch);
    }

    /// Tells the waiters of a batch that they hold the lock. Preemption must be off: they can do nothing before.
    fn tell(&self, mut batch: Batch) {
        while let Some(rest) = batch.tell() {
            // The rest holds the lock, and does not know: the lock is there.
            let _inner = self.inner.lock();
            // SAFETY: The inner lock is held, and TELLING set.
            batch = unsafe { Queue::part(rest) };
            if batch.is_last() {
                self.clear(TELLING);
            }
        }
        // From here on the lock may be gone: the batch may release and free it.
    }

    /// Takes `s`, waiting as `how` says.
    ///
    /// # Errors
    ///
    /// What [`Wait`] allows. Then nothing is held, and nothing is left behind in the lock.
    #[cold]
    #[inline(never)]
    pub(crate) fn acquire_slow(&self, s: State, mut how: Wait) -> Result<(), GiveUp> {
        let futile = self.futile_spins.get();
        let spins = spin_pays(futile) && how.may_spin();
        if spins && self.spin(s, &mut how) {
            self.futile_spins.set(0);
            return Ok(());
        }

        let waiter = Waiter::new(s, how.since());
        if self.enter_or_queue(&waiter, how.grace_over()) {
            return Ok(());
        }

        if spins {
            // From now on the last release grants. With one holder, the next one does.
            how.spin_again(holds(self.word.load(Relaxed)) <= 1);
        }
        while spins && how.spin() {
            if waiter.stage.load(Acquire) == GRANTED {
                self.futile_spins.set(0);
                return Ok(());
            }
        }
        self.futile_spins.set(futile.wrapping_add(1));
        // If this fails, the waiter has been granted, which the loop sees first.
        let _ = waiter.stage.cmpxchg(SPINNING, PARKED, Relaxed);

        loop {
            waiter.parker.prepare(&how);
            if waiter.stage.load(Acquire) == GRANTED {
                waiter.parker.finish();
                return Ok(());
            }
            match how.park(&waiter.parker) {
                Woken::Perhaps => (),
                Woken::Grace => self.shut_door(&waiter),
                Woken::Long => how.warn_long_wait(s, self),
                Woken::Stop(why) => {
                    if self.give_up(&waiter) {
                        return Err(why);
                    }
                    // Granted in the meantime: the hold is ours, and the granter still has to
                    // say so. Until then the waiter must stay where it is.
                    how.only_grant();
                }
            }
        }
    }

    /// Waits for an entrance without queueing. `true` if it entered.
    ///
    /// Ends as soon as somebody is in a queue: those come first. The time spent here is part of
    /// the grace of this waiter, so what [fairness](self#fairness) says holds from its arrival.
    fn spin(&self, s: State, how: &mut Wait) -> bool {
        while how.spin() {
            let w = self.word.load(Relaxed);
            if w & WAIT_ANY != 0 {
                break;
            }
            if admits(w, s) && self.try_acquire(s) {
                return true;
            }
        }
        false
    }

    /// Enters if the word admits it (`true`), or queues.
    fn enter_or_queue(&self, waiter: &Waiter, overdue: bool) -> bool {
        let s = waiter.state;
        let _no_preempt = NoPreempt::new();
        let inner = self.inner.lock();
        let mut w = self.word.load(Relaxed);
        loop {
            let enter = admits(w, s);
            let new = if enter {
                entered(w, s, 1)
            } else if overdue {
                w | wait(s) | shut(s.other())
            } else {
                w | wait(s)
            };
            match self.word.cmpxchg(w, new, Acquire) {
                Ok(_) if enter => return true,
                Ok(_) => break,
                Err(now) => w = now,
            }
        }
        // SAFETY: The inner lock is held; the waiter is not queued, and stays in place until it
        // was granted or has left the queue.
        let batch = unsafe {
            self.queue[s.index()].push(waiter);
            if overdue {
                self.queue[s.index()].set_overdue(waiter);
            }
            // The word may have been caught in the middle of a hand-over.
            self.admit()
        };
        drop(inner);
        self.tell(batch);
        false
    }

    /// Takes the inner lock once the word is not `unclear`, which it is only while a batch is being told.
    ///
    /// To be called by a task that may be preempted, or at least holds nothing that whoever tells could need.
    fn inner_once(&self, unclear: impl Fn(u64) -> bool) -> InnerGuard<'_> {
        loop {
            let inner = self.inner.lock();
            if !unclear(self.word.load(Relaxed)) {
                return inner;
            }
            drop(inner);
            while unclear(self.word.load(Relaxed)) {
                relax();
            }
        }
    }

    /// The grace of `waiter` is over: nobody of the other state gets in ahead of it any more.
    fn shut_door(&self, waiter: &Waiter) {
        let s = waiter.state;
        let _inner = self.inner_once(|w| w & (TELLING | PHASE) == TELLING | phase(s));
        // SAFETY: The inner lock is held.
        unsafe {
            if !waiter.queued.get() {
                return;
            }
            self.queue[s.index()].set_overdue(waiter);
        }
        self.set(shut(s.other()));
    }

    /// Leaves the queue. `false` if that is too late, because the waiter has been granted.
    fn give_up(&self, waiter: &Waiter) -> bool {
        let s = waiter.state;
        let inner = self.inner_once(|w| w & TELLING != 0);
        let _no_preempt = NoPreempt::new();
        // SAFETY: The inner lock is held.
        let batch = unsafe {
            if !waiter.queued.get() {
                return false;
            }
            self.queue[s.index()].unlink(waiter);
            let mut gone = 0;
            if self.queue[s.index()].is_empty() {
                gone |= wait(s);
            }
            if !self.queue[s.index()].any_overdue() {
                gone |= shut(s.other());
            }
            self.clear(gone);
            // The door that opened, or the hand-over that now has no taker, may admit others.
            self.admit()
        };
        drop(inner);
        self.tell(batch);
        true
    }

    /// Admits every waiter that the word permits to enter.
    ///
    /// One call is enough: after a batch of one state entered, that state has no waiters, and
    /// those of the other state have to wait for the batch.
    ///
    /// # Safety
    ///
    /// The inner lock must be held.
    unsafe fn admit(&self) -> Batch {
        let mut w = self.word.load(Relaxed);
        loop {
            let last = phase_of(w);
            let s = if holds(w) != 0 {
                // Joining holders is as for a newcomer.
                last
            } else if w & wait(last.other()) != 0 {
                last.other()
            } else {
                last
            };
            if w & wait(s) == 0 || (holds(w) != 0 && w & shut(s) != 0) {
                return Batch::none();
            }
            // SAFETY: The inner lock is held.
            let n = unsafe { self.queue[s.index()].len() };
            let mut new = entered(w & !(wait(s) | shut(s.other())), s, n);
            if n > PART {
                new |= TELLING;
            }
            match self.word.cmpxchg(w, new, Acquire) {
                // SAFETY: The inner lock is held. If the batch has a rest, TELLING is set.
                Ok(_) => return unsafe { self.queue[s.index()].detach() },
                Err(now) => w = now,
            }
        }
    }

    /// Sets flags. The inner lock must be held for the result to mean anything.
    fn set(&self, flags: u64) {
        let mut w = self.word.load(Relaxed);
        while let Err(now) = self.word.cmpxchg(w, w | flags, Relaxed) {
            w = now;
        }
    }

    /// Clears flags. The inner lock must be held for the result to mean anything.
    fn clear(&self, flags: u64) {
        let mut w = self.word.load(Relaxed);
        while let Err(now) = self.word.cmpxchg(w, w & !flags, Relaxed) {
            w = now;
        }
    }

    /// What the word says at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let w = self.word.load(Relaxed);
        Snapshot {
            held: if holds(w) == 0 {
                None
            } else {
                Some(phase_of(w))
            },
            holds: holds(w),
            waiting: [w & wait(State::Add) != 0, w & wait(State::Block) != 0],
            shut: [w & shut(State::Add) != 0, w & shut(State::Block) != 0],
        }
    }

    /// Shows the waiters to `f`, oldest first within a state, but no more than `most` of each, with the inner lock held.
    /// Returns how many there are.
    pub(crate) fn inspect(&self, most: usize, mut f: impl FnMut(Waiting<'_>)) -> (Snapshot, u64) {
        let _inner = self.inner.lock();
        let mut waiting = 0;
        for queue in &self.queue {
            // SAFETY: The inner lock is held.
            unsafe {
                waiting += queue.len();
                queue.each(most, |w| {
                    f(Waiting {
                        state: w.state,
                        since: w.since,
                        overdue: w.overdue.get(),
                        parker: &w.parker,
                    })
                })
            };
        }
        (self.snapshot(), waiting)
    }
}

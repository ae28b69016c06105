// SPDX-License-Identifier: GPL-2.0

//! Who waits for the two-state shared lock, and how they are told that they have it.
//!
//! A waiter is a variable on the stack of the waiting task. It is linked, unlinked and looked at
//! under the inner lock; who may touch it when is told at the top of `core.rs`. As that file, this
//! one is compiled for a model checker as well, unchanged.

use super::env::{
    Atomic,
    Parker,
    Release,
    Shared,
    PART, //
};
use super::types::State;
use core::ptr;

/// The waiter is awake and looks at its stage by itself.
pub(super) const SPINNING: u32 = 0;
/// The waiter sleeps, or is about to: who grants must wake it.
pub(super) const PARKED: u32 = 1;
/// The waiter holds the lock. The granter does not touch the waiter any more.
pub(super) const GRANTED: u32 = 2;

/// A task in a queue. Lives on the stack of that task.
pub(super) struct Waiter {
    next: Shared<*const Waiter>,
    prev: Shared<*const Waiter>,
    /// In a queue; or, while TELLING is set, in the batch that has not been told.
    pub(super) queued: Shared<bool>,
    /// Has waited longer than its grace, and is a reason for a shut door.
    pub(super) overdue: Shared<bool>,
    /// How many are in the queue, if this one is the oldest.
    len: Shared<u64>,
    /// How many of those are overdue, if this one is the oldest.
    overdues: Shared<u64>,
    pub(super) stage: Atomic<u32>,
    pub(super) state: State,
    pub(super) since: u64,
    pub(super) parker: Parker,
}

impl Waiter {
    pub(super) fn new(state: State, since: u64) -> Self {
        Self {
            next: Shared::new(ptr::null()),
            prev: Shared::new(ptr::null()),
            queued: Shared::new(false),
            len: Shared::new(0),
            overdues: Shared::new(0),
            overdue: Shared::new(false),
            stage: Atomic::<u32>::new(SPINNING),
            state,
            since,
            parker: Parker::new(),
        }
    }
}

/// The waiters for one state, oldest first.
///
/// # Invariants
///
/// Points to the oldest waiter, if there is one; the waiters form a circle, linked both ways. The oldest knows how many
/// there are, and how many are overdue. While the inner lock is held, they are alive and stay where they are.
#[repr(transparent)]
pub(super) struct Queue(Shared<*const Waiter>);

impl Queue {
    pub(super) const fn new() -> Self {
        Self(Shared::new(ptr::null()))
    }

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn is_empty(&self) -> bool {
        // SAFETY: By the contract of this function.
        unsafe { self.0.get() }.is_null()
    }

    /// The oldest waiters, `most` of them at most.
    ///
    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn each(&self, most: usize, mut f: impl FnMut(&Waiter)) {
        // SAFETY: The inner lock is held, so every waiter in the queue is alive and stays.
        unsafe {
            let first = self.0.get();
            let mut at = first;
            for _ in 0..most {
                if at.is_null() {
                    break;
                }
                f(&*at);
                at = (*at).next.get();
                if at == first {
                    break;
                }
            }
        }
    }

    /// A number that the oldest waiter has, or 0.
    ///
    /// # Safety
    ///
    /// The inner lock must be held.
    unsafe fn number(&self, of: impl FnOnce(&Waiter) -> &Shared<u64>) -> u64 {
        // SAFETY: The inner lock is held, so the oldest waiter, if there is one, is alive.
        unsafe { self.0.get().as_ref().map_or(0, |first| of(first).get()) }
    }

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn len(&self) -> u64 {
        // SAFETY: By the contract of this function.
        unsafe { self.number(|w| &w.len) }
    }

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn any_overdue(&self) -> bool {
        // SAFETY: By the contract of this function.
        unsafe { self.number(|w| &w.overdues) > 0 }
    }

    /// The grace of `waiter` is over.
    ///
    /// # Safety
    ///
    /// The inner lock must be held and `waiter` must be in this queue, and not be overdue.
    pub(super) unsafe fn set_overdue(&self, waiter: &Waiter) {
        // SAFETY: The inner lock is held, and the queue not empty.
        unsafe {
            waiter.overdue.set(true);
            let first = self.0.get();
            debug_assert!(!first.is_null(), "a waiter of an empty queue is overdue");
            (*first).overdues.set((*first).overdues.get() + 1);
        }
    }

    /// Appends to the queue.
    ///
    /// # Safety
    ///
    /// The inner lock must be held. `waiter` must wait for the state of this queue, be in no queue, and
    /// stay in place until it has left this one, and if it was granted, until its stage says so.
    pub(super) unsafe fn push(&self, waiter: &Waiter) {
        let me: *const Waiter = waiter;
        let head = &self.0;
        // SAFETY: The inner lock is held, so queued waiters are alive and stay.
        unsafe {
            let first = head.get();
            waiter.len.set(1);
            waiter.overdues.set(0);
            if first.is_null() {
                waiter.next.set(me);
                waiter.prev.set(me);
                head.set(me);
            } else {
                let last = (*first).prev.get();
                waiter.next.set(first);
                waiter.prev.set(last);
                (*last).next.set(me);
                (*first).prev.set(me);
                (*first).len.set((*first).len.get() + 1);
            }
            waiter.queued.set(true);
        }
    }

    /// Takes a waiter out of its queue.
    ///
    /// # Safety
    ///
    /// The inner lock must be held and `waiter` must be in this queue.
    pub(super) unsafe fn unlink(&self, waiter: &Waiter) {
        let me: *const Waiter = waiter;
        let head = &self.0;
        // SAFETY: The inner lock is held, so queued waiters are alive and stay.
        unsafe {
            let (first, next) = (head.get(), waiter.next.get());
            debug_assert!(!first.is_null(), "a waiter leaves a queue that is empty");
            let len = (*first).len.get() - 1;
            let overdues = (*first).overdues.get() - u64::from(waiter.overdue.get());
            if next == me {
                head.set(ptr::null());
            } else {
                let prev = waiter.prev.get();
                (*prev).next.set(next);
                (*next).prev.set(prev);
                let first = if first == me { next } else { first };
                head.set(first);
                (*first).len.set(len);
                (*first).overdues.set(overdues);
            }
            waiter.queued.set(false);
        }
    }

    /// Takes a whole queue. Of all but its first part, the word must say that they are being told.
    ///
    /// # Safety
    ///
    /// The inner lock must be held, and the word must already count the waiters as holders.
    pub(super) unsafe fn detach(&self) -> Batch {
        let head = &self.0;
        // SAFETY: The inner lock is held, so queued waiters are alive.
        unsafe {
            let first = head.get();
            if first.is_null() {
                return Batch::none();
            }
            (*(*first).prev.get()).next.set(ptr::null());
            head.set(ptr::null());
            Self::part(first)
        }
    }

    /// Takes the first [`PART`] waiters of a chain out of the books.
    ///
    /// # Safety
    ///
    /// The inner lock must be held; `first` must be a chain that ends with null, of waiters who hold the lock and whose stage
    /// does not say so yet, and nobody else's.
    pub(super) unsafe fn part(first: *const Waiter) -> Batch {
        let (mut last, mut rest, mut n) = (ptr::null(), first, 0);
        // SAFETY: Waiters stay until their stage is GRANTED.
        unsafe {
            while !rest.is_null() && n < PART {
                (*rest).queued.set(false);
                last = rest;
                rest = (*rest).next.get();
                n += 1;
            }
            if !rest.is_null() {
                (*last).next.set(ptr::null());
            }
        }
        Batch { first, rest }
    }
}

/// Waiters that hold the lock and do not know it yet.
///
/// # Invariants
///
/// `first` is a chain that ends with null, and so is `rest`, of waiters whose stage does not say yet that they were
/// granted. They are nobody else's. Those of the first chain are in no book any more.
#[must_use]
pub(super) struct Batch {
    first: *const Waiter,
    rest: *const Waiter,
}

impl Batch {
    /// Nobody.
    pub(super) const fn none() -> Self {
        Self {
            first: ptr::null(),
            rest: ptr::null(),
        }
    }

    /// Whether there is no rest.
    pub(super) fn is_last(&self) -> bool {
        self.rest.is_null()
    }

    /// Tells the waiters that they hold the lock, but for the rest, which is returned.
    pub(super) fn tell(self) -> Option<*const Waiter> {
        let mut at = self.first;
        while !at.is_null() {
            // SAFETY: A granted waiter stays in place until its stage says GRANTED, which only
            // this loop makes it say, and its links belong to this loop.
            at = unsafe {
                let next = (*at).next.get();
                Self::grant(at);
                next
            };
        }
        (!self.rest.is_null()).then_some(self.rest)
    }

    /// # Safety
    ///
    /// `at` must be a waiter of a batch that was not granted before.
    unsafe fn grant(at: *const Waiter) {
        // SAFETY: By the contract of this function the waiter is alive until GRANTED is stored.
        unsafe {
            if (*at).stage.cmpxchg(SPINNING, GRANTED, Release).is_ok() {
                return;
            }
            let waker = (*at).parker.waker();
            (*at).stage.store(GRANTED, Release);
            waker.wake();
        }
    }
}

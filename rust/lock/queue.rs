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
    Shared, //
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
    pub(super) queued: Shared<bool>,
    /// Has waited longer than its grace, and is a reason for a shut door.
    pub(super) overdue: Shared<bool>,
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
/// Points to the oldest waiter, if there is one; the waiters form a circle, linked both ways. While
/// the inner lock is held, they are alive and stay where they are.
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

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn each(&self, mut f: impl FnMut(&Waiter)) {
        // SAFETY: The inner lock is held, so every waiter in the queue is alive and stays.
        unsafe {
            let first = self.0.get();
            let mut at = first;
            while !at.is_null() {
                f(&*at);
                at = (*at).next.get();
                if at == first {
                    break;
                }
            }
        }
    }

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn count(&self) -> u64 {
        let mut n = 0;
        // SAFETY: By the contract of this function.
        unsafe { self.each(|_| n += 1) };
        n
    }

    /// # Safety
    ///
    /// The inner lock must be held.
    pub(super) unsafe fn any_overdue(&self) -> bool {
        let mut any = false;
        // SAFETY: By the contract of this function; `overdue` is protected by the inner lock.
        unsafe { self.each(|w| any |= w.overdue.get()) };
        any
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
            let next = waiter.next.get();
            if next == me {
                head.set(ptr::null());
            } else {
                let prev = waiter.prev.get();
                (*prev).next.set(next);
                (*next).prev.set(prev);
                if head.get() == me {
                    head.set(next);
                }
            }
            waiter.queued.set(false);
        }
    }

    /// Takes a whole queue, as a chain that ends with null.
    ///
    /// # Safety
    ///
    /// The inner lock must be held, and the word must already count the waiters as holders.
    pub(super) unsafe fn detach(&self) -> Batch {
        let head = &self.0;
        // SAFETY: The inner lock is held, so queued waiters are alive. Once off the queue they
        // stay until their stage is GRANTED.
        unsafe {
            let first = head.get();
            self.each(|w| w.queued.set(false));
            if !first.is_null() {
                (*(*first).prev.get()).next.set(ptr::null());
            }
            head.set(ptr::null());
            Batch(first)
        }
    }
}

/// Waiters that hold the lock and do not know it yet.
///
/// # Invariants
///
/// A chain that ends with null, of waiters whose stage does not say yet that they were granted. It is
/// nobody else's.
#[must_use]
pub(super) struct Batch(*const Waiter);

impl Batch {
    /// Nobody.
    pub(super) const fn none() -> Self {
        Self(ptr::null())
    }

    /// Tells the waiters of the batch that they hold the lock.
    pub(super) fn wake(self) {
        let mut at = self.0;
        while !at.is_null() {
            // SAFETY: A granted waiter stays in place until its stage says GRANTED, which only
            // this loop makes it say, and its links belong to this loop.
            at = unsafe {
                let next = (*at).next.get();
                Self::grant(at);
                next
            };
        }
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

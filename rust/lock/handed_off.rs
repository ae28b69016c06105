// SPDX-License-Identifier: GPL-2.0

//! Holds on their way from one task to another, or to an interrupt.

use super::{Guard, State, TwoStateSharedLock};
use core::mem::forget;

impl<'a> Guard<'a> {
    /// Gives the hold to whoever gets the returned value, in any context.
    ///
    /// For lockdep the current task does not hold the lock any more, so that it may return to user
    /// space while some I/O completes the rest. See [`HandedOff`] for what lockdep knows of that.
    #[inline]
    pub fn hand_off(self) -> HandedOff<'a> {
        let (lock, state) = (self.lock, self.state);
        forget(self);
        lock.dep_map.release();
        lock.raw.runs_nowhere();
        // INVARIANT: The hold of the forgotten guard.
        HandedOff { lock, state }
    }

    /// As [`Guard::hand_off`], but for lockdep the current task holds the lock until `f` returns.
    ///
    /// For submitting what will release the hold: what the submission takes, it takes with the lock held,
    /// even if the hold may have ended, elsewhere, before the submission did.
    #[inline]
    pub fn hand_off_while<R>(self, f: impl FnOnce(HandedOff<'a>) -> R) -> R {
        let (lock, state) = (self.lock, self.state);
        forget(self);
        lock.raw.runs_nowhere();
        // INVARIANT: The hold of the forgotten guard.
        let result = f(HandedOff { lock, state });
        lock.dep_map.release();
        result
    }
}

/// A hold of a [`TwoStateSharedLock`] by no task in particular. Released when dropped, which is
/// legal in every context and on every CPU.
///
/// # Lockdep
///
/// Lockdep knows of holds by tasks and interrupts only, so of this one it does not know while it is on its way. Whoever
/// comes to own it says so with [`HandedOff::take`], *first*: what it takes from there on, it takes with
/// the lock held, and is reported if somebody waits for the lock with that held. To drop the value without having
/// taken it is a release at that instant, of whose past lockdep knows nothing.
///
/// # Invariants
///
/// One hold of `lock` in `state` belongs to this value.
#[must_use = "the lock is released as soon as this is dropped"]
pub struct HandedOff<'a> {
    lock: &'a TwoStateSharedLock,
    state: State,
}

impl<'a> HandedOff<'a> {
    /// The state held.
    #[inline]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes the hold over, for the current task or interrupt.
    #[inline]
    pub fn take(self) -> Guard<'a> {
        let (lock, state) = (self.lock, self.state);
        forget(self);
        lock.dep_map.acquire(0, true);
        // INVARIANT: The hold of the forgotten `self`.
        Guard::new(lock, state)
    }

    /// Turns the hold into a value without a lifetime.
    #[inline]
    pub fn into_raw(self) -> RawHold {
        let raw = RawHold::new(self.lock, self.state);
        forget(self);
        raw
    }
}

impl Drop for HandedOff<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.dep_map.acquire(0, true);
        self.lock.dep_map.release();
        self.lock
            .complain(self.lock.raw.release(self.state), self.state);
    }
}

/// A hold that does not know how long its lock lives. Dropping it leaks the hold.
#[must_use = "the lock stays held for ever if this is dropped"]
pub struct RawHold {
    lock: *const TwoStateSharedLock,
    state: State,
}

// SAFETY: The lock is `Sync`, and nothing but unsafe functions follow the pointer.
unsafe impl Send for RawHold {}

impl RawHold {
    /// What stands for a hold of `lock` in `state`, whose guard was forgotten.
    ///
    /// Safe, because nothing can be done with it without saying that the hold is there.
    #[inline]
    pub fn new(lock: *const TwoStateSharedLock, state: State) -> Self {
        Self { lock, state }
    }

    /// Gives the hold a lifetime again.
    ///
    /// # Safety
    ///
    /// The lock must live for `'a`, and the hold must be there, and belong to `self` only.
    #[inline]
    pub unsafe fn into_handed_off<'a>(self) -> HandedOff<'a> {
        HandedOff {
            // SAFETY: By the contract of this function.
            lock: unsafe { &*self.lock },
            state: self.state,
        }
    }

    /// Releases the hold, in any context.
    ///
    /// # Safety
    ///
    /// As for [`RawHold::into_handed_off`]: the lock must still be alive.
    #[inline]
    pub unsafe fn release(self) {
        // SAFETY: By the contract of this function.
        drop(unsafe { self.into_handed_off() });
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Holds that a task leaves for itself.

use super::env::{Acquire, Atomic, Relaxed, Release};
use super::{Guard, State, TwoStateSharedLock};
use core::{
    mem::{align_of, forget},
    ptr, //
};
use kernel::{bindings, task::Task};

/// A place where a task leaves a hold for itself: for pairs of callbacks that cannot pass a value from the
/// first, which acquires, to the second, which releases.
///
/// # Examples
///
/// ```ignore
/// fn begin(cache: &Cache) -> Result {
///     let adding = cache.additions.lock_killable(State::Add)?;
///     cache.adding.keep(adding).map_err(|_| EBUSY)
/// }
///
/// fn end(cache: &Cache) {
///     drop(cache.adding.take(&cache.additions));
/// }
/// ```
///
/// # Invariants
///
/// If `hold` is not zero, it is the address of a lock with the state in its lowest bit, and one hold of that lock in that
/// state belongs to this value. Only `owner` changes it.
pub struct KeptHold {
    owner: Atomic<*mut bindings::task_struct>,
    hold: Atomic<usize>,
}

impl KeptHold {
    /// An empty place.
    pub const fn new() -> Self {
        Self {
            owner: Atomic::new(ptr::null_mut()),
            hold: Atomic::new(0),
        }
    }

    fn word(lock: &TwoStateSharedLock, state: State) -> usize {
        const { assert!(align_of::<TwoStateSharedLock>() >= 2) };
        (&raw const *lock).addr() | state as usize
    }

    /// Leaves the hold of `guard` here. For lockdep the task goes on holding the lock.
    ///
    /// # Errors
    ///
    /// Gives the guard back if there is a hold here already, of whatever task.
    pub fn keep<'a>(&self, guard: Guard<'a>) -> Result<(), Guard<'a>> {
        let me = Task::current_raw();
        if self.owner.cmpxchg(ptr::null_mut(), me, Acquire).is_err() {
            return Err(guard);
        }
        // INVARIANT: The hold of the forgotten guard.
        self.hold
            .store(Self::word(guard.lock, guard.state), Relaxed);
        forget(guard);
        Ok(())
    }

    /// Takes the hold that the current task has left here, if it is one of `lock`.
    pub fn take<'a>(&self, lock: &'a TwoStateSharedLock) -> Option<Guard<'a>> {
        if self.owner.load(Relaxed) != Task::current_raw() {
            return None;
        }
        let state = [State::Add, State::Block]
            .into_iter()
            .find(|&s| self.hold.cmpxchg(Self::word(lock, s), 0, Relaxed).is_ok())?;
        self.owner.store(ptr::null_mut(), Release);
        // INVARIANT: The hold that belonged to `self`, which has forgotten it.
        Some(Guard::new(lock, state))
    }
}

impl Default for KeptHold {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for KeptHold {
    fn drop(&mut self) {
        // The lock may be gone.
        kernel::warn_on!(self.hold.load(Relaxed) != 0);
    }
}

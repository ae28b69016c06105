// SPDX-License-Identifier: GPL-2.0

//! A lock with two shared states.
//!
//! Any number of tasks may hold a [`TwoStateSharedLock`] in [`State::Add`], or any number in
//! [`State::Block`], never both. It is what a cache needs in which some tasks add entries and
//! others must keep entries from being added, and neither kind minds its own.
//!
//! # Guarantees
//!
//! - *Fair.* A waiter that has waited for the grace period ([`grace`]) shuts the door of the other
//!   state: no newcomer of that state gets in ahead of it. When the last holder leaves, all
//!   waiters of the other state enter as one batch, by hand-off. So a wait lasts at most the grace
//!   period and the longest hold of one phase of each state; `core.rs` has the argument.
//! - *Cheap.* Without a waiter, an acquire and a release are one atomic read-modify-write each.
//! - *Ordered.* An acquire sees everything that was done under earlier holds of the other state.
//!   Holds of one state are not ordered against each other.
//! - *Small.* No larger than a `struct rw_semaphore`, when nothing is being debugged.
//! - A release never sleeps and is legal in every context, hard-irq included.
//!
//! As with a mutex, the memory of the lock may be freed only after every release has returned.
//!
//! # Recursion
//!
//! A task must not take the lock while it holds it, in whichever state: between its two holds of
//! the same state a waiter of the other one may have shut the door, and then both wait for ever.
//! For the same reason two tasks that take two locks in opposite order deadlock although both ask
//! for `Add` everywhere: each is kept out by a door that is shut for a third.
//!
//! # Lockdep
//!
//! That is why both states are presented to lockdep as *exclusive* holds of the class: exactly the
//! recursions and inversions that lockdep reports for a mutex can deadlock here, if not by the two
//! states themselves then through a shut door. (A rwsem's readers, which have the same property,
//! are annotated as non-recursive readers; the difference is that lockdep then still looks for a
//! writer in the cycle. Here each state is the other's writer, so there always may be one.)
//! What lockdep does not know is which state a task holds; the lock itself does, see
//! [`TwoStateSharedLock::assert_held`].

// A library: no module uses all of it.
#![allow(dead_code)]

mod core;
mod env;
mod ffi;
#[cfg(all(CONFIG_KUNIT = "y", not(lock_torture)))]
mod tests;

use self::core::{GiveUp, NotHeld, Raw};
use ::core::marker::PhantomPinned;
use kernel::{fmt, prelude::*, sync::LockClassKey, time::Delta, types::NotThreadSafe};

pub(crate) use self::core::{Snapshot, State};

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use kernel::{bindings, types::Opaque};

/// The grace period unless somebody sets another one.
pub(crate) const DEFAULT_GRACE_NS: u64 = 1_000_000;

/// A grace period that never ends: no door is ever shut, and waiters can starve. For measurements.
pub(crate) const GRACE_OFF: u64 = env::NEVER;

/// Returns how long, in nanoseconds, a waiter leaves the door of the other state open.
pub(crate) fn grace() -> u64 {
    env::grace()
}

/// Sets the grace period of all locks of this module, for those who begin to wait from now on.
///
/// 0 means that the states alternate strictly as soon as both are wanted.
pub(crate) fn set_grace(ns: u64) {
    env::set_grace(ns)
}

/// Creates a [`TwoStateSharedLock`] initialiser with the given name and a newly-created lock
/// class.
///
/// It uses the name if one is given, otherwise it generates one based on the file name and line
/// number.
#[allow(unused_macros)]
macro_rules! new_two_state_shared_lock {
    ($($name:literal)? $(,)?) => {
        $crate::lock::TwoStateSharedLock::new(
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}
#[allow(unused_imports)]
pub(crate) use new_two_state_shared_lock;

/// What lockdep knows of a lock. Nothing and of no size when lockdep is off.
struct DepMap {
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    map: Opaque<bindings::lockdep_map>,
}

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
impl DepMap {
    /// The map of a lock in a `static`, whose address is its class.
    const fn spec(name: &'static CStr, wait_type: u8) -> bindings::lockdep_map {
        bindings::lockdep_map {
            name: name.to_bytes_with_nul().as_ptr(),
            wait_type_inner: wait_type,
            // SAFETY: A map that is all zero is valid.
            ..unsafe { ::core::mem::zeroed() }
        }
    }

    const fn new_static(name: &'static CStr) -> Self {
        const SLEEP: u8 = bindings::lockdep_wait_type_LD_WAIT_SLEEP as u8;
        Self {
            map: Opaque::new(Self::spec(name, SLEEP)),
        }
    }

    fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // SAFETY: `slot` is valid for a `DepMap`, which is nothing but the map.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                let map = Opaque::cast_into(&raw const (*slot).map);
                ffi::two_state_lock_map_init(map, name.as_char_ptr(), key.as_ptr());
                Ok(())
            })
        }
    }

    #[inline]
    fn acquire(&self, subclass: u32, try_: bool) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_acquire(self.map.get(), subclass, try_) }
    }

    #[inline]
    fn release(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_release(self.map.get()) }
    }

    #[inline]
    fn contended(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_contended(self.map.get()) }
    }

    #[inline]
    fn acquired(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_acquired(self.map.get()) }
    }

    #[inline]
    fn assert_held(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_assert_held(self.map.get()) }
    }
}

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
impl DepMap {
    const fn new_static(_name: &'static CStr) -> Self {
        Self {}
    }

    fn new(_name: &'static CStr, _key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        Self {}
    }

    #[inline(always)]
    fn acquire(&self, _subclass: u32, _try: bool) {}
    #[inline(always)]
    fn release(&self) {}
    #[inline(always)]
    fn contended(&self) {}
    #[inline(always)]
    fn acquired(&self) {}
    #[inline(always)]
    fn assert_held(&self) {}
}

/// A lock with two shared states. See the [module](self) for what it guarantees.
///
/// # Examples
///
/// ```ignore
/// use crate::lock::{new_two_state_shared_lock, State, TwoStateSharedLock};
///
/// #[pin_data]
/// struct Cache {
///     #[pin]
///     additions: TwoStateSharedLock,
/// }
///
/// impl Cache {
///     fn new() -> impl PinInit<Self> {
///         pin_init!(Self {
///             additions <- new_two_state_shared_lock!("Cache::additions"),
///         })
///     }
///
///     fn fill(&self) -> Result {
///         let _adding = self.additions.lock_killable(State::Add)?;
///         // Nobody blocks additions until `_adding` is dropped.
///         Ok(())
///     }
/// }
/// ```
#[pin_data(PinnedDrop)]
pub(crate) struct TwoStateSharedLock {
    #[pin]
    raw: Raw,
    #[pin]
    dep_map: DepMap,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A lockdep map may be used from every context at the same time; the rest is `Send`.
unsafe impl Send for TwoStateSharedLock {}
// SAFETY: As above.
unsafe impl Sync for TwoStateSharedLock {}

// The lock replaces a rwsem in an inode, so it must not be larger than one.
#[cfg(not(any(
    CONFIG_DEBUG_LOCK_ALLOC,
    CONFIG_DEBUG_SPINLOCK,
    CONFIG_DEBUG_RWSEMS,
    CONFIG_PREEMPT_RT
)))]
const _: () =
    assert!(size_of::<TwoStateSharedLock>() <= size_of::<kernel::bindings::rw_semaphore>());

impl TwoStateSharedLock {
    /// Constructs a new lock initialiser.
    ///
    /// `key` is the lockdep class: locks with the same key are treated alike.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for a `Raw`, and pinned; nobody uses it yet.
            raw <- unsafe {
                pin_init::pin_init_from_closure(|slot: *mut Raw| {
                    slot.write(Raw::new(env::Inner::uninit()));
                    env::Inner::init((*slot).inner());
                    Ok::<_, ::core::convert::Infallible>(())
                })
            },
            dep_map <- DepMap::new(name, key),
            _pin: PhantomPinned,
        })
    }

    /// A lock for a `static`. Its address is its lockdep class.
    ///
    /// # Safety
    ///
    /// The value must be the initialiser of a `static`.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// // SAFETY: In a `static`.
    /// static LOCK: TwoStateSharedLock = unsafe { TwoStateSharedLock::new_static(c"LOCK") };
    /// ```
    pub(crate) const unsafe fn new_static(name: &'static CStr) -> Self {
        Self {
            raw: Raw::new(env::Inner::new_static()),
            dep_map: DepMap::new_static(name),
            _pin: PhantomPinned,
        }
    }

    /// Takes the lock in `state`. Sleeps until it can, whatever happens.
    #[inline]
    pub(crate) fn lock(&self, state: State) -> Guard<'_> {
        self.lock_nested(state, 0)
    }

    /// Takes the lock in [`State::Add`].
    #[inline]
    pub(crate) fn add(&self) -> Guard<'_> {
        self.lock(State::Add)
    }

    /// Takes the lock in [`State::Block`].
    #[inline]
    pub(crate) fn block(&self) -> Guard<'_> {
        self.lock(State::Block)
    }

    /// As [`TwoStateSharedLock::lock`], by a task that holds another lock of the same class and
    /// has an order for the two: `subclass` (less than 8) says which of them this one is.
    #[inline]
    pub(crate) fn lock_nested(&self, state: State, subclass: u32) -> Guard<'_> {
        // Without a time limit, and deaf to signals, this cannot fail.
        let _ = self.acquire(state, subclass, false, env::NEVER);
        // INVARIANT: The hold that was just acquired.
        Guard::new(self, state)
    }

    /// As [`TwoStateSharedLock::lock`], but a fatal signal ends the wait.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal came before the lock did.
    #[inline]
    pub(crate) fn lock_killable(&self, state: State) -> Result<Guard<'_>> {
        self.lock_killable_nested(state, 0)
    }

    /// [`TwoStateSharedLock::lock_nested`] and [`TwoStateSharedLock::lock_killable`] in one.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal came before the lock did.
    #[inline]
    pub(crate) fn lock_killable_nested(&self, state: State, subclass: u32) -> Result<Guard<'_>> {
        self.acquire(state, subclass, true, env::NEVER)?;
        // INVARIANT: The hold that was just acquired.
        Ok(Guard::new(self, state))
    }

    /// As [`TwoStateSharedLock::lock_killable`], but waits no longer than `timeout`. A timeout
    /// that is not positive still takes a lock that is to be had at once.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal came before the lock did, `ETIMEDOUT` if the time was over.
    #[inline]
    pub(crate) fn lock_timeout(&self, state: State, timeout: Delta) -> Result<Guard<'_>> {
        let ns = u64::try_from(timeout.as_nanos()).unwrap_or(0);
        self.acquire(state, 0, true, ns)?;
        // INVARIANT: The hold that was just acquired.
        Ok(Guard::new(self, state))
    }

    /// Takes the lock in `state` if it can be had without waiting. Legal in every context.
    #[inline]
    pub(crate) fn try_lock(&self, state: State) -> Option<Guard<'_>> {
        if !self.raw.try_acquire(state) {
            return None;
        }
        self.dep_map.acquire(0, true);
        // INVARIANT: The hold that was just acquired.
        Some(Guard::new(self, state))
    }

    /// Tells lockdep that the lock may be waited for here, whether or not it will be.
    ///
    /// For those who begin with [`TwoStateSharedLock::try_lock`], of which lockdep learns no order, and
    /// wait if that fails.
    #[inline]
    pub(crate) fn might_lock(&self) {
        kernel::task::might_sleep();
        self.dep_map.acquire(0, false);
        self.dep_map.release();
    }

    #[inline]
    fn acquire(&self, state: State, subclass: u32, killable: bool, timeout: u64) -> Result {
        kernel::task::might_sleep();
        self.dep_map.acquire(subclass, false);
        if self.raw.try_acquire(state) {
            self.dep_map.acquired();
            return Ok(());
        }
        self.acquire_slow(state, killable, timeout)
    }

    #[cold]
    fn acquire_slow(&self, state: State, killable: bool, timeout: u64) -> Result {
        let this = (&raw const *self).cast();
        self.dep_map.contended();
        // SAFETY: The tracepoint records the address only.
        unsafe { ffi::two_state_lock_contention_begin(this, state == State::Block) };
        let result = self
            .raw
            .acquire_slow(state, env::Wait::new(killable, timeout))
            .map_err(|why| match why {
                GiveUp::Signal => EINTR,
                GiveUp::Timeout => ETIMEDOUT,
            });
        let errno = result.map_or_else(|e| e.to_errno(), |()| 0);
        // SAFETY: As above.
        unsafe { ffi::two_state_lock_contention_end(this, errno) };
        match result {
            Ok(()) => self.dep_map.acquired(),
            Err(_) => self.dep_map.release(),
        }
        result
    }

    /// Releases a hold that [`Guard::keep`] left in place.
    ///
    /// For pairs of callbacks in one task, the first of which acquires and the second releases.
    /// Called without such a hold it complains, and changes nothing if nobody holds `state`.
    pub(crate) fn release_kept(&self, state: State) {
        self.dep_map.release();
        self.complain(self.raw.release_checked(state), state);
    }

    /// Releases a hold that [`HandedOff::keep`] left in place. In any context.
    ///
    /// Called without such a hold it complains, and changes nothing if nobody holds `state`.
    pub(crate) fn release_handed_off(&self, state: State) {
        self.dep_map.acquire(0, true);
        self.release_kept(state);
    }

    /// Complains if the current task does not hold the lock in `state`.
    ///
    /// Without lockdep it complains only if nobody does.
    #[inline]
    pub(crate) fn assert_held(&self, state: State) {
        self.dep_map.assert_held();
        // The states exclude each other, so a holder knows that its own state is the one held.
        kernel::warn_on!(self.raw.snapshot().held != Some(state));
    }

    /// Whether somebody waits for the lock. A hint: it may be wrong by the time it is used.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        let now = self.raw.snapshot();
        now.waiting[0] || now.waiting[1]
    }

    /// Who holds what and whether somebody waits, at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.raw.snapshot()
    }

    #[inline(always)]
    fn complain(&self, result: Result<(), NotHeld>, state: State) {
        if result.is_err() {
            self.complain_slow(state);
        }
    }

    #[cold]
    fn complain_slow(&self, state: State) {
        pr_err!("release of {:?}, which is not held: {:?}\n", state, self);
        kernel::warn_on!(true);
    }
}

#[pinned_drop]
impl PinnedDrop for TwoStateSharedLock {
    fn drop(self: Pin<&mut Self>) {
        let now = self.raw.snapshot();
        if kernel::warn_on!(now.held.is_some() || now.waiting[0] || now.waiting[1]) {
            pr_err!("lock dropped in use: {:?}\n", &*self);
        }
    }
}

/// How many waiters the debug representation shows.
const SHOWN: usize = 8;

impl fmt::Debug for TwoStateSharedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Collected first: the formatter's sink is not ours to call with the inner lock held.
        let mut waiters = [(State::Add, 0, 0, false); SHOWN];
        let mut n = 0;
        let snapshot = self.inspect(|w| {
            if let Some(slot) = waiters.get_mut(n) {
                *slot = (w.state, w.parker.pid(), w.since, w.overdue);
            }
            n += 1;
        });
        let now = env::now();
        match snapshot.held {
            Some(state) => write!(f, "{:?} held {} times", state, snapshot.holds)?,
            None => f.write_str("not held")?,
        }
        for s in [State::Add, State::Block] {
            if snapshot.shut[s as usize] {
                write!(f, ", {s:?} shut")?;
            }
        }
        write!(f, ", {n} waiting")?;
        for (state, pid, since, overdue) in &waiters[..n.min(SHOWN)] {
            let us = now.saturating_sub(*since) / 1000;
            let late = if *overdue { ", overdue" } else { "" };
            write!(f, "; {state:?} pid {pid} for {us} us{late}")?;
        }
        if n > SHOWN {
            f.write_str("; ...")?;
        }
        Ok(())
    }
}

/// A hold of a [`TwoStateSharedLock`] by the current task. Released when dropped.
///
/// # Invariants
///
/// One hold of `lock` in `state` belongs to this guard.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub(crate) struct Guard<'a> {
    lock: &'a TwoStateSharedLock,
    state: State,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard only shows which state is held.
unsafe impl Sync for Guard<'_> {}

impl<'a> Guard<'a> {
    #[inline(always)]
    fn new(lock: &'a TwoStateSharedLock, state: State) -> Self {
        Self {
            lock,
            state,
            _not_send: NotThreadSafe,
        }
    }

    /// The state held.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The lock held.
    #[inline]
    pub(crate) fn lock(&self) -> &'a TwoStateSharedLock {
        self.lock
    }

    /// Gives the hold to whoever gets the returned value, in any context.
    ///
    /// For lockdep the current task does not hold the lock any more, so that it may return to user
    /// space while some I/O completes the rest.
    #[inline]
    pub(crate) fn hand_off(self) -> HandedOff<'a> {
        let (lock, state) = (self.lock, self.state);
        ::core::mem::forget(self);
        lock.dep_map.release();
        // INVARIANT: The hold of the forgotten guard.
        HandedOff { lock, state }
    }

    /// Forgets the guard but not the hold. [`TwoStateSharedLock::release_kept`] ends it, called by
    /// the same task.
    #[inline]
    pub(crate) fn keep(self) {
        ::core::mem::forget(self);
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.dep_map.release();
        self.lock
            .complain(self.lock.raw.release(self.state), self.state);
    }
}

/// A hold of a [`TwoStateSharedLock`] by no task in particular. Released when dropped, which is
/// legal in every context and on every CPU.
///
/// # Invariants
///
/// One hold of `lock` in `state` belongs to this value.
#[must_use = "the lock is released as soon as this is dropped"]
pub(crate) struct HandedOff<'a> {
    lock: &'a TwoStateSharedLock,
    state: State,
}

impl<'a> HandedOff<'a> {
    /// The state held.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Takes the hold over, for the current task.
    #[inline]
    pub(crate) fn take(self) -> Guard<'a> {
        let (lock, state) = (self.lock, self.state);
        ::core::mem::forget(self);
        lock.dep_map.acquire(0, true);
        // INVARIANT: The hold of the forgotten `self`.
        Guard::new(lock, state)
    }

    /// Forgets `self` but not the hold. [`TwoStateSharedLock::release_handed_off`] ends it.
    ///
    /// For a completion that finds the lock by itself, and cannot carry a lifetime.
    #[inline]
    pub(crate) fn keep(self) {
        ::core::mem::forget(self);
    }

    /// Turns the hold into a value without a lifetime.
    #[inline]
    pub(crate) fn into_raw(self) -> RawHold {
        let raw = RawHold {
            lock: self.lock,
            state: self.state,
        };
        ::core::mem::forget(self);
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
pub(crate) struct RawHold {
    lock: *const TwoStateSharedLock,
    state: State,
}

// SAFETY: The lock is `Sync`, and nothing but unsafe functions follow the pointer.
unsafe impl Send for RawHold {}

impl RawHold {
    /// Gives the hold a lifetime again.
    ///
    /// # Safety
    ///
    /// The lock must live for `'a`.
    #[inline]
    pub(crate) unsafe fn into_handed_off<'a>(self) -> HandedOff<'a> {
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
    /// The lock must still be alive.
    #[inline]
    pub(crate) unsafe fn release(self) {
        // SAFETY: By the contract of this function.
        drop(unsafe { self.into_handed_off() });
    }
}

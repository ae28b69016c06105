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

#[cfg(lock_capi)]
pub(crate) mod capi;
mod core;
mod dep_map;
mod env;
mod ffi;
mod handed_off;
mod kept;
mod queue;
#[cfg(all(CONFIG_KUNIT = "y", not(suites_elsewhere)))]
mod tests;
mod types;

use self::core::{NotHeld, Raw};
use self::dep_map::DepMap;
use self::types::GiveUp;
use ::core::marker::PhantomPinned;
use kernel::{fmt, prelude::*, sync::LockClassKey, time::Delta, types::NotThreadSafe};

pub use self::core::Snapshot;
pub use self::handed_off::{HandedOff, RawHold};
pub use self::kept::KeptHold;
pub use self::types::State;

/// A grace period that never ends: no door is ever shut, and waiters can starve. For measurements.
pub const GRACE_OFF: u64 = env::NEVER;

/// Returns how long, in nanoseconds, a waiter leaves the door of the other state open.
pub fn grace() -> u64 {
    env::grace()
}

/// Sets the grace period of all locks of this module, for those who begin to wait from now on.
///
/// 0 means that the states alternate strictly as soon as both are wanted.
pub fn set_grace(ns: u64) {
    env::set_grace(ns)
}

/// As [`set_grace`], in the microseconds of a module parameter, of which a negative one changes nothing.
pub fn set_grace_us(us: i64) {
    if let Ok(us) = u64::try_from(us) {
        set_grace(us.saturating_mul(1000));
    }
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

/// A lock with two shared states. See the [module](self) for what it guarantees.
///
/// # Examples
///
/// (Here and below `ignore`, as the kernel runs the examples of its own crate only. `tests/examples/example_rust.rs`
/// has them in a module that is compiled and run.)
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
#[repr(C)]
pub struct TwoStateSharedLock {
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
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
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
    pub const unsafe fn new_static(name: &'static CStr) -> Self {
        Self {
            raw: Raw::new(env::Inner::new_static()),
            dep_map: DepMap::new_static(name),
            _pin: PhantomPinned,
        }
    }

    /// Takes the lock in `state`. Sleeps until it can, whatever happens.
    #[inline]
    pub fn lock(&self, state: State) -> Guard<'_> {
        self.lock_nested(state, 0)
    }

    /// Takes the lock in [`State::Add`].
    #[inline]
    pub fn add(&self) -> Guard<'_> {
        self.lock(State::Add)
    }

    /// Takes the lock in [`State::Block`].
    #[inline]
    pub fn block(&self) -> Guard<'_> {
        self.lock(State::Block)
    }

    /// As [`TwoStateSharedLock::lock`], by a task that holds another lock of the same class and
    /// has an order for the two: `subclass` (less than 8) says which of them this one is.
    #[inline]
    pub fn lock_nested(&self, state: State, subclass: u32) -> Guard<'_> {
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
    pub fn lock_killable(&self, state: State) -> Result<Guard<'_>> {
        self.lock_killable_nested(state, 0)
    }

    /// [`TwoStateSharedLock::lock_nested`] and [`TwoStateSharedLock::lock_killable`] in one.
    ///
    /// # Errors
    ///
    /// `EINTR` if a fatal signal came before the lock did.
    #[inline]
    pub fn lock_killable_nested(&self, state: State, subclass: u32) -> Result<Guard<'_>> {
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
    pub fn lock_timeout(&self, state: State, timeout: Delta) -> Result<Guard<'_>> {
        let ns = u64::try_from(timeout.as_nanos()).unwrap_or(0);
        self.acquire(state, 0, true, ns)?;
        // INVARIANT: The hold that was just acquired.
        Ok(Guard::new(self, state))
    }

    /// Takes the lock in `state` if it can be had without waiting. Legal in every context.
    #[inline]
    pub fn try_lock(&self, state: State) -> Option<Guard<'_>> {
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
    pub fn might_lock(&self) {
        kernel::task::might_sleep();
        self.dep_map.acquire(0, false);
        self.dep_map.release();
    }

    /// Tells lockdep that page faults take locks of this class: from then on it reports every access to user
    /// memory, and every pinning of it, by a task that holds one, whether or not it faults.
    ///
    /// Once is enough for a class, so a lock that is made for the purpose will do. The task must hold nothing; one without
    /// user memory says nothing.
    pub fn taken_in_faults(&self) {
        self.dep_map.taken_in_faults();
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

    /// Releases a hold of the current task whose [`Guard`] was forgotten.
    ///
    /// For whoever has nowhere to keep a guard; a [`KeptHold`] is such a place. If nobody holds `state`,
    /// it complains and changes nothing.
    ///
    /// # Safety
    ///
    /// The caller must own a hold in `state`, that of a forgotten guard, and give it up by this call. The lock cannot
    /// tell it from somebody else's, who would go on without the exclusion that he relies on.
    pub unsafe fn release_forgotten(&self, state: State) {
        if self.raw.snapshot().held == Some(state.other()) {
            // Lockdep's entry is that of the hold in the other state.
            self.complain_slow(state);
            return;
        }
        self.dep_map.release();
        self.complain(self.raw.release_checked(state), state);
    }

    /// Complains if the current task does not hold the lock in `state`.
    ///
    /// Without lockdep it complains only if nobody does.
    #[inline]
    pub fn assert_held(&self, state: State) {
        self.dep_map.assert_held();
        // The states exclude each other, so a holder knows that its own state is the one held.
        kernel::warn_on!(self.raw.snapshot().held != Some(state));
    }

    /// Whether somebody waits for the lock. A hint: it may be wrong by the time it is used.
    #[inline]
    pub fn is_contended(&self) -> bool {
        let now = self.raw.snapshot();
        now.waiting[0] || now.waiting[1]
    }

    /// Whether somebody holds the lock in `state`. A hint, too, unless the caller does.
    #[inline]
    pub fn is_held(&self, state: State) -> bool {
        self.snapshot().held == Some(state)
    }

    /// Who holds what and whether somebody waits, at this moment.
    pub fn snapshot(&self) -> Snapshot {
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
        let (snapshot, waiting) = self.inspect(SHOWN, |w| {
            if let Some(slot) = waiters.get_mut(n) {
                *slot = (w.state, w.parker.pid(), w.since, w.overdue);
                n += 1;
            }
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
        write!(f, ", {waiting} waiting")?;
        for (state, pid, since, overdue) in &waiters[..n] {
            let us = now.saturating_sub(*since) / 1000;
            let late = if *overdue { ", overdue" } else { "" };
            write!(f, "; {state:?} pid {pid} for {us} us{late}")?;
        }
        if waiting > n as u64 {
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
pub struct Guard<'a> {
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
    pub fn state(&self) -> State {
        self.state
    }

    /// The lock held.
    #[inline]
    pub fn lock(&self) -> &'a TwoStateSharedLock {
        self.lock
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

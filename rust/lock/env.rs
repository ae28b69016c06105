// SPDX-License-Identifier: GPL-2.0

//! What `core.rs` and `queue.rs` run on: the kernel.
//!
//! The model checker on the host has a file of the same shape.

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use super::dep_map::DepMap;
use super::ffi;
use super::types::{GiveUp, State, Woken};
use core::{cell::UnsafeCell, fmt::Debug, ptr::NonNull};
use kernel::{bindings, prelude::*, task::Task, types::Opaque};

pub(super) use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};

/// A point in time that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// The grace period unless somebody sets another one.
const DEFAULT_GRACE_NS: u64 = 1_000_000;

/// How long a waiter spins before it queues, and once more before it sleeps, in nanoseconds: about what
/// sleeping and waking cost, and what a rwsem grants those who spin on readers.
const SPIN_NS: u64 = 25_000;

/// How long it spins before it sleeps if there is one holder only, in nanoseconds. A holder that runs is worth waiting for longer than waking takes: it would
/// leave the lock to a task that is not there yet.
const LONG_SPIN_NS: u64 = 4 * SPIN_NS;

/// How many waiters are taken out of the books of their queue at a time, with interrupts off. (A rwsem does 256.)
pub(super) const PART: u64 = 32;

/// How long a waiter waits before it shuts the door of the other state, in nanoseconds.
static GRACE: Atomic<u64> = Atomic::new(DEFAULT_GRACE_NS);

pub(super) fn set_grace(ns: u64) {
    GRACE.store(ns, Relaxed);
}

/// How long a waiter waits before the log says so, in nanoseconds.
static LONG: Atomic<u64> = Atomic::new(30_000_000_000);

#[cfg(all(CONFIG_KUNIT = "y", not(suites_elsewhere)))]
pub(super) fn set_long(ns: u64) -> u64 {
    LONG.xchg(ns, Relaxed)
}

pub(super) fn grace() -> u64 {
    GRACE.load(Relaxed)
}

/// Monotonic time in nanoseconds.
pub(super) fn now() -> u64 {
    // SAFETY: Always safe to call.
    unsafe { bindings::ktime_get() as u64 }
}

/// A plain value that the inner lock protects.
pub(super) struct Shared<T>(UnsafeCell<T>);

impl<T: Copy> Shared<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    ///
    /// Nobody may write at the same time.
    pub(super) unsafe fn get(&self) -> T {
        // SAFETY: By the contract of this function.
        unsafe { *self.0.get() }
    }

    /// # Safety
    ///
    /// Nobody may read or write at the same time.
    pub(super) unsafe fn set(&self, value: T) {
        // SAFETY: By the contract of this function.
        unsafe { *self.0.get() = value }
    }
}

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
const SPIN: u8 = bindings::lockdep_wait_type_LD_WAIT_SPIN as u8;

/// The inner lock: a raw spinlock, taken with interrupts off, because a release is legal in
/// hard-irq context.
pub(super) struct Inner(Opaque<bindings::raw_spinlock_t>);

impl Inner {
    /// A lock that needs no more initialisation, if it is in a `static`.
    pub(super) const fn new_static() -> Self {
        // SAFETY: A raw spinlock that is all zero is valid, and unlocked.
        let lock: bindings::raw_spinlock_t = unsafe { ::core::mem::zeroed() };
        #[cfg(CONFIG_DEBUG_SPINLOCK)]
        let lock = bindings::raw_spinlock_t {
            magic: bindings::SPINLOCK_MAGIC,
            owner_cpu: u32::MAX,
            owner: ::core::ptr::without_provenance_mut(usize::MAX),
            ..lock
        };
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        let lock = bindings::raw_spinlock_t {
            dep_map: DepMap::spec(c"two_state_lock_inner", SPIN),
            ..lock
        };
        Self(Opaque::new(lock))
    }

    /// A lock that [`Inner::init`] still has to initialise.
    pub(super) const fn uninit() -> Self {
        Self(Opaque::uninit())
    }

    /// Initialises the lock in place.
    ///
    /// # Safety
    ///
    /// `this` must be valid, pinned, and used by nobody else yet.
    pub(super) unsafe fn init(this: *const Self) {
        let key = kernel::static_lock_class!();
        // SAFETY: By the contract of this function; the key is static.
        unsafe {
            ffi::two_state_lock_inner_init(Opaque::cast_into(this.cast()), key.as_ptr());
        }
    }

    pub(super) fn lock(&self) -> InnerGuard<'_> {
        // SAFETY: The lock was initialised before anybody could have a reference to it.
        let flags = unsafe { ffi::two_state_lock_inner_lock(self.0.get()) };
        InnerGuard { lock: self, flags }
    }
}

/// The inner lock, held.
pub(super) struct InnerGuard<'a> {
    lock: &'a Inner,
    flags: usize,
}

impl Drop for InnerGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is held, and `flags` is what locking it returned.
        unsafe { ffi::two_state_lock_inner_unlock(self.lock.0.get(), self.flags) }
    }
}

/// A number that may be wrong.
pub(super) struct Hint(Atomic<u32>);

impl Hint {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, value: u32) {
        if self.get() != value {
            self.0.store(value, Relaxed);
        }
    }
}

/// Preemption is off while this lives: whoever grants finishes what it began.
pub(super) struct NoPreempt(());

impl NoPreempt {
    pub(super) fn new() -> Self {
        // SAFETY: Balanced by `drop`.
        unsafe { ffi::two_state_lock_preempt_disable() };
        Self(())
    }
}

impl Drop for NoPreempt {
    fn drop(&mut self) {
        // SAFETY: Balances `new`.
        unsafe { ffi::two_state_lock_preempt_enable() }
    }
}

/// A moment of waiting for another CPU.
pub(super) fn relax() {
    core::hint::spin_loop();
}

/// How a task waits.
pub(super) struct Wait {
    since: u64,
    /// When spinning ends.
    spin: u64,
    /// When the grace of this waiter is over, or [`NEVER`].
    grace: u64,
    /// When the waiter gives up, or [`NEVER`].
    timeout: u64,
    /// When the log is told, or [`NEVER`].
    long: u64,
    killable: bool,
}

impl Wait {
    /// Begins to wait, now. Gives up after `timeout` nanoseconds, and, if `killable`, when a
    /// fatal signal is pending.
    pub(super) fn new(killable: bool, timeout: u64) -> Self {
        let since = now();
        Self {
            since,
            spin: since + SPIN_NS,
            grace: since.saturating_add(grace()),
            timeout: since.saturating_add(timeout),
            long: since.saturating_add(LONG.load(Relaxed)),
            killable,
        }
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Whether there is no grace left at the very beginning.
    pub(super) fn grace_over(&mut self) -> bool {
        if self.grace > self.since {
            return false;
        }
        self.grace = NEVER;
        true
    }

    /// Whether there is any point in looking again before going to sleep.
    pub(super) fn may_spin(&self) -> bool {
        // SAFETY: Always safe to call.
        unsafe { ffi::two_state_lock_may_spin() }
    }

    /// Whether to look again before going to sleep. Takes a moment.
    pub(super) fn spin(&mut self) -> bool {
        let until = self.grace.min(self.timeout).min(self.spin);
        // SAFETY: Always safe to call.
        unsafe { ffi::two_state_lock_spin(until) }
    }

    /// Spinning begins anew, because it is for something else now. It may take `long`.
    pub(super) fn spin_again(&mut self, long: bool) {
        self.spin = now() + if long { LONG_SPIN_NS } else { SPIN_NS };
    }

    /// Waits for the grant only, from now on.
    pub(super) fn only_grant(&mut self) {
        self.grace = NEVER;
        self.timeout = NEVER;
        self.killable = false;
    }

    /// Tells the log what the lock looks like to a task that has waited for `state` for long. After
    /// that the task sleeps without a time limit of ours, so the hung-task detector sees it.
    pub(super) fn warn_long_wait(&self, state: State, lock: &impl Debug) {
        // SAFETY: `current` is valid; its process id does not change.
        let pid = unsafe { (*Task::current_raw()).pid };
        let s = (now() - self.since) / 1_000_000_000;
        pr_warn!("pid {pid} has waited for {state:?} for {s} s: {lock:?}\n");
    }

    /// Sleeps until woken, or until one of the times of `self` comes.
    ///
    /// To be called after [`Parker::prepare`].
    pub(super) fn park(&mut self, parker: &Parker) -> Woken {
        // SAFETY: Looks at the current task only.
        if self.killable && unsafe { ffi::two_state_lock_killed() } {
            parker.finish();
            return Woken::Stop(GiveUp::Signal);
        }
        let until = self.grace.min(self.timeout).min(self.long);
        // SAFETY: The task state was set by `prepare`.
        if !unsafe { ffi::two_state_lock_sleep(until) } {
            return Woken::Perhaps;
        }
        if self.grace == until {
            self.grace = NEVER;
            Woken::Grace
        } else if self.long == until {
            self.long = NEVER;
            Woken::Long
        } else {
            Woken::Stop(GiveUp::Timeout)
        }
    }
}

/// The waiting task.
pub(super) struct Parker(NonNull<bindings::task_struct>);

impl Parker {
    /// The current task.
    pub(super) fn new() -> Self {
        // SAFETY: `current` is never null.
        Self(unsafe { NonNull::new_unchecked(Task::current_raw()) })
    }

    /// Announces that the task is going to sleep. Implies a full barrier.
    pub(super) fn prepare(&self, how: &Wait) {
        // SAFETY: Only the current task, which `self` is, calls this.
        unsafe { ffi::two_state_lock_prepare(how.killable) }
    }

    /// The task is not going to sleep after all.
    pub(super) fn finish(&self) {
        // SAFETY: Only the current task, which `self` is, calls this.
        unsafe { ffi::two_state_lock_finish() }
    }

    /// Something that can wake the task even when `self` is gone.
    ///
    /// # Safety
    ///
    /// The task must be waiting, and `self` be alive, until this returns.
    pub(super) unsafe fn waker(&self) -> Waker {
        // SAFETY: The task is alive, because it waits.
        unsafe { bindings::get_task_struct(self.0.as_ptr()) };
        Waker(self.0)
    }

    /// The process id of the task, for humans.
    pub(super) fn pid(&self) -> i32 {
        // SAFETY: The task is alive, because it waits; `pid` does not change.
        unsafe { (*self.0.as_ptr()).pid }
    }
}

/// A reference to a task that is to be woken.
pub(super) struct Waker(NonNull<bindings::task_struct>);

impl Waker {
    /// Wakes the task. Implies a full barrier before the task's state is read.
    pub(super) fn wake(self) {
        // SAFETY: `self` holds a reference to the task.
        unsafe { bindings::wake_up_process(self.0.as_ptr()) };
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // SAFETY: The reference that `Parker::waker` took.
        unsafe { bindings::put_task_struct(self.0.as_ptr()) }
    }
}

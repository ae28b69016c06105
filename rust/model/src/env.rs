// SPDX-License-Identifier: GPL-2.0

// What `core.rs` and `queue.rs` run on: loom. Of the same shape as `rust/lock/env.rs`. Included once
// per variant of them, so it must not begin with inner documentation.

use super::types::{State, Woken};
use crate::ghost;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
};

pub struct Relaxed;
pub struct Acquire;
pub struct Release;

pub trait Order {
    const SUCCESS: Ordering;
}

impl Order for Relaxed {
    const SUCCESS: Ordering = Ordering::Relaxed;
}
impl Order for Acquire {
    const SUCCESS: Ordering = Ordering::Acquire;
}
impl Order for Release {
    const SUCCESS: Ordering = Ordering::Release;
}

/// The part of `kernel::sync::atomic::Atomic` that the lock uses. loom's atomics cannot be made in
/// a `const fn`, so that of the word comes into being at the first access.
pub struct Atomic<T: Prim>(T, OnceCell<T::Loom>);

pub trait Prim: Copy {
    type Loom;
    fn make(self) -> Self::Loom;
}

impl Prim for u32 {
    type Loom = AtomicU32;
    fn make(self) -> AtomicU32 {
        AtomicU32::new(self)
    }
}

impl Prim for u64 {
    type Loom = AtomicU64;
    fn make(self) -> AtomicU64 {
        AtomicU64::new(self)
    }
}

impl<T: Prim> Atomic<T> {
    fn get(&self) -> &T::Loom {
        self.1.get_or_init(|| self.0.make())
    }
}

/// The word: every change is shown to the ghost, which knows what may never happen.
impl Atomic<u64> {
    pub const fn new(value: u64) -> Self {
        Self(value, OnceCell::new())
    }

    pub fn load<O: Order>(&self, _: O) -> u64 {
        self.get().load(O::SUCCESS)
    }

    pub fn cmpxchg<O: Order>(&self, old: u64, new: u64, _: O) -> Result<u64, u64> {
        let result = self
            .get()
            .compare_exchange(old, new, O::SUCCESS, Ordering::Relaxed);
        if result.is_ok() {
            ghost::word(old, new);
            ghost::tell();
        }
        result
    }

    pub fn fetch_sub<O: Order>(&self, n: u64, _: O) -> u64 {
        let old = self.get().fetch_sub(n, O::SUCCESS);
        ghost::word(old, old.wrapping_sub(n));
        ghost::tell();
        old
    }

    pub fn fetch_add<O: Order>(&self, n: u64, _: O) -> u64 {
        let old = self.get().fetch_add(n, O::SUCCESS);
        ghost::word(old, old.wrapping_add(n));
        ghost::tell();
        old
    }
}

/// The stage of a waiter.
impl Atomic<u32> {
    /// Comes into being here and now: the task that waits need not be the first to access it, but
    /// does make it.
    pub fn new(value: u32) -> Self {
        Self(value, OnceCell::from(value.make()))
    }

    pub fn load<O: Order>(&self, _: O) -> u32 {
        self.get().load(O::SUCCESS)
    }

    pub fn store<O: Order>(&self, v: u32, _: O) {
        self.get().store(v, O::SUCCESS)
    }

    pub fn cmpxchg<O: Order>(&self, old: u32, new: u32, _: O) -> Result<u32, u32> {
        self.get()
            .compare_exchange(old, new, O::SUCCESS, Ordering::Relaxed)
    }
}

/// A batch of two is a large one.
pub const PART: u64 = 1;

/// A plain value. loom complains about unordered accesses, the ghost about accesses to a waiter
/// that is gone.
pub struct Shared<T>(T, OnceCell<loom::cell::UnsafeCell<T>>);

impl<T: Copy> Shared<T> {
    pub const fn new(value: T) -> Self {
        Self(value, OnceCell::new())
    }

    fn cell(&self) -> &loom::cell::UnsafeCell<T> {
        let address = std::ptr::from_ref(self) as usize;
        if self.1.get().is_none() {
            ghost::born(address);
        }
        ghost::touch(address);
        self.1.get_or_init(|| loom::cell::UnsafeCell::new(self.0))
    }

    /// # Safety
    ///
    /// Nobody may write at the same time.
    pub unsafe fn get(&self) -> T {
        // SAFETY: By the contract of this function, which loom checks.
        self.cell().with(|p| unsafe { *p })
    }

    /// # Safety
    ///
    /// Nobody may read or write at the same time.
    pub unsafe fn set(&self, value: T) {
        // SAFETY: By the contract of this function, which loom checks.
        self.cell().with_mut(|p| unsafe { *p = value })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.1.get().is_some() {
            ghost::died(std::ptr::from_ref(self) as usize);
        }
    }
}

/// The inner lock.
pub struct Inner(OnceCell<loom::sync::Mutex<()>>);

impl Inner {
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }

    pub fn lock(&self) -> InnerGuard<'_> {
        let lock = self.0.get_or_init(|| loom::sync::Mutex::new(()));
        InnerGuard(lock.lock().unwrap())
    }
}

pub struct InnerGuard<'a>(loom::sync::MutexGuard<'a, ()>);

impl Drop for InnerGuard<'_> {
    fn drop(&mut self) {
        ghost::inner_unlock();
    }
}

/// Always the same: what it advises must not matter for what the model checks.
pub struct Hint;

impl Hint {
    pub const fn new() -> Self {
        Self
    }

    pub fn get(&self) -> u32 {
        0
    }

    pub fn set(&self, _: u32) {}
}

pub struct NoPreempt(());

impl NoPreempt {
    pub fn new() -> Self {
        Self(())
    }
}

/// Nothing can come of going on before another task has done something.
pub fn relax() {
    loom::thread::yield_now();
}

/// A wait with a script: what [`Wait::park`] reports before it really sleeps.
///
/// An event that is reported at once stands for the same event at any later time: between the
/// call and what the lock makes of it, loom lets the other tasks do all that they can.
pub struct Wait {
    grace_over: bool,
    spins: u32,
    script: &'static [Woken],
    /// Nothing of the script happens before.
    when: fn() -> bool,
}

impl Wait {
    pub fn new(grace_over: bool, spins: u32, script: &'static [Woken]) -> Self {
        Self {
            grace_over,
            spins,
            script,
            when: || true,
        }
    }

    pub fn when(self, when: fn() -> bool) -> Self {
        Self { when, ..self }
    }

    pub fn since(&self) -> u64 {
        0
    }

    pub fn grace_over(&mut self) -> bool {
        self.grace_over
    }

    pub fn may_spin(&self) -> bool {
        self.spins > 0
    }

    pub fn spin(&mut self) -> bool {
        if self.spins == 0 {
            return false;
        }
        self.spins -= 1;
        true
    }

    pub fn spin_again(&mut self, _long: bool) {}

    pub fn warn_long_wait<T>(&self, _: State, _: &T) {}

    pub fn only_grant(&mut self) {
        self.script = &[];
    }

    pub fn park(&mut self, parker: &Parker) -> Woken {
        if let Some((first, rest)) = self.script.split_first() {
            if !ghost::watch(self.when, || parker.0.run.load(Ordering::Acquire) != ASLEEP) {
                return Woken::Perhaps;
            }
            self.script = rest;
            parker.finish();
            if matches!(first, Woken::Stop(_)) {
                ghost::quit();
            }
            return *first;
        }
        while parker.0.run.load(Ordering::Acquire) == ASLEEP {
            loom::thread::park();
        }
        Woken::Perhaps
    }
}

const RUNNING: u32 = 0;
const ASLEEP: u32 = 1;

/// A task as the scheduler sees it: a wake-up before `prepare` is lost, one after it is not.
struct Task {
    run: AtomicU32,
    thread: loom::thread::Thread,
}

/// The task is leaked: in the kernel its reference count orders its end, which is not what is being
/// checked here.
pub struct Parker(&'static Task, OnceCell<()>);

impl Parker {
    pub fn new() -> Self {
        let task = Task {
            run: AtomicU32::new(RUNNING),
            thread: loom::thread::current(),
        };
        Self(Box::leak(Box::new(task)), OnceCell::new())
    }

    fn touch(&self) {
        let address = std::ptr::from_ref(self) as usize;
        self.1.get_or_init(|| ghost::born(address));
        ghost::touch(address);
    }

    pub fn prepare(&self, _how: &Wait) {
        self.touch();
        let address = std::ptr::from_ref(self) as usize;
        TASKS.with(|t| t.borrow_mut().insert(address, self.0));
        self.0.run.swap(ASLEEP, Ordering::AcqRel);
    }

    pub fn finish(&self) {
        self.0.run.store(RUNNING, Ordering::Relaxed);
    }

    /// # Safety
    ///
    /// The task must be waiting, and `self` be alive.
    pub unsafe fn waker(&self) -> Waker {
        // The other task may run now, as it may between any two instructions; loom needs something
        // that both access, and that is there even if `self` should not be.
        let address = std::ptr::from_ref(self) as usize;
        let task = TASKS.with(|t| t.borrow().get(&address).copied());
        if let Some(task) = task {
            task.run.load(Ordering::Relaxed);
        }
        self.touch();
        Waker(self.0)
    }
}

thread_local! {
    /// The tasks that have prepared to sleep, by the address of their parker.
    static TASKS: RefCell<HashMap<usize, &'static Task>> = RefCell::default();
}

impl Drop for Parker {
    fn drop(&mut self) {
        let address = std::ptr::from_ref(self) as usize;
        ghost::died(address);
    }
}

/// Forgets the previous execution.
pub fn reset() {
    TASKS.with(|t| t.borrow_mut().clear());
}

pub struct Waker(&'static Task);

impl Waker {
    pub fn wake(self) {
        if self.0.run.swap(RUNNING, Ordering::AcqRel) == ASLEEP {
            self.0.thread.unpark();
        }
    }
}

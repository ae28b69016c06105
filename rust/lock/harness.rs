// SPDX-License-Identifier: GPL-2.0

//! What tests of the lock in a module of their own are made of: threads, time, `torture.c`, and a report.

use kernel::{
    bindings,
    ffi::{c_char, c_int, c_void},
    fmt,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
    time::{delay::fsleep, Delta},
};

/// Most threads that a run has.
pub(crate) const MAX_THREADS: usize = 32;

pub(crate) mod torture {
    //! `lock/torture.c`.

    use super::*;

    pub(crate) const RWSEM: c_int = 1;
    pub(crate) const PERCPU: c_int = 2;
    pub(crate) const UNFAIR: c_int = 3;

    #[repr(C)]
    pub(crate) struct Other([u8; 0]);

    #[allow(improper_ctypes)]
    extern "C" {
        pub(crate) fn lock_torture_mode() -> *const c_char;
        pub(crate) fn lock_torture_spawn(
            body: unsafe extern "C" fn(*mut c_void) -> c_int,
            data: *mut c_void,
            cpu: c_int,
        ) -> *mut bindings::task_struct;
        pub(crate) fn lock_torture_join(task: *mut bindings::task_struct);
        pub(crate) fn lock_torture_park();
        pub(crate) fn lock_torture_allow_kill();
        pub(crate) fn lock_torture_kill(task: *mut bindings::task_struct);
        pub(crate) fn lock_torture_unkill();
        pub(crate) fn lock_torture_resched();
        pub(crate) fn lock_torture_cpus() -> u32;
        pub(crate) fn lock_torture_spin(ns: u64);
        pub(crate) fn lock_torture_in_hardirq() -> bool;
        pub(crate) fn lock_torture_hardirq(f: unsafe extern "C" fn(*mut c_void), data: *mut c_void);
        pub(crate) fn lock_torture_mutex(lock: bool);
        pub(crate) fn lock_torture_mmap(lock: bool);
        pub(crate) fn lock_torture_inode(lock: bool);
        pub(crate) fn lock_torture_inode_shared(lock: bool);
        pub(crate) fn lock_torture_invalidate(lock: bool);
        pub(crate) fn lock_torture_invalidate_shared(lock: bool);
        pub(crate) fn lock_torture_open() -> bool;
        pub(crate) fn lock_torture_close();
        pub(crate) fn lock_torture_copy() -> c_int;
        pub(crate) fn lock_torture_pin() -> c_int;
        pub(crate) fn lock_torture_reclaim(lock: bool);
        pub(crate) fn lock_torture_alloc();
        pub(crate) fn lock_torture_other_new() -> *mut Other;
        pub(crate) fn lock_torture_other_free(other: *mut Other);
        pub(crate) fn lock_torture_other_lock(
            other: *mut Other,
            kind: c_int,
            block: bool,
            timeout: u64,
        ) -> bool;
        pub(crate) fn lock_torture_other_unlock(other: *mut Other, kind: c_int, block: bool);
        pub(crate) fn lock_torture_other_size(kind: c_int) -> usize;
        pub(crate) fn lock_torture_other_loop(
            other: *mut Other,
            kind: c_int,
            block: bool,
            hold: u64,
            n: u32,
        ) -> u64;
    }
}

pub(crate) fn now() -> u64 {
    // SAFETY: Always safe to call.
    unsafe { bindings::ktime_get() as u64 }
}

pub(crate) fn resched() {
    // SAFETY: Called where sleeping is allowed.
    unsafe { torture::lock_torture_resched() }
}

/// Busy for so many nanoseconds.
pub(crate) fn spin(ns: u64) {
    // SAFETY: Always safe to call.
    unsafe { torture::lock_torture_spin(ns) }
}

pub(crate) fn sleep_us(us: u64) {
    fsleep(Delta::from_micros(us as i64));
}

/// What a thread runs, with its number.
pub(crate) type Body<'a> = &'a (dyn Fn(usize) + Sync);

struct Job<'a> {
    body: Body<'a>,
    index: usize,
    done: Atomic<u32>,
}

/// A kernel thread that is joined when dropped.
pub(crate) struct Thread<'a> {
    task: *mut bindings::task_struct,
    job: KBox<Job<'a>>,
}

impl<'a> Thread<'a> {
    pub(crate) fn spawn(body: Body<'a>, index: usize, cpu: Option<u32>) -> Result<Self> {
        let job = KBox::new(
            Job {
                body,
                index,
                done: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let data = (&raw const *job).cast_mut().cast();
        let cpu = cpu.map_or(-1, |c| c as c_int);
        // SAFETY: `run` gets the job, which lives until the thread has been joined.
        let task = unsafe { torture::lock_torture_spawn(run, data, cpu) };
        if task.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self { task, job })
    }

    pub(crate) fn kill(&self) {
        // SAFETY: `self` holds a reference to the task.
        unsafe { torture::lock_torture_kill(self.task) }
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        // A thread that is stopped before it began would not run at all.
        while self.job.done.load(Acquire) == 0 {
            sleep_us(200);
        }
        // SAFETY: The task was spawned by `spawn` and is joined once.
        unsafe { torture::lock_torture_join(self.task) }
    }
}

/// # Safety
///
/// `data` must be a `Job` that lives until the thread has been joined.
unsafe extern "C" fn run(data: *mut c_void) -> c_int {
    // SAFETY: `data` is the job of this thread, which lives until the thread is joined.
    let job = unsafe { &*data.cast::<Job<'_>>() };
    (job.body)(job.index);
    job.done.store(1, Release);
    // SAFETY: In a kernel thread, called once.
    unsafe { torture::lock_torture_park() };
    0
}

/// Runs `n` threads until all are done; `meanwhile` runs in the caller.
pub(crate) fn with_threads(
    n: usize,
    bind: bool,
    body: Body<'_>,
    meanwhile: impl FnOnce(&[Thread<'_>]),
) -> Result {
    // SAFETY: Always safe to call.
    let cpus = unsafe { torture::lock_torture_cpus() };
    let mut threads = KVec::with_capacity(n, GFP_KERNEL)?;
    for i in 0..n {
        let cpu = bind.then(|| (i as u32).checked_rem(cpus).unwrap_or(0));
        threads.push(Thread::spawn(body, i, cpu)?, GFP_KERNEL)?;
    }
    meanwhile(&threads);
    Ok(())
}

/// A run of a mode: what it was told, and its results.
pub(crate) struct Report {
    /// Number of threads.
    pub(crate) threads: usize,
    /// How long it takes; for measurements, how long each point takes.
    pub(crate) ns: u64,
    /// How often each point of `bench` is measured.
    pub(crate) rounds: usize,
    pub(crate) failures: Atomic<u32>,
}

impl Report {
    pub(crate) fn fail(&self, why: fmt::Arguments<'_>) {
        if self.failures.fetch_add(1, Relaxed) < 10 {
            pr_err!("FAILED: {}\n", why);
        }
    }

    pub(crate) fn result(&self, what: fmt::Arguments<'_>) -> Result {
        match self.failures.load(Relaxed) {
            0 => {
                pr_info!("PASS {}\n", what);
                Ok(())
            }
            n => {
                pr_err!("FAIL {}: {} failures\n", what, n);
                Err(EINVAL)
            }
        }
    }
}

macro_rules! check {
    ($report:expr, $cond:expr, $($why:tt)*) => {
        if !$cond {
            $report.fail(fmt!($($why)*));
        }
    };
}
pub(crate) use check;

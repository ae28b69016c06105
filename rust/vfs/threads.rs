// SPDX-License-Identifier: GPL-2.0

//! Kernel threads for tests.
//!
//! C header: `include/linux/kthread.h`.

use core::ptr;
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{c_int, c_void},
    prelude::*,
    time::{delay::fsleep, Delta},
};

/// What a thread runs, with its number.
type Body<'a> = &'a (dyn Fn(usize) + Sync);

/// What a thread gets.
struct Job<'a> {
    body: Body<'a>,
    index: usize,
}

/// # Safety
///
/// `data` must point to a [`Job`] that stays until the current thread is stopped.
unsafe extern "C" fn entry(data: *mut c_void) -> c_int {
    // SAFETY: By the caller's promise.
    let job = unsafe { &*data.cast::<Job<'_>>() };
    (job.body)(job.index);
    // SAFETY: A kernel thread.
    while !unsafe { bindings::kthread_should_stop() } {
        fsleep(Delta::from_millis(1));
    }
    0
}

/// A thread that is waited for when this is dropped.
struct Thread(*mut bindings::task_struct);

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: Ours, and not stopped before. It is there until it is stopped.
        unsafe { bindings::kthread_stop(self.0) };
    }
}

/// Runs `body` in `count` threads, and `during` beside them, which must make them come to their end. When this returns all
/// have.
pub(crate) fn with_threads<R>(
    count: usize,
    body: &(dyn Fn(usize) + Sync),
    during: impl FnOnce() -> R,
) -> Result<R> {
    let mut jobs = KVec::with_capacity(count, GFP_KERNEL)?;
    for index in 0..count {
        jobs.push(Job { body, index }, GFP_KERNEL)?;
    }
    // Stopped before the jobs go, in whatever way this returns.
    let mut threads = KVec::with_capacity(count, GFP_KERNEL)?;
    for job in &jobs {
        // SAFETY: The job is not moved until the thread is stopped, which does not end before. The format takes no
        // arguments.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(entry),
                ptr::from_ref(job).cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"vfs_test".as_char_ptr(),
            )
        })?;
        threads.push(Thread(task), GFP_KERNEL)?;
    }
    for thread in &threads {
        // SAFETY: Created above.
        unsafe { bindings::wake_up_process(thread.0) };
    }
    Ok(during())
}

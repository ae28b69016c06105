// SPDX-License-Identifier: GPL-2.0

//! The functions of `helpers.c`.

use kernel::{bindings, ffi::c_void};

// Without lockdep, `struct lock_class_key` is empty, which C has as an extension only; a pointer to it
// is a pointer all the same.
#[allow(improper_ctypes)]
extern "C" {
    pub(super) fn two_state_lock_inner_init(
        lock: *mut bindings::raw_spinlock_t,
        key: *mut bindings::lock_class_key,
    );
    pub(super) fn two_state_lock_inner_lock(lock: *mut bindings::raw_spinlock_t) -> usize;
    pub(super) fn two_state_lock_inner_unlock(lock: *mut bindings::raw_spinlock_t, flags: usize);
    pub(super) fn two_state_lock_preempt_disable();
    pub(super) fn two_state_lock_preempt_enable();
    pub(super) fn two_state_lock_may_spin() -> bool;
    pub(super) fn two_state_lock_spin(until: u64) -> bool;
    pub(super) fn two_state_lock_killed() -> bool;
    pub(super) fn two_state_lock_prepare(killable: bool);
    pub(super) fn two_state_lock_finish();
    pub(super) fn two_state_lock_sleep(until: u64) -> bool;
    pub(super) fn two_state_lock_contention_begin(lock: *const c_void, block: bool);
    pub(super) fn two_state_lock_contention_end(lock: *const c_void, ret: i32);
}

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
extern "C" {
    pub(super) fn two_state_lock_map_init(
        map: *mut bindings::lockdep_map,
        name: *const kernel::ffi::c_char,
        key: *mut bindings::lock_class_key,
    );
    pub(super) fn two_state_lock_map_acquire(
        map: *mut bindings::lockdep_map,
        subclass: u32,
        try_: bool,
    );
    pub(super) fn two_state_lock_map_release(map: *mut bindings::lockdep_map);
    pub(super) fn two_state_lock_map_contended(map: *mut bindings::lockdep_map);
    pub(super) fn two_state_lock_map_acquired(map: *mut bindings::lockdep_map);
    pub(super) fn two_state_lock_map_assert_held(map: *mut bindings::lockdep_map);
    pub(super) fn two_state_lock_map_in_fault(map: *mut bindings::lockdep_map);
}

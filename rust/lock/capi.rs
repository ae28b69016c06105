// SPDX-License-Identifier: GPL-2.0

//! The lock for modules in C: what `two_state_shared_lock.ko` exports.
//!
//! A guard is a value, which C does not have: here a hold is forgotten as soon as it was taken, and made up again by the
//! function that ends it. That the caller has one is its word, as with every lock in C.
//!
//! C header: `rust/include/linux/two_state_shared_lock.h`

use super::{Guard, RawHold, State, TwoStateSharedLock};
use core::{
    mem::{align_of, forget, offset_of, size_of},
    ptr, //
};
use kernel::{
    bindings,
    ffi::{c_char, c_int, c_uint},
    prelude::*,
    sync::LockClassKey,
    time::Delta,
};

/// `struct two_state_shared_lock`, field by field.
#[repr(C)]
pub(crate) struct CLock {
    word: u64,
    queue: [*const u8; 2],
    inner: bindings::raw_spinlock_t,
    futile_spins: u32,
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    dep_map: bindings::lockdep_map,
}

// What C initialises in a `static`, and gives us the address of, is a lock of ours.
const _: () = {
    use super::core::Raw;
    assert!(size_of::<CLock>() == size_of::<TwoStateSharedLock>());
    assert!(align_of::<CLock>() == align_of::<TwoStateSharedLock>());
    assert!(offset_of!(TwoStateSharedLock, raw) == 0);
    assert!(offset_of!(Raw, word) == offset_of!(CLock, word));
    assert!(offset_of!(Raw, queue) == offset_of!(CLock, queue));
    assert!(offset_of!(Raw, inner) == offset_of!(CLock, inner));
    assert!(offset_of!(Raw, futile_spins) == offset_of!(CLock, futile_spins));
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    assert!(offset_of!(TwoStateSharedLock, dep_map) == offset_of!(CLock, dep_map));
};

extern "C" {
    /// What C says that the size is, and where the last field is.
    fn two_state_lock_layout(size: *mut usize, last: *mut usize);
}

/// Whether both languages mean the same by the lock. One call is enough, when the module is loaded.
pub(crate) fn layout_agrees() -> bool {
    let (mut size, mut last) = (0, 0);
    // SAFETY: Writes the two numbers.
    unsafe { two_state_lock_layout(&mut size, &mut last) };
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    let ours = offset_of!(CLock, dep_map);
    #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
    let ours = offset_of!(CLock, futile_spins);
    (size, last) == (size_of::<CLock>(), ours)
}

/// What C calls the state.
fn state(c: c_uint) -> State {
    // Anything else than the two would be a cast of the caller's.
    kernel::warn_on!(c > 1);
    if c == 0 {
        State::Add
    } else {
        State::Block
    }
}

/// # Safety
///
/// `lock` must be initialised, and live for `'a`.
unsafe fn of<'a>(lock: *mut CLock) -> &'a TwoStateSharedLock {
    // SAFETY: By the contract of this function; the layouts agree, see above.
    unsafe { &*lock.cast() }
}

/// # Safety
///
/// `lock` must be writable, pinned, and used by nobody; `name` and `key` must live for ever.
#[no_mangle]
unsafe extern "C" fn __two_state_lock_init(
    lock: *mut CLock,
    name: *const c_char,
    key: *mut bindings::lock_class_key,
) {
    // SAFETY: By the contract of this function. `LockClassKey` wraps the C structure, transparently.
    let (name, key) = unsafe {
        let key = Pin::new_unchecked(&*key.cast::<LockClassKey>());
        (CStr::from_char_ptr(name), key)
    };
    let init = TwoStateSharedLock::new(name, key);
    // SAFETY: As above. It cannot fail.
    let _ = unsafe { init.__init(lock.cast()) };
}

/// # Safety
///
/// `lock` must be initialised, and is not used any more.
#[no_mangle]
unsafe extern "C" fn two_state_lock_destroy(lock: *mut CLock) {
    // SAFETY: By the contract of this function.
    unsafe { ptr::drop_in_place(lock.cast::<TwoStateSharedLock>()) }
}

/// # Safety
///
/// `lock` must be initialised; as for all that follow.
#[no_mangle]
unsafe extern "C" fn two_state_lock(lock: *mut CLock, s: c_uint) {
    // SAFETY: By the contract of this function.
    forget(unsafe { of(lock) }.lock(state(s)))
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_lock_nested(lock: *mut CLock, s: c_uint, subclass: c_uint) {
    // SAFETY: By the contract of this function.
    forget(unsafe { of(lock) }.lock_nested(state(s), subclass))
}

/// What C makes of it. The hold, if there is one, is the caller's.
fn forgotten(result: Result<Guard<'_>>) -> c_int {
    match result {
        Ok(guard) => {
            forget(guard);
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_lock_killable(lock: *mut CLock, s: c_uint) -> c_int {
    // SAFETY: By the contract of this function.
    forgotten(unsafe { of(lock) }.lock_killable(state(s)))
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_lock_killable_nested(
    lock: *mut CLock,
    s: c_uint,
    subclass: c_uint,
) -> c_int {
    // SAFETY: By the contract of this function.
    forgotten(unsafe { of(lock) }.lock_killable_nested(state(s), subclass))
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_lock_timeout(lock: *mut CLock, s: c_uint, ns: u64) -> c_int {
    let ns = i64::try_from(ns).unwrap_or(i64::MAX);
    // SAFETY: By the contract of this function.
    forgotten(unsafe { of(lock) }.lock_timeout(state(s), Delta::from_nanos(ns)))
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_trylock(lock: *mut CLock, s: c_uint) -> bool {
    // SAFETY: By the contract of this function.
    let guard = unsafe { of(lock) }.try_lock(state(s));
    let held = guard.is_some();
    forget(guard);
    held
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_might_lock(lock: *mut CLock) {
    // SAFETY: By the contract of this function.
    unsafe { of(lock) }.might_lock()
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_taken_in_faults(lock: *mut CLock) {
    // SAFETY: By the contract of this function.
    unsafe { of(lock) }.taken_in_faults()
}

/// # Safety
///
/// See [`two_state_lock`]; the task holds the lock in `s`, and this hold ends here.
#[no_mangle]
unsafe extern "C" fn two_state_unlock(lock: *mut CLock, s: c_uint) {
    // SAFETY: By the contract of this function.
    unsafe { of(lock).release_forgotten(state(s)) }
}

/// # Safety
///
/// See [`two_state_lock`]; the task took the lock in `s`. Nothing but lockdep's map of the lock and the hint about
/// spinning is touched.
#[no_mangle]
unsafe extern "C" fn two_state_lock_hand_off(lock: *mut CLock, s: c_uint) {
    // SAFETY: By the contract of this function.
    // INVARIANT: The caller's hold.
    let guard = Guard::new(unsafe { of(lock) }, state(s));
    forget(guard.hand_off());
}

/// # Safety
///
/// See [`two_state_lock`]; the lock is held in `s` by whoever calls.
#[no_mangle]
unsafe extern "C" fn two_state_lock_take_over(lock: *mut CLock, s: c_uint) {
    let hold = RawHold::new(lock.cast(), state(s));
    // SAFETY: By the contract of this function.
    forget(unsafe { hold.into_handed_off() }.take());
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_assert_held(lock: *mut CLock, s: c_uint) {
    // SAFETY: By the contract of this function.
    unsafe { of(lock) }.assert_held(state(s))
}

/// # Safety
///
/// See [`two_state_lock`].
#[no_mangle]
unsafe extern "C" fn two_state_is_contended(lock: *mut CLock) -> bool {
    // SAFETY: By the contract of this function.
    unsafe { of(lock) }.is_contended()
}

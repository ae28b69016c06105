// SPDX-License-Identifier: GPL-2.0

//! Lockdep's map of a lock.

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use super::ffi;
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use kernel::{bindings, types::Opaque};
use kernel::{prelude::*, sync::LockClassKey};

/// What lockdep knows of a lock. Nothing and of no size when lockdep is off.
pub(super) struct DepMap {
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    map: Opaque<bindings::lockdep_map>,
}

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
impl DepMap {
    /// The map of a lock in a `static`, whose address is its class.
    pub(super) const fn spec(name: &'static CStr, wait_type: u8) -> bindings::lockdep_map {
        bindings::lockdep_map {
            name: name.to_bytes_with_nul().as_ptr(),
            wait_type_inner: wait_type,
            // SAFETY: A map that is all zero is valid.
            ..unsafe { ::core::mem::zeroed() }
        }
    }

    pub(super) const fn new_static(name: &'static CStr) -> Self {
        const SLEEP: u8 = bindings::lockdep_wait_type_LD_WAIT_SLEEP as u8;
        Self {
            map: Opaque::new(Self::spec(name, SLEEP)),
        }
    }

    pub(super) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
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
    pub(super) fn acquire(&self, subclass: u32, try_: bool) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_acquire(self.map.get(), subclass, try_) }
    }

    #[inline]
    pub(super) fn release(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_release(self.map.get()) }
    }

    #[inline]
    pub(super) fn contended(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_contended(self.map.get()) }
    }

    #[inline]
    pub(super) fn acquired(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_acquired(self.map.get()) }
    }

    #[inline]
    pub(super) fn assert_held(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_assert_held(self.map.get()) }
    }

    pub(super) fn taken_in_faults(&self) {
        // SAFETY: The map was initialised by `new`.
        unsafe { ffi::two_state_lock_map_in_fault(self.map.get()) }
    }
}

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
impl DepMap {
    pub(super) const fn new_static(_name: &'static CStr) -> Self {
        Self {}
    }

    pub(super) fn new(
        _name: &'static CStr,
        _key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        Self {}
    }

    #[inline(always)]
    pub(super) fn acquire(&self, _subclass: u32, _try: bool) {}
    #[inline(always)]
    pub(super) fn release(&self) {}
    #[inline(always)]
    pub(super) fn contended(&self) {}
    #[inline(always)]
    pub(super) fn acquired(&self) {}
    #[inline(always)]
    pub(super) fn assert_held(&self) {}
    pub(super) fn taken_in_faults(&self) {}
}

// SPDX-License-Identifier: GPL-2.0

//! The marker for modules in C: what `faults_disabled_mapping.ko` exports.
//!
//! C has no closures, so what [`with()`](super::with) does before and after calling one are two functions here, and the
//! marker is in a structure of the caller's.
//!
//! C header: `rust/include/linux/faults_disabled_mapping.h`

use super::{
    active::{
        Active,
        MappingId,
        Verdict, //
    },
    table::{
        Line,
        Mark, //
    },
    MARKERS,
};
use core::{
    mem::{
        align_of,
        size_of, //
    },
    ptr,
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
};

/// What is in a `struct faults_disabled_mapping`.
struct Marker {
    active: Active,
    mark: Mark<'static>,
}

/// `struct faults_disabled_mapping`.
#[repr(C)]
pub(crate) struct CMarker {
    opaque: [u64; 12],
}

const _: () = assert!(
    size_of::<Marker>() <= size_of::<CMarker>() && align_of::<Marker>() <= align_of::<CMarker>()
);

/// # Safety
///
/// `marker` must be writable, and used by nobody. If 0 is returned it must stay where it is until
/// [`faults_disabled_end`].
#[no_mangle]
unsafe extern "C" fn faults_disabled_begin(
    marker: *mut CMarker,
    mapping: *const bindings::address_space,
    first: c_ulong,
    last: c_ulong,
) -> c_int {
    let mark = match MARKERS.enter(Line::alloc) {
        Ok(mark) => mark,
        Err(e) => return e.to_errno(),
    };
    let pages = first as u64..=last as u64;
    let active = Active::new(MappingId::of(mapping), pages, mark.slot().top());
    let marker = marker.cast::<Marker>();
    // SAFETY: By the contract of this function; it is large enough, see above.
    let marker = unsafe {
        ptr::write(marker, Marker { active, mark });
        &*marker
    };
    // INVARIANT: Popped by `faults_disabled_end`, which the caller has to call first.
    marker.mark.slot().push(&marker.active);
    0
}

/// # Safety
///
/// `marker` must have been set by [`faults_disabled_begin`], and not have been removed.
#[no_mangle]
unsafe extern "C" fn faults_disabled_end(marker: *mut CMarker) {
    let marker = marker.cast::<Marker>();
    // SAFETY: By the contract of this function.
    let Marker { active, mark } = unsafe { &*marker };
    if kernel::warn_on!(!mark.slot().is_innermost(active)) {
        return;
    }
    mark.slot().pop(active);
    // SAFETY: By the contract of this function; nobody finds it any more.
    unsafe { ptr::drop_in_place(marker) };
}

/// # Safety
///
/// None: `mapping` is compared, and not followed.
#[no_mangle]
unsafe extern "C" fn faults_disabled_check(
    mapping: *const bindings::address_space,
    index: c_ulong,
) -> c_uint {
    match super::check(MappingId::of(mapping), index as u64) {
        Verdict::Serve => 0,
        Verdict::Disjoint => 1,
        Verdict::Refuse => 2,
        Verdict::Bug => 3,
    }
}

/// # Safety
///
/// `marker` must be set, by the current task.
#[no_mangle]
unsafe extern "C" fn faults_disabled_refused(marker: *const CMarker) -> c_uint {
    // SAFETY: By the contract of this function.
    unsafe { &*marker.cast::<Marker>() }.active.refusals()
}

/// # Safety
///
/// `marker` must be set, by the current task.
#[no_mangle]
unsafe extern "C" fn faults_disabled_set_blocking(marker: *const CMarker, blocking: bool) {
    // SAFETY: By the contract of this function.
    unsafe { &*marker.cast::<Marker>() }
        .active
        .set_blocking(blocking)
}

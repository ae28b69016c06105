// SPDX-License-Identifier: GPL-2.0

//! The memory of I/O requests.
//!
//! `kernel::iov` copies to or from such memory. It cannot limit it, go back in it, look whether it is there, pin it, or say
//! whose pages it is, and it is of one direction, where direct I/O is of both.
//!
//! C header: `include/linux/uio.h`.

use super::types::Brand;
use crate::bindings;
use core::{marker::PhantomData, mem};

/// The memory of an I/O request: a `struct iov_iter`.
///
/// The lifetime is that of this one iterator: no two that a file system sees at a time have the same.
pub(crate) struct IovIter<'a> {
    pub(super) raw: &'a mut bindings::iov_iter,
    _brand: PhantomData<Brand<'a>>,
}

/// A remembered state of the [`IovIter`] with the same lifetime.
pub(crate) struct IterState<'a> {
    iter: bindings::iov_iter,
    _brand: PhantomData<Brand<'a>>,
}

impl<'a> IovIter<'a> {
    /// The value must be the only one with its lifetime.
    pub(super) fn new(raw: &'a mut bindings::iov_iter) -> Self {
        IovIter {
            raw,
            _brand: PhantomData,
        }
    }

    pub(super) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        self.raw
    }

    /// Bytes left.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: Valid iterator; whatever its kind, the count is there.
        unsafe { self.raw.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the memory is read from: the request is a write.
    pub(super) fn is_source(&self) -> bool {
        self.raw.data_source
    }

    /// Whether the memory is a user's, so that touching it may fault.
    pub(crate) fn is_user_backed(&self) -> bool {
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_user_backed_iter(self.raw) }
    }

    /// Runs `f` with page faults on the memory refused: what is not there when it is pinned ends the
    /// iterator early.
    pub(crate) fn without_faults<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = mem::replace(&mut self.raw.nofault, true);
        let ret = f(self);
        self.raw.nofault = before;
        ret
    }

    /// Whether the memory is an array of pages (`ITER_BVEC`).
    pub(crate) fn is_bvec(&self) -> bool {
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_iov_iter_is_bvec(self.raw) }
    }

    /// Remembers where the iterator is.
    pub(crate) fn save(&self) -> IterState<'a> {
        IterState {
            // SAFETY: Plain data; the copy is only ever assigned back.
            iter: unsafe { core::ptr::read(self.raw) },
            _brand: PhantomData,
        }
    }

    /// Returns to where the iterator was.
    pub(crate) fn restore(&mut self, state: &IterState<'a>) {
        let nofault = self.raw.nofault;
        // SAFETY: Plain data, of this iterator: there is no other with this lifetime. So the memory is the
        // same, and it is there.
        *self.raw = unsafe { core::ptr::read(&state.iter) };
        self.raw.nofault = nofault;
    }

    /// Moves on by `bytes`, at most to the end.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len());
        // SAFETY: Valid iterator, and not beyond its end.
        unsafe { bindings::iov_iter_advance(self.raw, bytes) }
    }

    /// Runs `f` on an iterator over no more than the next `max` bytes; moves on as far as that one has.
    pub(crate) fn limited<R>(&mut self, max: usize, f: impl FnOnce(&mut IovIter<'_>) -> R) -> R {
        let len = self.len().min(max);
        let rest = self.len() - len;
        // SAFETY: Plain data; refers to what `self` refers to, which cannot be used meanwhile.
        let mut part = unsafe { core::ptr::read(self.raw) };
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_iov_iter_truncate(&mut part, len as u64) };
        let mut part = IovIter::new(&mut part);
        let ret = f(&mut part);
        let left = part.len() + rest;
        // Not by moving on as far: that looks at the description of the memory (the array of a bvec, say), which
        // is gone when the request that `f` has submitted is in flight, and complete by now.
        // SAFETY: Plain data, whose copy is not used any more; what was cut off is still there.
        unsafe {
            *self.raw = core::ptr::read(part.raw);
            bindings::vfs_iov_iter_reexpand(self.raw, left);
        }
        ret
    }
}

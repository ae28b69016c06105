// SPDX-License-Identifier: GPL-2.0

//! Folios of a file's page cache that are to be read.
//!
//! C headers: `include/linux/pagemap.h`, `include/linux/iomap.h`.

use super::{
    inode::Inode,
    lockdep::FolioLocked,
    types::{CTables, Types},
};
use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, ops::RangeInclusive, ptr};

/// What [`MappingOps::read_folio`](super::MappingOps::read_folio) has done.
pub(crate) enum ReadFolio {
    /// Submitted the read, and the folio is unlocked when it completes; or found the folio read by
    /// somebody else, and unlocked it.
    Submitted,
    /// Unlocked the folio without reading: the caller is to look it up again
    /// (`AOP_TRUNCATED_PAGE`).
    Retry,
}

/// A folio that this task has locked, and will unlock or start reading.
pub(crate) struct LockedFolio<'a, T>(*mut bindings::folio, FolioLocked, PhantomData<&'a T>);

impl<T: CTables> LockedFolio<'_, T> {
    /// Starts reading the folio, which is unlocked when the read completes.
    pub(crate) fn submit_read(self) -> ReadFolio {
        let this = ManuallyDrop::new(self);
        // SAFETY: Locked and not uptodate, as the function expects.
        unsafe { bindings::vfs_iomap_bio_read_folio(this.0, T::IOMAP_OPS) }
        // SAFETY: Not dropped with `this`, and not used again.
        drop(unsafe { ptr::read(&this.1) });
        ReadFolio::Submitted
    }
}

impl<'a, T> LockedFolio<'a, T> {
    /// # Safety
    ///
    /// The folio must be one of an inode of `T`, be locked by whoever called this task's code, not uptodate, and the
    /// value's to unlock.
    pub(super) unsafe fn from_raw(folio: *mut bindings::folio) -> Self {
        LockedFolio(folio, FolioLocked::found(), PhantomData)
    }

    /// The first page of the folio, as an index into the file.
    pub(crate) fn index(&self) -> u64 {
        // SAFETY: Locked, so valid and in the cache.
        unsafe { bindings::vfs_folio_pos(self.0) as u64 >> bindings::PAGE_SHIFT }
    }

    /// Unlocks the folio and keeps it, in order to wait for something else.
    pub(crate) fn unlock(self) -> UnlockedFolio<'a, T> {
        // SAFETY: Locked, so valid; the reference keeps it so.
        unsafe { bindings::vfs_folio_get(self.0) };
        UnlockedFolio(self.0, PhantomData)
    }
}

/// A folio that [`LockedFolio::unlock`] has unlocked.
pub(crate) struct UnlockedFolio<'a, T>(*mut bindings::folio, PhantomData<&'a T>);

/// What has become of an [`UnlockedFolio`].
pub(crate) enum Relocked<'a, T> {
    /// It is as it was: locked and not uptodate.
    Unread(LockedFolio<'a, T>),
    /// Somebody else has read it.
    Uptodate,
    /// It is no longer in the page cache of its inode.
    Gone,
}

impl<'a, T: Types> UnlockedFolio<'a, T> {
    /// Locks the folio again and looks what has happened to it.
    pub(crate) fn lock(self, inode: &Inode<T>) -> Relocked<'a, T> {
        let locked = FolioLocked::wait();
        // SAFETY: The value holds a reference.
        unsafe { bindings::vfs_folio_lock(self.0) };
        let locked = LockedFolio(self.0, locked, PhantomData);
        // SAFETY: While the folio is locked its mapping is stable.
        unsafe {
            let mapping = (*self.0).__bindgen_anon_1.__bindgen_anon_1.mapping;
            if mapping != inode.raw_mapping() {
                Relocked::Gone
            } else if bindings::vfs_folio_test_uptodate(self.0) {
                Relocked::Uptodate
            } else {
                Relocked::Unread(locked)
            }
        }
    }
}

impl<T> Drop for UnlockedFolio<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The value holds a reference.
        unsafe { bindings::vfs_folio_put(self.0) }
    }
}

impl<T> Drop for LockedFolio<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Locked by this task.
        unsafe { bindings::folio_unlock(self.0) }
    }
}

/// Folios that were put into the cache, locked, to be read ahead.
pub(crate) struct Readahead<'a, T>(*mut bindings::readahead_control, PhantomData<&'a T>);

impl<T> Readahead<'_, T> {
    /// # Safety
    ///
    /// `rac` must be of an inode of `T`, and valid for the life of the value.
    pub(super) unsafe fn from_raw(rac: *mut bindings::readahead_control) -> Self {
        Readahead(rac, PhantomData)
    }
}

impl<T: CTables> Readahead<'_, T> {
    /// The pages, as indices into the file.
    pub(crate) fn pages(&self) -> RangeInclusive<u64> {
        // SAFETY: Valid for the call.
        let (first, n) = unsafe { ((*self.0)._index as u64, u64::from((*self.0)._nr_pages)) };
        first..=first + n.max(1) - 1
    }

    /// Starts reading all of them.
    pub(crate) fn submit(self) {
        // SAFETY: Valid for the call.
        unsafe { bindings::vfs_iomap_bio_readahead(self.0, T::IOMAP_OPS) }
    }
}

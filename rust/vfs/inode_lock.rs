// SPDX-License-Identifier: GPL-2.0

//! The lock of an inode, `i_rwsem`.
//!
//! C header: `include/linux/fs.h`.

use super::{inode::Inode, types::Types};
use crate::bindings;
use core::ops::Deref;
use kernel::{
    error::{to_result, Result},
    types::NotThreadSafe,
};

impl<T: Types> Inode<T> {
    /// Takes `i_rwsem` exclusively; `EINTR` if the task is killed while it waits.
    pub(crate) fn lock(&self) -> Result<InodeLock<'_, T>> {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::vfs_inode_lock_killable(self.as_raw()) })?;
        Ok(InodeLock(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` exclusively if that needs no waiting.
    pub(crate) fn try_lock(&self) -> Option<InodeLock<'_, T>> {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_trylock(self.as_raw()) }
            .then(|| InodeLock(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` shared; `EINTR` if the task is killed while it waits.
    pub(crate) fn lock_shared(&self) -> Result<InodeLockShared<'_, T>> {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::vfs_inode_lock_shared_killable(self.as_raw()) })?;
        Ok(InodeLockShared(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` shared if that needs no waiting.
    pub(crate) fn try_lock_shared(&self) -> Option<InodeLockShared<'_, T>> {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_trylock_shared(self.as_raw()) }
            .then(|| InodeLockShared(self, NotThreadSafe))
    }
}

/// An inode whose `i_rwsem` is held exclusively, or that nobody but its creator sees: what may be done to it then.
///
/// # Invariants
///
/// Who has a reference has the lock, or has what stands for it, for as long as the reference lives.
#[repr(transparent)]
pub(crate) struct LockedInode<T: Types>(Inode<T>);

impl<T: Types> LockedInode<T> {
    /// # Safety
    ///
    /// `ptr` must be an inode of `T` that lives for `'a`. For as long, this task must hold its `i_rwsem` exclusively, or
    /// the inode must be new and its own.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: Transparent, as is `Inode`; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Changes the size in memory.
    pub(crate) fn set_size_field(&self, size: u64) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_size_write(self.as_raw(), size as i64) }
    }

    /// Adds a link.
    pub(crate) fn inc_nlink(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::inc_nlink(self.as_raw()) }
    }

    /// Removes a link.
    pub(crate) fn drop_nlink(&self) {
        // SAFETY: Valid inode with a link, or the VFS warns.
        unsafe { bindings::drop_nlink(self.as_raw()) }
    }

    /// Removes all links.
    pub(crate) fn clear_nlink(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::clear_nlink(self.as_raw()) }
    }

    /// Changes type and permissions.
    pub(crate) fn set_mode(&self, mode: u16) {
        // SAFETY: Valid inode. Who looks at it without the lock finds the one or the other.
        unsafe { core::ptr::write_volatile(core::ptr::addr_of_mut!((*self.as_raw()).i_mode), mode) }
    }

    /// Waits until no direct I/O on the inode is in flight.
    pub(crate) fn dio_wait(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::inode_dio_wait(self.as_raw()) }
    }
}

impl<T: Types> Deref for LockedInode<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.0
    }
}

/// `i_rwsem` held exclusively.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct InodeLock<'a, T: Types>(&'a Inode<T>, NotThreadSafe);

impl<T: Types> Deref for InodeLock<'_, T> {
    type Target = LockedInode<T>;

    fn deref(&self) -> &LockedInode<T> {
        // SAFETY: Held by this task, by construction, until the value is dropped.
        unsafe { LockedInode::from_raw(self.0.as_raw()) }
    }
}

impl<T: Types> Drop for InodeLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task, by construction.
        unsafe { bindings::vfs_inode_unlock(self.0.as_raw()) }
    }
}

/// `i_rwsem` held shared.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct InodeLockShared<'a, T: Types>(&'a Inode<T>, NotThreadSafe);

impl<T: Types> InodeLockShared<'_, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> &Inode<T> {
        self.0
    }
}

impl<T: Types> Drop for InodeLockShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task, by construction.
        unsafe { bindings::vfs_inode_unlock_shared(self.0.as_raw()) }
    }
}

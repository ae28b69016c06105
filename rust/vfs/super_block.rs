// SPDX-License-Identifier: GPL-2.0

//! Super blocks.
//!
//! C header: `include/linux/fs.h`.

use super::{
    block_device::BlockDevice, debugfs::Dir, deferred::Deferred, fs_type::FsStatics, types::Types,
    work_queue::WorkQueue,
};
use crate::bindings;
use core::{marker::PhantomData, ops::Deref};
use kernel::{
    error::{to_result, Result},
    prelude::*,
    str::CStr,
    time::Msecs,
    types::{NotThreadSafe, Opaque},
};

/// Figures of `statfs(2)`, in blocks and inodes.
pub(crate) struct StatFs {
    pub(crate) magic: u32,
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) name_len: u32,
}

/// What `s_fs_info` owns.
pub(super) struct SuperBox<T: Types> {
    /// For what I/O completions leave to be done. The first to be dropped: what it does may need the data.
    pub(super) queue: WorkQueue,
    /// [`SuperOps::deferred`](super::SuperOps::deferred). It was initialised, and is stopped before any of this is dropped.
    pub(super) deferred: Deferred,
    pub(super) data: Pin<KBox<T::Super>>,
}

/// A super block of a mounted file system.
///
/// # Invariants
///
/// `s_fs_info` owns a `KBox<SuperBox<T>>`, from before the first inode until after the last.
#[repr(transparent)]
pub(crate) struct SuperBlock<T: Types>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: What is accessed through a shared reference is either constant for the life of the mount
// or synchronised by the VFS; `T::Super` is `Sync`.
unsafe impl<T: Types> Sync for SuperBlock<T> {}

impl<T: Types> SuperBlock<T> {
    /// # Safety
    ///
    /// `ptr` must be a super block of type `T` that lives for `'a` and satisfies the invariants.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: Transparent; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The per-mount data.
    pub(crate) fn data(&self) -> &T::Super {
        &self.contents().data
    }

    fn contents(&self) -> &SuperBox<T> {
        // SAFETY: By the type invariant.
        unsafe { &*(*self.as_raw()).s_fs_info.cast::<SuperBox<T>>() }
    }

    pub(super) fn work_queue(&self) -> &WorkQueue {
        &self.contents().queue
    }

    /// Has [`SuperOps::deferred`](super::SuperOps::deferred) called `ms` milliseconds from now, or before, if that was asked for.
    pub(crate) fn defer(&self, ms: Msecs) {
        let contents = self.contents();
        // SAFETY: By the type invariants; see `SuperBox`.
        unsafe { contents.deferred.ask(ms) }
    }

    /// The device that the file system is on.
    pub(crate) fn device(&self) -> &BlockDevice {
        // SAFETY: Open for as long as the super block is mounted.
        unsafe { BlockDevice::from_raw((*self.as_raw()).s_bdev) }
    }

    /// Whether the file system is mounted read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: Valid super block.
        unsafe { bindings::vfs_sb_rdonly(self.as_raw()) }
    }

    /// Stops everybody who writes, writes everything, calls `f`, and lets them go on. Not for who holds a lock of the file system, or
    /// writes.
    pub(crate) fn while_frozen(&self, f: impl FnOnce()) -> Result {
        // SAFETY: The device is open.
        to_result(unsafe { bindings::bdev_freeze(self.device().as_raw()) })?;
        f();
        // SAFETY: As above. Nothing has to be done for a thaw, so it does not fail.
        to_result(unsafe { bindings::bdev_thaw(self.device().as_raw()) })
    }

    /// Keeps the mount from being frozen; `None` if it is, or somebody wants it to be.
    ///
    /// Wraps `sb_start_intwrite_trylock()`.
    pub(crate) fn unfrozen(&self) -> Option<Unfrozen<'_, T>> {
        // SAFETY: Valid super block.
        let unfrozen = unsafe { bindings::vfs_sb_start_intwrite_trylock(self.as_raw()) };
        // INVARIANT: Made only if that was so: dropping it ends it.
        unfrozen.then(|| Unfrozen(self, NotThreadSafe))
    }

    /// The name of the device, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: `s_id` is NUL-terminated and constant after mounting.
        unsafe { CStr::from_char_ptr((*self.as_raw()).s_id.as_ptr()) }
    }
}

/// A mount that is not frozen while this is there.
///
/// # Invariants
///
/// Owns what `sb_start_intwrite_trylock()` has got for the current task.
#[must_use = "the mount may be frozen when this is dropped"]
pub(crate) struct Unfrozen<'a, T: Types>(&'a SuperBlock<T>, NotThreadSafe);

impl<T: Types> Drop for Unfrozen<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::vfs_sb_end_intwrite(self.0.as_raw()) }
    }
}

/// A super block whose `s_umount` is held, shared at least.
///
/// # Invariants
///
/// Who has a reference has the lock, for as long as the reference lives.
#[repr(transparent)]
pub(crate) struct LockedSuper<T: Types>(SuperBlock<T>);

impl<T: Types> LockedSuper<T> {
    /// # Safety
    ///
    /// As [`SuperBlock::from_raw`]; for as long, this task must hold `s_umount`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: Transparent, as is `SuperBlock`; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Takes back what [`SuperBlock::defer`] has asked for, and waits if it is being done: it takes no `s_umount`.
    pub(crate) fn undefer(&self) {
        // SAFETY: By the type invariants; see `SuperBox`.
        unsafe { self.contents().deferred.stop() }
    }

    /// Writes everything that is dirty and waits, [`SuperOps::sync_fs`](super::SuperOps::sync_fs) included,
    /// which must not call this.
    ///
    /// Wraps `sync_filesystem()`.
    pub(crate) fn sync_all(&self) -> Result {
        // SAFETY: Valid super block.
        to_result(unsafe { bindings::sync_filesystem(self.as_raw()) })
    }

    /// Writes all dirty inodes and waits.
    ///
    /// Wraps `sync_inodes_sb()`.
    pub(crate) fn sync_inodes(&self) {
        // SAFETY: Valid super block.
        unsafe { bindings::sync_inodes_sb(self.as_raw()) }
    }
}

impl<T: Types> Deref for LockedSuper<T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        &self.0
    }
}

/// What a file system tells the VFS about its geometry.
pub(crate) struct SuperGeometry {
    pub(crate) magic: u32,
    /// Largest file size in bytes.
    pub(crate) max_bytes: u64,
    /// Most links that an inode may have.
    pub(crate) max_links: u32,
    pub(crate) uuid: [u8; 16],
}

/// A super block that is being set up: it has a device and no data yet.
pub(crate) struct PendingSuper<'a, T: Types>(*mut bindings::super_block, PhantomData<&'a T>);

impl<T: Types> PendingSuper<'_, T> {
    /// # Safety
    ///
    /// `ptr` must be a super block of type `T` that `get_tree_bdev()` has opened a device for, and that this task
    /// alone sets up, for the life of the value.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::super_block) -> Self {
        PendingSuper(ptr, PhantomData)
    }

    /// The device.
    pub(crate) fn device(&self) -> &BlockDevice {
        // SAFETY: `get_tree_bdev()` has opened it.
        unsafe { BlockDevice::from_raw((*self.0).s_bdev) }
    }

    /// The name of the device, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: Set by `get_tree_bdev()`, NUL-terminated.
        unsafe { CStr::from_char_ptr((*self.0).s_id.as_ptr()) }
    }

    /// The type's directory in debugfs.
    pub(crate) fn debugfs(&self) -> Option<&Dir> {
        // SAFETY: A super block of `T`; the directory is there while the type is registered.
        unsafe { (*FsStatics::<T>::of(self.0).debugfs.get()).as_ref() }
    }

    /// Whether the mount is read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: Valid super block.
        unsafe { bindings::vfs_sb_rdonly(self.0) }
    }

    /// Makes a block of the device a page. Drops what is cached.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device cannot do that.
    pub(crate) fn set_page_blocks(&self) -> Result {
        // SAFETY: Valid super block, set up by this task alone.
        if unsafe { bindings::sb_set_blocksize(self.0, kernel::page::PAGE_SIZE as i32) } == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Publishes what was read from the device.
    pub(crate) fn set_geometry(&self, geometry: &SuperGeometry) {
        // SAFETY: Valid super block, set up by this task alone.
        unsafe {
            (*self.0).s_magic = geometry.magic as usize;
            (*self.0).s_maxbytes = geometry
                .max_bytes
                .min(bindings::VFS_MAX_LFS_FILESIZE as u64)
                as i64;
            (*self.0).s_max_links = geometry.max_links;
            (*self.0).s_time_gran = 1;
            (*self.0).s_time_min = i64::MIN;
            (*self.0).s_time_max = i64::MAX;
            (*self.0).s_uuid.b = geometry.uuid;
            (*self.0).s_uuid_len = 16;
            // Lets writes skip looking for capabilities of a file that has none, once that was seen.
            (*self.0).s_flags |= bindings::VFS_SB_NOSEC;
            if cfg!(CONFIG_FS_POSIX_ACL) {
                (*self.0).s_flags |= bindings::VFS_SB_POSIXACL;
            }
        }
    }
}

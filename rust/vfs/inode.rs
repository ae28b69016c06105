// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C header: `include/linux/fs.h`.

use super::{ioend::IoEnds, super_block::SuperBlock, types::Types};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{offset_of, ManuallyDrop, MaybeUninit},
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    error::{to_result, Result},
    prelude::*,
    types::Opaque,
};

/// `stx_dio_mem_align` and `stx_dio_offset_align`.
pub(crate) struct StatDio {
    pub(crate) memory: u32,
    pub(crate) offset: u32,
}

/// A point in time: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Default)]
pub(crate) struct Timestamp {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

/// Flags of a file, as `FS_IOC_GETFLAGS` has them.
pub(crate) struct FileFlags;

impl FileFlags {
    pub(crate) const SYNC: u32 = bindings::FS_SYNC_FL;
    pub(crate) const DIRSYNC: u32 = bindings::FS_DIRSYNC_FL;
    pub(crate) const IMMUTABLE: u32 = bindings::FS_IMMUTABLE_FL;
    pub(crate) const APPEND: u32 = bindings::FS_APPEND_FL;
    pub(crate) const NOATIME: u32 = bindings::FS_NOATIME_FL;
    pub(crate) const NODUMP: u32 = bindings::FS_NODUMP_FL;

    /// Those that the VFS acts upon, and what it calls them.
    const VFS: [(u32, u32); 5] = [
        (Self::SYNC, bindings::VFS_S_SYNC),
        (Self::DIRSYNC, bindings::VFS_S_DIRSYNC),
        (Self::IMMUTABLE, bindings::VFS_S_IMMUTABLE),
        (Self::APPEND, bindings::VFS_S_APPEND),
        (Self::NOATIME, bindings::VFS_S_NOATIME),
    ];
}

/// An inode together with the file system's data: what the slab cache holds.
#[repr(C)]
pub(super) struct InodeBox<T: Types> {
    pub(super) data: UnsafeCell<MaybeUninit<T::Inode>>,
    pub(super) ends: IoEnds,
    pub(super) inode: Opaque<bindings::inode>,
}

impl<T: Types> InodeBox<T> {
    pub(super) fn of(inode: *mut bindings::inode) -> *mut Self {
        inode.wrapping_byte_sub(offset_of!(Self, inode)).cast()
    }
}

/// An in-memory inode of file system `T`.
///
/// # Invariants
///
/// Is the `inode` of an [`InodeBox<T>`] whose data is initialised.
#[repr(transparent)]
pub(crate) struct Inode<T: Types>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: `T::Inode` is `Send + Sync`, and the VFS part is reference counted and synchronised.
unsafe impl<T: Types> Send for Inode<T> {}
// SAFETY: As above.
unsafe impl<T: Types> Sync for Inode<T> {}

/// A counted reference to an inode of a mount that is there for `'a`.
///
/// # Invariants
///
/// Owns one reference.
pub(crate) struct InodeRef<'a, T: Types>(NonNull<Inode<T>>, PhantomData<&'a SuperBlock<T>>);

impl<T: Types> InodeRef<'_, T> {
    /// # Safety
    ///
    /// The caller gives up one reference to `inode`, whose mount must be there for the lifetime of the value.
    pub(super) unsafe fn from_raw(inode: NonNull<Inode<T>>) -> Self {
        // INVARIANT: By the caller's promise.
        InodeRef(inode, PhantomData)
    }

    /// Gives the reference up to whoever takes the pointer.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).as_raw()
    }
}

impl<T: Types> core::ops::Deref for InodeRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Types> Drop for InodeRef<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::iput(self.as_raw()) }
    }
}

impl<T: Types> Inode<T> {
    /// # Safety
    ///
    /// `ptr` must be an inode of `T` that lives for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: Transparent; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    pub(super) fn raw_mapping(&self) -> *mut bindings::address_space {
        // SAFETY: Valid inode; constant for the inodes of such a file system.
        unsafe { (*self.as_raw()).i_mapping }
    }

    /// The file system's data.
    pub(crate) fn data(&self) -> &T::Inode {
        // SAFETY: By the type invariant. Only shared references are ever made until it is freed.
        unsafe { (*(*InodeBox::<T>::of(self.as_raw())).data.get()).assume_init_ref() }
    }

    /// The super block.
    pub(crate) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: Outlives its inodes; inodes exist only after its data was set.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: Constant once the inode is visible.
        unsafe { (*self.as_raw()).i_ino }
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: Valid inode. A racing chmod gives the one or the other.
        unsafe { ptr::read_volatile(ptr::addr_of!((*self.as_raw()).i_mode)) }
    }

    /// Whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFDIR
    }

    /// Whether this is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFREG
    }

    /// Whether this is a symbolic link.
    pub(crate) fn is_symlink(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFLNK
    }

    /// The target of a symbolic link that has been given one.
    pub(crate) fn link(&self) -> Option<&[u8]> {
        if !self.is_symlink() {
            return None;
        }
        let mut len = 0;
        // SAFETY: Valid inode of a symbolic link. The target was set before the inode was visible, if at all, has that length, and
        // stays as long as the inode.
        unsafe {
            let target = bindings::vfs_inode_link(self.as_raw(), &mut len);
            (!target.is_null()).then(|| slice::from_raw_parts(target.cast(), len as usize))
        }
    }

    /// Number of a device, as `new_encode_dev()` makes it; otherwise 0.
    pub(crate) fn rdev(&self) -> u32 {
        // SAFETY: Valid inode; constant once it is visible.
        unsafe { bindings::vfs_inode_rdev(self.as_raw()) }
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_size_read(self.as_raw()) as u64 }
    }

    /// Owner and group, as stored.
    pub(crate) fn owner(&self) -> (u32, u32) {
        // SAFETY: Valid inode.
        unsafe {
            (
                bindings::vfs_i_uid_read(self.as_raw()),
                bindings::vfs_i_gid_read(self.as_raw()),
            )
        }
    }

    /// Number of links.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_nlink(self.as_raw()) }
    }

    /// The generation number.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: Constant once the inode is visible.
        unsafe { (*self.as_raw()).i_generation }
    }

    /// Access, modification and change times.
    pub(crate) fn times(&self) -> [Timestamp; 3] {
        let mut times: [bindings::timespec64; 3] = Default::default();
        let [atime, mtime, ctime] = &mut times;
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_get_times(self.as_raw(), atime, mtime, ctime) };
        times.map(|t| Timestamp {
            sec: t.tv_sec,
            // CAST: Below 1,000,000,000.
            nsec: t.tv_nsec as u32,
        })
    }

    /// Sets modification and change time to now.
    pub(crate) fn touch(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_touch(self.as_raw()) }
    }

    /// Sets the change time to now.
    pub(crate) fn touch_ctime(&self) {
        // SAFETY: Valid inode.
        unsafe {
            bindings::inode_set_ctime_current(self.as_raw());
        }
    }

    /// Sets what `stat(2)` reports as blocks of 512 bytes.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_set_blocks(self.as_raw(), sectors) }
    }

    /// Has the inode written back in time, and by `fsync(2)` and `fdatasync(2)`.
    pub(crate) fn mark_dirty(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_mark_inode_dirty(self.as_raw()) }
    }

    /// Whether the inode waits for writeback, or is under it; `datasync` leaves out what `fdatasync(2)` does not need. If not, what
    /// a writeback has done can be seen.
    pub(crate) fn is_dirty(&self, datasync: bool) -> bool {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_is_dirty(self.as_raw(), datasync) }
    }

    /// Whether whatever changes the file has to be on disk when the call returns: a mount with `sync`, say.
    pub(crate) fn is_sync(&self) -> bool {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_is_sync(self.as_raw()) }
    }

    /// Whether a change of the directory has to be on disk when the call returns.
    pub(crate) fn is_dirsync(&self) -> bool {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_is_dirsync(self.as_raw()) }
    }

    /// Writes the inode back if it is dirty and waits for it.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_raw(), 1) })
    }

    /// Whether writes need not look for privileges to remove (`S_NOSEC`).
    pub(crate) fn is_nosec(&self) -> bool {
        self.flags() & bindings::VFS_S_NOSEC != 0
    }

    fn flags(&self) -> u32 {
        // SAFETY: Valid inode.
        unsafe { ptr::read_volatile(ptr::addr_of!((*self.as_raw()).i_flags)) }
    }

    /// `EPERM` if nothing about the inode may change, whoever asks: it may have been opened before.
    pub(super) fn check_mutable(&self) -> Result {
        if self.flags() & bindings::VFS_S_IMMUTABLE != 0 {
            return Err(EPERM);
        }
        Ok(())
    }

    /// Has the VFS act as `flags`, some of [`FileFlags`], say.
    pub(crate) fn apply_file_flags(&self, flags: u32) {
        let (mut set, mut mask) = (0, 0);
        for (flag, vfs) in FileFlags::VFS {
            mask |= vfs;
            if flags & flag != 0 {
                set |= vfs;
            }
        }
        // SAFETY: Valid inode; changes these bits only.
        unsafe { bindings::inode_set_flags(self.as_raw(), set, mask) }
    }
}

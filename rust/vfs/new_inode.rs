// SPDX-License-Identifier: GPL-2.0

//! Inodes that nobody sees yet, and how one is found that somebody may have seen.
//!
//! C header: `include/linux/fs.h`.

use super::{
    inode::{Inode, InodeRef, Timestamp},
    inode_lock::LockedInode,
    super_block::SuperBlock,
    types::{CTables, Types},
};
use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};
use kernel::{error::Result, prelude::*, types::Opaque};

/// The id mapping of the mount that an operation came through.
#[repr(transparent)]
pub(crate) struct Idmap(Opaque<bindings::mnt_idmap>);

/// What is read from disk, or decided, about an inode before it becomes visible.
pub(crate) struct Attr {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) size: u64,
    pub(crate) sectors: u64,
    pub(crate) generation: u32,
    /// As [`Inode::rdev`] returns it.
    pub(crate) rdev: u32,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
}

/// An inode that only its creator uses (`I_NEW`), of a mount that is there for `'a`. Dropping it discards
/// it.
pub(crate) struct NewInode<'a, T: Types>(NonNull<Inode<T>>, PhantomData<&'a SuperBlock<T>>);

impl<T: Types> core::ops::Deref for NewInode<'_, T> {
    type Target = LockedInode<T>;

    fn deref(&self) -> &LockedInode<T> {
        // SAFETY: The value owns a reference, and the inode is new and its creator's.
        unsafe { LockedInode::from_raw(self.0.as_ptr().cast()) }
    }
}

impl<T: Types> Drop for NewInode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: New and referenced, by construction. Unhashed, it leaves memory with the reference, and
        // those who wait for it look again.
        unsafe { bindings::vfs_abandon_new_inode(self.as_raw()) }
    }
}

impl<'a, T: CTables> NewInode<'a, T> {
    /// Fills in an inode that was read from disk.
    pub(crate) fn set_attr(&self, attr: &Attr) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet.
        unsafe {
            (*i).i_mode = attr.mode;
            (*i).i_generation = attr.generation;
            bindings::vfs_i_uid_write(i, attr.uid);
            bindings::vfs_i_gid_write(i, attr.gid);
            bindings::set_nlink(i, attr.nlink);
            bindings::vfs_inode_set_atime(i, attr.atime.sec, attr.atime.nsec);
            bindings::vfs_inode_set_mtime(i, attr.mtime.sec, attr.mtime.nsec);
            bindings::vfs_inode_set_ctime(i, attr.ctime.sec, attr.ctime.nsec);
        }
        self.set_size_field(attr.size);
        self.set_sectors(attr.sectors);
        self.set_operations(attr.rdev);
    }

    /// Fills in an inode that is being created in `dir` now; `rdev` as [`Inode::rdev`] returns it, of devices.
    pub(crate) fn set_created(&self, dir: &Inode<T>, idmap: &Idmap, mode: u16, rdev: u32) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet; the id mapping is valid for the operation.
        unsafe {
            (*i).i_generation = bindings::vfs_random_u32();
            bindings::inode_init_owner(idmap.0.get(), i, dir.as_raw(), mode);
            bindings::simple_inode_init_ts(i);
        }
        self.set_operations(rdev);
    }

    /// Gives a symbolic link, which has been filled in, its target.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none, or has one; `ENOMEM`.
    pub(crate) fn set_link(&self, target: &[u8]) -> Result {
        if !self.is_symlink() || self.link().is_some() || target.contains(&0) {
            return Err(EINVAL);
        }
        let len = u32::try_from(target.len())?;
        let mut bytes = KVec::with_capacity(target.len() + 1, GFP_KERNEL)?;
        bytes.extend_from_slice(target, GFP_KERNEL)?;
        bytes.push(0u8, GFP_KERNEL)?;
        let (bytes, ..) = bytes.into_raw_parts();
        // SAFETY: Nobody else uses the inode yet. It takes the bytes over, which end with the only zero among them; `free_inode()`
        // frees them.
        unsafe { bindings::vfs_inode_set_link(self.as_raw(), bytes.cast(), len) };
        Ok(())
    }

    fn set_operations(&self, rdev: u32) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet; the tables are constants.
        unsafe {
            if self.is_dir() {
                (*i).i_op = T::DIR_INODE_OPS;
                (*i).__bindgen_anon_3.i_fop = T::DIR_FILE_OPS;
            } else if self.is_symlink() {
                (*i).i_op = T::LINK_INODE_OPS;
            } else if !self.is_file() {
                (*i).i_op = T::SPECIAL_INODE_OPS;
                bindings::vfs_inode_set_special(i, rdev);
            } else {
                (*i).i_op = T::FILE_INODE_OPS;
                (*i).__bindgen_anon_3.i_fop = T::FILE_OPS;
                (*(*i).i_mapping).a_ops = T::MAPPING_OPS;
                bindings::vfs_mapping_set_large_folios((*i).i_mapping);
            }
        }
    }

    /// Tells the VFS that the inode has no extended attributes, so that it need not ask for ACLs, and capabilities that a write
    /// would have to remove.
    pub(crate) fn set_without_xattrs(&self) {
        // SAFETY: Nobody else uses the inode yet.
        unsafe {
            bindings::vfs_inode_has_no_acl(self.as_raw());
            bindings::vfs_inode_has_no_xattr(self.as_raw());
        }
    }

    /// Makes the inode visible to everybody who looks it up.
    pub(crate) fn publish(self) -> InodeRef<'a, T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: Filled in; the reference moves to the return value.
        unsafe {
            bindings::unlock_new_inode(this.as_raw());
            InodeRef::from_raw(this.0)
        }
    }
}

impl<T: Types> SuperBlock<T> {
    /// Finds inode `ino` in memory, or returns a new one to be filled in.
    ///
    /// Wraps `iget_locked()`.
    pub(crate) fn inode(&self, ino: u64) -> Result<Result<InodeRef<'_, T>, NewInode<'_, T>>> {
        // SAFETY: Valid super block.
        let ptr = unsafe { bindings::iget_locked(self.as_raw(), ino) };
        let inode = NonNull::new(ptr.cast::<Inode<T>>()).ok_or(ENOMEM)?;
        // SAFETY: Referenced; it is ours to fill in if it is new, else it was filled in.
        unsafe {
            if bindings::vfs_inode_is_new(ptr) {
                Ok(Err(NewInode(inode, PhantomData)))
            } else {
                Ok(Ok(InodeRef::from_raw(inode)))
            }
        }
    }

    /// Makes an in-memory inode for the newly allocated number `ino`, without links.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the number is in use, `ENOMEM`.
    pub(crate) fn new_inode(&self, ino: u64) -> Result<NewInode<'_, T>> {
        // SAFETY: Valid super block; the inode is ours until it is published.
        unsafe {
            let ptr = bindings::new_inode(self.as_raw());
            let inode = NonNull::new(ptr.cast::<Inode<T>>()).ok_or(ENOMEM)?;
            (*ptr).i_ino = ino;
            if bindings::insert_inode_locked(ptr) != 0 {
                // Not in the hash, so nobody looks at it: nothing of it is on disk.
                bindings::clear_nlink(ptr);
                (*ptr).i_ino = 0;
                bindings::iput(ptr);
                return Err(EUCLEAN);
            }
            Ok(NewInode(inode, PhantomData))
        }
    }
}

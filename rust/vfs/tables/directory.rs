// SPDX-License-Identifier: GPL-2.0

//! `struct inode_operations` and `struct file_operations` of directories.
//!
//! C header: `include/linux/fs.h`.

use super::inode;
use crate::{
    bindings,
    vfs::{
        directory::{name_of, DirEmitter},
        errno::to_int,
        file::file_inode,
        inode::Inode,
        inode_lock::LockedInode,
        new_inode::Idmap,
        operations::FileSystem,
    },
};
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ptr,
};
use kernel::{error::Result, prelude::*};

/// The tables of the directories of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const DIR_INODE_OPS: bindings::inode_operations =
        bindings::inode_operations {
            lookup: Some(Self::lookup),
            create: Some(Self::create),
            link: Some(Self::link),
            unlink: Some(Self::unlink),
            mkdir: Some(Self::mkdir),
            rmdir: Some(Self::rmdir),
            rename: Some(Self::rename),
            setattr: Some(inode::Tables::<T>::setattr),
            getattr: Some(inode::Tables::<T>::getattr),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    pub(in crate::vfs) const DIR_FILE_OPS: bindings::file_operations = bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate_shared),
        fsync: Some(Self::dir_fsync),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->lookup()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: u32,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS passes valid objects; the dentry is ours, its name stable.
        unsafe {
            match T::lookup(Inode::from_raw(dir), name_of(dentry)) {
                Ok(Some(inode)) => bindings::d_splice_alias(inode.into_raw(), dentry),
                Ok(None) => bindings::d_splice_alias(ptr::null_mut(), dentry),
                Err(e) => e.to_ptr(),
            }
        }
    }

    /// # Safety
    ///
    /// As `->create()`.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> Result {
        // SAFETY: The VFS passes valid objects, and holds the directory's lock; the dentry is ours, its name
        // stable.
        unsafe {
            let dir = LockedInode::<T>::from_raw(dir);
            T::check_writable(dir.super_block())?;
            let new = T::create(dir, &*idmap.cast::<Idmap>(), name_of(dentry), mode)?;
            // Unlocks the inode and takes over its reference.
            bindings::d_instantiate_new(dentry, ManuallyDrop::new(new).as_raw());
        }
        Ok(())
    }

    /// `->create()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> i32 {
        // SAFETY: Passed through.
        to_int(unsafe { Self::make(idmap, dir, dentry, mode) })
    }

    /// `->mkdir()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: Passed through.
        match unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFDIR as u16) } {
            Ok(()) => ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// `->link()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn link(
        old_dentry: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects of one mount, and holds both inodes' locks; the old dentry is positive, the
        // new one ours, its name stable.
        unsafe {
            let inode = bindings::vfs_d_inode(old_dentry);
            let dir = LockedInode::from_raw(dir);
            let linked = T::check_writable(dir.super_block())
                .and_then(|()| T::link(dir, name_of(dentry), LockedInode::from_raw(inode)));
            if linked.is_ok() {
                // The dentry takes over the reference.
                bindings::ihold(inode);
                bindings::d_instantiate(dentry, inode);
            }
            to_int(linked)
        }
    }

    /// Has `remove` take away the name that `dentry` is.
    ///
    /// # Safety
    ///
    /// To be called for `->unlink()` and `->rmdir()`.
    unsafe fn remove(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        remove: fn(&LockedInode<T>, &[u8], &LockedInode<T>) -> Result,
    ) -> i32 {
        // SAFETY: The VFS holds both inodes' locks; the dentry is positive.
        unsafe {
            let (dir, inode) = (
                LockedInode::from_raw(dir),
                LockedInode::from_raw(bindings::vfs_d_inode(dentry)),
            );
            to_int(
                T::check_writable(dir.super_block())
                    .and_then(|()| remove(dir, name_of(dentry), inode)),
            )
        }
    }

    /// `->unlink()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> i32 {
        // SAFETY: Passed through.
        unsafe { Self::remove(dir, dentry, T::unlink) }
    }

    /// `->rmdir()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> i32 {
        // SAFETY: Passed through.
        unsafe { Self::remove(dir, dentry, T::rmdir) }
    }

    /// `->rename()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old_dentry: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new_dentry: *mut bindings::dentry,
        flags: u32,
    ) -> i32 {
        if flags & !bindings::RENAME_NOREPLACE != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: The VFS holds the locks of the directories, and of the target but for some exchanges.
        unsafe {
            if let Err(e) = T::check_writable(Inode::<T>::from_raw(old_dir).super_block()) {
                return e.to_errno();
            }
            let target = bindings::vfs_d_inode(new_dentry);
            to_int(T::rename(
                LockedInode::from_raw(old_dir),
                name_of(old_dentry),
                Inode::from_raw(bindings::vfs_d_inode(old_dentry)),
                LockedInode::from_raw(new_dir),
                name_of(new_dentry),
                (!target.is_null()).then(|| LockedInode::from_raw(target)),
                flags & bindings::RENAME_NOREPLACE != 0,
            ))
        }
    }

    /// `->iterate_shared()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn iterate_shared(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects and holds the directory's lock.
        unsafe {
            if !bindings::vfs_dir_emit_dots(file, ctx) {
                return 0;
            }
            let dir = Inode::from_raw(file_inode(file));
            to_int(T::iterate(dir, &mut DirEmitter(&mut *ctx)))
        }
    }

    /// `->fsync()` of a directory.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn dir_fsync(
        file: *mut bindings::file,
        _start: i64,
        _end: i64,
        _datasync: i32,
    ) -> i32 {
        // SAFETY: Valid file of a directory of this file system.
        to_int(T::sync_metadata(unsafe {
            Inode::from_raw(file_inode(file))
        }))
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `struct inode_operations` and `struct file_operations` of directories.
//!
//! C header: `include/linux/fs.h`.

use super::{inode, ioctl, xattr};
use crate::{
    bindings,
    vfs::{
        directory::{name_of, DirEmitter, Place},
        errno::to_int,
        file::file_inode,
        inode::Inode,
        inode_lock::LockedInode,
        new_inode::{Idmap, NewInode},
        operations::FileSystem,
    },
};
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ptr,
};
use kernel::{error::Result, prelude::*, str::CStr};

/// The tables of the directories of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const DIR_INODE_OPS: bindings::inode_operations =
        bindings::inode_operations {
            lookup: Some(Self::lookup),
            create: Some(Self::create),
            link: Some(Self::link),
            unlink: Some(Self::unlink),
            symlink: Some(Self::symlink),
            mkdir: Some(Self::mkdir),
            rmdir: Some(Self::rmdir),
            mknod: Some(Self::mknod),
            rename: Some(Self::rename),
            tmpfile: Some(Self::tmpfile),
            fileattr_get: Some(xattr::Tables::<T>::fileattr_get),
            fileattr_set: Some(xattr::Tables::<T>::fileattr_set),
            ..inode::Tables::<T>::SPECIAL_INODE_OPS
        };

    pub(in crate::vfs) const DIR_FILE_OPS: bindings::file_operations = bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate_shared),
        fsync: Some(Self::dir_fsync),
        setlease: Some(bindings::vfs_generic_setlease),
        unlocked_ioctl: Some(ioctl::Tables::<T>::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(bindings::compat_ptr_ioctl),
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

    /// Has `make` make an inode, and the name that `dentry` is for it.
    ///
    /// # Safety
    ///
    /// As `->create()`.
    unsafe fn make<'a>(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        make: impl FnOnce(&'a LockedInode<T>, &Idmap, &[u8]) -> Result<NewInode<'a, T>>,
    ) -> Result {
        // SAFETY: The VFS passes valid objects, and holds the directory's lock; the dentry is ours, its name
        // stable.
        unsafe {
            let dir = LockedInode::<T>::from_raw(dir);
            T::check_writable(dir.super_block())?;
            let new = make(dir, &*idmap.cast::<Idmap>(), name_of(dentry))?;
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
        to_int(unsafe {
            Self::make(idmap, dir, dentry, |dir, idmap, name| {
                T::create(dir, idmap, name, mode, 0)
            })
        })
    }

    /// `->mknod()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        dev: bindings::dev_t,
    ) -> i32 {
        // SAFETY: Passed through.
        to_int(unsafe {
            let rdev = bindings::vfs_new_encode_dev(dev);
            Self::make(idmap, dir, dentry, |dir, idmap, name| {
                T::create(dir, idmap, name, mode, rdev)
            })
        })
    }

    /// `->symlink()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const kernel::ffi::c_char,
    ) -> i32 {
        // SAFETY: The target is a string, for as long as the call. The rest is passed through.
        to_int(unsafe {
            let target = CStr::from_char_ptr(target).to_bytes();
            Self::make(idmap, dir, dentry, |dir, idmap, name| {
                T::symlink(dir, idmap, name, target)
            })
        })
    }

    /// `->tmpfile()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects, and a file whose dentry, which is nowhere, is ours. It takes over the reference.
        unsafe {
            let dir = Inode::<T>::from_raw(dir);
            let made = T::check_writable(dir.super_block())
                .and_then(|()| T::tmpfile(dir, &*idmap.cast::<Idmap>(), mode));
            if let Ok(new) = made {
                let inode = new.publish().into_raw();
                bindings::d_mark_tmpfile(file, inode);
                bindings::d_instantiate(bindings::vfs_file_dentry(file), inode);
                return bindings::vfs_finish_open_simple(file, 0);
            }
            to_int(made.map(drop))
        }
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
        let made = unsafe {
            Self::make(idmap, dir, dentry, |dir, idmap, name| {
                T::create(dir, idmap, name, mode | bindings::S_IFDIR as u16, 0)
            })
        };
        match made {
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
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old_dentry: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new_dentry: *mut bindings::dentry,
        flags: u32,
    ) -> i32 {
        let (exchange, whiteout) = (bindings::RENAME_EXCHANGE, bindings::RENAME_WHITEOUT);
        if flags & !(bindings::RENAME_NOREPLACE | exchange | whiteout) != 0 {
            return EINVAL.to_errno();
        }
        let rename = || -> Result {
            // SAFETY: The VFS passes valid objects, and holds the locks of the directories, and of the target but for some
            // exchanges. The names are stable.
            unsafe {
                let from = Place::<T> {
                    dir: LockedInode::from_raw(old_dir),
                    name: name_of(old_dentry),
                };
                let to = Place::<T> {
                    dir: LockedInode::from_raw(new_dir),
                    name: name_of(new_dentry),
                };
                T::check_writable(from.dir.super_block())?;
                let inode = Inode::from_raw(bindings::vfs_d_inode(old_dentry));
                let target = bindings::vfs_d_inode(new_dentry);
                if flags & exchange != 0 {
                    if target.is_null() {
                        return Err(ENOENT);
                    }
                    return T::exchange(&from, inode, &to, Inode::from_raw(target));
                }
                if flags & bindings::RENAME_NOREPLACE != 0 && !target.is_null() {
                    return Err(EEXIST);
                }
                T::rename(
                    &from,
                    inode,
                    &to,
                    (!target.is_null()).then(|| LockedInode::from_raw(target)),
                    (flags & whiteout != 0).then(|| &*idmap.cast::<Idmap>()),
                )
            }
        };
        to_int(rename())
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

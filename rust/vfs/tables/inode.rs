// SPDX-License-Identifier: GPL-2.0

//! `struct inode_operations` of regular files, symbolic links and special files, and what directories share with them.
//!
//! C headers: `include/linux/fs.h`, `include/linux/fiemap.h`.

use super::xattr;
use crate::{
    bindings,
    vfs::{
        errno::to_int, inode::Inode, inode_lock::LockedInode, operations::FileSystem,
        types::CTables,
    },
};
use core::{marker::PhantomData, mem};
use kernel::error::{to_result, Result};

/// The tables of what is no directory of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const FILE_INODE_OPS: bindings::inode_operations =
        bindings::inode_operations {
            fiemap: Some(Self::fiemap),
            fileattr_get: Some(xattr::Tables::<T>::fileattr_get),
            fileattr_set: Some(xattr::Tables::<T>::fileattr_set),
            ..Self::SPECIAL_INODE_OPS
        };

    pub(in crate::vfs) const LINK_INODE_OPS: bindings::inode_operations =
        bindings::inode_operations {
            get_link: Some(bindings::simple_get_link),
            setattr: Some(Self::setattr),
            getattr: Some(Self::getattr),
            listxattr: Some(xattr::Tables::<T>::listxattr),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    pub(in crate::vfs) const SPECIAL_INODE_OPS: bindings::inode_operations =
        bindings::inode_operations {
            setattr: Some(Self::setattr),
            getattr: Some(Self::getattr),
            listxattr: Some(xattr::Tables::<T>::listxattr),
            #[cfg(CONFIG_FS_POSIX_ACL)]
            get_inode_acl: Some(xattr::Tables::<T>::get_inode_acl),
            #[cfg(CONFIG_FS_POSIX_ACL)]
            set_acl: Some(xattr::Tables::<T>::set_acl),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    /// `->setattr()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> i32 {
        let set = || -> Result {
            // SAFETY: The VFS passes valid objects and holds `i_rwsem` exclusively.
            unsafe {
                let inode = LockedInode::<T>::from_raw(bindings::vfs_d_inode(dentry));
                T::check_writable(inode.super_block())?;
                inode.check_mutable()?;
                to_result(bindings::setattr_prepare(idmap, dentry, attr))?;
                if (*attr).ia_valid & bindings::ATTR_SIZE != 0 {
                    T::set_size(inode, (*attr).ia_size as u64)?;
                }
                bindings::setattr_copy(idmap, inode.as_raw(), attr);
                inode.mark_dirty();
                let acls = (*(*inode.as_raw()).i_op).set_acl.is_some();
                if acls && (*attr).ia_valid & bindings::ATTR_MODE != 0 {
                    to_result(bindings::vfs_acl_chmod(idmap, dentry, inode.mode()))?;
                }
                if inode.is_sync() {
                    T::sync_metadata(inode)?;
                }
            }
            Ok(())
        };
        to_int(set())
    }

    /// `->getattr()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: u32,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            let raw = bindings::vfs_d_inode((*path).dentry);
            let inode = Inode::<T>::from_raw(raw);
            bindings::generic_fillattr(idmap, request_mask, raw, stat);
            bindings::generic_fill_statx_attr(raw, stat);
            (*stat).attributes_mask |= u64::from(bindings::STATX_ATTR_NODUMP);
            if T::file_flags(inode) & bindings::FS_NODUMP_FL != 0 {
                (*stat).attributes |= u64::from(bindings::STATX_ATTR_NODUMP);
            }
            if request_mask & bindings::STATX_BTIME != 0 {
                let btime = T::birth_time(inode);
                (*stat).btime.tv_sec = btime.sec;
                (*stat).btime.tv_nsec = btime.nsec as isize;
                (*stat).result_mask |= bindings::STATX_BTIME;
            }
            if request_mask & bindings::STATX_DIOALIGN != 0 && inode.is_file() {
                let dio = T::dio_alignment(inode);
                (*stat).dio_mem_align = dio.memory;
                (*stat).dio_offset_align = dio.offset;
                (*stat).result_mask |= bindings::STATX_DIOALIGN;
            }
        }
        0
    }

    /// `->fiemap()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            let ret = bindings::vfs_inode_lock_shared_killable(inode);
            if ret != 0 {
                return ret;
            }
            let ret = bindings::iomap_fiemap(inode, info, start, len, T::IOMAP_OPS);
            bindings::vfs_inode_unlock_shared(inode);
            ret
        }
    }
}

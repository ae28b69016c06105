// SPDX-License-Identifier: GPL-2.0

//! `struct xattr_handler`, and the operations on ACLs and attributes of `struct inode_operations`.
//!
//! C headers: `include/linux/xattr.h`, `include/linux/posix_acl.h`, `include/linux/fileattr.h`.

use crate::{
    bindings,
    vfs::{
        errno::{to_int, to_ssize},
        inode::Inode,
        inode_lock::LockedInode,
        operations::FileSystem,
        xattr::{Room, XattrKind, XattrList, XattrMode},
    },
};
use core::{marker::PhantomData, mem, ptr, slice};
use kernel::{error::Result, ffi::c_void, prelude::*, str::CStr};

/// The tables of the attributes of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

/// Handlers, with a null at the end.
pub(in crate::vfs) type Handlers = [*const bindings::xattr_handler; 4];

impl<T: FileSystem> Tables<T> {
    const USER: bindings::xattr_handler = Self::handler(XattrKind::User);
    const TRUSTED: bindings::xattr_handler = Self::handler(XattrKind::Trusted);
    const SECURITY: bindings::xattr_handler = Self::handler(XattrKind::Security);

    /// For `s_xattr`.
    pub(in crate::vfs) const HANDLERS: &'static Handlers =
        &[&Self::USER, &Self::TRUSTED, &Self::SECURITY, ptr::null()];

    const fn handler(kind: XattrKind) -> bindings::xattr_handler {
        bindings::xattr_handler {
            prefix: kind.prefix().to_bytes_with_nul().as_ptr().cast(),
            flags: kind as i32,
            get: Some(Self::get),
            set: Some(Self::set),
            // SAFETY: All zeroes is a handler without operations.
            ..unsafe { mem::zeroed() }
        }
    }

    /// `->get()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const kernel::ffi::c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects, and a buffer of that size.
        let (kind, inode, name, mut room) = unsafe {
            (
                XattrKind::from_raw((*handler).flags),
                Inode::<T>::from_raw(inode),
                CStr::from_char_ptr(name),
                Room::new(buffer.cast(), size),
            )
        };
        let got = kind.ok_or(EOPNOTSUPP).and_then(|kind| {
            T::check_readable(inode.super_block())?;
            T::get_xattr(inode, kind, name.to_bytes(), |value| room.push(value))
        });
        match got {
            // CAST: A value is shorter than a block.
            Ok(()) => room.used() as i32,
            Err(e) => e.to_errno(),
        }
    }

    /// `->set()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const kernel::ffi::c_char,
        value: *const c_void,
        size: usize,
        flags: i32,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects, and a value of that size, or none; it holds `i_rwsem` exclusively.
        let (kind, inode, name, value) = unsafe {
            (
                XattrKind::from_raw((*handler).flags),
                LockedInode::<T>::from_raw(inode),
                CStr::from_char_ptr(name),
                (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), size)),
            )
        };
        to_int(kind.ok_or(EOPNOTSUPP).and_then(|kind| {
            T::check_writable(inode.super_block())?;
            let mode = XattrMode::from_raw(flags);
            T::set_xattr(inode, kind, name.to_bytes(), value, mode, None)
        }))
    }

    /// `->listxattr()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        buffer: *mut kernel::ffi::c_char,
        size: usize,
    ) -> isize {
        // SAFETY: The VFS passes valid objects, and a buffer of that size.
        let (inode, room) = unsafe {
            (
                Inode::<T>::from_raw(bindings::vfs_d_inode(dentry)),
                Room::new(buffer.cast(), size),
            )
        };
        let mut list = XattrList::new(inode, room);
        let listed =
            T::check_readable(inode.super_block()).and_then(|()| T::list_xattrs(inode, &mut list));
        to_ssize(listed.map(|()| list.len()))
    }

    /// `->get_inode_acl()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    #[cfg(CONFIG_FS_POSIX_ACL)]
    pub(in crate::vfs) unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        acl_type: i32,
        rcu: bool,
    ) -> *mut bindings::posix_acl {
        if rcu {
            return ECHILD.to_ptr();
        }
        // SAFETY: The VFS passes a valid inode.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        let mut acl = ptr::null_mut();
        let got = XattrKind::of_acl(acl_type).ok_or(EINVAL).and_then(|kind| {
            T::get_xattr(inode, kind, b"", |value| {
                acl = inode.super_block().acl_from_xattr(value)?;
                Ok(())
            })
        });
        match got {
            Ok(()) | Err(ENODATA) => acl,
            Err(e) => e.to_ptr(),
        }
    }

    /// `->set_acl()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    #[cfg(CONFIG_FS_POSIX_ACL)]
    pub(in crate::vfs) unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        mut acl: *mut bindings::posix_acl,
        acl_type: i32,
    ) -> i32 {
        let mut set = || -> Result {
            // SAFETY: The VFS passes valid objects and holds `i_rwsem` exclusively.
            let inode = unsafe { LockedInode::<T>::from_raw(bindings::vfs_d_inode(dentry)) };
            T::check_writable(inode.super_block())?;
            let kind = XattrKind::of_acl(acl_type).ok_or(EINVAL)?;
            let mut mode = inode.mode();
            if kind == XattrKind::AclDefault && !inode.is_dir() {
                return if acl.is_null() { Ok(()) } else { Err(EACCES) };
            }
            if kind == XattrKind::AclAccess && !acl.is_null() {
                // SAFETY: As above. An ACL that says no more than the mode becomes none.
                kernel::error::to_result(unsafe {
                    bindings::vfs_acl_update_mode(idmap, inode.as_raw(), &mut mode, &mut acl)
                })?;
            }
            let store = |value: Option<&[u8]>| {
                T::set_xattr(inode, kind, b"", value, XattrMode::Any, Some(mode))
            };
            if acl.is_null() {
                store(None)?;
            } else {
                // SAFETY: The ACL is valid for the call.
                unsafe {
                    inode
                        .super_block()
                        .with_acl_as_xattr(acl, |value| store(Some(value)))?;
                }
            }
            // SAFETY: As above.
            unsafe { bindings::vfs_acl_set_cached(inode.as_raw(), acl_type, acl) };
            Ok(())
        };
        to_int(set())
    }

    /// `->fileattr_get()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        fa: *mut bindings::file_kattr,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            let inode = Inode::<T>::from_raw(bindings::vfs_d_inode(dentry));
            bindings::fileattr_fill_flags(fa, T::file_flags(inode));
        }
        0
    }

    /// `->fileattr_set()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        fa: *mut bindings::file_kattr,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects and holds `i_rwsem` exclusively.
        unsafe {
            if bindings::vfs_fileattr_has_fsx(fa) {
                return EOPNOTSUPP.to_errno();
            }
            let inode = LockedInode::<T>::from_raw(bindings::vfs_d_inode(dentry));
            to_int(
                T::check_writable(inode.super_block())
                    .and_then(|()| T::set_file_flags(inode, (*fa).flags)),
            )
        }
    }
}

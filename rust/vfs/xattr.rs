// SPDX-License-Identifier: GPL-2.0

//! Extended attributes, access control lists, and what both are handed over in.
//!
//! C headers: `include/linux/xattr.h`, `include/linux/posix_acl.h`.

#[cfg(CONFIG_FS_POSIX_ACL)]
use super::super_block::SuperBlock;
use super::{inode::Inode, types::Types};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{to_result, Result},
    prelude::*,
};

/// What the name of an attribute begins with; of the last two it is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum XattrKind {
    /// `user.`
    User,
    /// `trusted.`: for who may administrate the system.
    Trusted,
    /// `security.`
    Security,
    /// The ACL of a file.
    AclAccess,
    /// The ACL of a directory that what is made in it gets.
    AclDefault,
}

impl XattrKind {
    pub(super) const fn prefix(self) -> &'static CStr {
        match self {
            Self::User => c"user.",
            Self::Trusted => c"trusted.",
            Self::Security => c"security.",
            Self::AclAccess => c"system.posix_acl_access",
            Self::AclDefault => c"system.posix_acl_default",
        }
    }

    pub(super) fn from_raw(raw: i32) -> Option<Self> {
        [Self::User, Self::Trusted, Self::Security]
            .into_iter()
            .find(|&kind| kind as i32 == raw)
    }

    #[cfg(CONFIG_FS_POSIX_ACL)]
    pub(super) fn of_acl(acl_type: i32) -> Option<Self> {
        match acl_type as u32 {
            bindings::ACL_TYPE_ACCESS => Some(Self::AclAccess),
            bindings::ACL_TYPE_DEFAULT => Some(Self::AclDefault),
            _ => None,
        }
    }
}

/// Whether an attribute that is set may, or must, be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XattrMode {
    /// Either way.
    Any,
    /// It must not (`XATTR_CREATE`).
    Create,
    /// It must (`XATTR_REPLACE`).
    Replace,
}

impl XattrMode {
    pub(super) fn from_raw(flags: i32) -> Self {
        match flags as u32 {
            bindings::XATTR_CREATE => Self::Create,
            bindings::XATTR_REPLACE => Self::Replace,
            _ => Self::Any,
        }
    }
}

/// Memory of somebody who asks for a value or a list, and may only want to know how long it is.
pub(super) struct Room<'a> {
    to: *mut u8,
    size: usize,
    used: usize,
    _memory: PhantomData<&'a mut [u8]>,
}

impl Room<'_> {
    /// # Safety
    ///
    /// `size` bytes at `to` must be the caller's to be written for the lifetime of the value.
    pub(super) unsafe fn new(to: *mut u8, size: usize) -> Self {
        Self {
            to,
            size,
            used: 0,
            _memory: PhantomData,
        }
    }

    /// Adds `bytes`, or counts them if there is no room at all. `ERANGE` if it is not enough.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result {
        let end = self.used + bytes.len();
        if self.size > 0 {
            if end > self.size {
                return Err(ERANGE);
            }
            // SAFETY: Within the memory that `new` was promised.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), self.to.add(self.used), bytes.len());
            }
        }
        self.used = end;
        Ok(())
    }

    /// How long it is.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

/// The list of an inode's attributes that the current task may see.
pub(crate) struct XattrList<'a> {
    room: Room<'a>,
    trusted: bool,
    acls: bool,
}

impl<'a> XattrList<'a> {
    pub(super) fn new<T: Types>(inode: &Inode<T>, room: Room<'a>) -> Self {
        Self {
            room,
            // SAFETY: Looks at the current task, and at a valid super block.
            trusted: unsafe { bindings::vfs_is_admin() },
            // SAFETY: As above.
            acls: unsafe { (*(*inode.as_raw()).i_sb).s_flags } & bindings::VFS_SB_POSIXACL != 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.room.used()
    }

    /// Adds an attribute. `ERANGE` if the list is too long for who asked.
    pub(crate) fn add(&mut self, kind: XattrKind, name: &[u8]) -> Result {
        let shown = match kind {
            XattrKind::Trusted => self.trusted,
            XattrKind::AclAccess | XattrKind::AclDefault => self.acls,
            XattrKind::User | XattrKind::Security => true,
        };
        if !shown {
            return Ok(());
        }
        self.room.push(kind.prefix().to_bytes())?;
        self.room.push(name)?;
        self.room.push(&[0])
    }
}

/// A reference to a `struct posix_acl`.
///
/// # Invariants
///
/// Null, or owns one reference.
pub(super) struct Acl(*mut bindings::posix_acl);

impl Drop for Acl {
    fn drop(&mut self) {
        #[cfg(CONFIG_FS_POSIX_ACL)]
        // SAFETY: By the type invariant.
        unsafe {
            bindings::vfs_acl_release(self.0)
        }
    }
}

impl Acl {
    fn is_none(&self) -> bool {
        self.0.is_null()
    }
}

#[cfg(CONFIG_FS_POSIX_ACL)]
impl<T: Types> SuperBlock<T> {
    /// What the value of an attribute says as an ACL, with a reference that is the caller's.
    pub(super) fn acl_from_xattr(&self, value: &[u8]) -> Result<*mut bindings::posix_acl> {
        // SAFETY: Valid super block; the value is only read.
        kernel::error::from_err_ptr(unsafe {
            bindings::vfs_acl_from_xattr(self.as_raw(), value.as_ptr().cast(), value.len())
        })
    }

    /// Has `f` make use of an ACL as the value of an attribute.
    ///
    /// # Safety
    ///
    /// `acl` must be valid.
    pub(super) unsafe fn with_acl_as_xattr<R>(
        &self,
        acl: *const bindings::posix_acl,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let mut size = 0;
        // SAFETY: By the contract of this function; the super block is valid.
        let value = unsafe { bindings::vfs_acl_to_xattr(self.as_raw(), acl, &mut size) };
        if value.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: So long it is, and initialised.
        let done = f(unsafe { core::slice::from_raw_parts(value.cast(), size) });
        // SAFETY: It is ours, and not used any more.
        unsafe { bindings::kfree(value) };
        done
    }
}

/// The ACLs that an inode gets which is being made.
pub(crate) struct NewAcls {
    acl: Acl,
    default: Acl,
}

impl NewAcls {
    /// What `dir` says about what is made in it, with that `mode`, which is changed accordingly: the ACL does that, or where there is
    /// none the mask of the task.
    pub(crate) fn inherit<T: Types>(dir: &Inode<T>, mode: &mut u16) -> Result<Self> {
        let (mut acl, mut default) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: Valid inode. References come back, or null.
        to_result(unsafe { bindings::vfs_acl_create(dir.as_raw(), mode, &mut default, &mut acl) })?;
        // INVARIANT: They are ours.
        Ok(Self {
            acl: Acl(acl),
            default: Acl(default),
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.acl.is_none() && self.default.is_none()
    }

    /// Gives each to `store`, as the value of an attribute.
    #[cfg_attr(not(CONFIG_FS_POSIX_ACL), allow(unused_variables, unused_mut))]
    pub(crate) fn for_each<T: Types>(
        &self,
        dir: &Inode<T>,
        mut store: impl FnMut(XattrKind, &[u8]) -> Result,
    ) -> Result {
        #[cfg(CONFIG_FS_POSIX_ACL)]
        for (acl, kind) in [
            (&self.acl, XattrKind::AclAccess),
            (&self.default, XattrKind::AclDefault),
        ] {
            if !acl.is_none() {
                // SAFETY: By the type invariant of `Acl`.
                unsafe {
                    dir.super_block()
                        .with_acl_as_xattr(acl.0, |value| store(kind, value))?;
                }
            }
        }
        Ok(())
    }

    /// Has the VFS know that these are the ACLs of `inode`.
    #[cfg_attr(not(CONFIG_FS_POSIX_ACL), allow(unused_variables))]
    pub(crate) fn publish<T: Types>(&self, inode: &Inode<T>) {
        #[cfg(CONFIG_FS_POSIX_ACL)]
        for (acl, acl_type) in [
            (&self.acl, bindings::ACL_TYPE_ACCESS),
            (&self.default, bindings::ACL_TYPE_DEFAULT),
        ] {
            // SAFETY: Valid inode; by the type invariant of `Acl`. References are taken.
            unsafe { bindings::vfs_acl_set_cached(inode.as_raw(), acl_type as i32, acl.0) };
        }
    }
}

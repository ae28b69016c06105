// SPDX-License-Identifier: GPL-2.0

//! `struct export_operations`: inodes by file handle, for `open_by_handle_at(2)` and NFS.
//!
//! A handle is a number and a generation, and says whatever its owner wants it to.
//!
//! C header: `include/linux/exportfs.h`.

use crate::{
    bindings,
    vfs::{
        errno::to_int,
        inode::{Inode, InodeRef},
        operations::FileSystem,
        super_block::SuperBlock,
    },
};
use core::{marker::PhantomData, mem};
use kernel::{error::Result, prelude::*};

/// The table of the handles of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

/// Gives the reference up to C, or the error.
fn to_ptr<T: FileSystem>(found: Result<InodeRef<'_, T>>) -> *mut bindings::inode {
    match found {
        Ok(inode) => inode.into_raw(),
        Err(e) => e.to_ptr(),
    }
}

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const EXPORT_OPS: bindings::export_operations =
        bindings::export_operations {
            encode_fh: Some(bindings::generic_encode_ino32_fh),
            fh_to_dentry: Some(Self::fh_to_dentry),
            fh_to_parent: Some(Self::fh_to_parent),
            get_parent: Some(Self::get_parent),
            commit_metadata: Some(Self::commit_metadata),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    /// Finds an inode for `generic_fh_to_dentry()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel for a super block of `T`.
    unsafe extern "C" fn inode(
        sb: *mut bindings::super_block,
        ino: u64,
        generation: u32,
    ) -> *mut bindings::inode {
        // SAFETY: Valid super block.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        to_ptr(T::inode_of_handle(sb, ino, generation))
    }

    /// Finds a directory for `generic_fh_to_parent()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel for a super block of `T`.
    unsafe extern "C" fn directory(
        sb: *mut bindings::super_block,
        ino: u64,
        generation: u32,
    ) -> *mut bindings::inode {
        // SAFETY: Valid super block.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        let found = T::inode_of_handle(sb, ino, generation);
        to_ptr(found.and_then(|inode| {
            // Whoever made the handle may have put anything there.
            if !inode.is_dir() {
                return Err(ESTALE);
            }
            Ok(inode)
        }))
    }

    /// `->fh_to_dentry()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: i32,
        kind: i32,
    ) -> *mut bindings::dentry {
        // SAFETY: The kernel passes valid objects.
        unsafe { bindings::generic_fh_to_dentry(sb, fid, len, kind, Some(Self::inode)) }
    }

    /// `->fh_to_parent()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: i32,
        kind: i32,
    ) -> *mut bindings::dentry {
        // SAFETY: The kernel passes valid objects.
        unsafe { bindings::generic_fh_to_parent(sb, fid, len, kind, Some(Self::directory)) }
    }

    /// `->get_parent()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: The dentry is positive. `d_obtain_alias()` takes the reference, and passes errors on.
        unsafe {
            let dir = Inode::<T>::from_raw(bindings::vfs_d_inode(child));
            bindings::d_obtain_alias(to_ptr(T::parent(dir)))
        }
    }

    /// `->commit_metadata()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn commit_metadata(inode: *mut bindings::inode) -> i32 {
        // SAFETY: Valid inode of `T`.
        to_int(T::sync_metadata(unsafe { Inode::from_raw(inode) }))
    }
}

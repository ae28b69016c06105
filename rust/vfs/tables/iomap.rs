// SPDX-License-Identifier: GPL-2.0

//! `struct iomap_ops`, `struct iomap_write_ops` and `struct iomap_dio_ops`.
//!
//! C header: `include/linux/iomap.h`.

use crate::{
    bindings,
    vfs::{
        dio::DirectWritten, errno::to_int, file::file_inode, inode::Inode, iomap::IomapFlags,
        lockdep::FolioLocked, operations::FileSystem,
    },
};
use core::{marker::PhantomData, mem};

/// The tables for iomap of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const IOMAP_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_next: Some(Self::iomap_next),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    pub(in crate::vfs) const WRITE_OPS: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: Some(Self::get_folio),
        put_folio: Some(Self::put_folio),
        iomap_valid: Some(Self::iomap_valid),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->iomap_next()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn iomap_next(
        iter: *const bindings::iomap_iter,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> i32 {
        // SAFETY: Passed through.
        unsafe { bindings::vfs_iomap_iter_next(iter, iomap, srcmap, Some(Self::iomap_begin), None) }
    }

    /// Finds or makes a mapping, for `iomap_iter_next()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn iomap_begin(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        flags: u32,
        iomap: *mut bindings::iomap,
        _srcmap: *mut bindings::iomap,
    ) -> i32 {
        // SAFETY: iomap passes valid objects.
        let (inode, iomap) = unsafe { (Inode::<T>::from_raw(inode), &mut *iomap) };
        match T::map(inode, pos as u64, len as u64, IomapFlags(flags)) {
            Ok(extent) => to_int(extent.fill(inode, pos as u64, iomap)),
            Err(e) => e.to_errno(),
        }
    }

    /// `->iomap_valid()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn iomap_valid(
        inode: *mut bindings::inode,
        iomap: *const bindings::iomap,
    ) -> bool {
        // SAFETY: iomap passes valid objects.
        unsafe { T::map_sequence(Inode::<T>::from_raw(inode)) == (*iomap).validity_cookie }
    }

    /// `->get_folio()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn get_folio(
        iter: *mut bindings::iomap_iter,
        pos: i64,
        len: u32,
    ) -> *mut bindings::folio {
        // SAFETY: iomap passes valid objects.
        unsafe {
            let inode = Inode::<T>::from_raw((*iter).inode);
            if let Err(e) = T::enter_folio(inode) {
                return e.to_ptr();
            }
            let locked = FolioLocked::wait();
            let folio = bindings::iomap_get_folio(iter, pos, len as usize);
            if kernel::error::from_err_ptr(folio).is_err() {
                drop(locked);
                T::leave_folio(inode);
            } else {
                // Until `put_folio`.
                mem::forget(locked);
                bindings::vfs_folio_dirty_pinned(folio);
            }
            folio
        }
    }

    /// `->put_folio()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn put_folio(
        inode: *mut bindings::inode,
        _pos: i64,
        _copied: u32,
        folio: *mut bindings::folio,
    ) {
        // SAFETY: The folio is the locked and referenced one of `get_folio`.
        unsafe {
            let inode = Inode::<T>::from_raw(inode);
            T::copied(inode);
            bindings::folio_unlock(folio);
            bindings::vfs_folio_put(folio);
            FolioLocked::end_forgotten();
            T::leave_folio(inode);
        }
    }

    pub(in crate::vfs) const WRITE_DIO_OPS: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(Self::end_write),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `iomap_dio_ops->end_io()` of a write. In a task, unless it went to written blocks within the file.
    ///
    /// # Safety
    ///
    /// To be called by iomap, as the C declaration says.
    unsafe extern "C" fn end_write(
        iocb: *mut bindings::kiocb,
        size: isize,
        error: i32,
        flags: u32,
    ) -> i32 {
        // SAFETY: The request has not completed, so its file is open.
        let (inode, pos) = unsafe {
            let inode = Inode::<T>::from_raw(file_inode((*iocb).ki_filp));
            (inode, (*iocb).ki_pos as u64)
        };
        if size <= 0 {
            return error;
        }
        if error != 0 {
            // Some of it may be on the device all the same, and iomap does not look for what was read meanwhile. Always in a
            // task, since it ends such a request in one. What cannot be dropped has not been read.
            let _ = inode.drop_clean_pages(pos, pos + size as u64 - 1);
            return error;
        }
        let unwritten = flags & bindings::VFS_IOMAP_DIO_UNWRITTEN != 0;
        let write = DirectWritten::new(inode, pos, size as u64, unwritten);
        if !unwritten && !write.is_extending() {
            return 0;
        }
        to_int(T::direct_written(write))
    }
}

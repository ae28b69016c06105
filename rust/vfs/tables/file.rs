// SPDX-License-Identifier: GPL-2.0

//! `struct file_operations` of regular files.
//!
//! C header: `include/linux/fs.h`.

use super::{fault, ioctl};
use crate::{
    bindings,
    vfs::{
        access::{announced, At, Position},
        errno::to_int,
        file::{file_inode, Fallocate, Kiocb},
        inode::Inode,
        iov_iter::IovIter,
        operations::FileSystem,
        types::CTables,
    },
};
use core::{marker::PhantomData, mem};
use kernel::{
    error::{to_result, Result},
    prelude::*,
};

/// The table of the open regular files of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const FILE_OPS: bindings::file_operations = bindings::file_operations {
        fop_flags: bindings::VFS_FOP_DIO_PARALLEL_WRITE,
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        mmap_prepare: Some(Self::mmap_prepare),
        open: Some(Self::open),
        fsync: Some(Self::fsync),
        fallocate: Some(Self::fallocate),
        fadvise: Some(Self::fadvise),
        splice_read: Some(Self::splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        setlease: Some(bindings::vfs_generic_setlease),
        unlocked_ioctl: Some(ioctl::Tables::<T>::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(bindings::compat_ptr_ioctl),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->llseek()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: i32) -> i64 {
        const SEEK_DATA: i32 = bindings::SEEK_DATA as i32;
        const SEEK_HOLE: i32 = bindings::SEEK_HOLE as i32;
        // SAFETY: Valid file of a regular file of `T`.
        unsafe {
            let inode = file_inode(file);
            let found = match whence {
                SEEK_DATA | SEEK_HOLE => {
                    let ret = bindings::vfs_inode_lock_shared_killable(inode);
                    if ret != 0 {
                        return ret.into();
                    }
                    let found = if whence == SEEK_DATA {
                        bindings::iomap_seek_data(inode, offset, T::IOMAP_OPS)
                    } else {
                        bindings::iomap_seek_hole(inode, offset, T::IOMAP_OPS)
                    };
                    bindings::vfs_inode_unlock_shared(inode);
                    found
                }
                _ => return bindings::generic_file_llseek(file, offset, whence),
            };
            if found < 0 {
                return found;
            }
            bindings::vfs_setpos(file, found, (*(*inode).i_sb).s_maxbytes)
        }
    }

    /// `->read_iter()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The VFS passes valid objects that are this call's alone.
        unsafe {
            let inode = Inode::<T>::from_raw(file_inode((*iocb).ki_filp));
            if let Err(e) = T::check_readable(inode.super_block()) {
                return e.to_errno() as isize;
            }
            let mut request = Kiocb::from_raw(iocb);
            let mut iter = IovIter::new(&mut *iter);
            let len = iter.len();
            let ret = T::read(&mut request, &mut iter);
            request.end(len, ret)
        }
    }

    /// `->write_iter()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The VFS passes valid objects that are this call's alone.
        unsafe {
            let inode = Inode::<T>::from_raw(file_inode((*iocb).ki_filp));
            let may = T::check_writable(inode.super_block());
            if let Err(e) = may.and_then(|()| inode.check_mutable()) {
                return e.to_errno() as isize;
            }
            let mut request = Kiocb::from_raw(iocb);
            let mut iter = IovIter::new(&mut *iter);
            let len = iter.len();
            let ret = T::write(&mut request, &mut iter);
            request.end(len, ret)
        }
    }

    /// `->open()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            if let Err(e) = T::check_readable(Inode::<T>::from_raw(inode).super_block()) {
                return e.to_errno();
            }
            (*file).f_mode |=
                (bindings::VFS_FMODE_CAN_ODIRECT | bindings::VFS_FMODE_NOWAIT) as bindings::fmode_t;
            bindings::generic_file_open(inode, file)
        }
    }

    /// `->mmap_prepare()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> i32 {
        // SAFETY: The VFS passes a valid description, ours to fill in.
        unsafe {
            bindings::vfs_file_accessed((*desc).file);
            (*desc).vm_ops = &fault::Tables::<T>::VM_OPS;
        }
        0
    }

    /// `->fsync()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: i64,
        end: i64,
        datasync: i32,
    ) -> i32 {
        let sync = || -> Result {
            // SAFETY: Valid file of a regular file of `T`.
            unsafe {
                to_result(bindings::file_write_and_wait_range(file, start, end))?;
                T::fsync(Inode::from_raw(file_inode(file)), datasync != 0)
            }
        };
        to_int(sync())
    }

    /// `->fallocate()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: i32,
        offset: i64,
        len: i64,
    ) -> isize {
        // SAFETY: Valid file of a regular file of `T`.
        let inode = unsafe { Inode::<T>::from_raw(file_inode(file)) };
        let allocate = || -> Result {
            let op = Fallocate::from_mode(mode).ok_or(EOPNOTSUPP)?;
            T::check_writable(inode.super_block())?;
            let inode = inode.lock()?;
            inode.check_mutable()?;
            // SAFETY: Valid file and inode; `i_rwsem` is held. The VFS has checked the sum.
            unsafe {
                if op.grows() && (offset + len) as u64 > inode.size() {
                    to_result(bindings::inode_newsize_ok(inode.as_raw(), offset + len))?;
                }
                to_result(bindings::file_modified(file))?;
            }
            T::fallocate(&inode, op, offset as u64, len as u64)
        };
        let done = allocate().and_then(|()| {
            // SAFETY: Valid file.
            unsafe {
                if (*file).f_flags & bindings::VFS_O_DSYNC == 0 && !inode.is_sync() {
                    return Ok(());
                }
                to_result(bindings::vfs_fsync(file, 0))
            }
        });
        to_int(done) as isize
    }

    /// `->fadvise()`, also for `readahead(2)` and `madvise(2)`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fadvise(
        file: *mut bindings::file,
        offset: i64,
        len: i64,
        advice: i32,
    ) -> i32 {
        // SAFETY: Passed through; the file is one of `T`, and open.
        unsafe {
            let inode = Inode::<T>::from_raw(file_inode(file));
            let advise = || bindings::generic_fadvise(file, offset, len, advice);
            if T::asks_for_reader(inode) {
                // Nobody waits for what is brought in.
                announced(inode.as_raw(), At::Nowhere, advise)
            } else {
                advise()
            }
        }
    }

    /// `->splice_read()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        pos: *mut i64,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: u32,
    ) -> isize {
        // SAFETY: Passed through; the file is one of `T`, and open. The position is this call's alone.
        unsafe {
            let inode = Inode::<T>::from_raw(file_inode(file));
            if let Err(e) = T::check_readable(inode.super_block()) {
                return e.to_errno() as isize;
            }
            let splice = || bindings::filemap_splice_read(file, pos, pipe, len, flags);
            let ret = if T::asks_for_reader(inode) {
                announced(inode.as_raw(), At::Position(Position::new(pos)), splice)
            } else {
                splice()
            };
            T::got(inode);
            ret
        }
    }
}

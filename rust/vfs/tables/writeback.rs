// SPDX-License-Identifier: GPL-2.0

//! `struct iomap_writeback_ops`, and the end of writeback.
//!
//! C header: `include/linux/iomap.h`.

use crate::{
    bindings,
    vfs::{
        errno::to_int,
        fs_type::FsStatics,
        inode::{Inode, InodeBox},
        ioend::IoEnds,
        operations::FileSystem,
        task::NofsScope,
    },
};
use core::{marker::PhantomData, ptr};

/// The table for the writeback of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const WRITEBACK_OPS: bindings::iomap_writeback_ops =
        bindings::iomap_writeback_ops {
            writeback_range: Some(Self::writeback_range),
            writeback_submit: Some(Self::writeback_submit),
        };

    /// `->writeback_range()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn writeback_range(
        wpc: *mut bindings::iomap_writepage_ctx,
        folio: *mut bindings::folio,
        pos: u64,
        len: u32,
        end_pos: u64,
    ) -> isize {
        // SAFETY: iomap passes valid objects.
        unsafe {
            let inode = Inode::<T>::from_raw((*wpc).inode);
            let map = &mut (*wpc).iomap;
            let start = map.offset as u64;
            let valid = T::map_sequence(inode) == map.validity_cookie;
            if !valid || pos < start || pos >= start + map.length {
                let extent = T::map_for_writeback(inode, pos);
                if let Err(e) = extent.and_then(|extent| extent.fill(inode, pos, map)) {
                    return e.to_errno() as isize;
                }
            }
            bindings::iomap_add_to_ioend(wpc, folio, pos as i64, end_pos as i64, len)
        }
    }

    /// `->writeback_submit()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn writeback_submit(
        wpc: *mut bindings::iomap_writepage_ctx,
        error: i32,
    ) -> i32 {
        // SAFETY: iomap passes a context with an ioend in it. The block layer need not find a task for
        // what only queues work.
        unsafe {
            let ioend = (*wpc).wb_ctx.cast::<bindings::iomap_ioend>();
            if u32::from((*ioend).io_flags) & bindings::VFS_IOMAP_IOEND_UNWRITTEN != 0 {
                (*ioend).io_bio.bi_end_io = Some(Self::end_writeback);
                (*ioend).io_bio.bi_flags &= !(1 << bindings::VFS_BIO_COMPLETE_IN_TASK);
            }
            bindings::iomap_ioend_writeback_submit(wpc, error)
        }
    }

    /// `bio->bi_end_io()` of writeback that has something left to do.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, with the bio of an ioend of an inode of `T`.
    unsafe extern "C" fn end_writeback(bio: *mut bindings::bio) {
        // SAFETY: The folios under writeback keep the inode, and the mount, until the ioend is finished.
        unsafe {
            let ioend = bindings::vfs_ioend_of_bio(bio);
            let inode = (*ioend).io_inode;
            FsStatics::<T>::completes((*inode).i_sb);
            let queue = Inode::<T>::from_raw(inode).super_block().work_queue();
            (*InodeBox::<T>::of(inode)).ends.add(queue, ioend);
        }
    }

    /// The work of [`IoEnds`].
    ///
    /// # Safety
    ///
    /// To be called by the work queue, with the work of an inode of `T`.
    pub(in crate::vfs) unsafe extern "C" fn finish_ioends(work: *mut bindings::work_struct) {
        // Others may wait for a folio of ours in order to free memory.
        let _nofs = NofsScope::enter();
        // SAFETY: The work of an inode of `T`, so the ioends are as well, and their I/O has ended.
        unsafe { IoEnds::finish(work, |ioend| Self::finish_ioend(ioend)) }
    }

    /// # Safety
    ///
    /// `ioend` must be one of an inode of `T` whose I/O has ended.
    unsafe fn finish_ioend(ioend: *mut bindings::iomap_ioend) {
        // SAFETY: The folios under writeback keep the inode until the ioend is finished.
        unsafe {
            let mut error = bindings::vfs_blk_status_to_errno(ptr::addr_of!((*ioend).io_bio));
            if error == 0 {
                let inode = Inode::<T>::from_raw((*ioend).io_inode);
                let (pos, len) = ((*ioend).io_offset as u64, (*ioend).io_size as u64);
                error = to_int(T::written(inode, pos, len));
            }
            bindings::iomap_finish_ioends(ioend, error);
        }
    }
}

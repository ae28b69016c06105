// SPDX-License-Identifier: GPL-2.0

//! The page cache of an inode: reads into it, writes through it, writeback; and iomap under them.
//!
//! C headers: `include/linux/pagemap.h`, `include/linux/iomap.h`.

use super::{
    file::FileOps,
    from_ssize,
    inode::{DirOps, Inode},
    super_block::{FileSystem, Tables},
    to_int, IovIter, Kiocb,
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ptr,
};
use kernel::error::{to_result, Result};

/// Operations on the page cache of regular files.
pub(crate) trait MappingOps: FileSystem {
    /// Finds, or with [`IomapFlags::is_write`] makes, the mapping of the file at `pos`.
    ///
    /// The extent returned contains `pos`. A write to a hole gets [`ExtentKind::Unwritten`] blocks.
    fn map(inode: &Inode<Self>, pos: u64, len: u64, flags: IomapFlags) -> Result<Extent>;

    /// Changes whenever an extent that [`MappingOps::map`] returned may no longer hold.
    fn map_sequence(inode: &Inode<Self>) -> u64;

    /// The mapping for writing a dirty page back.
    fn map_for_writeback(inode: &Inode<Self>, pos: u64) -> Result<Extent>;

    /// The unwritten blocks of `pos..pos + len` have been written by writeback: makes them ordinary
    /// ones. Process context.
    fn written(inode: &Inode<Self>, pos: u64, len: u64) -> Result;

    /// Reads a folio that is in the cache, locked and not uptodate.
    fn read_folio(inode: &Inode<Self>, folio: LockedFolio<'_, Self>) -> Result<ReadFolio>;

    /// Reads ahead: either calls [`Readahead::submit`], or leaves the folios to be dropped.
    fn readahead(inode: &Inode<Self>, readahead: Readahead<'_, Self>);

    /// Before a folio is found or made, and locked, for a copy into it. May sleep.
    ///
    /// Every success is followed by one [`MappingOps::leave_folio`] in the same task.
    fn enter_folio(inode: &Inode<Self>) -> Result;

    /// After the folio was unlocked.
    fn leave_folio(inode: &Inode<Self>);
}

/// What [`MappingOps::read_folio`] has done.
pub(crate) enum ReadFolio {
    /// Submitted the read, and the folio is unlocked when it completes; or found the folio read by
    /// somebody else, and unlocked it.
    Submitted,
    /// Unlocked the folio without reading: the caller is to look it up again
    /// (`AOP_TRUNCATED_PAGE`).
    Retry,
}

/// What a mapping is asked for: the `IOMAP_*` flags of Finds or makes a mapping, for `iomap_iter_next()`.
#[derive(Clone, Copy)]
pub(crate) struct IomapFlags(u32);

impl IomapFlags {
    /// Blocks must be there for writing.
    ///
    /// Not set for zeroing and reporting, which leave holes alone.
    pub(crate) fn is_write(self) -> bool {
        self.0 & bindings::VFS_IOMAP_WRITE != 0
            && self.0 & (bindings::VFS_IOMAP_ZERO | bindings::VFS_IOMAP_REPORT) == 0
    }

    /// The caller must not sleep.
    pub(crate) fn is_nowait(self) -> bool {
        self.0 & bindings::VFS_IOMAP_NOWAIT != 0
    }
}

/// What a range of a file is on the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtentKind {
    /// Nothing.
    Hole,
    /// Data, at this byte of the device.
    Mapped(u64),
    /// Blocks at this byte of the device, whose contents are not the file's: they read as zeroes.
    Unwritten(u64),
}

/// A range of a file, in bytes, and what it is on the device.
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) kind: ExtentKind,
    /// Metadata needed to find the data is not durable yet: `fdatasync(2)` must write it.
    pub(crate) dirty: bool,
    /// [`MappingOps::map_sequence`] as it was when the extent held.
    pub(crate) sequence: u64,
}

/// `IOMAP_NULL_ADDR`.
const NULL_ADDR: u64 = u64::MAX;

impl Extent {
    fn fill<T: MappingOps>(&self, inode: &Inode<T>, iomap: &mut bindings::iomap) {
        let (ty, addr) = match self.kind {
            ExtentKind::Hole => (bindings::IOMAP_HOLE, NULL_ADDR),
            ExtentKind::Mapped(addr) => (bindings::IOMAP_MAPPED, addr),
            ExtentKind::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, addr),
        };
        iomap.offset = self.offset as i64;
        iomap.length = self.len;
        iomap.type_ = ty as u16;
        iomap.addr = addr;
        iomap.flags = if self.dirty {
            bindings::VFS_IOMAP_F_DIRTY as u16
        } else {
            0
        };
        iomap.validity_cookie = self.sequence;
        iomap.bdev = inode.super_block().device().as_raw();
    }
}

/// A folio that this task has locked, and will unlock or start reading.
pub(crate) struct LockedFolio<'a, T>(*mut bindings::folio, PhantomData<&'a T>);

impl<T: FileSystem + DirOps + FileOps + MappingOps> LockedFolio<'_, T> {
    /// Starts reading the folio, which is unlocked when the read completes.
    pub(crate) fn submit_read(self) -> ReadFolio {
        let this = ManuallyDrop::new(self);
        // SAFETY: Locked and not uptodate, as the function expects.
        unsafe { bindings::vfs_iomap_bio_read_folio(this.0, &Tables::<T>::IOMAP_OPS) }
        ReadFolio::Submitted
    }
}

impl<'a, T> LockedFolio<'a, T> {
    /// Unlocks the folio and keeps it, in order to wait for something else.
    pub(crate) fn unlock(self) -> UnlockedFolio<'a, T> {
        // SAFETY: Locked, so valid; the reference keeps it so.
        unsafe { bindings::vfs_folio_get(self.0) };
        UnlockedFolio(self.0, PhantomData)
    }
}

/// A folio that [`LockedFolio::unlock`] has unlocked.
pub(crate) struct UnlockedFolio<'a, T>(*mut bindings::folio, PhantomData<&'a T>);

/// What has become of an [`UnlockedFolio`].
pub(crate) enum Relocked<'a, T> {
    /// It is as it was: locked and not uptodate.
    Unread(LockedFolio<'a, T>),
    /// Somebody else has read it.
    Uptodate,
    /// It is no longer in the page cache of its inode.
    Gone,
}

impl<'a, T: FileSystem + DirOps + FileOps + MappingOps> UnlockedFolio<'a, T> {
    /// Locks the folio again and looks what has happened to it.
    pub(crate) fn lock(self, inode: &Inode<T>) -> Relocked<'a, T> {
        // SAFETY: The value holds a reference.
        unsafe { bindings::vfs_folio_lock(self.0) };
        let locked = LockedFolio(self.0, PhantomData);
        // SAFETY: While the folio is locked its mapping is stable.
        unsafe {
            let mapping = (*self.0).__bindgen_anon_1.__bindgen_anon_1.mapping;
            if mapping != inode.raw_mapping() {
                Relocked::Gone
            } else if bindings::vfs_folio_test_uptodate(self.0) {
                Relocked::Uptodate
            } else {
                Relocked::Unread(locked)
            }
        }
    }
}

impl<T> Drop for UnlockedFolio<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The value holds a reference.
        unsafe { bindings::vfs_folio_put(self.0) }
    }
}

impl<T> Drop for LockedFolio<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Locked by this task.
        unsafe { bindings::folio_unlock(self.0) }
    }
}

/// Folios that were put into the cache, locked, to be read ahead.
pub(crate) struct Readahead<'a, T>(*mut bindings::readahead_control, PhantomData<&'a T>);

impl<T: FileSystem + DirOps + FileOps + MappingOps> Readahead<'_, T> {
    /// Starts reading all of them.
    pub(crate) fn submit(self) {
        // SAFETY: Valid for the call.
        unsafe { bindings::vfs_iomap_bio_readahead(self.0, &Tables::<T>::IOMAP_OPS) }
    }
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> Inode<T> {
    /// Identifies the page cache of this inode, for comparison only.
    pub(crate) fn mapping(&self) -> *const () {
        self.raw_mapping().cast_const().cast()
    }

    /// Keeps additions to the page cache out while `f` runs, and waits for those under way
    /// (`invalidate_lock`, exclusive).
    pub(crate) fn with_invalidate_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let mapping = self.raw_mapping();
        // SAFETY: Valid mapping; taken and released in this function.
        unsafe { bindings::vfs_filemap_invalidate_lock(mapping) };
        let ret = f();
        // SAFETY: As above.
        unsafe { bindings::vfs_filemap_invalidate_unlock(mapping) };
        ret
    }

    /// Writes back and drops the pages with the bytes `pos..=last` from the cache; `EBUSY` if one is
    /// in use. Wraps `invalidate_inode_pages2_range()`.
    pub(crate) fn invalidate_pages(&self, pos: u64, last: u64) -> Result {
        let mapping = self.raw_mapping();
        // SAFETY: Valid mapping.
        unsafe {
            to_result(bindings::filemap_write_and_wait_range(
                mapping,
                pos as i64,
                last as i64,
            ))?;
            to_result(bindings::invalidate_inode_pages2_range(
                mapping,
                pos as usize >> bindings::PAGE_SHIFT,
                last as usize >> bindings::PAGE_SHIFT,
            ))
        }
    }

    /// Sets the size and drops the pages beyond it.
    pub(crate) fn truncate_pages(&self, size: u64) {
        // SAFETY: Valid inode; the caller holds `i_rwsem` and `invalidate_lock` exclusively.
        unsafe { bindings::truncate_setsize(self.as_raw(), size as i64) }
    }

    /// Drops the pages with the bytes `pos..end`, whole pages all, from the cache, dirty or not.
    pub(crate) fn drop_pages(&self, pos: u64, end: u64) {
        // SAFETY: Valid inode; the caller holds `i_rwsem` and `invalidate_lock` exclusively.
        unsafe { bindings::truncate_pagecache_range(self.as_raw(), pos as i64, end as i64 - 1) }
    }

    /// Zeroes the bytes `pos..end`, which are within the file, in the page cache.
    pub(crate) fn zero(&self, pos: u64, end: u64) -> Result {
        if pos >= end {
            return Ok(());
        }
        // SAFETY: Valid inode and tables.
        to_result(unsafe {
            bindings::iomap_zero_range(
                self.as_raw(),
                pos as i64,
                (end - pos) as i64,
                ptr::null_mut(),
                &Tables::<T>::IOMAP_OPS,
                &Tables::<T>::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }

    /// Zeroes the part of the block that contains `size` from there on, in the page cache.
    pub(crate) fn zero_tail(&self, size: u64) -> Result {
        // SAFETY: Valid inode and tables.
        to_result(unsafe {
            bindings::iomap_truncate_page(
                self.as_raw(),
                size as i64,
                ptr::null_mut(),
                &Tables::<T>::IOMAP_OPS,
                &Tables::<T>::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }

    /// Copies `from` into the page cache at the position of `iocb`, which moves on. The caller holds
    /// `i_rwsem` exclusively; `from` is not empty.
    pub(crate) fn buffered_write(
        &self,
        iocb: &mut Kiocb<'_, T>,
        from: &mut IovIter<'_>,
    ) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        // SAFETY: Valid request and tables.
        from_ssize(unsafe {
            bindings::iomap_file_buffered_write(
                iocb.as_raw(),
                from.as_raw(),
                &Tables::<T>::IOMAP_OPS,
                &Tables::<T>::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> Tables<T> {
    pub(super) const MAPPING_OPS: bindings::address_space_operations =
        bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            readahead: Some(Self::readahead),
            writepages: Some(Self::writepages),
            dirty_folio: Some(bindings::iomap_dirty_folio),
            invalidate_folio: Some(bindings::iomap_invalidate_folio),
            release_folio: Some(bindings::iomap_release_folio),
            migrate_folio: Self::MIGRATE_FOLIO,
            is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
            error_remove_folio: Some(bindings::generic_error_remove_folio),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    #[cfg(CONFIG_MIGRATION)]
    const MIGRATE_FOLIO: Option<
        unsafe extern "C" fn(
            *mut bindings::address_space,
            *mut bindings::folio,
            *mut bindings::folio,
            bindings::migrate_mode,
        ) -> i32,
    > = Some(bindings::filemap_migrate_folio);

    #[cfg(not(CONFIG_MIGRATION))]
    const MIGRATE_FOLIO: Option<
        unsafe extern "C" fn(
            *mut bindings::address_space,
            *mut bindings::folio,
            *mut bindings::folio,
            bindings::migrate_mode,
        ) -> i32,
    > = None;

    pub(super) const IOMAP_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_next: Some(Self::iomap_next),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    pub(super) const WRITE_OPS: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: Some(Self::get_folio),
        put_folio: Some(Self::put_folio),
        iomap_valid: Some(Self::iomap_valid),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    const WRITEBACK_OPS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(Self::writeback_range),
        writeback_submit: Some(Self::writeback_submit),
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
            Ok(extent) => {
                extent.fill(inode, iomap);
                0
            }
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
            let folio = bindings::iomap_get_folio(iter, pos, len as usize);
            if kernel::error::from_err_ptr(folio).is_err() {
                T::leave_folio(inode);
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
            bindings::folio_unlock(folio);
            bindings::vfs_folio_put(folio);
            T::leave_folio(Inode::<T>::from_raw(inode));
        }
    }

    /// `->read_folio()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> i32 {
        // SAFETY: The folio is locked and in the cache of an inode of `T`, which the caller keeps
        // alive also after the folio is unlocked.
        let inode = unsafe { Inode::<T>::from_raw(bindings::vfs_folio_inode(folio)) };
        match T::read_folio(inode, LockedFolio(folio, PhantomData)) {
            Ok(ReadFolio::Submitted) => 0,
            Ok(ReadFolio::Retry) => bindings::VFS_AOP_TRUNCATED_PAGE,
            Err(e) => e.to_errno(),
        }
    }

    /// `->readahead()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn readahead(rac: *mut bindings::readahead_control) {
        // SAFETY: Valid for the call, on a mapping of an inode of `T`.
        let inode = unsafe { Inode::<T>::from_raw((*(*rac).mapping).host) };
        T::readahead(inode, Readahead(rac, PhantomData));
    }

    /// `->writepages()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        wbc: *mut bindings::writeback_control,
    ) -> i32 {
        // SAFETY: All zeroes is an empty context.
        let mut wpc: bindings::iomap_writepage_ctx = unsafe { mem::zeroed() };
        // SAFETY: Valid mapping.
        wpc.inode = unsafe { (*mapping).host };
        wpc.wbc = wbc;
        wpc.ops = &Self::WRITEBACK_OPS;
        // SAFETY: The context is complete.
        unsafe { bindings::iomap_writepages(&mut wpc) }
    }

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
                match T::map_for_writeback(inode, pos) {
                    Ok(extent) => extent.fill(inode, map),
                    Err(e) => return e.to_errno() as isize,
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
        // SAFETY: iomap passes a context with an ioend in it. Blocks are marked written under locks
        // that sleep: the block layer calls such a completion in process context.
        unsafe {
            let ioend = (*wpc).wb_ctx.cast::<bindings::iomap_ioend>();
            if u32::from((*ioend).io_flags) & bindings::VFS_IOMAP_IOEND_UNWRITTEN != 0 {
                (*ioend).io_bio.bi_end_io = Some(Self::end_unwritten);
                (*ioend).io_bio.bi_flags |= 1 << bindings::VFS_BIO_COMPLETE_IN_TASK;
            }
            bindings::iomap_ioend_writeback_submit(wpc, error)
        }
    }

    /// `bio->bi_end_io()` of writeback to unwritten blocks.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn end_unwritten(bio: *mut bindings::bio) {
        // SAFETY: The bio is that of an ioend of `writeback_submit`, whose inode is kept by its folios
        // under writeback.
        unsafe {
            let ioend = bindings::vfs_ioend_of_bio(bio);
            let mut error = bindings::vfs_blk_status_to_errno(bio);
            if error == 0 {
                let inode = Inode::<T>::from_raw((*ioend).io_inode);
                error = to_int(T::written(
                    inode,
                    (*ioend).io_offset as u64,
                    (*ioend).io_size as u64,
                ));
            }
            bindings::iomap_finish_ioends(ioend, error);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The block device under a file system: metadata through its page cache, and cache flushes.
//!
//! C header: `include/linux/blkdev.h`.

use crate::bindings;
use core::ptr;
use kernel::{
    error::{from_err_ptr, to_result, Result},
    prelude::*,
    types::Opaque,
};

/// Size in bytes of a metadata block; equal to the page size, so that a block is a page of the
/// device's page cache.
pub(crate) const BLOCK_SIZE: usize = kernel::page::PAGE_SIZE;

/// A `struct block_device` opened by a mounted file system.
#[repr(transparent)]
pub(crate) struct BlockDevice(Opaque<bindings::block_device>);

// SAFETY: All operations below are safe to call from several tasks at once: pages are accessed under
// the folio lock or copied from an uptodate folio.
unsafe impl Sync for BlockDevice {}

/// A point in the sequence of a device's write errors.
#[derive(Clone, Copy)]
pub(crate) struct ErrorCursor(u32);

/// A locked folio of one page and a reference to it; both end with the value.
struct LockedBlock(*mut bindings::folio);

impl Drop for LockedBlock {
    fn drop(&mut self) {
        // SAFETY: The value owns the lock and one reference.
        unsafe {
            bindings::folio_unlock(self.0);
            bindings::vfs_folio_put(self.0);
        }
    }
}

impl BlockDevice {
    /// # Safety
    ///
    /// `ptr` must point to a block device that stays open for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::block_device) -> &'a Self {
        // SAFETY: `BlockDevice` is transparent over the C type; liveness is the caller's promise.
        unsafe { &*ptr.cast::<BlockDevice>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::block_device {
        self.0.get()
    }

    fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: The device is valid by the type's existence.
        unsafe { bindings::vfs_bdev_mapping(self.as_raw()) }
    }

    /// Size of the device in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_nr_bytes(self.as_raw()) }
    }

    /// The unit of the device's addressing in bytes: what direct I/O must be aligned to.
    pub(crate) fn logical_block_size(&self) -> u32 {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_logical_block_size(self.as_raw()) }
    }

    /// The mask that memory addresses of direct I/O must be clear of.
    pub(crate) fn dma_alignment(&self) -> u32 {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_dma_alignment(self.as_raw()) }
    }

    /// Whether a write can be told to reach the medium before it completes, or all do.
    pub(crate) fn writes_through(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_writes_through(self.as_raw()) }
    }

    fn check(&self, block: u64, offset: usize, len: usize) -> Result<usize> {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > BLOCK_SIZE || block >= self.size() / BLOCK_SIZE as u64 {
            return Err(EIO);
        }
        // `c_ulong`, the type of page indices, has the size of `usize`.
        usize::try_from(block).map_err(|_| EIO)
    }

    /// Returns the folio of a block, locked, and read unless `whole` says that it will be overwritten.
    ///
    /// Sleeps uninterruptibly, and as long as it takes to get memory: a task that is killed in the middle
    /// of a change of metadata still completes it.
    ///
    /// A folio is *checked* once it is known to hold the latest contents of its block. After a failed
    /// write, the device may give an older state; a folio that is not checked may be that.
    fn locked_folio(&self, index: usize, whole: bool, since: &ErrorCursor) -> Result<LockedBlock> {
        let mapping = self.mapping();
        loop {
            // SAFETY: The mapping is valid. A locked and referenced folio, or an error, comes back.
            let folio = unsafe { from_err_ptr(bindings::vfs_grab_folio(mapping, index))? };
            let block = LockedBlock(folio);
            // SAFETY: The folio is locked, the mapping valid.
            unsafe {
                // Nobody can have changed that; should it be so, what is written here might never
                // reach the device.
                if bindings::vfs_folio_order(folio) != 0
                    || u32::from((*(*mapping).host).i_blkbits) != bindings::PAGE_SHIFT
                {
                    return Err(EIO);
                }
                if whole || bindings::vfs_folio_test_checked(folio) {
                    return Ok(block);
                }
            }
            // SAFETY: The folio is locked.
            if unsafe { bindings::vfs_folio_test_uptodate(folio) } {
                // Read by somebody else. No write has failed until now, so none had then.
                self.check_errors(since)?;
                // SAFETY: The folio is locked.
                unsafe { bindings::vfs_folio_set_checked(folio) };
                return Ok(block);
            }
            // SAFETY: Block devices have the operation. It unlocks the folio, when it was read at the
            // latest; it is locked again here.
            let ret = unsafe {
                let read_folio = (*(*mapping).a_ops).read_folio.ok_or(EIO)?;
                let ret = read_folio(ptr::null_mut(), folio);
                bindings::vfs_folio_lock(folio);
                ret
            };
            if ret != bindings::VFS_AOP_TRUNCATED_PAGE {
                to_result(ret)?;
            }
            // SAFETY: The folio is locked, so its mapping is stable.
            unsafe {
                if (*folio).__bindgen_anon_1.__bindgen_anon_1.mapping != mapping {
                    continue;
                }
                if !bindings::vfs_folio_test_uptodate(folio) {
                    return Err(EIO);
                }
            }
            // Round again: it is uptodate now.
        }
    }

    /// Copies `buf.len()` bytes out of `block`, reading it from the device if it is not cached.
    ///
    /// # Errors
    ///
    /// `EIO` for a block or range outside the device, for I/O errors, and if a write to the device has
    /// failed since `since` and what is there may be older than what was written.
    pub(crate) fn read(
        &self,
        block: u64,
        offset: usize,
        buf: &mut [u8],
        since: &ErrorCursor,
    ) -> Result {
        let index = self.check(block, offset, buf.len())?;
        let folio = self.locked_folio(index, false, since)?;
        // SAFETY: The folio is the block; the range lies in it.
        unsafe {
            bindings::vfs_memcpy_from_folio(buf.as_mut_ptr().cast(), folio.0, offset, buf.len());
        }
        Ok(())
    }

    /// Copies `data` into `block` of the page cache and marks it dirty.
    ///
    /// Waits for writeback of the block first, so that what reaches the device is always one state
    /// of the block.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`].
    pub(crate) fn write(
        &self,
        block: u64,
        offset: usize,
        data: &[u8],
        since: &ErrorCursor,
    ) -> Result {
        let index = self.check(block, offset, data.len())?;
        let whole = data.len() == BLOCK_SIZE;
        let folio = self.locked_folio(index, whole, since)?;
        // SAFETY: As in `read`; the folio is locked.
        unsafe {
            bindings::folio_wait_writeback(folio.0);
            bindings::vfs_memcpy_to_folio(folio.0, offset, data.as_ptr().cast(), data.len());
            if whole {
                bindings::vfs_folio_mark_uptodate(folio.0);
                bindings::vfs_folio_set_checked(folio.0);
            }
            bindings::folio_mark_dirty(folio.0);
        }
        Ok(())
    }

    /// Makes a block a page of the device's page cache, so that it is dirty by itself: file data goes past
    /// this cache, and an old copy of it in the same folio would be written back over the new.
    ///
    /// To be called after anything that sets the block size of the device, which allows large folios
    /// again. While the device is held exclusively, nobody but the holder can.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a large folio is there and cannot be dropped.
    pub(super) fn use_single_pages(&self) -> Result {
        let mapping = self.mapping();
        // SAFETY: The mapping is valid. Readers and writers of the device, and readahead, are kept out
        // while the order changes, as `set_blocksize()` does it.
        unsafe {
            let inode = (*mapping).host;
            to_result(bindings::vfs_inode_lock_killable(inode))?;
            bindings::vfs_filemap_invalidate_lock(mapping);
            // What others wrote and cannot be written is theirs to hear of.
            bindings::sync_blockdev(self.as_raw());
            bindings::vfs_mapping_set_single_pages(mapping);
            let ret = bindings::invalidate_inode_pages2(mapping);
            bindings::vfs_filemap_invalidate_unlock(mapping);
            bindings::vfs_inode_unlock(inode);
            to_result(ret)
        }
    }

    /// Where the errors of writes to the device's page cache are now. What failed before is none of the
    /// caller's, even if nobody has been told.
    pub(crate) fn error_cursor(&self) -> ErrorCursor {
        // SAFETY: The mapping is valid.
        ErrorCursor(unsafe { bindings::vfs_mapping_see_errors(self.mapping()) })
    }

    /// The latest error since `cursor` was taken, whoever else has been told of it.
    pub(crate) fn check_errors(&self, cursor: &ErrorCursor) -> Result {
        // SAFETY: The mapping is valid.
        to_result(unsafe { bindings::vfs_mapping_check_errors(self.mapping(), cursor.0) })
    }

    /// Drops the cached contents of `count` blocks from `block`, dirty or not.
    ///
    /// For blocks that are freed: without this, old metadata could be written over the data of the
    /// block's next owner.
    pub(crate) fn forget(&self, block: u64, count: u64) {
        let start = block << bindings::PAGE_SHIFT;
        let end = ((block + count) << bindings::PAGE_SHIFT) - 1;
        // SAFETY: The mapping is valid for the life of the mount.
        unsafe { bindings::truncate_inode_pages_range(self.mapping(), start as i64, end) }
    }

    /// Writes all dirty metadata and waits for it. Returns the first error since the last call.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: The device is valid.
        to_result(unsafe { bindings::sync_blockdev(self.as_raw()) })
    }

    /// Makes what the device has acknowledged durable.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: The device is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(self.as_raw()) })
    }
}

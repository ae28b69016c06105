// SPDX-License-Identifier: GPL-2.0

//! The block device under a file system: metadata through its page cache, and cache flushes.
//!
//! C header: `include/linux/blkdev.h`.

use crate::bindings;
use kernel::{
    error::{from_err_ptr, to_result, Result},
    prelude::*,
    types::Opaque,
};

/// Size in bytes of a metadata block; equal to the page size, so that a block is a page of the
/// device's page cache.
pub(crate) const BLOCK_SIZE: usize = kernel::page::PAGE_SIZE;

/// A scope in which memory allocations do not enter file system reclaim.
///
/// Taken before a lock that writeback or eviction also takes. Wraps `memalloc_nofs_save()`.
///
/// # Invariants
///
/// `0` is what `memalloc_nofs_save()` returned in this task. The type is not `Send`.
pub(crate) struct NofsScope(u32, kernel::types::NotThreadSafe);

impl NofsScope {
    /// Enters the scope; it ends when the value is dropped. Scopes nest.
    pub(crate) fn enter() -> Self {
        // SAFETY: Changes a flag of the current task only.
        let flags = unsafe { bindings::vfs_memalloc_nofs_save() };
        NofsScope(flags, kernel::types::NotThreadSafe)
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the value comes from the matching save in this task.
        unsafe { bindings::vfs_memalloc_nofs_restore(self.0) }
    }
}

/// A `struct block_device` opened by a mounted file system.
#[repr(transparent)]
pub(crate) struct BlockDevice(Opaque<bindings::block_device>);

// SAFETY: All operations below are safe to call from several tasks at once: pages are accessed under
// the folio lock or copied from an uptodate folio.
unsafe impl Sync for BlockDevice {}

/// A reference to a folio, dropped with the value.
struct FolioRef(*mut bindings::folio);

impl Drop for FolioRef {
    fn drop(&mut self) {
        // SAFETY: The value owns one reference.
        unsafe { bindings::vfs_folio_put(self.0) }
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

    fn check(&self, block: u64, offset: usize, len: usize) -> Result<usize> {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > BLOCK_SIZE || block >= self.size() / BLOCK_SIZE as u64 {
            return Err(EIO);
        }
        // CAST: `c_ulong`, the type of page indices, has the size of `usize`.
        Ok(block as usize)
    }

    /// Copies `buf.len()` bytes out of `block`, reading it from the device if it is not cached.
    ///
    /// # Errors
    ///
    /// `EIO` for a block or range outside the device and for I/O errors, `ENOMEM`.
    pub(crate) fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        let index = self.check(block, offset, buf.len())?;
        // SAFETY: The mapping is valid; a reference to an uptodate folio or an error comes back.
        let folio = unsafe { bindings::vfs_read_mapping_folio(self.mapping(), index) };
        let folio = FolioRef(from_err_ptr(folio)?);
        // SAFETY: The folio contains the block; the range lies in it, by `check()`.
        unsafe {
            let start = (index << bindings::PAGE_SHIFT) - bindings::vfs_folio_pos(folio.0) as usize;
            bindings::vfs_memcpy_from_folio(
                buf.as_mut_ptr().cast(),
                folio.0,
                start + offset,
                buf.len(),
            );
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
    pub(crate) fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        let index = self.check(block, offset, data.len())?;
        loop {
            let whole = data.len() == BLOCK_SIZE;
            // SAFETY: The mapping is valid. A whole block needs no reading; its folio is returned
            // locked. Otherwise an uptodate folio is returned, and locked here.
            let folio = unsafe {
                if whole {
                    FolioRef(from_err_ptr(bindings::vfs_grab_folio(
                        self.mapping(),
                        index,
                    ))?)
                } else {
                    let ptr = bindings::vfs_read_mapping_folio(self.mapping(), index);
                    let folio = FolioRef(from_err_ptr(ptr)?);
                    bindings::vfs_folio_lock(folio.0);
                    folio
                }
            };
            // SAFETY: The folio is locked; while it is, its mapping is stable, and with the mapping
            // unchanged it contains the block.
            unsafe {
                if (*folio.0).__bindgen_anon_1.__bindgen_anon_1.mapping != self.mapping() {
                    bindings::folio_unlock(folio.0);
                    continue;
                }
                bindings::folio_wait_writeback(folio.0);
                let start =
                    (index << bindings::PAGE_SHIFT) - bindings::vfs_folio_pos(folio.0) as usize;
                bindings::vfs_memcpy_to_folio(
                    folio.0,
                    start + offset,
                    data.as_ptr().cast(),
                    data.len(),
                );
                if whole {
                    bindings::vfs_folio_mark_uptodate(folio.0);
                }
                bindings::folio_mark_dirty(folio.0);
                bindings::folio_unlock(folio.0);
            }
            return Ok(());
        }
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

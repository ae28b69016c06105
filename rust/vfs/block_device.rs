// SPDX-License-Identifier: GPL-2.0

//! The block device under a file system: metadata through its page cache, and cache flushes.
//!
//! C headers: `include/linux/blkdev.h`, `include/linux/buffer_head.h`.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::{to_result, Result},
    prelude::*,
    types::Opaque,
};

/// Size in bytes of a metadata block; equal to the page size, so that a block is a page of the
/// device's page cache.
pub(crate) const BLOCK_SIZE: usize = kernel::page::PAGE_SIZE;

/// A `struct block_device` opened by a mounted file system.
#[repr(transparent)]
pub(crate) struct BlockDevice(Opaque<bindings::block_device>);

// SAFETY: All operations below are safe to call from several tasks at once.
unsafe impl Sync for BlockDevice {}

/// A point in the sequence of a device's write errors.
#[derive(Clone, Copy)]
pub(crate) struct ErrorCursor(u32);

/// A block of the device in memory: a reference to a `struct buffer_head` of [`BLOCK_SIZE`] bytes.
///
/// # Invariants
///
/// Owns one reference.
pub(super) struct Buffer(NonNull<bindings::buffer_head>);

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::vfs_bh_put(self.as_raw()) }
    }
}

impl Buffer {
    pub(super) fn as_raw(&self) -> *mut bindings::buffer_head {
        self.0.as_ptr()
    }

    /// Whether the block is there, and need not be read.
    pub(super) fn is_uptodate(&self) -> bool {
        // SAFETY: Valid buffer, by the type invariant; the same below.
        unsafe { bindings::vfs_bh_uptodate(self.as_raw()) }
    }

    /// Reads the block from the device if it is not there.
    ///
    /// # Errors
    ///
    /// `EIO` if it cannot be read, and if it was written without success and has left memory: the device has something older.
    pub(super) fn read(&self) -> Result {
        if self.is_uptodate() {
            return Ok(());
        }
        // SAFETY: As above.
        unsafe {
            if bindings::vfs_bh_write_failed(self.as_raw())
                || bindings::vfs_bh_read(self.as_raw()) < 0
            {
                return Err(EIO);
            }
        }
        Ok(())
    }

    /// Copies `to.len()` bytes from byte `offset` on. What somebody else changes meanwhile is copied partly; callers have locks
    /// of their own.
    pub(super) fn copy_out(&self, offset: usize, to: &mut [u8]) {
        assert_in_block(offset, to.len());
        // SAFETY: The range lies in the block. The copy is made by C code, which such a race is no undefined behaviour for.
        unsafe {
            bindings::vfs_bh_copy_out(self.as_raw(), offset, to.as_mut_ptr().cast(), to.len());
        }
    }

    /// Copies `from` to byte `offset` and following, in memory.
    pub(super) fn copy_in(&self, offset: usize, from: &[u8]) {
        assert_in_block(offset, from.len());
        // SAFETY: As in `copy_out`.
        unsafe { bindings::vfs_bh_copy_in(self.as_raw(), offset, from.as_ptr().cast(), from.len()) }
    }

    /// Makes a block that is not uptodate consist of `from`.
    pub(super) fn fill(&self, from: &[u8; BLOCK_SIZE]) {
        // SAFETY: The buffer has this size.
        unsafe { bindings::vfs_bh_fill(self.as_raw(), from.as_ptr().cast()) }
    }

    /// For [`Self::add_committed`]: to be called after each change.
    pub(super) fn note_magic(&self) {
        // SAFETY: Valid buffer.
        unsafe { bindings::vfs_bh_note_magic(self.as_raw()) }
    }

    /// Sets the bits in `bits` that were set when the block was committed to a journal last.
    pub(super) fn add_committed(&self, bits: &mut [u8; BLOCK_SIZE]) {
        // SAFETY: The buffer has this size.
        unsafe { bindings::vfs_bh_add_committed(self.as_raw(), bits.as_mut_ptr()) }
    }
}

/// The caller has checked this, and made an error of it.
fn assert_in_block(offset: usize, len: usize) {
    assert!(offset <= BLOCK_SIZE && len <= BLOCK_SIZE - offset);
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

    /// In which units of bytes the device may be told what is not in use; `None` if it does not want to know.
    pub(crate) fn discard_granularity(&self) -> Option<u32> {
        // SAFETY: As above.
        unsafe {
            (bindings::vfs_bdev_max_discard_sectors(self.as_raw()) > 0)
                .then(|| bindings::vfs_bdev_discard_granularity(self.as_raw()))
        }
    }

    /// Tells the device that what is in `count` blocks from `block` on is of no use. They hold anything then.
    ///
    /// Wraps `blkdev_issue_discard()`.
    pub(crate) fn discard(&self, block: u64, count: u64) -> Result {
        const SECTORS: u64 = BLOCK_SIZE as u64 / 512;
        // SAFETY: The device is valid.
        to_result(unsafe {
            bindings::blkdev_issue_discard(
                self.as_raw(),
                block * SECTORS,
                count * SECTORS,
                bindings::VFS_GFP_NOFS,
            )
        })
    }

    /// Whether a write can be told to reach the medium before it completes, or all do.
    pub(crate) fn writes_through(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_writes_through(self.as_raw()) }
    }

    /// Whether nothing can be written to it.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::vfs_bdev_read_only(self.as_raw()) }
    }

    /// The buffer of `block`, of which the caller needs `len` bytes from `offset` on. `EIO` for what is not on the device.
    ///
    /// Waits for memory as long as it takes: a task that is killed in the middle of a change of metadata still completes it.
    pub(super) fn buffer(&self, block: u64, offset: usize, len: usize) -> Result<Buffer> {
        if offset.checked_add(len).is_none_or(|end| end > BLOCK_SIZE)
            || block >= self.size() / BLOCK_SIZE as u64
        {
            return Err(EIO);
        }
        // SAFETY: The device is valid, and has blocks of a page, see `PendingSuper::set_page_blocks()`.
        let bh = unsafe { bindings::vfs_bdev_getblk(self.as_raw(), block) };
        // INVARIANT: A reference comes back.
        Ok(Buffer(NonNull::new(bh).ok_or(EIO)?))
    }

    /// Copies `buf.len()` bytes out of `block`, reading it from the device if it is not in memory.
    ///
    /// # Errors
    ///
    /// `EIO` for a block or range outside the device, and for I/O errors. Also if a write to the device has failed since
    /// `since`, and the block is no longer in memory: what is on the device may be older than what was written.
    pub(crate) fn read(
        &self,
        block: u64,
        offset: usize,
        buf: &mut [u8],
        since: &ErrorCursor,
    ) -> Result {
        let buffer = self.buffer(block, offset, buf.len())?;
        if !buffer.is_uptodate() {
            self.check_errors(since)?;
            buffer.read()?;
        }
        buffer.copy_out(offset, buf);
        Ok(())
    }

    /// Copies a block that is a bitmap, as [`Self::read`] does, and sets in the copy what was set in the block as it was last
    /// committed to a journal, if a transaction has changed it by [`Handle::write_bitmap`](super::Handle::write_bitmap) since.
    pub(crate) fn read_bitmap(
        &self,
        block: u64,
        bits: &mut [u8; BLOCK_SIZE],
        since: &ErrorCursor,
    ) -> Result {
        self.read(block, 0, bits, since)?;
        self.buffer(block, 0, BLOCK_SIZE)?.add_committed(bits);
        Ok(())
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

    /// Keeps what is in memory of `count` blocks from `block` on from being written, ever.
    ///
    /// For blocks that are going to be written past this cache: without this, what they once held could be written over it.
    ///
    /// Wraps `clean_bdev_aliases()`.
    pub(crate) fn forget(&self, block: u64, count: u64) {
        // SAFETY: The device is valid.
        unsafe { bindings::clean_bdev_aliases(self.as_raw(), block, count) }
    }

    /// Makes what the device has acknowledged durable.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: The device is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(self.as_raw()) })
    }
}

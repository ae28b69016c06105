// SPDX-License-Identifier: GPL-2.0

//! Access to metadata blocks.

use core::fmt;
use kernel::prelude::*;
use toyfs_format::Corrupt;

/// Reads and writes parts of metadata blocks. Who implements [`Self::read`] and no more of them only looks.
///
/// Implemented by the mounted filesystem on top of its device's page cache; the unit tests
/// implement it in memory.
pub(crate) trait BlockIo {
    /// Copies from byte `offset` of `block`. The range must not leave the block.
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result;

    /// Copies a block of a bitmap, with all bits set that may not be handed out: those that are set, and those that were before
    /// what has cleared them is committed.
    fn read_bitmap(&self, block: u64, bits: &mut [u8]) -> Result {
        self.read(block, 0, bits)
    }

    /// Copies `data` to byte `offset` of `block`. The range must not leave the block.
    fn write(&self, _block: u64, _offset: usize, _data: &[u8]) -> Result {
        Err(EROFS)
    }

    /// As [`Self::write`], to a block of a bitmap; `clears` if bits have become clear.
    fn write_bitmap(&self, block: u64, offset: usize, data: &[u8], _clears: bool) -> Result {
        self.write(block, offset, data)
    }

    /// Notes that a block that was written is being freed.
    fn revoke(&self, _block: u64) -> Result {
        Err(EROFS)
    }

    /// Notes that blocks have been freed.
    fn freed(&self, _start: u64, _len: u64) {}

    /// Reports that something on disk is corrupt, and returns `EUCLEAN`.
    fn corrupt(&self, what: fmt::Arguments<'_>) -> Error;

    /// Reports that a change could be neither completed nor taken back, because of `error`.
    fn half_done(&self, _what: &'static str, _error: Error) {}

    /// To be called in loops over what the disk determines: `EINTR` if the task was killed, and has not
    /// changed anything yet.
    fn may_go_on(&self) -> Result;
}

/// For `map_err`: reports which structure on disk is corrupt and why, and yields `EUCLEAN`.
pub(crate) fn corrupt<'a>(
    io: &'a impl BlockIo,
    what: &'static str,
    id: u64,
) -> impl FnOnce(Corrupt) -> Error + 'a {
    move |Corrupt(why)| io.corrupt(format_args!("{what} {id}: {why}"))
}

/// A device in memory for the unit tests.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod memory {
    use super::*;
    use core::cell::{Cell, RefCell};
    use toyfs_format::{Region, Superblock, BITS_PER_BLOCK, BLOCK_SIZE, ROOT_INO};

    /// The device.
    pub(crate) struct Memory {
        blocks: RefCell<KVVec<u8>>,
        /// Whether everything fails.
        pub(crate) broken: Cell<bool>,
    }

    impl Memory {
        /// A device with the bitmaps of a new filesystem, which is described as well.
        pub(crate) fn new(total_blocks: u64) -> Result<(Self, Superblock)> {
            let sb = Superblock::layout(total_blocks, 64, 0).ok_or(EINVAL)?;
            let mut blocks = KVVec::from_elem(0, total_blocks as usize * BLOCK_SIZE, GFP_KERNEL)?;
            let mut fill = |at: Region, used: &dyn Fn(u64) -> bool| {
                let base = at.start as usize * BLOCK_SIZE;
                for bit in (0..at.len * BITS_PER_BLOCK).filter(|&bit| used(bit)) {
                    if let Some(byte) = blocks.get_mut(base + (bit / 8) as usize) {
                        *byte |= 1 << (bit % 8);
                    }
                }
            };
            fill(sb.inode_bitmap, &|i| i <= ROOT_INO || i >= sb.inode_count);
            fill(sb.block_bitmap, &|b| {
                b < sb.data.start || b >= sb.data.end()
            });
            let device = Self {
                blocks: RefCell::new(blocks),
                broken: Cell::new(false),
            };
            Ok((device, sb))
        }
    }

    impl BlockIo for Memory {
        fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
            let at = block as usize * BLOCK_SIZE + offset;
            let blocks = self.blocks.try_borrow().map_err(|_| EIO)?;
            let from = blocks.get(at..at + buf.len()).ok_or(EIO)?;
            if self.broken.get() {
                return Err(EIO);
            }
            buf.copy_from_slice(from);
            Ok(())
        }

        fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
            let at = block as usize * BLOCK_SIZE + offset;
            let mut blocks = self.blocks.try_borrow_mut().map_err(|_| EIO)?;
            let to = blocks.get_mut(at..at + data.len()).ok_or(EIO)?;
            if self.broken.get() {
                return Err(EIO);
            }
            to.copy_from_slice(data);
            Ok(())
        }

        fn revoke(&self, _block: u64) -> Result {
            Ok(())
        }

        fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
            pr_err!("{what}\n");
            EUCLEAN
        }

        fn half_done(&self, what: &'static str, error: Error) {
            pr_err!("{what}: {error:?}\n");
        }

        fn may_go_on(&self) -> Result {
            Ok(())
        }
    }
}

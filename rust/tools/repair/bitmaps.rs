// SPDX-License-Identifier: GPL-2.0

//! The bitmaps: they are made anew from what is kept.

use super::Repair;
use crate::check::{Bits, Disk};
use std::io;
use toyfs_format::{Region, BITS_PER_BLOCK, BLOCK_SIZE};

impl<D: Disk> Repair<'_, '_, D> {
    /// Reads the bitmaps.
    pub(super) fn bitmaps_read(&mut self) -> io::Result<()> {
        self.block_map = self.bitmap_read(self.sb.block_bitmap)?;
        self.inode_map = self.bitmap_read(self.sb.inode_bitmap)?;
        self.orphan_map = self.bitmap_read(self.sb.orphans)?;
        // Everything outside the data region, whether it has a purpose or not.
        let (data, total) = (self.sb.data, self.sb.total_blocks);
        self.used.set_range(0, data.start);
        self.used.set_range(data.end(), total - data.end());
        Ok(())
    }

    fn bitmap_read(&self, region: Region) -> io::Result<Bits> {
        let mut bits = Bits::new(region.len * BITS_PER_BLOCK);
        for (i, buf) in bits.0.chunks_mut(BLOCK_SIZE).enumerate() {
            self.disk.read(region.start + i as u64, buf)?;
        }
        Ok(bits)
    }

    /// Writes what of the bitmaps has to be different.
    pub(super) fn bitmaps_write(&mut self) -> io::Result<()> {
        let sb = self.sb;
        let undecided = self.undecided();
        let mut inodes = Bits::new(sb.inode_bitmap.len * BITS_PER_BLOCK);
        inodes.set(0);
        for &ino in self.nodes.keys().chain(&self.left) {
            inodes.set(ino);
        }
        let bits = sb.inode_bitmap.len * BITS_PER_BLOCK;
        inodes.set_range(sb.inode_count, bits - sb.inode_count);
        if inodes.0 != self.inode_map.0 && self.fixes.safe("inode bitmap: correct it") {
            self.bitmap_write(sb.inode_bitmap, &inodes);
        }
        let mut blocks = Bits::new(sb.block_bitmap.len * BITS_PER_BLOCK);
        blocks.0[..self.used.0.len()].copy_from_slice(&self.used.0);
        let bits = sb.block_bitmap.len * BITS_PER_BLOCK;
        blocks.set_range(sb.total_blocks, bits - sb.total_blocks);
        if undecided {
            // What was left as it is may use more than could be found out.
            for (new, old) in blocks.0.iter_mut().zip(&self.block_map.0) {
                *new |= old;
            }
        }
        if blocks.0 != self.block_map.0 && self.fixes.safe("block bitmap: correct it") {
            self.bitmap_write(sb.block_bitmap, &blocks);
        }
        let mut orphans = Bits::new(sb.orphans.len * BITS_PER_BLOCK);
        if undecided {
            for &ino in self.nodes.keys().filter(|&&ino| self.orphan_map.get(ino)) {
                orphans.set(ino);
            }
        }
        if orphans.0 != self.orphan_map.0 && self.fixes.safe("orphan bitmap: correct it") {
            self.bitmap_write(sb.orphans, &orphans);
        }
        Ok(())
    }

    fn bitmap_write(&mut self, region: Region, bits: &Bits) {
        for (i, chunk) in bits.0.chunks(BLOCK_SIZE).enumerate() {
            let at = region.start + i as u64;
            let mut block = [0; BLOCK_SIZE];
            block.copy_from_slice(chunk);
            self.disk.put(at, &block);
        }
    }
}

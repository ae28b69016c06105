// SPDX-License-Identifier: GPL-2.0

//! The bitmaps: they are read first, and compared with what was found in the end.

use super::{
    bits::Bits,
    state::{Check, Disk},
};
use toyfs_format::{Region, BITS_PER_BLOCK, BLOCK_SIZE};

impl<D: Disk> Check<'_, D> {
    /// Reads a bitmap.
    pub(super) fn bitmap(&mut self, name: &str, region: Region) -> Bits {
        let mut bits = Bits::new(region.len * BITS_PER_BLOCK);
        for (i, buf) in bits.0.chunks_mut(BLOCK_SIZE).enumerate() {
            let block = region.start + i as u64;
            if let Err(e) = self.disk.read(block, buf) {
                self.report
                    .error(&format!("{name} bitmap: block {block}: {e}"));
                buf.fill(0);
            }
        }
        bits
    }

    /// Compares the bitmaps with what was found.
    pub(super) fn bitmaps(&mut self) {
        let total = self.sb.total_blocks;
        let all = self.sb.block_bitmap.len * BITS_PER_BLOCK;
        let missing = self
            .block_map
            .runs(&self.seen, total, |map, seen| !map && seen);
        let leaked = self
            .block_map
            .runs(&self.seen, total, |map, seen| map && !seen);
        let padding = (total..all).any(|i| !self.block_map.get(i));
        for Region { start, len } in missing {
            self.error(format!(
                "block bitmap: {start}+{len} in use, but marked free"
            ));
        }
        for Region { start, len } in leaked {
            self.error(format!(
                "block bitmap: {start}+{len} marked in use, but free"
            ));
        }
        if padding {
            self.error("block bitmap: blocks after the last one marked free".into());
        }
        let count = self.sb.inode_count;
        let all = self.sb.inode_bitmap.len * BITS_PER_BLOCK;
        if !self.inode_map.get(0) || (count..all).any(|i| !self.inode_map.get(i)) {
            self.error("inode bitmap: inodes that do not exist marked free".into());
        }
        let exists = |i: &u64| (2..count).contains(i) && self.inode_map.get(*i);
        let stray: Vec<u64> = self.orphan_map.numbers().filter(|i| !exists(i)).collect();
        for i in stray {
            self.error(format!("orphan bitmap: {i} is no inode in use"));
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Blocks that are to be written, kept in memory before they are: all of a step is known before the first of it is written,
//! or nothing is ever written.

use super::check::Disk;
use std::{
    collections::{BTreeMap, HashMap},
    io,
};
use toyfs_format::{
    replay::{self, Block},
    Superblock, BLOCK_SIZE,
};

/// What can be repaired.
pub(crate) trait Storage: Disk {
    /// Writes a block.
    fn write(&self, block: u64, data: &[u8]) -> io::Result<()>;
    /// Returns once everything written is stable.
    fn sync(&self) -> io::Result<()>;
}

/// A disk, and what is different on it.
pub(crate) struct Overlay<'a, D: Disk> {
    disk: &'a D,
    blocks: BTreeMap<u64, Box<Block>>,
    /// What a replay keeps in mind.
    revoked: HashMap<u64, u32>,
}

impl<'a, D: Disk> Overlay<'a, D> {
    pub(crate) fn new(disk: &'a D) -> Self {
        Self {
            disk,
            blocks: BTreeMap::new(),
            revoked: HashMap::new(),
        }
    }

    /// The whole of a block.
    pub(crate) fn block(&self, block: u64) -> io::Result<Block> {
        let mut buf = [0; BLOCK_SIZE];
        Disk::read(self, block, &mut buf)?;
        Ok(buf)
    }

    /// Replaces a block.
    pub(crate) fn put(&mut self, block: u64, data: &Block) {
        if self.block(block).map_or(true, |old| old != *data) {
            self.blocks.insert(block, Box::new(*data));
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl<D: Storage> Overlay<'_, D> {
    /// Writes everything, and in an order in which it may end anywhere: data, which nothing refers to yet, before
    /// inodes; bitmaps, which make room for others, after these; the superblock, which says that all is well; and the
    /// journal, without which a replay would be done once more, last of all.
    pub(crate) fn store(self, sb: &Superblock) -> io::Result<()> {
        let place = |block: u64| match block {
            0 => 3,
            _ if block < sb.inode_table.start => 2,
            _ if block < sb.inode_table.end() => 1,
            _ if (sb.journal.start..sb.journal.end()).contains(&block) => 4,
            _ => 0,
        };
        for step in 0..5 {
            let mut blocks = self.blocks.iter().filter(|b| place(*b.0) == step);
            if let Some(first) = blocks.next() {
                for (&block, data) in [first].into_iter().chain(blocks) {
                    self.disk.write(block, &data[..])?;
                }
                self.disk.sync()?;
            }
        }
        Ok(())
    }
}

impl<D: Disk> Disk for Overlay<'_, D> {
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }

    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.blocks.get(&block) {
            Some(data) => buf.copy_from_slice(&data[..buf.len()]),
            None => self.disk.read(block, buf)?,
        }
        Ok(())
    }
}

impl<D: Disk> replay::Device for Overlay<'_, D> {
    type Error = io::Error;

    fn read(&mut self, block: u64, buf: &mut Block) -> io::Result<()> {
        Disk::read(self, block, buf)
    }

    fn write(&mut self, block: u64, data: &Block) -> io::Result<()> {
        self.put(block, data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn revoke(&mut self, block: u64, sequence: u32) {
        self.revoked.insert(block, sequence);
    }

    fn revoked(&self, block: u64) -> Option<u32> {
        self.revoked.get(&block).copied()
    }
}

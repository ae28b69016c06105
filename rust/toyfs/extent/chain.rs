// SPDX-License-Identifier: GPL-2.0

//! The extent chain: the blocks that hold the extents which do not fit into the inode.

use super::super::{
    bitmap::Allocator,
    block::{corrupt, BlockIo},
};
use kernel::prelude::*;
use toyfs_format::{
    chain_blocks_for, ChainHeader, Corrupt, Extent, Inode, Superblock, BLOCK_SIZE, CHAIN_EXTENTS,
};

/// The extent chain of one inode.
///
/// # Invariants
///
/// If `blocks` is not empty then `buf` is [`BLOCK_SIZE`] bytes long.
pub(super) struct Chain {
    blocks: KVVec<u64>,
    buf: KVVec<u8>,
    /// So many blocks at the start of the chain have the right successor on disk.
    linked: usize,
}

impl Chain {
    /// The chain of a new, empty inode.
    pub(super) const fn new() -> Self {
        Self {
            blocks: KVVec::new(),
            buf: KVVec::new(),
            linked: 0,
        }
    }

    /// Reads the chain of an inode, and gives its extents to `append`, in order. `EUCLEAN`, and a
    /// message, if it breaks a rule of the format.
    pub(super) fn load(
        io: &impl BlockIo,
        sb: &Superblock,
        inode: &Inode,
        mut append: impl FnMut(Extent) -> Result,
    ) -> Result<Self> {
        let ino = inode.ino;
        let fail = |why| corrupt(io, "inode", ino)(Corrupt(why));
        let mut chain = Self::new();
        if inode.chain_len > 0 {
            chain.buf.resize(BLOCK_SIZE, 0, GFP_KERNEL)?;
        }
        let mut next = inode.chain_head;
        // The sequence number in each block makes a loop in the chain an error.
        for seq in 0..inode.chain_len {
            io.may_go_on()?;
            if !sb.is_data(next, 1) {
                return Err(fail("extent block outside the data region"));
            }
            io.read(next, 0, &mut chain.buf)?;
            let h = ChainHeader::parse(&chain.buf, ino, seq, sb.seed())
                .map_err(corrupt(io, "inode", ino))?;
            if seq + 1 < inode.chain_len && h.count as usize != CHAIN_EXTENTS {
                return Err(fail("extent block in mid-chain is not full"));
            }
            for e in h.extents(&chain.buf) {
                append(e.map_err(corrupt(io, "inode", ino))?)?;
            }
            chain.blocks.push(next, GFP_KERNEL)?;
            next = h.next;
        }
        if next != 0 {
            return Err(fail("extent chain is longer than the inode says"));
        }
        chain.linked = chain.blocks.len();
        Ok(chain)
    }

    /// Writes the blocks that changed: `extents` is what the chain holds, and those before index
    /// `dirty_from` are as they are on disk. After an error the next call does it all again.
    pub(super) fn store(
        &mut self,
        io: &impl BlockIo,
        sb: &Superblock,
        ino: u64,
        extents: &[Extent],
        dirty_from: usize,
    ) -> Result {
        for (seq, part) in extents.chunks(CHAIN_EXTENTS).enumerate() {
            if (seq + 1) * CHAIN_EXTENTS <= dirty_from && seq < self.linked {
                continue;
            }
            let block = *self.blocks.get(seq).ok_or(EIO)?;
            let header = ChainHeader {
                owner: ino,
                next: self.blocks.get(seq + 1).copied().unwrap_or(0),
                count: part.len() as u32,
                seq: seq as u32,
            };
            header.encode(&mut self.buf, part, sb.seed());
            io.write(block, 0, &self.buf)?;
        }
        self.linked = self.blocks.len();
        Ok(())
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The first block, or 0.
    pub(super) fn head(&self) -> u64 {
        self.blocks.first().copied().unwrap_or(0)
    }

    /// Notes that the last block gets another successor.
    fn relink(&mut self) {
        self.linked = self.linked.min(self.blocks.len().saturating_sub(1));
    }

    /// Allocates what `count` extents in all need. If it fails some of it may have been allocated,
    /// which [`Self::trim`] frees.
    pub(super) fn grow(&mut self, io: &impl BlockIo, alloc: &mut Allocator, count: u32) -> Result {
        let needed = chain_blocks_for(count) as usize;
        if needed > 0 && self.buf.is_empty() {
            self.buf.resize(BLOCK_SIZE, 0, GFP_KERNEL)?;
        }
        while self.blocks.len() < needed {
            self.blocks.reserve(1, GFP_KERNEL)?;
            let goal = self.blocks.last().copied().unwrap_or(0);
            let block = alloc.alloc_chain_block(io, goal)?;
            self.relink();
            self.blocks.push_within_capacity(block)?;
        }
        Ok(())
    }

    /// Frees the blocks that `count` extents in all do not need.
    pub(super) fn trim(&mut self, io: &impl BlockIo, alloc: &mut Allocator, count: u32) -> Result {
        let needed = chain_blocks_for(count) as usize;
        let mut result = Ok(());
        while self.blocks.len() > needed {
            if let Some(block) = self.blocks.pop() {
                self.relink();
                let done = alloc.free_blocks(io, block, 1);
                result = result.and(done);
            }
        }
        result
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The extent chain: the blocks that hold the extents which do not fit into the inode.
//!
//! A block need not be full, so that an extent which comes or goes concerns the block that it is in, and perhaps those beside it,
//! however many follow. Here a *place* is the number of an extent within the chain.

use super::super::{
    bitmap::Allocator,
    block::{corrupt, BlockIo},
};
use kernel::prelude::*;
use toyfs_format::{ChainHeader, Corrupt, Extent, Inode, Superblock, BLOCK_SIZE, CHAIN_EXTENTS};

/// Two blocks that have so few extents together become one.
const MERGE: usize = CHAIN_EXTENTS * 2 / 3;

/// So many do at a time: a change has room for so many. On disk there may be more.
const MERGES: usize = 3;

/// A block of a chain.
#[derive(Clone, Copy)]
struct Leaf {
    block: u64,
    /// Number of extents in it. Zero: it is one that an extent may have need of, or has no more.
    count: usize,
    /// Not as it is on disk.
    dirty: bool,
    /// It has been written: when it is freed that is revoked.
    written: bool,
}

/// The extent chain of one inode.
///
/// # Invariants
///
/// - No leaf has more than [`CHAIN_EXTENTS`] extents.
/// - If `leaves` is not empty then `buf` is [`BLOCK_SIZE`] bytes long.
pub(super) struct Chain {
    leaves: KVVec<Leaf>,
    buf: KVVec<u8>,
}

impl Chain {
    /// The chain of a new, empty inode.
    pub(super) const fn new() -> Self {
        Self {
            leaves: KVVec::new(),
            buf: KVVec::new(),
        }
    }

    /// Reads the chain of an inode, and gives its extents to `append`, in order. `EUCLEAN`, and a
    /// message, if it breaks a rule of the format.
    ///
    /// That `append` refuses extents that do not go up makes a loop in the chain an error.
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
        for _ in 0..inode.chain_len {
            io.may_go_on()?;
            if !sb.is_data(next, 1) {
                return Err(fail("extent block outside the data region"));
            }
            io.read(next, 0, &mut chain.buf)?;
            let h = ChainHeader::parse(&chain.buf, ino, sb.seed())
                .map_err(corrupt(io, "inode", ino))?;
            for e in h.extents(&chain.buf) {
                append(e.map_err(corrupt(io, "inode", ino))?)?;
            }
            chain.leaves.push(
                Leaf {
                    block: next,
                    count: h.count as usize,
                    dirty: false,
                    written: true,
                },
                GFP_KERNEL,
            )?;
            next = h.next;
        }
        if next != 0 {
            return Err(fail("extent chain is longer than the inode says"));
        }
        Ok(chain)
    }

    /// Writes the blocks that changed: `extents` is what the chain holds. After an error the next call does the rest.
    pub(super) fn store(
        &mut self,
        io: &impl BlockIo,
        sb: &Superblock,
        ino: u64,
        extents: &[Extent],
    ) -> Result {
        let mut start = 0;
        for i in 0..self.leaves.len() {
            let next = self.leaves.get(i + 1).map_or(0, |leaf| leaf.block);
            let leaf = self.leaves.get_mut(i).ok_or(EIO)?;
            let end = start + leaf.count;
            if leaf.dirty {
                let part = extents.get(start..end).ok_or(EIO)?;
                let header = ChainHeader {
                    owner: ino,
                    next,
                    count: part.len() as u32,
                };
                header.encode(&mut self.buf, part, sb.seed());
                io.write(leaf.block, 0, &self.buf)?;
                leaf.dirty = false;
                leaf.written = true;
            }
            start = end;
        }
        Ok(())
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// The first block, or 0.
    pub(super) fn head(&self) -> u64 {
        self.leaves.first().map_or(0, |leaf| leaf.block)
    }

    /// The leaf that `place` is in, and how many extents of it come before; for a place behind all others the last leaf.
    fn find(&self, place: usize) -> Option<(usize, usize)> {
        let mut before = place;
        for (i, leaf) in self.leaves.iter().enumerate() {
            if before < leaf.count || i + 1 == self.leaves.len() {
                return Some((i, before));
            }
            before -= leaf.count;
        }
        None
    }

    /// Where an extent at `place` goes: as [`Self::find`], but behind those of a leaf rather than in front of the next one's, if
    /// there is room.
    fn find_for(&self, place: usize) -> Option<(usize, usize)> {
        let (i, before) = self.find(place)?;
        let prev = i.checked_sub(1).and_then(|prev| self.leaves.get(prev));
        match prev {
            Some(prev) if before == 0 && prev.count < CHAIN_EXTENTS => Some((i - 1, prev.count)),
            _ => Some((i, before)),
        }
    }

    fn leaf(&mut self, i: usize) -> Option<&mut Leaf> {
        self.leaves.get_mut(i)
    }

    /// The extent at `place` changes.
    pub(super) fn touch(&mut self, place: usize) {
        if let Some((i, _)) = self.find(place) {
            if let Some(leaf) = self.leaf(i) {
                leaf.dirty = true;
            }
        }
    }

    /// Whether [`Self::make_room`] needs a block: which one of the chain that will be, and near which block it should be.
    pub(super) fn lacks(&self, place: usize, extra: usize) -> Option<(usize, u64)> {
        let Some((i, _)) = self.find_for(place) else {
            return Some((0, 0));
        };
        let count = |i: usize| self.leaves.get(i).map(|leaf| leaf.count);
        let full = count(i).unwrap_or(0) + extra > CHAIN_EXTENTS;
        let near = self.leaves.get(i).map_or(0, |leaf| leaf.block);
        (full && count(i + 1) != Some(0)).then_some((i + 1, near))
    }

    /// Makes sure that [`Self::insert`] can be called `extra` times, which is less than [`CHAIN_EXTENTS`] / 2, from `place` on.
    /// If it fails some of it may have been allocated, which [`Self::trim`] frees. If it was `promised` it may use the reserve.
    pub(super) fn make_room(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        place: usize,
        extra: usize,
        promised: bool,
    ) -> Result {
        if self.buf.is_empty() {
            self.buf.resize(BLOCK_SIZE, 0, GFP_KERNEL)?;
        }
        let Some((at, goal)) = self.lacks(place, extra) else {
            return Ok(());
        };
        self.leaves.reserve(1, GFP_KERNEL)?;
        let block = if promised {
            alloc.alloc_promised(io, goal)?
        } else {
            alloc.alloc_blocks(io, goal, 1)?.0
        };
        let new = Leaf {
            block,
            count: 0,
            dirty: false,
            written: false,
        };
        self.leaves.insert_within_capacity(at, new)?;
        Ok(())
    }

    /// An extent comes, at `place`. The caller has made room.
    pub(super) fn insert(&mut self, place: usize) -> Result {
        let (mut i, mut before) = self.find_for(place).ok_or(EIO)?;
        let count = self.leaf(i).ok_or(EIO)?.count;
        if count == CHAIN_EXTENTS {
            let keep = count / 2;
            let next = self.leaf(i + 1).filter(|next| next.count == 0);
            let next = next.ok_or(EIO)?;
            next.count = count - keep;
            next.dirty = true;
            let leaf = self.leaf(i).ok_or(EIO)?;
            leaf.count = keep;
            leaf.dirty = true;
            if before > keep {
                (i, before) = (i + 1, before - keep);
            }
        }
        let leaf = self.leaf(i).ok_or(EIO)?;
        let joins = leaf.count == 0;
        leaf.count += 1;
        leaf.dirty = true;
        debug_assert!(before < leaf.count);
        if joins {
            self.relink(i);
        }
        Ok(())
    }

    /// The extents from `place` on go, `count` of them.
    pub(super) fn remove(&mut self, place: usize, count: usize) {
        let mut start = 0;
        let end = place.saturating_add(count);
        for leaf in self.leaves.iter_mut() {
            let next = start + leaf.count;
            let gone = next.min(end).saturating_sub(start.max(place));
            if gone > 0 {
                leaf.count -= gone;
                leaf.dirty = true;
            }
            if next >= end {
                break;
            }
            start = next;
        }
    }

    /// The leaf before `i` gets another successor.
    fn relink(&mut self, i: usize) {
        if let Some(prev) = i.checked_sub(1).and_then(|prev| self.leaf(prev)) {
            prev.dirty = true;
        }
    }

    /// Frees the blocks that are empty, and makes one of two that have few extents.
    ///
    /// To be called after each change, before [`Self::store`].
    pub(super) fn trim(&mut self, io: &impl BlockIo, alloc: &mut Allocator) -> Result {
        let mut result = Ok(());
        let mut kept: usize = 0;
        let mut merges = 0;
        for i in 0..self.leaves.len() {
            let Some(mut leaf) = self.leaves.get(i).copied() else {
                break;
            };
            let prev = kept.checked_sub(1).and_then(|prev| self.leaf(prev));
            match prev {
                // Nothing is merged that nothing has been taken from.
                Some(prev)
                    if leaf.count > 0
                        && merges < MERGES
                        && leaf.dirty | prev.dirty
                        && prev.count + leaf.count <= MERGE =>
                {
                    prev.count += leaf.count;
                    prev.dirty = true;
                    leaf.count = 0;
                    merges += 1;
                }
                _ => {}
            }
            if leaf.count == 0 {
                let freed = if leaf.written {
                    alloc.free_chain_block(io, leaf.block)
                } else {
                    alloc.free_blocks(io, leaf.block, 1)
                };
                result = result.and(freed);
                self.relink(kept);
                continue;
            }
            if let Some(slot) = self.leaf(kept) {
                *slot = leaf;
            }
            kept += 1;
        }
        self.leaves.truncate(kept);
        result
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Extents: what of them is sound, and where they are stored.

use super::{Node, Repair};
use crate::check::Disk;
use toyfs_format::{
    ChainHeader, Extent, Inode, BLOCK_LOG2, BLOCK_SIZE, CHAIN_EXTENTS, INLINE_EXTENTS,
    MAX_DIR_BLOCKS, MAX_EXTENTS,
};

/// The extents of an inode, as far as they are sound.
pub(super) struct Salvage {
    pub(super) extents: Vec<Extent>,
    /// The blocks of the chain that they were found in.
    pub(super) chain: Vec<u64>,
    /// Not all was sound.
    pub(super) damaged: bool,
}

impl<D: Disk> Repair<'_, '_, D> {
    /// Reads the extents of an inode, and marks as used what is sound of them and not used yet.
    pub(super) fn salvage(&mut self, inode: &Inode) -> Salvage {
        let mut found = Salvage {
            extents: inode.inline_extents().to_vec(),
            chain: Vec::new(),
            damaged: false,
        };
        self.chain(inode, &mut found);
        found.damaged |= found.extents.len() != inode.extent_count as usize
            || found.chain.len() != inode.chain_len as usize;
        for e in std::mem::take(&mut found.extents) {
            let end = found.extents.last().map_or(0, Extent::end);
            let sound = e.file_block >= end
                && self.sb.is_data(e.disk_block, e.len.into())
                && !(inode.is_dir() && e.unwritten);
            if sound {
                self.take_unused(inode.ino, e, &mut found);
            }
            found.damaged |= !sound;
        }
        if inode.is_dir() {
            self.close_holes(&mut found);
        }
        if found.extents.len() > MAX_EXTENTS as usize {
            found.damaged = true;
            for e in found.extents.split_off(MAX_EXTENTS as usize) {
                self.release(e.disk_block, e.len.into());
            }
        }
        found
    }

    /// Follows the chain of an inode up to its end, or to where it is not sound.
    fn chain(&mut self, inode: &Inode, found: &mut Salvage) {
        let mut next = inode.chain_head;
        while next != 0 && found.extents.len() <= MAX_EXTENTS as usize {
            // A loop ends here, too: its blocks are used.
            let block = match self.disk.block(next) {
                Ok(block) if self.sb.is_data(next, 1) && !self.used.get(next) => block,
                _ => break,
            };
            let Ok(header) = ChainHeader::parse(&block, inode.ino, self.sb.seed()) else {
                break;
            };
            self.used.set(next);
            found.chain.push(next);
            for e in header.extents(&block) {
                match e {
                    Ok(e) => found.extents.push(e),
                    Err(_) => found.damaged = true,
                }
            }
            next = header.next;
        }
        found.damaged |= next != 0;
    }

    /// Takes the parts of an extent that nothing else uses.
    fn take_unused(&mut self, ino: u64, e: Extent, found: &mut Salvage) {
        let mut part: Option<Extent> = None;
        for i in 0..u64::from(e.len) {
            let block = e.disk_block + i;
            if self.is_of_another(block, ino) || self.used.set(block) {
                found.damaged = true;
                found.extents.extend(part.take());
                // Extents could be made to name everything a million times.
                match self.patience.checked_sub(1) {
                    Some(rest) => self.patience = rest,
                    None => return,
                }
                continue;
            }
            match &mut part {
                Some(part) => part.len += 1,
                None => {
                    part = Some(Extent {
                        file_block: e.file_block + i,
                        disk_block: block,
                        len: 1,
                        ..e
                    });
                }
            }
        }
        found.extents.extend(part);
    }

    /// A directory has no holes. Its blocks may change their place in it.
    fn close_holes(&mut self, found: &mut Salvage) {
        let mut end = 0;
        let mut kept = Vec::new();
        for mut e in std::mem::take(&mut found.extents) {
            let room = MAX_DIR_BLOCKS - end;
            if u64::from(e.len) > room {
                self.release(e.disk_block + room, u64::from(e.len) - room);
                e.len = room as u32;
                found.damaged = true;
            }
            if e.len == 0 {
                continue;
            }
            found.damaged |= e.file_block != end;
            e.file_block = end;
            end = e.end();
            kept.push(e);
        }
        found.extents = kept;
    }

    /// Blocks are not used after all.
    pub(super) fn release(&mut self, start: u64, len: u64) {
        for block in start..start + len {
            self.used.clear(block);
        }
        self.cursor = self.sb.data.start;
    }

    /// A block of the data region that nothing uses: best one that is marked free, and only that if
    /// something is left of which it is not known what it uses.
    pub(super) fn allocate(&mut self) -> Option<u64> {
        let data = self.sb.data.start..self.sb.data.end();
        let free = |block: &u64| !self.used.get(*block) && !self.block_map.get(*block);
        let found = (self.cursor..data.end)
            .find(free)
            .or_else(|| data.clone().find(|&block| !self.used.get(block)))
            .filter(|&block| free(&block) || !self.undecided())?;
        self.cursor = found + 1;
        self.used.set(found);
        Some(found)
    }

    /// Stores the extents of a node: in the inode, and in a new chain. The old one stays as it is, so that the
    /// inode has the old extents until it is written, and then the new ones; if there is no room for that, it is
    /// written over.
    pub(super) fn lay_out(&mut self, node: &mut Node) {
        let mut extents = node.extents.take().unwrap_or_default();
        let old = std::mem::take(&mut node.chain);
        let chained = extents.len().saturating_sub(INLINE_EXTENTS);
        let needed = chained.div_ceil(CHAIN_EXTENTS);
        let mut chain: Vec<u64> = Vec::new();
        let mut spare = old.iter().copied();
        while chain.len() < needed {
            match self.allocate().or_else(|| spare.next()) {
                Some(block) => chain.push(block),
                None => break,
            }
        }
        for block in spare {
            self.release(block, 1);
        }
        // Without room for the chain, what would be in it is lost.
        let fit = INLINE_EXTENTS + chain.len() * CHAIN_EXTENTS;
        for e in extents.split_off(fit.min(extents.len())) {
            self.release(e.disk_block, e.len.into());
        }
        self.write_chain(node.inode.ino, &chain, &extents);
        let inode = &mut node.inode;
        inode.inline = Default::default();
        for (slot, e) in inode.inline.iter_mut().zip(&extents) {
            *slot = *e;
        }
        inode.extent_count = extents.len() as u32;
        inode.chain_head = chain.first().copied().unwrap_or(0);
        inode.chain_len = chain.len() as u32;
        let blocks: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
        inode.blocks = blocks + chain.len() as u64 + u64::from(inode.xattr_block != 0);
        if inode.is_dir() {
            inode.size = blocks << BLOCK_LOG2;
        }
        node.extents = Some(extents);
        node.chain = chain;
        node.dirty = true;
    }

    /// Writes a chain.
    fn write_chain(&mut self, owner: u64, chain: &[u64], extents: &[Extent]) {
        let chained = extents.get(INLINE_EXTENTS..).unwrap_or(&[]);
        for (i, part) in chained.chunks(CHAIN_EXTENTS).enumerate() {
            let header = ChainHeader {
                owner,
                next: chain.get(i + 1).copied().unwrap_or(0),
                count: part.len() as u32,
            };
            let mut block = [0; BLOCK_SIZE];
            header.encode(&mut block, part, self.sb.seed());
            self.disk.put(chain[i], &block);
        }
    }
}

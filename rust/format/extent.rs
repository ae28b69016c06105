// SPDX-License-Identifier: GPL-2.0

//! Extents, and the chain of blocks for those that do not fit into an inode.

use super::{
    bytes::{get32, get64, put32, put64},
    checksum::checksum,
    layout::{
        Corrupt, BLOCK_SIZE, CHAIN_EXTENTS, CHAIN_HEADER, CRC_OFFSET, EXTENT_SIZE, INLINE_EXTENTS,
        MAX_FILE_BLOCKS,
    },
};

/// Magic number of an extent chain block.
const CHAIN_MAGIC: u32 = 0x5845_4654; // "TFEX"

/// A run of blocks of a file that are adjacent on disk.
///
/// # Invariants
///
/// When decoded: `len` is not 0, the file range ends at or before [`MAX_FILE_BLOCKS`], the disk
/// range does not overflow. That it lies in the data region is for
/// [`is_data`](crate::Superblock::is_data) to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extent {
    /// First block in the file.
    pub file_block: u64,
    /// First block on disk.
    pub disk_block: u64,
    /// Number of blocks.
    pub len: u32,
    /// Allocated, but reads as zeroes until written.
    pub unwritten: bool,
}

/// The extent flag for [`Extent::unwritten`].
const EXTENT_UNWRITTEN: u32 = 1;

impl Extent {
    /// The file block after the last one.
    pub fn end(&self) -> u64 {
        self.file_block.saturating_add(u64::from(self.len))
    }

    /// The disk block after the last one.
    pub fn disk_end(&self) -> u64 {
        self.disk_block.saturating_add(u64::from(self.len))
    }

    /// Decodes an extent record.
    pub fn decode(raw: &[u8]) -> Result<Self, Corrupt> {
        let flags = get32(raw, 20);
        let e = Self {
            file_block: get64(raw, 0),
            disk_block: get64(raw, 8),
            len: get32(raw, 16),
            unwritten: flags & EXTENT_UNWRITTEN != 0,
        };
        if flags & !EXTENT_UNWRITTEN != 0 {
            return Err(Corrupt("unknown extent flag"));
        }
        if e.len == 0 {
            return Err(Corrupt("empty extent"));
        }
        match e.file_block.checked_add(u64::from(e.len)) {
            Some(end) if end <= MAX_FILE_BLOCKS => {}
            _ => return Err(Corrupt("extent beyond the largest file")),
        }
        if e.disk_block.checked_add(u64::from(e.len)).is_none() {
            return Err(Corrupt("extent outside the data region"));
        }
        Ok(e)
    }

    /// Encodes an extent record into the first [`EXTENT_SIZE`] bytes of `raw`.
    pub fn encode(&self, raw: &mut [u8]) {
        put64(raw, 0, self.file_block);
        put64(raw, 8, self.disk_block);
        put32(raw, 16, self.len);
        put32(raw, 20, if self.unwritten { EXTENT_UNWRITTEN } else { 0 });
    }
}

/// Whether the chain of an inode with `count` extents may have `blocks` blocks: none of them is empty.
pub fn chain_may_have(blocks: u32, count: u32) -> bool {
    let chained = count.saturating_sub(INLINE_EXTENTS as u32);
    (chained.div_ceil(CHAIN_EXTENTS as u32)..=chained).contains(&blocks)
}

/// Header of a block in an inode's extent chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHeader {
    /// The inode that owns the block.
    pub owner: u64,
    /// The next block of the chain, or 0.
    pub next: u64,
    /// Extents in this block, from 1 to [`CHAIN_EXTENTS`].
    pub count: u32,
}

impl ChainHeader {
    /// Decodes and checks a chain block, which must be one of inode `owner`'s. The extents follow through
    /// [`Self::extents`].
    pub fn parse(block: &[u8], owner: u64, seed: u32) -> Result<Self, Corrupt> {
        let block = block.get(..BLOCK_SIZE).ok_or(Corrupt("short block"))?;
        if get32(block, 0) != CHAIN_MAGIC {
            return Err(Corrupt("bad extent block magic"));
        }
        if get32(block, CRC_OFFSET) != checksum(seed, block, CRC_OFFSET) {
            return Err(Corrupt("bad extent block checksum"));
        }
        let h = Self {
            owner: get64(block, 8),
            next: get64(block, 16),
            count: get32(block, 24),
        };
        if h.owner != owner {
            return Err(Corrupt("extent block of another inode"));
        }
        if h.count == 0 || h.count as usize > CHAIN_EXTENTS {
            return Err(Corrupt("bad number of extents in extent block"));
        }
        Ok(h)
    }

    /// The extents of a block that [`Self::parse`] accepted.
    pub fn extents<'a>(
        &self,
        block: &'a [u8],
    ) -> impl Iterator<Item = Result<Extent, Corrupt>> + 'a {
        block
            .get(CHAIN_HEADER..)
            .unwrap_or(&[])
            .chunks_exact(EXTENT_SIZE)
            .take(self.count as usize)
            .map(Extent::decode)
    }

    /// Fills `block` with a chain block that holds `extents` (at most [`CHAIN_EXTENTS`]).
    pub fn encode(&self, block: &mut [u8], extents: &[Extent], seed: u32) {
        block.fill(0);
        put32(block, 0, CHAIN_MAGIC);
        put64(block, 8, self.owner);
        put64(block, 16, self.next);
        put32(block, 24, self.count);
        for (record, e) in block
            .get_mut(CHAIN_HEADER..)
            .unwrap_or(&mut [])
            .chunks_exact_mut(EXTENT_SIZE)
            .zip(extents)
        {
            e.encode(record);
        }
        let crc = checksum(seed, block, CRC_OFFSET);
        put32(block, CRC_OFFSET, crc);
    }
}

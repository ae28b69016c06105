// SPDX-License-Identifier: GPL-2.0

//! The block of a symbolic link whose target does not fit into the inode.
//!
//! Pure functions over bytes, as for directories.

use super::{
    bytes::{get32, get64, put32, put64},
    checksum::checksum,
    layout::{Corrupt, BLOCK_SIZE, CRC_OFFSET},
};

/// Magic number of such a block: "TFLN".
const MAGIC: u32 = 0x4e4c_4654;
/// Size of its header, hence the offset of the target.
const HEADER: usize = 16;
/// Longest target in bytes: at least one zero follows it.
pub const MAX_TARGET: usize = BLOCK_SIZE - HEADER - 1;

/// Fills `block` (of [`BLOCK_SIZE`] bytes) with the target of symbolic link `owner`, which has at most [`MAX_TARGET`] bytes.
pub fn encode(block: &mut [u8], owner: u64, target: &[u8], seed: u32) {
    block.fill(0);
    put32(block, 0, MAGIC);
    put64(block, 8, owner);
    let room = block
        .get_mut(HEADER..)
        .and_then(|b| b.get_mut(..target.len()));
    if let Some(room) = room {
        room.copy_from_slice(target);
    }
    let crc = checksum(seed, block, CRC_OFFSET);
    put32(block, CRC_OFFSET, crc);
}

/// Checks a block that belongs to symbolic link `owner`, and returns the target, which has `len` bytes and none that is zero.
pub fn parse(block: &[u8], owner: u64, len: u64, seed: u32) -> Result<&[u8], Corrupt> {
    let block = block.get(..BLOCK_SIZE).ok_or(Corrupt("short block"))?;
    if get32(block, 0) != MAGIC {
        return Err(Corrupt("bad magic of symbolic link"));
    }
    if get32(block, CRC_OFFSET) != checksum(seed, block, CRC_OFFSET) {
        return Err(Corrupt("bad checksum of symbolic link"));
    }
    if get64(block, 8) != owner {
        return Err(Corrupt("target of another symbolic link"));
    }
    let room = block.get(HEADER..).unwrap_or(&[]);
    // Zeroes after the end, and nowhere else.
    let end = room.iter().position(|&b| b == 0).unwrap_or(room.len());
    match room.split_at_checked(end) {
        Some((target, rest))
            if !target.is_empty()
                && target.len() as u64 == len
                && !rest.is_empty()
                && rest.iter().all(|&b| b == 0) =>
        {
            Ok(target)
        }
        _ => Err(Corrupt("bad target of symbolic link")),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The journal, which is jbd2's: `include/linux/jbd2.h` and `fs/jbd2/` in the kernel say what it is.
//!
//! Its first block is a superblock of its own, the others are the log, a ring. All numbers are big-endian. Checksums are
//! CRC-32C without the inversion in the end.

use super::{
    bytes::{put, put32_be},
    checksum::crc32c_update,
    layout::BLOCK_SIZE,
};

/// First four bytes of each block that is the journal's own.
pub const MAGIC: u32 = 0xc03b_3998;

/// Type of a superblock with features.
const SUPER_V2: u32 = 4;

/// Feature: records of blocks that are not to be replayed.
pub const REVOKE: u32 = 1;
/// Feature: block numbers of 64 bits.
pub const BITS64: u32 = 2;
/// Feature: checksums, those of blocks with 32 bits.
pub const CSUM_V3: u32 = 0x10;
/// The incompatible features that a journal of toyfs has, no more and no less.
pub const FEATURES: u32 = REVOKE | BITS64 | CSUM_V3;

/// Size of the superblock; what follows in its block is zeroes.
pub const SUPER_SIZE: usize = 1024;
/// First block of the log.
pub const FIRST: u32 = 1;

/// Type of the checksums: CRC-32C.
const CRC32C: u8 = 4;
/// Offset of the type of the checksums in the superblock.
const CHECKSUM_TYPE: usize = 0x50;
/// Offset of the checksum in the superblock.
const CRC: usize = 0xfc;

/// Renews the checksum of a superblock.
fn seal_super(raw: &mut [u8; SUPER_SIZE]) {
    put32_be(raw, CRC, 0);
    let crc = crc32c_update(!0, raw);
    put32_be(raw, CRC, crc);
}

/// Fills `block` with the superblock of an empty journal of `len` blocks, in a file system with this UUID.
pub fn encode_super(block: &mut [u8; BLOCK_SIZE], len: u32, uuid: &[u8; 16]) {
    block.fill(0);
    let Some(raw) = block.first_chunk_mut::<SUPER_SIZE>() else {
        return;
    };
    put32_be(raw, 0, MAGIC);
    put32_be(raw, 4, SUPER_V2);
    put32_be(raw, 12, BLOCK_SIZE as u32);
    put32_be(raw, 16, len);
    put32_be(raw, 20, FIRST);
    // The first transaction is number 1; that the log starts nowhere says that it is empty.
    put32_be(raw, 24, 1);
    put32_be(raw, 40, FEATURES);
    put(raw, 48, *uuid);
    // One file system uses it.
    put32_be(raw, 64, 1);
    put(raw, CHECKSUM_TYPE, [CRC32C]);
    seal_super(raw);
}

// SPDX-License-Identifier: GPL-2.0

//! The journal, which is jbd2's: `include/linux/jbd2.h` and `fs/jbd2/` in the kernel say what it is.
//!
//! Its first block is a superblock of its own, the others are the log, a ring of transactions. Each has descriptor blocks,
//! which say where the blocks belong that follow them, revoke blocks, which say what of earlier transactions is not to be
//! written any more, and at the end a commit block. All numbers are big-endian. Checksums are CRC-32C without the inversion
//! in the end; all but the superblock's start from the UUID.

use super::{
    bytes::{bytes, get16_be, get32_be, get64_be, put, put32_be},
    checksum::crc32c_update,
    layout::{BLOCK_SIZE, MIN_JOURNAL_BLOCKS},
    superblock::SuperError,
};

/// First four bytes of each block that is the journal's own. A block of metadata that begins with them has zeroes there in
/// the log.
pub const MAGIC: u32 = 0xc03b_3998;

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

/// Type of a superblock with features.
const SUPER_V2: u32 = 4;
/// Type of the checksums: CRC-32C.
const CRC32C: u8 = 4;
/// Offsets in the superblock.
const SB_SEQUENCE: usize = 0x18;
const SB_START: usize = 0x1c;
const SB_ERRNO: usize = 0x20;
const SB_COMPAT: usize = 0x24;
const SB_INCOMPAT: usize = 0x28;
const SB_RO_COMPAT: usize = 0x2c;
const SB_UUID: usize = 0x30;
const SB_CHECKSUM_TYPE: usize = 0x50;
const SB_HEAD: usize = 0x58;
const SB_CRC: usize = 0xfc;

/// Size of a header, which each block of the journal's own begins with.
const HEADER: usize = 12;
/// Size of a tag without the UUID that may follow it.
const TAG: usize = 16;
/// Where the checksum at the end of a descriptor or revoke block is.
const TAIL: usize = BLOCK_SIZE - 4;
/// Where the records of a revoke block begin.
const RECORDS: usize = 16;
/// Offset of the checksum in a commit block.
const COMMIT_CRC: usize = 16;
/// Size of what a commit block says; the rest of it is zeroes.
const COMMIT: usize = 64;

/// The superblock of the journal, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Super {
    /// Length of the journal in blocks, this one included.
    pub len: u32,
    /// First block of the log.
    pub first: u32,
    /// The transaction that is expected first.
    pub sequence: u32,
    /// Where it begins; 0: there is nothing to replay.
    pub start: u32,
    /// Where the next transaction will be written, if there is nothing to replay.
    pub head: u32,
    /// Why the journal was given up while it was used, as a negative error number; or 0.
    pub errno: i32,
    /// What the checksums start from.
    pub uuid: [u8; 16],
}

impl Super {
    /// Decodes and checks the superblock of a journal that has room for `room` blocks.
    pub fn parse(raw: &[u8], room: u64) -> Result<Self, SuperError> {
        use SuperError::{Corrupt, Unsupported};

        let raw = raw.get(..SUPER_SIZE).ok_or(Corrupt("short block"))?;
        if get32_be(raw, 0) != MAGIC || get32_be(raw, 4) != SUPER_V2 {
            return Err(Corrupt("no superblock of a journal"));
        }
        let csum_v3 = get32_be(raw, SB_INCOMPAT) & CSUM_V3 != 0;
        if csum_v3 && get32_be(raw, SB_CRC) != super_crc(raw) {
            return Err(Corrupt("bad checksum of the journal's superblock"));
        }
        if get32_be(raw, SB_COMPAT) != 0
            || get32_be(raw, SB_INCOMPAT) != FEATURES
            || get32_be(raw, SB_RO_COMPAT) != 0
            || bytes(raw, SB_CHECKSUM_TYPE) != [CRC32C]
        {
            return Err(Unsupported("the journal has other features"));
        }
        if get32_be(raw, 12) != BLOCK_SIZE as u32 {
            return Err(Unsupported("the journal has another block size"));
        }
        let sb = Self {
            len: get32_be(raw, 16),
            first: get32_be(raw, 20),
            sequence: get32_be(raw, SB_SEQUENCE),
            start: get32_be(raw, SB_START),
            head: get32_be(raw, SB_HEAD),
            errno: get32_be(raw, SB_ERRNO) as i32,
            uuid: bytes(raw, SB_UUID),
        };
        if u64::from(sb.len) > room {
            return Err(Corrupt("the journal is longer than its region"));
        }
        // As jbd2 has it, which wants so many blocks of log, or one less.
        if sb.first == 0 || u64::from(sb.first) + MIN_JOURNAL_BLOCKS > u64::from(sb.len) + 1 {
            return Err(Corrupt("the journal is too short"));
        }
        if sb.start != 0 && !(sb.first..sb.len).contains(&sb.start) {
            return Err(Corrupt("the journal's log begins outside of it"));
        }
        Ok(sb)
    }

    /// Stores in an encoded superblock what changes, and renews its checksum. All else is kept.
    pub fn update(&self, raw: &mut [u8; BLOCK_SIZE]) {
        put32_be(raw, SB_SEQUENCE, self.sequence);
        put32_be(raw, SB_START, self.start);
        put32_be(raw, SB_HEAD, self.head);
        put32_be(raw, SB_ERRNO, self.errno as u32);
        let crc = super_crc(raw);
        put32_be(raw, SB_CRC, crc);
    }

    /// What the checksums in the log start from.
    pub fn seed(&self) -> u32 {
        crc32c_update(!0, &self.uuid)
    }
}

/// Fills `block` with the superblock of an empty journal of `len` blocks, in a file system with this UUID.
pub fn encode_super(block: &mut [u8; BLOCK_SIZE], len: u32, uuid: &[u8; 16]) {
    block.fill(0);
    put32_be(block, 0, MAGIC);
    put32_be(block, 4, SUPER_V2);
    put32_be(block, 12, BLOCK_SIZE as u32);
    put32_be(block, 16, len);
    put32_be(block, 20, FIRST);
    put32_be(block, SB_INCOMPAT, FEATURES);
    put(block, SB_UUID, *uuid);
    // One file system uses it.
    put32_be(block, 64, 1);
    put(block, SB_CHECKSUM_TYPE, [CRC32C]);
    let sb = Super {
        len,
        first: FIRST,
        sequence: 1,
        start: 0,
        head: 0,
        errno: 0,
        uuid: *uuid,
    };
    sb.update(block);
}

/// The CRC-32C of `data` with the four bytes at `hole` taken as zero, as jbd2 has it.
fn crc_without(seed: u32, data: &[u8], hole: usize) -> u32 {
    let (head, rest) = data.split_at_checked(hole).unwrap_or((data, &[]));
    let crc = crc32c_update(crc32c_update(seed, head), &[0; 4]);
    crc32c_update(crc, rest.get(4..).unwrap_or(&[]))
}

/// The checksum that a superblock should have.
fn super_crc(block: &[u8]) -> u32 {
    crc_without(!0, block.get(..SUPER_SIZE).unwrap_or(&[]), SB_CRC)
}

/// What a block of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says where the blocks that follow it belong.
    Descriptor,
    /// The end of a transaction.
    Commit,
    /// It says which blocks are not to be replayed.
    Revoke,
}

/// The kind and the transaction of a block of the log. `None`: it is none of the journal's own. (An unknown kind ends
/// the log, too.)
pub fn header(block: &[u8]) -> Option<(Kind, u32)> {
    if get32_be(block, 0) != MAGIC {
        return None;
    }
    let kind = match get32_be(block, 4) {
        1 => Kind::Descriptor,
        2 => Kind::Commit,
        5 => Kind::Revoke,
        _ => return None,
    };
    Some((kind, get32_be(block, 8)))
}

/// Whether the checksum of a descriptor or revoke block is right.
pub fn tail_ok(block: &[u8], seed: u32) -> bool {
    get32_be(block, TAIL) == crc_without(seed, block, TAIL)
}

/// When a commit block was written, in seconds since 1970.
pub fn commit_time(block: &[u8]) -> u64 {
    get64_be(block, 48)
}

/// Whether the checksum of a commit block is right, be it that only its beginning has reached the device.
pub fn commit_ok(block: &[u8], seed: u32) -> bool {
    let stored = get32_be(block, COMMIT_CRC);
    if stored == crc_without(seed, block, COMMIT_CRC) {
        return true;
    }
    let said = block.get(..COMMIT).unwrap_or(&[]);
    let crc = crc_without(seed, said, COMMIT_CRC);
    stored == crc32c_update(crc, &[0; BLOCK_SIZE - COMMIT])
}

/// Where a block that follows a descriptor block belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its place on the device.
    pub block: u64,
    /// It begins with [`MAGIC`], which is not in the log.
    pub escaped: bool,
    checksum: u32,
}

impl Tag {
    /// Whether `data`, as it is in the log, is what transaction `sequence` wrote there.
    pub fn checksum_ok(&self, data: &[u8], sequence: u32, seed: u32) -> bool {
        let crc = crc32c_update(seed, &sequence.to_be_bytes());
        self.checksum == crc32c_update(crc, data)
    }
}

/// The tags of a descriptor block, one for each block of the log that follows it.
pub fn tags(block: &[u8]) -> impl Iterator<Item = Tag> + '_ {
    const ESCAPE: u16 = 1;
    const SAME_UUID: u16 = 2;
    const LAST: u16 = 8;

    let mut next = Some(HEADER);
    core::iter::from_fn(move || {
        let at = next?;
        if at + TAG > TAIL {
            return None;
        }
        let flags = get16_be(block, at + 6);
        let end = at + TAG + if flags & SAME_UUID == 0 { 16 } else { 0 };
        next = (flags & LAST == 0).then_some(end);
        Some(Tag {
            block: u64::from(get32_be(block, at + 8)) << 32 | u64::from(get32_be(block, at)),
            escaped: flags & ESCAPE != 0,
            checksum: get32_be(block, at + 12),
        })
    })
}

/// The blocks that a revoke block names. `None` if they would not fit into it.
pub fn revoked(block: &[u8]) -> Option<impl Iterator<Item = u64> + '_> {
    let end = get32_be(block, HEADER) as usize;
    if end > TAIL {
        return None;
    }
    let records = block.get(RECORDS..end).unwrap_or(&[]);
    Some(records.chunks_exact(8).map(|record| get64_be(record, 0)))
}

// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of toyfs.
//!
//! This file is compiled, unchanged, into the kernel module and into the host programs
//! `mkfs.toyfs` and `fsck.toyfs`, so it uses nothing but `core`. Everything on disk is
//! little-endian and is decoded field by field: no structure is laid over the bytes.
//!
//! Nothing in here panics, whatever the bytes are. All decoders check what they can check
//! without further I/O and return [`Corrupt`] otherwise, so that a decoded value satisfies the
//! invariants that its type documents.
//!
//! `Documentation/on-disk-format.rst` describes the format for people.

// Each of the programs that compile this uses a part of it.
#![allow(dead_code)]

/// A structure on disk that breaks the rules of the format, and which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Why a superblock cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuperError {
    /// The magic number is missing: this is no toyfs.
    Foreign,
    /// A toyfs, but one that this implementation does not understand.
    Unsupported(&'static str),
    /// A toyfs, but damaged.
    Corrupt(&'static str),
}

/// log2 of the only block size that version 1 knows.
pub(crate) const BLOCK_LOG2: u32 = 12;
/// The block size in bytes.
pub(crate) const BLOCK_SIZE: usize = 1 << BLOCK_LOG2;

/// Version of the format that this code reads and writes.
pub(crate) const VERSION: u32 = 1;
/// First eight bytes of a superblock.
pub(crate) const SUPER_MAGIC: [u8; 8] = *b"toyfs\r\n\x1a";
/// The magic number that statfs(2) reports: "TOYF".
pub(crate) const STATFS_MAGIC: u32 = 0x4659_4f54;
/// Byte offset of the superblock in its block; what precedes it is left to boot loaders.
pub(crate) const SUPER_OFFSET: usize = 1024;
/// Size of the superblock in bytes.
pub(crate) const SUPER_SIZE: usize = 1024;
/// Longest volume label in bytes.
pub(crate) const LABEL_LEN: usize = 32;

/// Incompatible features that this code understands: none yet.
pub(crate) const INCOMPAT_SUPPORTED: u64 = 0;
/// Features that only writers must understand: none yet.
pub(crate) const RO_COMPAT_SUPPORTED: u64 = 0;

/// Size of an inode in the inode table.
pub(crate) const INODE_SIZE: usize = 256;
/// Inodes per block of the inode table.
pub(crate) const INODES_PER_BLOCK: u64 = (BLOCK_SIZE / INODE_SIZE) as u64;
/// Number of the root directory. Number 0 is never used.
pub(crate) const ROOT_INO: u64 = 1;
/// Extents that fit into the inode itself.
pub(crate) const INLINE_EXTENTS: usize = 4;
/// Size of an extent record.
pub(crate) const EXTENT_SIZE: usize = 24;
/// Extents in one block of an inode's extent chain.
pub(crate) const CHAIN_EXTENTS: usize = (BLOCK_SIZE - CHAIN_HEADER) / EXTENT_SIZE;
/// Size of the header of an extent chain block.
pub(crate) const CHAIN_HEADER: usize = 32;
/// Blocks that a file may span: 16 TiB.
pub(crate) const MAX_FILE_BLOCKS: u64 = 1 << 32;
/// Largest file size in bytes.
pub(crate) const MAX_FILE_SIZE: u64 = MAX_FILE_BLOCKS << BLOCK_LOG2;
/// Most extents that a file may have. Bounds the length of its chain, hence the memory for it.
pub(crate) const MAX_EXTENTS: u32 = 1 << 22;
/// Largest number of blocks in a filesystem (256 TiB). Leaves ample room for sums in 64 bits.
pub(crate) const MAX_BLOCKS: u64 = 1 << 36;
/// Largest number of inodes in a filesystem.
pub(crate) const MAX_INODES: u64 = 1 << 32;
/// Bits in one bitmap block.
pub(crate) const BITS_PER_BLOCK: u64 = (BLOCK_SIZE * 8) as u64;

/// Magic number of an inode.
const INODE_MAGIC: u32 = 0x4e49_4654; // "TFIN"
/// Magic number of an extent chain block.
const CHAIN_MAGIC: u32 = 0x5845_4654; // "TFEX"

/// Mask of the file type in a mode.
pub(crate) const S_IFMT: u32 = 0o170000;
/// Mode of a directory.
pub(crate) const S_IFDIR: u32 = 0o040000;
/// Mode of a regular file.
pub(crate) const S_IFREG: u32 = 0o100000;

/// Returns the `N` bytes at `off`, or zeroes if they do not exist.
fn bytes<const N: usize>(b: &[u8], off: usize) -> [u8; N] {
    match b.get(off..).and_then(|s| s.first_chunk::<N>()) {
        Some(c) => *c,
        None => [0; N],
    }
}

/// Stores `v` at `off`, if those bytes exist.
fn put<const N: usize>(b: &mut [u8], off: usize, v: [u8; N]) {
    if let Some(c) = b.get_mut(off..).and_then(|s| s.first_chunk_mut::<N>()) {
        *c = v;
    }
}

/// Reads a 16-bit number; 0 if out of bounds.
pub(crate) fn get16(b: &[u8], off: usize) -> u16 {
    u16::from_le_bytes(bytes(b, off))
}

/// Reads a 32-bit number; 0 if out of bounds.
pub(crate) fn get32(b: &[u8], off: usize) -> u32 {
    u32::from_le_bytes(bytes(b, off))
}

/// Reads a 64-bit number; 0 if out of bounds.
pub(crate) fn get64(b: &[u8], off: usize) -> u64 {
    u64::from_le_bytes(bytes(b, off))
}

/// Stores a 16-bit number; ignored if out of bounds.
pub(crate) fn put16(b: &mut [u8], off: usize, v: u16) {
    put(b, off, v.to_le_bytes());
}

/// Stores a 32-bit number; ignored if out of bounds.
pub(crate) fn put32(b: &mut [u8], off: usize, v: u32) {
    put(b, off, v.to_le_bytes());
}

/// Stores a 64-bit number; ignored if out of bounds.
pub(crate) fn put64(b: &mut [u8], off: usize, v: u64) {
    put(b, off, v.to_le_bytes());
}

/// Tables for CRC-32C eight bytes at a time: `CRC[k][b]` is byte `b` followed by `k` zero bytes.
static CRC: [[u32; 256]; 8] = crc_tables();

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 {
                (c >> 1) ^ 0x82f6_3b78
            } else {
                c >> 1
            };
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let prev = t[k - 1][i];
            t[k][i] = (prev >> 8) ^ t[0][(prev & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// One table step. The mask keeps the index in bounds, which the compiler sees.
fn crc_at(k: usize, word: u32, shift: u32) -> u32 {
    CRC[k & 7][((word >> shift) & 0xff) as usize]
}

/// Continues the CRC-32C `crc` over `data`.
///
/// Without the customary inversions, so that the CRC of a concatenation is the CRC of its second
/// part seeded with that of the first.
pub(crate) fn crc32c_update(mut crc: u32, data: &[u8]) -> u32 {
    let mut words = data.chunks_exact(8);
    for w in &mut words {
        let lo = get32(w, 0) ^ crc;
        let hi = get32(w, 4);
        crc = crc_at(7, lo, 0)
            ^ crc_at(6, lo, 8)
            ^ crc_at(5, lo, 16)
            ^ crc_at(4, lo, 24)
            ^ crc_at(3, hi, 0)
            ^ crc_at(2, hi, 8)
            ^ crc_at(1, hi, 16)
            ^ crc_at(0, hi, 24);
    }
    for &b in words.remainder() {
        crc = (crc >> 8) ^ crc_at(0, crc ^ u32::from(b), 0);
    }
    crc
}

/// The CRC-32C of `data`, as everybody else computes it.
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    !crc32c_update(!0, data)
}

/// CRC-32C over `data` with the four bytes at `hole`, where the result is stored, taken as zero.
pub(crate) fn checksum(seed: u32, data: &[u8], hole: usize) -> u32 {
    let (head, rest) = data.split_at_checked(hole).unwrap_or((data, &[]));
    let tail = rest.get(4..).unwrap_or(&[]);
    let crc = crc32c_update(seed, head);
    let crc = crc32c_update(crc, &[0; 4]);
    !crc32c_update(crc, tail)
}

/// State of a filesystem, from its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Unmounted in good order.
    Clean,
    /// Mounted for writing, or was when the machine stopped.
    Dirty,
}

/// A contiguous range of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Region {
    /// First block.
    pub(crate) start: u64,
    /// Number of blocks.
    pub(crate) len: u64,
}

impl Region {
    /// The block after the last one. Cannot overflow in a parsed superblock.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// The superblock.
///
/// # Invariants
///
/// When it comes from [`Superblock::parse`]: the regions lie in the order of their fields, do not
/// overlap, end at or before `data.start`, are as long as the numbers of blocks and inodes demand,
/// and `data` ends at or before `total_blocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Features that may be ignored.
    pub(crate) compat: u64,
    /// Features that must be understood to write.
    pub(crate) ro_compat: u64,
    /// Features that must be understood.
    pub(crate) incompat: u64,
    /// Size of the filesystem.
    pub(crate) total_blocks: u64,
    /// Slots in the inode table, including the unused slot 0.
    pub(crate) inode_count: u64,
    /// Bitmap of used inodes.
    pub(crate) inode_bitmap: Region,
    /// Bitmap of used blocks.
    pub(crate) block_bitmap: Region,
    /// Inode table.
    pub(crate) inode_table: Region,
    /// Reserved for a journal.
    pub(crate) journal: Region,
    /// Blocks for data, directories and extent chains.
    pub(crate) data: Region,
    /// Where the copy of the superblock is, or 0.
    pub(crate) backup: u64,
    /// The root directory.
    pub(crate) root_ino: u64,
    /// When the filesystem was made, seconds since 1970.
    pub(crate) mkfs_time: i64,
    /// Clean or dirty.
    pub(crate) state: State,
    /// Identity of the filesystem; also seeds its checksums.
    pub(crate) uuid: [u8; 16],
    /// Volume name, padded with zeroes.
    pub(crate) label: [u8; LABEL_LEN],
}

/// Offset of the state word in the superblock.
const SB_STATE: usize = 160;
/// Offset of the checksum in the superblock.
const SB_CRC: usize = SUPER_SIZE - 4;
/// Values of the state word.
const STATE_CLEAN: u32 = 1;
const STATE_DIRTY: u32 = 2;

impl Superblock {
    /// Number of bitmap blocks for `bits` bits.
    pub(crate) fn bitmap_blocks(bits: u64) -> u64 {
        bits.div_ceil(BITS_PER_BLOCK)
    }

    /// Lays out a new filesystem without a journal: `total_blocks` blocks and `inodes` inodes,
    /// rounded up to fill the last block of the inode table. Identity and time are left zero.
    ///
    /// `None` if the numbers are out of range or leave less than `MIN_DATA` blocks for data.
    pub(crate) fn layout(total_blocks: u64, inodes: u64) -> Option<Self> {
        // A root directory, a file, and something to put into it.
        const MIN_DATA: u64 = 8;

        let inode_count = inodes.checked_next_multiple_of(INODES_PER_BLOCK)?;
        if total_blocks > MAX_BLOCKS || inode_count == 0 || inode_count > MAX_INODES {
            return None;
        }
        let mut at = 1;
        let mut region = |len| {
            let start = at;
            at += len;
            Region { start, len }
        };
        let inode_bitmap = region(Self::bitmap_blocks(inode_count));
        let block_bitmap = region(Self::bitmap_blocks(total_blocks));
        let inode_table = region(inode_count / INODES_PER_BLOCK);
        let backup = total_blocks.checked_sub(1)?;
        let data = Region {
            start: at,
            len: backup.checked_sub(at)?,
        };
        if data.len < MIN_DATA {
            return None;
        }
        Some(Self {
            compat: 0,
            ro_compat: 0,
            incompat: 0,
            total_blocks,
            inode_count,
            inode_bitmap,
            block_bitmap,
            inode_table,
            journal: Region::default(),
            data,
            backup,
            root_ino: ROOT_INO,
            mkfs_time: 0,
            state: State::Clean,
            uuid: [0; 16],
            label: [0; LABEL_LEN],
        })
    }

    /// Decodes and checks a superblock.
    ///
    /// `raw` is the [`SUPER_SIZE`] bytes at [`SUPER_OFFSET`] of its block. Whether the features can
    /// be handled is checked here for `incompat` (an unknown layout cannot be decoded) and by
    /// [`Self::writable`] for `ro_compat`. The caller compares `total_blocks` with the device.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, SuperError> {
        use SuperError::{Corrupt, Foreign, Unsupported};

        let raw = raw.get(..SUPER_SIZE).ok_or(Foreign)?;
        if bytes::<8>(raw, 0) != SUPER_MAGIC {
            return Err(Foreign);
        }
        // The version first: another version may keep its checksum elsewhere.
        if get32(raw, 8) != VERSION {
            return Err(Unsupported("unknown format version"));
        }
        if get32(raw, SB_CRC) != checksum(!0, raw, SB_CRC) {
            return Err(Corrupt("bad superblock checksum"));
        }
        let incompat = get64(raw, 32);
        if incompat & !INCOMPAT_SUPPORTED != 0 {
            return Err(Unsupported("unknown incompatible feature"));
        }
        if get32(raw, 12) != BLOCK_LOG2 {
            return Err(Unsupported("block size is not 4096"));
        }
        if get32(raw, 164) != INODE_SIZE as u32 {
            return Err(Unsupported("inode size is not 256"));
        }
        let state = match get32(raw, SB_STATE) {
            STATE_CLEAN => State::Clean,
            STATE_DIRTY => State::Dirty,
            _ => return Err(Corrupt("bad state")),
        };
        let region = |off| Region {
            start: get64(raw, off),
            len: get64(raw, off + 8),
        };
        let sb = Self {
            compat: get64(raw, 16),
            ro_compat: get64(raw, 24),
            incompat,
            total_blocks: get64(raw, 40),
            inode_count: get64(raw, 48),
            inode_bitmap: region(56),
            block_bitmap: region(72),
            inode_table: region(88),
            journal: region(104),
            data: region(120),
            backup: get64(raw, 136),
            root_ino: get64(raw, 144),
            mkfs_time: get64(raw, 152) as i64,
            state,
            uuid: bytes(raw, 168),
            label: bytes(raw, 184),
        };
        sb.check_geometry().map_err(Corrupt)?;
        Ok(sb)
    }

    /// Checks the numbers against each other.
    fn check_geometry(&self) -> Result<(), &'static str> {
        if self.total_blocks > MAX_BLOCKS {
            return Err("too many blocks");
        }
        if self.inode_count > MAX_INODES || self.inode_count <= ROOT_INO {
            return Err("bad number of inodes");
        }
        let mut end = 1; // Block 0 holds the superblock.
        for r in [
            self.inode_bitmap,
            self.block_bitmap,
            self.inode_table,
            self.journal,
            self.data,
        ] {
            // An absent journal has no place either.
            if r == Region::default() {
                continue;
            }
            if r.start < end || r.len > self.total_blocks {
                return Err("regions overlap");
            }
            end = r.start.checked_add(r.len).ok_or("region out of range")?;
        }
        if end > self.total_blocks {
            return Err("region out of range");
        }
        if self.inode_bitmap.len != Self::bitmap_blocks(self.inode_count)
            || self.block_bitmap.len != Self::bitmap_blocks(self.total_blocks)
            || self.inode_table.len != self.inode_count.div_ceil(INODES_PER_BLOCK)
        {
            return Err("region length does not match its contents");
        }
        if self.data.len == 0 {
            return Err("no data blocks");
        }
        if self.backup != 0 && (self.backup < self.data.end() || self.backup >= self.total_blocks) {
            return Err("bad place of the backup superblock");
        }
        if self.root_ino != ROOT_INO {
            return Err("bad root inode number");
        }
        Ok(())
    }

    /// Fails if the filesystem has a feature that forbids writing to it.
    pub(crate) fn writable(&self) -> Result<(), SuperError> {
        if self.ro_compat & !RO_COMPAT_SUPPORTED != 0 {
            return Err(SuperError::Unsupported("unknown read-only feature"));
        }
        Ok(())
    }

    /// Encodes the superblock, checksum included, into `raw`. Reserved bytes become zero, so this
    /// is for making a filesystem; a mounted one changes its state with [`Self::set_state`].
    pub(crate) fn encode(&self, raw: &mut [u8; SUPER_SIZE]) {
        raw.fill(0);
        put(raw, 0, SUPER_MAGIC);
        put32(raw, 8, VERSION);
        put32(raw, 12, BLOCK_LOG2);
        put64(raw, 16, self.compat);
        put64(raw, 24, self.ro_compat);
        put64(raw, 32, self.incompat);
        put64(raw, 40, self.total_blocks);
        put64(raw, 48, self.inode_count);
        let regions = [
            self.inode_bitmap,
            self.block_bitmap,
            self.inode_table,
            self.journal,
            self.data,
        ];
        for (i, r) in regions.iter().enumerate() {
            put64(raw, 56 + i * 16, r.start);
            put64(raw, 64 + i * 16, r.len);
        }
        put64(raw, 136, self.backup);
        put64(raw, 144, self.root_ino);
        put64(raw, 152, self.mkfs_time as u64);
        put32(raw, 164, INODE_SIZE as u32);
        put(raw, 168, self.uuid);
        put(raw, 184, self.label);
        Self::set_state(raw, self.state);
    }

    /// Changes the state in an encoded superblock and renews its checksum. All else, including
    /// what this version does not know about, is kept.
    pub(crate) fn set_state(raw: &mut [u8; SUPER_SIZE], state: State) {
        let word = match state {
            State::Clean => STATE_CLEAN,
            State::Dirty => STATE_DIRTY,
        };
        put32(raw, SB_STATE, word);
        let crc = checksum(!0, raw, SB_CRC);
        put32(raw, SB_CRC, crc);
    }

    /// What the checksums of inodes, extent chains and directory blocks start from. It depends on
    /// the UUID, so that remains of an earlier filesystem on the device are not taken for ours.
    pub(crate) fn seed(&self) -> u32 {
        crc32c_update(!0, &self.uuid)
    }

    /// Block and byte offset in it of inode `ino`, if there is such an inode.
    pub(crate) fn inode_location(&self, ino: u64) -> Option<(u64, usize)> {
        if ino == 0 || ino >= self.inode_count {
            return None;
        }
        let block = self.inode_table.start.checked_add(ino / INODES_PER_BLOCK)?;
        Some((block, (ino % INODES_PER_BLOCK) as usize * INODE_SIZE))
    }

    /// Whether all of these blocks may belong to files.
    pub(crate) fn is_data(&self, start: u64, len: u64) -> bool {
        match start.checked_add(len) {
            Some(end) => len > 0 && start >= self.data.start && end <= self.data.end(),
            None => false,
        }
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) sec: i64,
    /// Nanoseconds, less than 10^9.
    pub(crate) nsec: u32,
}

/// A run of blocks of a file that are adjacent on disk.
///
/// # Invariants
///
/// When decoded: `len` is not 0, the file range ends at or before [`MAX_FILE_BLOCKS`], the disk
/// range does not overflow. That it lies in the data region is for [`Superblock::is_data`] to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// First block in the file.
    pub(crate) file_block: u64,
    /// First block on disk.
    pub(crate) disk_block: u64,
    /// Number of blocks.
    pub(crate) len: u32,
    /// Allocated, but reads as zeroes until written.
    pub(crate) unwritten: bool,
}

/// The extent flag for [`Extent::unwritten`].
const EXTENT_UNWRITTEN: u32 = 1;

impl Extent {
    /// The file block after the last one.
    pub(crate) fn end(&self) -> u64 {
        self.file_block.saturating_add(u64::from(self.len))
    }

    /// The disk block after the last one.
    pub(crate) fn disk_end(&self) -> u64 {
        self.disk_block.saturating_add(u64::from(self.len))
    }

    /// Decodes an extent record.
    pub(crate) fn decode(raw: &[u8]) -> Result<Self, Corrupt> {
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
    pub(crate) fn encode(&self, raw: &mut [u8]) {
        put64(raw, 0, self.file_block);
        put64(raw, 8, self.disk_block);
        put32(raw, 16, self.len);
        put32(raw, 20, if self.unwritten { EXTENT_UNWRITTEN } else { 0 });
    }
}

/// An inode as stored in the inode table.
///
/// # Invariants
///
/// When decoded: `ino` is the number asked for, the type is one that version 1 knows, `nlink` may
/// be 0 (unlinked while open when the machine stopped), `size` is at most [`MAX_FILE_SIZE`], times
/// are normalised, `extent_count` is at most [`MAX_EXTENTS`] and needs exactly `chain_len` chain
/// blocks, `chain_head` is 0 exactly if `chain_len` is, and the inline extents in use are valid,
/// sorted and disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Inode {
    /// Its own number.
    pub(crate) ino: u64,
    /// Type and permissions.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Number of links; a directory has 2 and one for each subdirectory.
    pub(crate) nlink: u32,
    /// Distinguishes successive uses of one number.
    pub(crate) generation: u32,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Blocks that belong to the inode, those of its extent chain included.
    pub(crate) blocks: u64,
    /// Last access.
    pub(crate) atime: Time,
    /// Last modification of the contents.
    pub(crate) mtime: Time,
    /// Last change of the inode.
    pub(crate) ctime: Time,
    /// Creation.
    pub(crate) btime: Time,
    /// Device number of a special file; unused in version 1.
    pub(crate) rdev: u32,
    /// Directories: the directory that holds this one (the root: itself). Otherwise 0.
    pub(crate) parent: u64,
    /// Number of extents, inline and in the chain.
    pub(crate) extent_count: u32,
    /// First block of the extent chain, or 0.
    pub(crate) chain_head: u64,
    /// Number of blocks in the chain.
    pub(crate) chain_len: u32,
    /// The first extents.
    pub(crate) inline: [Extent; INLINE_EXTENTS],
}

/// Offset of the checksum in an inode and in a chain block.
const CRC_OFFSET: usize = 4;
/// Offset of the inline extents in an inode.
const INODE_EXTENTS: usize = 160;

/// Number of chain blocks that `count` extents need.
pub(crate) fn chain_blocks_for(count: u32) -> u32 {
    count
        .saturating_sub(INLINE_EXTENTS as u32)
        .div_ceil(CHAIN_EXTENTS as u32)
}

impl Inode {
    /// Whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether this is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// The inline extents in use.
    pub(crate) fn inline_extents(&self) -> &[Extent] {
        let n = (self.extent_count as usize).min(INLINE_EXTENTS);
        self.inline.get(..n).unwrap_or(&[])
    }

    /// Decodes and checks inode `ino`.
    pub(crate) fn parse(raw: &[u8], ino: u64, seed: u32) -> Result<Self, Corrupt> {
        let raw = raw.get(..INODE_SIZE).ok_or(Corrupt("short inode"))?;
        if get32(raw, 0) != INODE_MAGIC {
            return Err(Corrupt("bad inode magic"));
        }
        if get32(raw, CRC_OFFSET) != checksum(seed, raw, CRC_OFFSET) {
            return Err(Corrupt("bad inode checksum"));
        }
        if get64(raw, 8) != ino {
            return Err(Corrupt("inode of another number"));
        }
        if get32(raw, 32) != 0 {
            return Err(Corrupt("unknown inode flag"));
        }
        let time = |sec, nsec| Time {
            sec: get64(raw, sec) as i64,
            nsec: get32(raw, nsec),
        };
        let mut inode = Self {
            ino,
            mode: get32(raw, 16),
            uid: get32(raw, 20),
            gid: get32(raw, 24),
            nlink: get32(raw, 28),
            generation: get32(raw, 36),
            size: get64(raw, 40),
            blocks: get64(raw, 48),
            atime: time(56, 88),
            mtime: time(64, 92),
            ctime: time(72, 96),
            btime: time(80, 100),
            rdev: get32(raw, 104),
            parent: get64(raw, 128),
            extent_count: get32(raw, 108),
            chain_head: get64(raw, 112),
            chain_len: get32(raw, 120),
            inline: [Extent::default(); INLINE_EXTENTS],
        };
        if inode.mode & !0o177777 != 0 || !(inode.is_dir() || inode.is_file()) {
            return Err(Corrupt("bad file type"));
        }
        if [inode.atime, inode.mtime, inode.ctime, inode.btime]
            .iter()
            .any(|t| t.nsec >= 1_000_000_000)
        {
            return Err(Corrupt("bad time"));
        }
        if inode.size > MAX_FILE_SIZE {
            return Err(Corrupt("file too large"));
        }
        if inode.blocks > MAX_BLOCKS {
            return Err(Corrupt("bad number of blocks"));
        }
        if inode.is_dir() && inode.size % BLOCK_SIZE as u64 != 0 {
            return Err(Corrupt(
                "directory size is not a multiple of the block size",
            ));
        }
        if inode.is_dir() != (inode.parent != 0) {
            return Err(Corrupt("bad parent directory"));
        }
        if inode.extent_count > MAX_EXTENTS {
            return Err(Corrupt("too many extents"));
        }
        if inode.chain_len != chain_blocks_for(inode.extent_count)
            || (inode.chain_len == 0) != (inode.chain_head == 0)
        {
            return Err(Corrupt("extent chain does not match the number of extents"));
        }
        let used = (inode.extent_count as usize).min(INLINE_EXTENTS);
        let mut end = 0;
        let records = raw.get(INODE_EXTENTS..).unwrap_or(&[]);
        for (i, slot) in inode.inline.iter_mut().enumerate().take(used) {
            let record = records.get(i * EXTENT_SIZE..(i + 1) * EXTENT_SIZE);
            *slot = Extent::decode(record.unwrap_or(&[]))?;
            if slot.file_block < end {
                return Err(Corrupt("extents overlap or are out of order"));
            }
            end = slot.end();
        }
        Ok(inode)
    }

    /// Encodes the inode, checksum included.
    pub(crate) fn encode(&self, seed: u32) -> [u8; INODE_SIZE] {
        let mut raw = [0; INODE_SIZE];
        put32(&mut raw, 0, INODE_MAGIC);
        put64(&mut raw, 8, self.ino);
        put32(&mut raw, 16, self.mode);
        put32(&mut raw, 20, self.uid);
        put32(&mut raw, 24, self.gid);
        put32(&mut raw, 28, self.nlink);
        put32(&mut raw, 36, self.generation);
        put64(&mut raw, 40, self.size);
        put64(&mut raw, 48, self.blocks);
        let times = [self.atime, self.mtime, self.ctime, self.btime];
        for (i, t) in times.iter().enumerate() {
            put64(&mut raw, 56 + i * 8, t.sec as u64);
            put32(&mut raw, 88 + i * 4, t.nsec);
        }
        put32(&mut raw, 104, self.rdev);
        put32(&mut raw, 108, self.extent_count);
        put64(&mut raw, 112, self.chain_head);
        put32(&mut raw, 120, self.chain_len);
        put64(&mut raw, 128, self.parent);
        for (i, e) in self.inline_extents().iter().enumerate() {
            if let Some(record) = raw.get_mut(INODE_EXTENTS + i * EXTENT_SIZE..) {
                e.encode(record);
            }
        }
        let crc = checksum(seed, &raw, CRC_OFFSET);
        put32(&mut raw, CRC_OFFSET, crc);
        raw
    }
}

/// Header of a block in an inode's extent chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainHeader {
    /// The inode that owns the block.
    pub(crate) owner: u64,
    /// The next block of the chain, or 0.
    pub(crate) next: u64,
    /// Extents in this block, from 1 to [`CHAIN_EXTENTS`].
    pub(crate) count: u32,
    /// Position in the chain, from 0.
    pub(crate) seq: u32,
}

impl ChainHeader {
    /// Decodes and checks a chain block, which must be number `seq` of inode `owner`'s chain. The
    /// extents follow through [`Self::extents`].
    pub(crate) fn parse(block: &[u8], owner: u64, seq: u32, seed: u32) -> Result<Self, Corrupt> {
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
            seq: get32(block, 28),
        };
        if h.owner != owner || h.seq != seq {
            return Err(Corrupt("extent block of another inode or place"));
        }
        if h.count == 0 || h.count as usize > CHAIN_EXTENTS {
            return Err(Corrupt("bad number of extents in extent block"));
        }
        Ok(h)
    }

    /// The extents of a block that [`Self::parse`] accepted.
    pub(crate) fn extents<'a>(
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
    pub(crate) fn encode(&self, block: &mut [u8], extents: &[Extent], seed: u32) {
        block.fill(0);
        put32(block, 0, CHAIN_MAGIC);
        put64(block, 8, self.owner);
        put64(block, 16, self.next);
        put32(block, 24, self.count);
        put32(block, 28, self.seq);
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

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::prelude::kunit_tests(toyfs_format)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    #[test]
    fn checksums() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        let data = *b"0123456789abcdef----0123456789";
        let mut zeroed = data;
        zeroed[16..20].fill(0);
        assert_eq!(checksum(!0, &data, 16), crc32c(&zeroed));
    }

    #[test]
    fn superblock() -> Result {
        let mut sb = Superblock::layout(40_000, 100).ok_or(EINVAL)?;
        let mut raw = [0; SUPER_SIZE];
        sb.encode(&mut raw);
        assert!(Superblock::parse(&raw) == Ok(sb));
        Superblock::set_state(&mut raw, State::Dirty);
        sb.state = State::Dirty;
        assert!(Superblock::parse(&raw) == Ok(sb));
        for (at, value) in [(40, 1), (48, 1), (56, 0), (80, 9), (120, 2), (128, 50_000)] {
            let mut bad = raw;
            put64(&mut bad, at, value);
            assert!(matches!(
                Superblock::parse(&bad),
                Err(SuperError::Corrupt("bad superblock checksum"))
            ));
            Superblock::set_state(&mut bad, State::Clean);
            assert!(matches!(
                Superblock::parse(&bad),
                Err(SuperError::Corrupt(_))
            ));
        }
        put64(&mut raw, 32, 1);
        Superblock::set_state(&mut raw, State::Clean);
        assert!(matches!(
            Superblock::parse(&raw),
            Err(SuperError::Unsupported(_))
        ));
        raw[0] = 0;
        assert!(Superblock::parse(&raw) == Err(SuperError::Foreign));
        Ok(())
    }

    #[test]
    fn inode() {
        let mut inode = Inode {
            ino: 77,
            mode: S_IFDIR | 0o755,
            nlink: 2,
            parent: 1,
            size: 8192,
            mtime: Time { sec: -5, nsec: 6 },
            extent_count: 2,
            ..Inode::default()
        };
        for (i, e) in inode.inline.iter_mut().take(2).enumerate() {
            *e = Extent {
                file_block: i as u64,
                disk_block: 100 - i as u64,
                len: 1,
                unwritten: i == 1,
            };
        }
        let raw = inode.encode(3);
        assert!(Inode::parse(&raw, 77, 3) == Ok(inode));
        assert!(Inode::parse(&raw, 78, 3).is_err());
        assert!(Inode::parse(&raw, 77, 4).is_err());
        // Type, flags, time, parent, size, number of extents, order of extents.
        for at in [17, 32, 91, 128, 40, 110, 184] {
            let mut bad = raw;
            bad[at] = if at == 128 || at == 184 { 0 } else { 0xff };
            assert!(Inode::parse(&bad, 77, 3).is_err());
            let crc = checksum(3, &bad, CRC_OFFSET);
            put32(&mut bad, CRC_OFFSET, crc);
            assert!(Inode::parse(&bad, 77, 3).is_err());
        }
    }
}

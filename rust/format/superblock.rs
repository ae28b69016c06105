// SPDX-License-Identifier: GPL-2.0

//! The superblock.

use super::{
    bytes::{bytes, get32, get64, put, put32, put64},
    checksum::{checksum, crc32c_update},
    layout::{
        BITS_PER_BLOCK, BLOCK_LOG2, INODES_PER_BLOCK, INODE_SIZE, MAX_BLOCKS, MAX_INODES,
        MAX_JOURNAL_BLOCKS, MIN_JOURNAL_BLOCKS, ROOT_INO,
    },
};

/// Why a superblock cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperError {
    /// The magic number is missing: this is no toyfs.
    Foreign,
    /// A toyfs, but one that this implementation does not understand.
    Unsupported(&'static str),
    /// A toyfs, but damaged.
    Corrupt(&'static str),
}

/// Version of the format that this code reads and writes.
pub const VERSION: u32 = 2;
/// First eight bytes of a superblock.
pub const SUPER_MAGIC: [u8; 8] = *b"toyfs\r\n\x1a";
/// The magic number that statfs(2) reports: "TOYF".
pub const STATFS_MAGIC: u32 = 0x4659_4f54;
/// Byte offset of the superblock in its block; what precedes it is left to boot loaders.
pub const SUPER_OFFSET: usize = 1024;
/// Size of the superblock in bytes.
pub const SUPER_SIZE: usize = 1024;
/// Longest volume label in bytes.
pub const LABEL_LEN: usize = 32;

/// Incompatible features that this code understands: none yet.
pub const INCOMPAT_SUPPORTED: u64 = 0;
/// Features that only writers must understand: none yet.
pub const RO_COMPAT_SUPPORTED: u64 = 0;

/// State of a filesystem, from its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Unmounted in good order.
    Clean,
    /// Mounted for writing, or was when the machine stopped: the journal makes it good.
    Dirty,
    /// An error of metadata was met, which no journal makes good: `fsck.toyfs` has to be run.
    Errors,
}

impl State {
    /// All there are.
    const ALL: [Self; 3] = [Self::Clean, Self::Dirty, Self::Errors];

    /// The state word.
    fn word(self) -> u32 {
        match self {
            Self::Clean => 1,
            Self::Dirty => 2,
            Self::Errors => 3,
        }
    }

    /// The state for a state word, if there is one.
    fn from_word(word: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A contiguous range of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Region {
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub len: u64,
}

impl Region {
    /// The block after the last one. Cannot overflow in a parsed superblock.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// The superblock.
///
/// # Invariants
///
/// When it comes from [`Superblock::parse`]: the regions lie in the order of their fields, do not
/// overlap, end at or before `data.start`, are as long as the numbers of blocks and inodes demand,
/// the journal is as long as jbd2 and [`MAX_JOURNAL_BLOCKS`] demand, and `data` ends at or before
/// `total_blocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Features that may be ignored.
    pub compat: u64,
    /// Features that must be understood to write.
    pub ro_compat: u64,
    /// Features that must be understood.
    pub incompat: u64,
    /// Size of the filesystem.
    pub total_blocks: u64,
    /// Slots in the inode table, including the unused slot 0.
    pub inode_count: u64,
    /// Bitmap of used inodes.
    pub inode_bitmap: Region,
    /// Bitmap of orphans: inodes that have no links, but were still open, or blocks behind their end that
    /// are still to be freed.
    pub orphans: Region,
    /// Bitmap of used blocks.
    pub block_bitmap: Region,
    /// Inode table.
    pub inode_table: Region,
    /// The journal, jbd2's.
    pub journal: Region,
    /// Blocks for data, directories and extent chains.
    pub data: Region,
    /// Where the copy of the superblock is, or 0.
    pub backup: u64,
    /// The root directory.
    pub root_ino: u64,
    /// When the filesystem was made, seconds since 1970.
    pub mkfs_time: i64,
    /// Clean, dirty, or with errors.
    pub state: State,
    /// Identity of the filesystem; also seeds its checksums.
    pub uuid: [u8; 16],
    /// Volume name, padded with zeroes.
    pub label: [u8; LABEL_LEN],
}

/// Offset of the state word in the superblock.
const SB_STATE: usize = 160;
/// Offset of the checksum in the superblock.
const SB_CRC: usize = SUPER_SIZE - 4;
/// Offsets of the regions in the superblock, in the order in which they lie on disk.
const SB_REGIONS: [usize; 6] = [56, 216, 72, 88, 104, 120];

impl Superblock {
    /// Number of bitmap blocks for `bits` bits.
    pub fn bitmap_blocks(bits: u64) -> u64 {
        bits.div_ceil(BITS_PER_BLOCK)
    }

    /// How long the journal of a filesystem of `total_blocks` blocks is to be: what mke2fs gives one of that
    /// size. `None` if it is too small for one.
    pub fn journal_blocks(total_blocks: u64) -> Option<u64> {
        const KI: u64 = 1024;
        match total_blocks {
            n if n < 2 * KI => None,
            n if n < 32 * KI => Some(MIN_JOURNAL_BLOCKS),
            n if n < 256 * KI => Some(4 * KI),
            n if n < 512 * KI => Some(8 * KI),
            n if n < 4096 * KI => Some(16 * KI),
            n if n < 8192 * KI => Some(32 * KI),
            n if n < 16384 * KI => Some(64 * KI),
            n if n < 32768 * KI => Some(128 * KI),
            _ => Some(MAX_JOURNAL_BLOCKS),
        }
    }

    /// Lays out a new filesystem: `total_blocks` blocks, `inodes` inodes, rounded up to fill the last block of the
    /// inode table, and a journal of `journal_blocks` blocks. (0: none, which only tests can use.) Identity
    /// and time are left zero.
    ///
    /// `None` if the numbers are out of range or leave less than `MIN_DATA` blocks for data.
    pub fn layout(total_blocks: u64, inodes: u64, journal_blocks: u64) -> Option<Self> {
        // A root directory, a file, and something to put into it.
        const MIN_DATA: u64 = 8;

        let inode_count = inodes.checked_next_multiple_of(INODES_PER_BLOCK)?;
        if total_blocks > MAX_BLOCKS || inode_count == 0 || inode_count > MAX_INODES {
            return None;
        }
        if journal_blocks != 0 && !Self::journal_fits(journal_blocks) {
            return None;
        }
        let mut at = 1;
        let mut region = |len| {
            let start = at;
            at += len;
            Region { start, len }
        };
        let inode_bitmap = region(Self::bitmap_blocks(inode_count));
        let orphans = region(inode_bitmap.len);
        let block_bitmap = region(Self::bitmap_blocks(total_blocks));
        let inode_table = region(inode_count / INODES_PER_BLOCK);
        let journal = match journal_blocks {
            0 => Region::default(),
            len => region(len),
        };
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
            orphans,
            block_bitmap,
            inode_table,
            journal,
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
    pub fn parse(raw: &[u8]) -> Result<Self, SuperError> {
        use SuperError::{Corrupt, Foreign, Unsupported};

        let raw = raw.get(..SUPER_SIZE).ok_or(Foreign)?;
        if bytes::<8>(raw, 0) != SUPER_MAGIC {
            return Err(Foreign);
        }
        // The version first: another version may keep its checksum elsewhere.
        match get32(raw, 8) {
            VERSION => {}
            1 => {
                return Err(Unsupported(
                    "format version 1, and only 2 is known here: make it anew with mkfs.toyfs",
                ))
            }
            _ => return Err(Unsupported("unknown format version")),
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
        let state = State::from_word(get32(raw, SB_STATE)).ok_or(Corrupt("bad state"))?;
        let [inode_bitmap, orphans, block_bitmap, inode_table, journal, data] =
            SB_REGIONS.map(|off| Region {
                start: get64(raw, off),
                len: get64(raw, off + 8),
            });
        let sb = Self {
            compat: get64(raw, 16),
            ro_compat: get64(raw, 24),
            incompat,
            total_blocks: get64(raw, 40),
            inode_count: get64(raw, 48),
            inode_bitmap,
            orphans,
            block_bitmap,
            inode_table,
            journal,
            data,
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

    /// Decodes a superblock like [`Self::parse`], and also one that was torn when its state changed: the state
    /// and the checksum lie in different sectors of 512 bytes, of which one was written. Such a one is
    /// dirty, or has errors if either state says so. Says whether it was torn.
    pub fn parse_torn(raw: &[u8]) -> Result<(Self, bool), SuperError> {
        let error = match Self::parse(raw) {
            Ok(sb) => return Ok((sb, false)),
            Err(e) => e,
        };
        let Some(raw) = raw.first_chunk::<SUPER_SIZE>() else {
            return Err(error);
        };
        let Some(word) = State::from_word(get32(raw, SB_STATE)) else {
            return Err(error);
        };
        let mut other = *raw;
        for sealed in State::ALL.into_iter().filter(|&state| state != word) {
            put32(&mut other, SB_STATE, sealed.word());
            match Self::parse(&other) {
                Ok(mut sb) => {
                    sb.state = match [word, sealed].contains(&State::Errors) {
                        true => State::Errors,
                        false => State::Dirty,
                    };
                    return Ok((sb, true));
                }
                Err(SuperError::Unsupported(why)) => return Err(SuperError::Unsupported(why)),
                Err(_) => {}
            }
        }
        Err(error)
    }

    /// Decodes the copy of the superblock, found in `block`, the last one of its device. `None` unless it is
    /// sound and names that place. The file system is taken for dirty.
    pub fn parse_copy(raw: &[u8], block: u64) -> Option<Self> {
        let mut copy = Self::parse(raw).ok()?;
        copy.state = State::Dirty;
        (copy.backup == block && copy.total_blocks == block + 1).then_some(copy)
    }

    /// Whether `raw`, which is no superblock, may be overwritten with this one: what is left of it was
    /// ours, or nothing is. Anything else may be another file system.
    pub fn may_replace(&self, raw: &[u8]) -> bool {
        raw.iter().all(|&byte| byte == 0)
            || bytes::<8>(raw, 0) == SUPER_MAGIC
            || bytes::<16>(raw, 168) == self.uuid
    }

    /// Whether a journal may be so long.
    fn journal_fits(blocks: u64) -> bool {
        (MIN_JOURNAL_BLOCKS..=MAX_JOURNAL_BLOCKS).contains(&blocks)
    }

    /// The regions, in the order in which they lie on disk.
    fn regions(&self) -> [Region; 6] {
        [
            self.inode_bitmap,
            self.orphans,
            self.block_bitmap,
            self.inode_table,
            self.journal,
            self.data,
        ]
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
        for r in self.regions() {
            if r.start < end || r.len > self.total_blocks {
                return Err("regions overlap");
            }
            end = r.start.checked_add(r.len).ok_or("region out of range")?;
        }
        if end > self.total_blocks {
            return Err("region out of range");
        }
        if self.inode_bitmap.len != Self::bitmap_blocks(self.inode_count)
            || self.orphans.len != self.inode_bitmap.len
            || self.block_bitmap.len != Self::bitmap_blocks(self.total_blocks)
            || self.inode_table.len != self.inode_count.div_ceil(INODES_PER_BLOCK)
        {
            return Err("region length does not match its contents");
        }
        if !Self::journal_fits(self.journal.len) {
            return Err("bad length of the journal");
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
    pub fn writable(&self) -> Result<(), SuperError> {
        if self.ro_compat & !RO_COMPAT_SUPPORTED != 0 {
            return Err(SuperError::Unsupported("unknown read-only feature"));
        }
        Ok(())
    }

    /// Encodes the superblock, checksum included, into `raw`. Reserved bytes become zero, so this
    /// is for making a filesystem; a mounted one changes its state with [`Self::set_state`].
    pub fn encode(&self, raw: &mut [u8; SUPER_SIZE]) {
        raw.fill(0);
        put(raw, 0, SUPER_MAGIC);
        put32(raw, 8, VERSION);
        put32(raw, 12, BLOCK_LOG2);
        put64(raw, 16, self.compat);
        put64(raw, 24, self.ro_compat);
        put64(raw, 32, self.incompat);
        put64(raw, 40, self.total_blocks);
        put64(raw, 48, self.inode_count);
        for (off, r) in SB_REGIONS.into_iter().zip(self.regions()) {
            put64(raw, off, r.start);
            put64(raw, off + 8, r.len);
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
    pub fn set_state(raw: &mut [u8; SUPER_SIZE], state: State) {
        put32(raw, SB_STATE, state.word());
        let crc = checksum(!0, raw, SB_CRC);
        put32(raw, SB_CRC, crc);
    }

    /// Changes the label in an encoded superblock and renews its checksum, as [`Self::set_state`] does.
    pub fn set_label(raw: &mut [u8; SUPER_SIZE], label: [u8; LABEL_LEN]) {
        put(raw, 184, label);
        let crc = checksum(!0, raw, SB_CRC);
        put32(raw, SB_CRC, crc);
    }

    /// What the checksums of inodes, extent chains, attribute and directory blocks start from. It depends on
    /// the UUID, so that remains of an earlier filesystem on the device are not taken for ours.
    pub fn seed(&self) -> u32 {
        crc32c_update(!0, &self.uuid)
    }

    /// Block and byte offset in it of inode `ino`, if there is such an inode.
    pub fn inode_location(&self, ino: u64) -> Option<(u64, usize)> {
        if ino == 0 || ino >= self.inode_count {
            return None;
        }
        let block = self.inode_table.start.checked_add(ino / INODES_PER_BLOCK)?;
        Some((block, (ino % INODES_PER_BLOCK) as usize * INODE_SIZE))
    }

    /// Whether all of these blocks may belong to files.
    pub fn is_data(&self, start: u64, len: u64) -> bool {
        match start.checked_add(len) {
            Some(end) => len > 0 && start >= self.data.start && end <= self.data.end(),
            None => false,
        }
    }
}

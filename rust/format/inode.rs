// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use super::{
    bytes::{bytes, get32, get64, put, put32, put64},
    checksum::checksum,
    extent::{chain_may_have, Extent},
    layout::{
        Corrupt, BLOCK_LOG2, BLOCK_SIZE, CRC_OFFSET, EXTENT_SIZE, INLINE_EXTENTS, INLINE_TARGET,
        INODE_SIZE, MAX_BLOCKS, MAX_DIR_BLOCKS, MAX_EXTENTS, MAX_FILE_SIZE, MAX_LINKS, S_IFBLK,
        S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
    },
    symlink::MAX_TARGET,
};

/// Magic number of an inode.
const INODE_MAGIC: u32 = 0x4e49_4654; // "TFIN"

/// The flags of an inode. Bit 0 is not one of these.
pub mod flags {
    /// What is written is on the device when the call returns.
    pub const SYNC: u32 = 1 << 1;
    /// So are changes of the entries of a directory.
    pub const DIRSYNC: u32 = 1 << 2;
    /// Nothing about it changes.
    pub const IMMUTABLE: u32 = 1 << 3;
    /// It is only added to.
    pub const APPEND: u32 = 1 << 4;
    /// Reading does not change the time of access.
    pub const NOATIME: u32 = 1 << 5;
    /// Backups leave it out.
    pub const NODUMP: u32 = 1 << 6;
    /// All of these.
    pub const ALL: u32 = SYNC | DIRSYNC | IMMUTABLE | APPEND | NOATIME | NODUMP;
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, less than 10^9.
    pub nsec: u32,
}

/// An inode as stored in the inode table.
///
/// # Invariants
///
/// When decoded: `ino` is the number asked for, the type is one that is known, `nlink` may
/// be 0 (unlinked while open when the machine stopped) and is at most [`MAX_LINKS`], `size` is at most [`MAX_FILE_SIZE`], times
/// are normalised, `extent_count` is at most [`MAX_EXTENTS`] and may have `chain_len` chain
/// blocks, `chain_head` is 0 exactly if `chain_len` is, and the inline extents in use are valid,
/// sorted and disjoint. Only devices have a device number. What is neither file, directory nor symbolic
/// link has no size and no extents; a symbolic link has either its target in it, without a zero byte and
/// `size` bytes long, or one written block at 0; without links and a size it need not have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Inode {
    /// Its own number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Some of [`flags`].
    pub flags: u32,
    /// Number of links; a directory has 2 and one for each subdirectory.
    pub nlink: u32,
    /// Distinguishes successive uses of one number.
    pub generation: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks that belong to the inode, those of its extent chain and its attributes included.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last modification of the contents.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Number of a device, as `new_encode_dev()` makes it: the low 8 bits of the minor one, 12 of the major one, 12 more of the
    /// minor one.
    pub rdev: u32,
    /// Directories: the directory that holds this one (the root: itself). Otherwise 0.
    pub parent: u64,
    /// Number of extents, inline and in the chain.
    pub extent_count: u32,
    /// First block of the extent chain, or 0.
    pub chain_head: u64,
    /// Number of blocks in the chain.
    pub chain_len: u32,
    /// The block of its extended attributes, or 0.
    pub xattr_block: u64,
    /// The first extents.
    pub inline: [Extent; INLINE_EXTENTS],
    /// Symbolic links with a short target: that, padded with zeroes.
    pub target: Option<[u8; INLINE_TARGET]>,
}

/// The flag for [`Inode::target`].
const FLAG_INLINE_TARGET: u32 = 1;

/// Offset of the inline extents in an inode.
const INODE_EXTENTS: usize = 160;

impl Inode {
    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    /// Whether this is a character or block device.
    pub fn is_device(&self) -> bool {
        matches!(self.mode & S_IFMT, S_IFCHR | S_IFBLK)
    }

    /// Whether this stands for something that is not on the disk: a device, a FIFO or a socket.
    pub fn is_special(&self) -> bool {
        self.is_device() || matches!(self.mode & S_IFMT, S_IFIFO | S_IFSOCK)
    }

    /// Whether this is a symbolic link that came to nothing before it had a target, and is to be deleted.
    fn is_unfinished(&self) -> bool {
        self.is_symlink() && self.nlink == 0 && self.size == 0
    }

    /// What is in the inode of a symbolic link with this target: nothing if that needs a block.
    pub fn inline_target(target: &[u8]) -> Option<[u8; INLINE_TARGET]> {
        let mut padded = [0; INLINE_TARGET];
        padded.get_mut(..target.len())?.copy_from_slice(target);
        Some(padded)
    }

    /// The inline extents in use.
    pub fn inline_extents(&self) -> &[Extent] {
        let n = (self.extent_count as usize).min(INLINE_EXTENTS);
        self.inline.get(..n).unwrap_or(&[])
    }

    /// Decodes and checks inode `ino`.
    pub fn parse(raw: &[u8], ino: u64, seed: u32) -> Result<Self, Corrupt> {
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
        let flag_bits = get32(raw, 32);
        if flag_bits & !(FLAG_INLINE_TARGET | flags::ALL) != 0 {
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
            flags: flag_bits & flags::ALL,
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
            xattr_block: get64(raw, 136),
            inline: [Extent::default(); INLINE_EXTENTS],
            target: (flag_bits & FLAG_INLINE_TARGET != 0).then(|| bytes(raw, INODE_EXTENTS)),
        };
        let known = inode.is_dir() || inode.is_file() || inode.is_symlink() || inode.is_special();
        if inode.mode & !0o177777 != 0 || !known {
            return Err(Corrupt("bad file type"));
        }
        if [inode.atime, inode.mtime, inode.ctime, inode.btime]
            .iter()
            .any(|t| t.nsec >= 1_000_000_000)
        {
            return Err(Corrupt("bad time"));
        }
        if inode.nlink > MAX_LINKS {
            return Err(Corrupt("too many links"));
        }
        if inode.size > MAX_FILE_SIZE {
            return Err(Corrupt("file too large"));
        }
        if inode.is_dir() && inode.size > MAX_DIR_BLOCKS << BLOCK_LOG2 {
            return Err(Corrupt("directory too large"));
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
        if inode.rdev != 0 && !inode.is_device() {
            return Err(Corrupt("device number, but no device"));
        }
        if inode.is_special() && (inode.size != 0 || inode.extent_count != 0) {
            return Err(Corrupt("special file with contents"));
        }
        inode.check_target()?;
        if inode.extent_count > MAX_EXTENTS {
            return Err(Corrupt("too many extents"));
        }
        if !chain_may_have(inode.chain_len, inode.extent_count)
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
        let block = inode.inline_extents().first();
        if inode.is_symlink()
            && inode.target.is_none()
            && !inode.is_unfinished()
            && !block.is_some_and(|e| e.file_block == 0 && e.len == 1 && !e.unwritten)
        {
            return Err(Corrupt("symbolic link without a block for its target"));
        }
        Ok(inode)
    }

    /// Checks the target in the inode, and its length wherever it is.
    fn check_target(&self) -> Result<(), Corrupt> {
        if !self.is_symlink() {
            return match self.target {
                Some(_) => Err(Corrupt("target, but no symbolic link")),
                None => Ok(()),
            };
        }
        if self.is_unfinished() && self.target.is_none() {
            return Ok(());
        }
        if self.size == 0 || self.size > MAX_TARGET as u64 {
            return Err(Corrupt("bad length of symbolic link"));
        }
        if self.target.is_some() != (self.size <= INLINE_TARGET as u64)
            || self.extent_count != u32::from(self.target.is_none())
        {
            return Err(Corrupt("target of symbolic link in the wrong place"));
        }
        let Some(target) = &self.target else {
            return Ok(());
        };
        // Zeroes after the end, and nowhere else.
        let len = target.iter().position(|&b| b == 0).unwrap_or(INLINE_TARGET);
        if len as u64 != self.size || target.iter().skip(len).any(|&b| b != 0) {
            return Err(Corrupt("bad target of symbolic link"));
        }
        Ok(())
    }

    /// Encodes the inode, checksum included.
    pub fn encode(&self, seed: u32) -> [u8; INODE_SIZE] {
        let mut raw = [0; INODE_SIZE];
        put32(&mut raw, 0, INODE_MAGIC);
        put64(&mut raw, 8, self.ino);
        put32(&mut raw, 16, self.mode);
        put32(&mut raw, 20, self.uid);
        put32(&mut raw, 24, self.gid);
        put32(&mut raw, 28, self.nlink);
        let target = match self.target {
            Some(_) => FLAG_INLINE_TARGET,
            None => 0,
        };
        put32(&mut raw, 32, self.flags | target);
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
        put64(&mut raw, 136, self.xattr_block);
        for (i, e) in self.inline_extents().iter().enumerate() {
            if let Some(record) = raw.get_mut(INODE_EXTENTS + i * EXTENT_SIZE..) {
                e.encode(record);
            }
        }
        if let Some(target) = self.target {
            put(&mut raw, INODE_EXTENTS, target);
        }
        let crc = checksum(seed, &raw, CRC_OFFSET);
        put32(&mut raw, CRC_OFFSET, crc);
        raw
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Directory blocks.
//!
//! A directory is a file of blocks, each of which stands alone: a header and a chain of records
//! that covers the rest of the block. A record never moves, so its position (block number times
//! [`BLOCK_SIZE`] plus offset) is a readdir(3) cookie that stays good while entries come and go.
//! "." and ".." are not stored; the inode of a directory names its parent.
//!
//! These are pure functions over bytes: no input makes them panic or loop for ever.

use super::{
    bytes::{get16, get32, get64, put16, put32, put64},
    checksum::checksum,
    layout::{
        Corrupt, BLOCK_SIZE, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
    },
};

/// Size of the header of a directory block, hence the offset of the first record.
pub const HEADER: usize = 16;
/// Longest name in bytes.
pub const NAME_MAX: usize = 255;

/// Magic number of a directory block: "TFDR".
const MAGIC: u32 = 0x5244_4654;
/// Offset of the checksum.
const CRC: usize = 4;
/// Size of a record without its name.
const RECORD: usize = 12;

/// Type of a directory entry. The values are those of `DT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// A FIFO.
    Fifo = 1,
    /// A character device.
    Chr = 2,
    /// A directory.
    Dir = 4,
    /// A block device.
    Blk = 6,
    /// A regular file.
    Reg = 8,
    /// A symbolic link.
    Lnk = 10,
    /// A socket.
    Sock = 12,
}

impl FileType {
    /// The type for a mode, if there is one.
    pub fn from_mode(mode: u32) -> Option<Self> {
        match mode & S_IFMT {
            S_IFIFO => Some(Self::Fifo),
            S_IFCHR => Some(Self::Chr),
            S_IFDIR => Some(Self::Dir),
            S_IFBLK => Some(Self::Blk),
            S_IFREG => Some(Self::Reg),
            S_IFLNK => Some(Self::Lnk),
            S_IFSOCK => Some(Self::Sock),
            _ => None,
        }
    }

    fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Fifo),
            2 => Some(Self::Chr),
            4 => Some(Self::Dir),
            6 => Some(Self::Blk),
            8 => Some(Self::Reg),
            10 => Some(Self::Lnk),
            12 => Some(Self::Sock),
            _ => None,
        }
    }
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number, never 0.
    pub ino: u64,
    /// Type of that inode.
    pub kind: FileType,
    /// Name, 1 to [`NAME_MAX`] bytes.
    pub name: &'a [u8],
    /// Offset of the record in its block.
    pub offset: usize,
}

/// A record, used or free, whose `offset..offset + len` lies within the block.
#[derive(Clone, Copy)]
struct Record {
    offset: usize,
    len: usize,
    ino: u64,
    name_len: usize,
    kind: u8,
}

impl Record {
    /// Reads the record at `offset`.
    fn read(block: &[u8], offset: usize) -> Result<Self, Corrupt> {
        let Some(head) = block.get(offset..).and_then(|b| b.get(..RECORD)) else {
            return Err(Corrupt("directory record crosses the end of its block"));
        };
        let r = Self {
            offset,
            ino: get64(head, 0),
            len: usize::from(get16(head, 8)),
            name_len: usize::from(head.get(10).copied().unwrap_or(0)),
            kind: head.get(11).copied().unwrap_or(0),
        };
        if r.len < RECORD || r.len % 4 != 0 {
            return Err(Corrupt("bad length of directory record"));
        }
        if block
            .len()
            .checked_sub(offset)
            .is_none_or(|left| r.len > left)
        {
            return Err(Corrupt("directory record crosses the end of its block"));
        }
        if r.ino != 0 && (r.name_len == 0 || r.used() > r.len) {
            return Err(Corrupt("bad name length of directory record"));
        }
        Ok(r)
    }

    /// Bytes that the record needs; the rest up to `len` is free.
    fn used(&self) -> usize {
        if self.ino == 0 {
            0
        } else {
            space_for(self.name_len)
        }
    }

    /// The entry in the record, unless it is free.
    fn entry<'a>(&self, block: &'a [u8]) -> Result<Option<Entry<'a>>, Corrupt> {
        if self.ino == 0 {
            return Ok(None);
        }
        let kind = FileType::from_raw(self.kind).ok_or(Corrupt("bad type in directory record"))?;
        let name = block
            .get(self.offset..)
            .and_then(|b| b.get(RECORD..))
            .and_then(|b| b.get(..self.name_len))
            .ok_or(Corrupt("bad name length of directory record"))?;
        Ok(Some(Entry {
            ino: self.ino,
            kind,
            name,
            offset: self.offset,
        }))
    }

    /// Writes the header of the record.
    fn write(&self, block: &mut [u8]) {
        if let Some(head) = block
            .get_mut(self.offset..)
            .and_then(|b| b.get_mut(..RECORD))
        {
            put64(head, 0, self.ino);
            put16(head, 8, self.len as u16);
            if let [name_len, kind] = &mut head[10..] {
                *name_len = self.name_len as u8;
                *kind = self.kind;
            }
        }
    }
}

/// Bytes that a record with a name of `name_len` bytes needs.
fn space_for(name_len: usize) -> usize {
    (RECORD + name_len).next_multiple_of(4)
}

/// The records of a block, ending after the first error.
struct Records<'a> {
    block: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            offset: HEADER,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.block.len() {
            return None;
        }
        let r = Record::read(self.block, self.offset);
        // A record is longer than 0, so this advances.
        self.offset = match &r {
            Ok(r) => r.offset + r.len,
            Err(_) => self.block.len(),
        };
        Some(r)
    }
}

/// Whether `name` may be stored in a directory.
pub fn name_ok(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

/// Renews the checksum.
pub fn seal(block: &mut [u8], seed: u32) {
    let crc = checksum(seed, block, CRC);
    put32(block, CRC, crc);
}

/// Makes `block` (of [`BLOCK_SIZE`] bytes) an empty directory block of inode `owner`.
pub fn init_block(block: &mut [u8], owner: u64, seed: u32) {
    block.fill(0);
    put32(block, 0, MAGIC);
    put64(block, 8, owner);
    let free = Record {
        offset: HEADER,
        len: block.len().saturating_sub(HEADER),
        ino: 0,
        name_len: 0,
        kind: 0,
    };
    free.write(block);
    seal(block, seed);
}

/// Checks everything about a block that was just read and belongs to directory `owner`.
///
/// The other functions check again what they rely on, so that a caller that skips this gets
/// errors, never a panic.
pub fn validate(block: &[u8], owner: u64, seed: u32) -> Result<(), Corrupt> {
    if block.len() != BLOCK_SIZE {
        return Err(Corrupt("short directory block"));
    }
    if get32(block, 0) != MAGIC {
        return Err(Corrupt("bad directory block magic"));
    }
    if get32(block, CRC) != checksum(seed, block, CRC) {
        return Err(Corrupt("bad directory block checksum"));
    }
    if get64(block, 8) != owner {
        return Err(Corrupt("directory block of another inode"));
    }
    for r in Records::new(block) {
        if let Some(e) = r?.entry(block)? {
            if !name_ok(e.name) {
                return Err(Corrupt("illegal name in directory"));
            }
        }
    }
    Ok(())
}

/// Looks `name` up.
pub fn find<'a>(block: &'a [u8], name: &[u8]) -> Result<Option<Entry<'a>>, Corrupt> {
    for r in Records::new(block) {
        match r?.entry(block)? {
            Some(e) if e.name == name => return Ok(Some(e)),
            _ => {}
        }
    }
    Ok(None)
}

/// Adds an entry, for a name that the caller knows not to be there. Returns whether there was
/// room for it.
pub fn insert(
    block: &mut [u8],
    name: &[u8],
    ino: u64,
    kind: FileType,
    seed: u32,
) -> Result<bool, Corrupt> {
    if ino == 0 || !name_ok(name) {
        return Err(Corrupt("attempt to store an illegal directory entry"));
    }
    let need = space_for(name.len());
    let mut place = None;
    for r in Records::new(block) {
        let r = r?;
        // `used` does not exceed `len`, see `Record::read`.
        if r.len - r.used() >= need {
            place = Some(r);
            break;
        }
    }
    let Some(mut old) = place else {
        return Ok(false);
    };
    let used = old.used();
    let new = Record {
        offset: old.offset + used,
        len: old.len - used,
        ino,
        name_len: name.len(),
        kind: kind as u8,
    };
    if used > 0 {
        old.len = used;
        old.write(block);
    }
    new.write(block);
    if let Some(to) = block
        .get_mut(new.offset + RECORD..)
        .and_then(|b| b.get_mut(..name.len()))
    {
        to.copy_from_slice(name);
    }
    seal(block, seed);
    Ok(true)
}

/// Removes an entry and returns the inode number it had, or `None` if it is not there.
pub fn remove(block: &mut [u8], name: &[u8], seed: u32) -> Result<Option<u64>, Corrupt> {
    let mut before: Option<Record> = None;
    let mut found = None;
    for r in Records::new(block) {
        let r = r?;
        if r.entry(block)?.is_some_and(|e| e.name == name) {
            found = Some(r);
            break;
        }
        before = Some(r);
    }
    let Some(mut r) = found else {
        return Ok(None);
    };
    let ino = r.ino;
    r.ino = 0;
    r.name_len = 0;
    r.kind = 0;
    r.write(block);
    if let Some(mut before) = before {
        before.len += r.len;
        before.write(block);
    }
    seal(block, seed);
    Ok(Some(ino))
}

/// Makes an existing entry refer to another inode (rename over it). Returns the inode number it
/// had, or `None` if it is not there.
pub fn replace(
    block: &mut [u8],
    name: &[u8],
    ino: u64,
    kind: FileType,
    seed: u32,
) -> Result<Option<u64>, Corrupt> {
    if ino == 0 {
        return Err(Corrupt("attempt to store an illegal directory entry"));
    }
    let Some(e) = find(block, name)? else {
        return Ok(None);
    };
    let mut r = Record::read(block, e.offset)?;
    let old = r.ino;
    r.ino = ino;
    r.kind = kind as u8;
    r.write(block);
    seal(block, seed);
    Ok(Some(old))
}

/// The length of the longest name that [`insert`] finds room for, 0 if there is none.
pub fn room(block: &[u8]) -> Result<usize, Corrupt> {
    let mut most = 0;
    for r in Records::new(block) {
        let r = r?;
        // `used` does not exceed `len`, see `Record::read`.
        most = most.max(r.len - r.used());
    }
    // Records, and what is left of them, are multiples of 4.
    Ok(most.saturating_sub(RECORD).min(NAME_MAX))
}

/// Whether the block has no entry.
pub fn is_empty(block: &[u8]) -> Result<bool, Corrupt> {
    for r in Records::new(block) {
        if r?.ino != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Calls `f` for the entries at offset `start` and above, in order, until it returns false.
///
/// Returns where to go on: the offset of the entry that `f` refused, or the length of the block.
pub fn iterate(
    block: &[u8],
    start: usize,
    mut f: impl FnMut(&Entry<'_>) -> bool,
) -> Result<usize, Corrupt> {
    // From the beginning: the record at `start` may have become part of another one.
    for r in Records::new(block) {
        let r = r?;
        if r.offset < start {
            continue;
        }
        if let Some(e) = r.entry(block)? {
            if !f(&e) {
                return Ok(r.offset);
            }
        }
    }
    Ok(block.len())
}

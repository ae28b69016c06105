// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: the block that an inode has for them.
//!
//! A header, then entries without gaps, in no order, then zeroes. An entry is changed by way of removing and adding it, so a
//! block never has holes.
//!
//! These are pure functions over bytes: no input makes them panic or loop for ever.

use super::{
    bytes::{get16, get32, get64, put16, put32, put64},
    checksum::checksum,
    layout::{Corrupt, BLOCK_SIZE, CRC_OFFSET},
};

/// Size of the header of the block, hence the offset of the first entry.
pub const HEADER: usize = 24;
/// Longest name in bytes, without its prefix.
pub const NAME_MAX: usize = 255;
/// Longest value in bytes: that of a single entry with a name of one byte.
pub const VALUE_MAX: usize = BLOCK_SIZE - HEADER - ENTRY - 1;

/// Magic number of the block: "TFXA".
const MAGIC: u32 = 0x4158_4654;
/// Offset of the number of bytes that the entries have.
const USED: usize = 16;
/// Size of an entry without name and value.
const ENTRY: usize = 4;

/// What the name of an attribute begins with. The numbers are those that ext4 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Prefix {
    /// `user.`
    User = 1,
    /// The whole name: `system.posix_acl_access`.
    AclAccess = 2,
    /// The whole name: `system.posix_acl_default`.
    AclDefault = 3,
    /// `trusted.`
    Trusted = 4,
    /// `security.`
    Security = 6,
}

impl Prefix {
    fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::User),
            2 => Some(Self::AclAccess),
            3 => Some(Self::AclDefault),
            4 => Some(Self::Trusted),
            6 => Some(Self::Security),
            _ => None,
        }
    }

    /// Whether it is a whole name.
    pub fn is_acl(self) -> bool {
        matches!(self, Self::AclAccess | Self::AclDefault)
    }

    /// The text.
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::User => b"user.",
            Self::AclAccess => b"system.posix_acl_access",
            Self::AclDefault => b"system.posix_acl_default",
            Self::Trusted => b"trusted.",
            Self::Security => b"security.",
        }
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What its name begins with.
    pub prefix: Prefix,
    /// The rest of the name: 1 to [`NAME_MAX`] bytes without a 0, or none after a whole name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl Entry<'_> {
    /// Bytes that it takes.
    fn len(&self) -> usize {
        ENTRY + self.name.len() + self.value.len()
    }

    fn is(&self, prefix: Prefix, name: &[u8]) -> bool {
        self.prefix == prefix && self.name == name
    }
}

/// Whether an attribute may have that name.
pub fn name_ok(prefix: Prefix, name: &[u8]) -> bool {
    if prefix.is_acl() {
        return name.is_empty();
    }
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(&0)
}

/// Whether `value` is an ACL, as the kernel's interface has it: version 2, then entries of 8 bytes (tag, permissions, id), in
/// order of the tags, with each that there must be.
pub fn acl_ok(value: &[u8]) -> bool {
    const USER_OBJ: u16 = 0x01;
    const USER: u16 = 0x02;
    const GROUP_OBJ: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;

    let Some((version, entries)) = value.split_at_checked(4) else {
        return false;
    };
    if get32(version, 0) != 2 || entries.len() % 8 != 0 {
        return false;
    }
    // The tags so far, as a set: each is a bit.
    let mut seen = 0;
    for entry in entries.chunks_exact(8) {
        let (tag, perm) = (get16(entry, 0), get16(entry, 2));
        let named = matches!(tag, USER | GROUP);
        if !(named || matches!(tag, USER_OBJ | GROUP_OBJ | MASK | OTHER))
            || perm > 7
            || seen > if named { tag | (tag - 1) } else { tag - 1 }
            || named && get32(entry, 4) == u32::MAX
        {
            return false;
        }
        seen |= tag;
    }
    let needed = USER_OBJ | GROUP_OBJ | OTHER;
    seen & needed == needed && (seen & (USER | GROUP) == 0 || seen & MASK != 0)
}

/// The offset after the last entry.
fn end(block: &[u8]) -> Result<usize, Corrupt> {
    let used = get32(block, USED) as usize;
    match HEADER.checked_add(used) {
        Some(end) if end <= block.len() => Ok(end),
        _ => Err(Corrupt("attributes cross the end of their block")),
    }
}

/// The entry at `offset` of what ends at the end of `block`.
fn read(block: &[u8], offset: usize) -> Result<Entry<'_>, Corrupt> {
    const CROSSES: Corrupt = Corrupt("attribute crosses the end of the others");
    let (head, rest) = block
        .get(offset..)
        .and_then(|b| b.split_at_checked(ENTRY))
        .ok_or(CROSSES)?;
    let [prefix, name_len, ..] = *head else {
        return Err(CROSSES);
    };
    let prefix = Prefix::from_raw(prefix).ok_or(Corrupt("unknown prefix of an attribute"))?;
    let (name, rest) = rest.split_at_checked(name_len.into()).ok_or(CROSSES)?;
    let value = rest.get(..get16(head, 2).into()).ok_or(CROSSES)?;
    if !name_ok(prefix, name) {
        return Err(Corrupt("illegal name of an attribute"));
    }
    Ok(Entry {
        prefix,
        name,
        value,
    })
}

/// The attributes in a block, ending after the first error.
pub fn entries(block: &[u8]) -> Entries<'_> {
    match end(block) {
        Ok(end) => Entries {
            block: block.get(..end).unwrap_or(&[]),
            offset: HEADER,
            error: None,
        },
        Err(e) => Entries {
            block: &[],
            offset: 0,
            error: Some(e),
        },
    }
}

/// What [`entries`] returns.
pub struct Entries<'a> {
    /// Up to the end of the last entry.
    block: &'a [u8],
    offset: usize,
    error: Option<Corrupt>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        if self.offset >= self.block.len() {
            return None;
        }
        let entry = read(self.block, self.offset);
        // An entry is longer than 0, so this advances.
        self.offset = match &entry {
            Ok(e) => self.offset + e.len(),
            Err(_) => self.block.len(),
        };
        Some(entry)
    }
}

/// Makes `block` (of [`BLOCK_SIZE`] bytes) one of inode `owner` without attributes.
pub fn init_block(block: &mut [u8], owner: u64) {
    block.fill(0);
    put32(block, 0, MAGIC);
    put64(block, 8, owner);
}

/// Has the block be inode `owner`'s.
pub fn set_owner(block: &mut [u8], owner: u64) {
    put64(block, 8, owner);
}

/// Renews the checksum: before a block that was changed is written.
pub fn seal(block: &mut [u8], seed: u32) {
    let crc = checksum(seed, block, CRC_OFFSET);
    put32(block, CRC_OFFSET, crc);
}

/// Checks everything about a block that was just read and belongs to inode `owner`: it has at least one attribute, and none
/// twice.
pub fn validate(block: &[u8], owner: u64, seed: u32) -> Result<(), Corrupt> {
    if block.len() != BLOCK_SIZE {
        return Err(Corrupt("short attribute block"));
    }
    if get32(block, 0) != MAGIC {
        return Err(Corrupt("bad attribute block magic"));
    }
    if get32(block, CRC_OFFSET) != checksum(seed, block, CRC_OFFSET) {
        return Err(Corrupt("bad attribute block checksum"));
    }
    if get64(block, 8) != owner {
        return Err(Corrupt("attribute block of another inode"));
    }
    if is_empty(block) {
        return Err(Corrupt("attribute block without attributes"));
    }
    let mut rest = entries(block);
    while let Some(e) = rest.next() {
        let e = e?;
        if e.prefix.is_acl() && !acl_ok(e.value) {
            return Err(Corrupt("an attribute is no ACL"));
        }
        let later = Entries {
            block: rest.block,
            offset: rest.offset,
            error: None,
        };
        for other in later {
            if other?.is(e.prefix, e.name) {
                return Err(Corrupt("attribute that is there twice"));
            }
        }
    }
    Ok(())
}

/// Whether a block has no attributes.
pub fn is_empty(block: &[u8]) -> bool {
    get32(block, USED) == 0
}

/// The value of an attribute.
pub fn find<'a>(block: &'a [u8], prefix: Prefix, name: &[u8]) -> Result<Option<&'a [u8]>, Corrupt> {
    for e in entries(block) {
        let e = e?;
        if e.is(prefix, name) {
            return Ok(Some(e.value));
        }
    }
    Ok(None)
}

/// Gives an attribute a value, or takes it away, whether it was there or not. Returns whether there was room for it; otherwise
/// nothing has changed. The caller seals the block.
pub fn set(
    block: &mut [u8],
    prefix: Prefix,
    name: &[u8],
    value: Option<&[u8]>,
) -> Result<bool, Corrupt> {
    if !name_ok(prefix, name) {
        return Err(Corrupt("attempt to store an illegal attribute"));
    }
    let mut end = end(block)?;
    let mut old = None;
    let mut offset = HEADER;
    for e in entries(block) {
        let e = e?;
        if e.is(prefix, name) {
            old = Some((offset, e.len()));
        }
        offset += e.len();
    }
    let removed = old.map_or(0, |(_, len)| len);
    let added = value.map_or(0, |value| ENTRY + name.len() + value.len());
    if end - removed + added > block.len() {
        return Ok(false);
    }
    if let Some((at, len)) = old {
        // `entries` has been there.
        if at + len <= end && end <= block.len() {
            block.copy_within(at + len..end, at);
        }
        end -= len;
        if let Some(rest) = block.get_mut(end..end + len) {
            rest.fill(0);
        }
    }
    let rest = block.get_mut(end..).unwrap_or(&mut []);
    if let (Some(value), Some((head, rest))) = (value, rest.split_at_mut_checked(ENTRY)) {
        if let [kind, name_len, ..] = head {
            *kind = prefix as u8;
            *name_len = name.len() as u8;
        }
        put16(head, 2, value.len() as u16);
        let bytes = Iterator::chain(name.iter(), value);
        for (to, from) in rest.iter_mut().zip(bytes) {
            *to = *from;
        }
        end += added;
    }
    put32(block, USED, (end - HEADER) as u32);
    Ok(true)
}

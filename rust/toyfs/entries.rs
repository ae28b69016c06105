// SPDX-License-Identifier: GPL-2.0

//! The entries of directories.
//!
//! The blocks of a directory are metadata: they are changed by way of the journal. The VFS's lock on the directory orders
//! everything here.

use super::{
    block::{corrupt, BlockIo},
    errors::Change,
    extent::Mapping,
    inode::InodeData,
    summary::{Key, Seek},
    Inode, LockedInode,
};
use crate::vfs::NofsScope;
use kernel::prelude::*;
use toyfs_format::{
    self as format,
    dir::{self, FileType},
    BLOCK_LOG2, BLOCK_SIZE,
};

/// Bytes of one directory block.
type Block = KVec<u8>;

/// Number of blocks of a directory.
pub(super) fn block_count(dir: &Inode) -> u64 {
    dir.size() >> BLOCK_LOG2
}

/// Reads block `index` of a directory, and checks it if that has not been done.
pub(super) fn read_block(
    io: &impl BlockIo,
    dir: &Inode,
    index: u64,
    buf: &mut Block,
) -> Result<u64> {
    let mut map = dir.data().lock_map();
    let Mapping::Mapped { disk, .. } = map.extents.lookup(index) else {
        return Err(corrupt(io, "directory", dir.ino())(format::Corrupt(
            "has a hole",
        )));
    };
    io.read(disk, 0, buf)?;
    if index >= map.validated {
        let seed = dir.super_block().data().seed;
        dir::validate(buf, dir.ino(), seed).map_err(corrupt(io, "directory", dir.ino()))?;
        if index == map.validated {
            map.validated += 1;
        }
    }
    if map.summaries.lacks(index) {
        map.summaries.note(index, buf, block_count(dir));
    }
    Ok(disk)
}

pub(super) fn new_buffer() -> Result<Block> {
    Ok(KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?)
}

/// A block of a directory.
struct Found<R> {
    index: u64,
    disk: u64,
    buf: Block,
    what: R,
}

/// Calls `f` for each block that may have what is looked for until it returns something.
fn find_block<R>(
    io: &impl BlockIo,
    dir: &Inode,
    seek: Seek,
    mut f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<Found<R>>> {
    let _nofs = NofsScope::enter();
    let mut buf = new_buffer()?;
    let count = block_count(dir);
    let mut index = 0;
    loop {
        io.may_go_on()?;
        index = dir.data().lock_map().summaries.next(index..count, seek);
        if index >= count {
            return Ok(None);
        }
        let disk = read_block(io, dir, index, &mut buf)?;
        if let Some(what) = f(&mut buf).map_err(corrupt(io, "directory", dir.ino()))? {
            return Ok(Some(Found {
                index,
                disk,
                buf,
                what,
            }));
        }
        index += 1;
    }
}

/// The inode that the entry of `name` is for, and what the entry says about it.
pub(super) fn find_entry(
    io: &impl BlockIo,
    dir: &Inode,
    name: &[u8],
) -> Result<Option<(u64, FileType)>> {
    let found = find_block(io, dir, Seek::Name(Key::new(name)), |block| {
        Ok(dir::find(block, name)?.map(|e| (e.ino, e.kind)))
    })?;
    Ok(found.map(|found| found.what))
}

/// Changes the first block for which `f` returns something, and writes it.
fn change_block<R>(
    io: &Change<'_>,
    dir: &LockedInode,
    seek: Seek,
    f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<R>> {
    let Some(found) = find_block(io, dir, seek, f)? else {
        return Ok(None);
    };
    io.write(found.disk, 0, &found.buf)?;
    let mut map = dir.data().lock_map();
    map.summaries
        .note(found.index, &found.buf, block_count(dir));
    Ok(Some(found.what))
}

/// Adds an entry for a name that is not there.
pub(super) fn add_entry(
    io: &Change<'_>,
    dir: &LockedInode,
    name: &[u8],
    ino: u64,
    kind: FileType,
) -> Result {
    let seed = dir.super_block().data().seed;
    let added = change_block(io, dir, Seek::Room(name.len()), |block| {
        Ok(dir::insert(block, name, ino, kind, seed)?.then_some(()))
    })?;
    if added.is_none() {
        append_block(io, dir, name, ino, kind)?;
    }
    dir.touch();
    InodeData::store(dir, io)
}

/// Adds a block to a directory, with one entry in it. The caller stores the directory.
fn append_block(
    io: &Change<'_>,
    dir: &LockedInode,
    name: &[u8],
    ino: u64,
    kind: FileType,
) -> Result {
    let sb = dir.super_block();
    let seed = sb.data().seed;
    let index = block_count(dir);
    if index >= format::MAX_DIR_BLOCKS {
        return Err(ENOSPC);
    }
    let mut buf = new_buffer()?;
    dir::init_block(&mut buf, dir.ino(), seed);
    dir::insert(&mut buf, name, ino, kind, seed).map_err(corrupt(io, "directory", dir.ino()))?;
    let mut map = dir.data().lock_map();
    let mut allocator = sb.data().allocator.lock();
    let disk = match map
        .extents
        .allocate(io, &mut allocator, index, 1, false, u64::MAX)?
    {
        Mapping::Mapped { disk, .. } => disk,
        Mapping::Hole { .. } => return Err(EIO),
    };
    io.write(disk, 0, &buf)
        .inspect_err(|&e| io.half_done("a directory has a block that was not written", e))?;
    dir.set_size_field((index + 1) << BLOCK_LOG2);
    map.summaries.note(index, &buf, index + 1);
    InodeData::update_sectors(dir, &map);
    Ok(())
}

/// Changes the entry of `name` with `f`, which returns the inode that it was for: that must be `ino`. Writes the directory.
fn change_entry(
    io: &Change<'_>,
    dir: &LockedInode,
    name: &[u8],
    ino: u64,
    f: impl FnMut(&mut [u8]) -> Result<Option<u64>, format::Corrupt>,
) -> Result {
    if change_block(io, dir, Seek::Name(Key::new(name)), f)? != Some(ino) {
        return Err(corrupt(io, "directory", dir.ino())(format::Corrupt(
            "an entry in memory is not on disk",
        )));
    }
    dir.touch();
    InodeData::store(dir, io)
}

/// Removes the entry of `name`, which must be for inode `ino`.
pub(super) fn remove_entry(io: &Change<'_>, dir: &LockedInode, name: &[u8], ino: u64) -> Result {
    let seed = dir.super_block().data().seed;
    change_entry(io, dir, name, ino, |block| dir::remove(block, name, seed))
}

/// Has the entry of `name`, which is for inode `old`, be one for `inode`.
pub(super) fn replace_entry(
    io: &Change<'_>,
    dir: &LockedInode,
    name: &[u8],
    old: u64,
    inode: &Inode,
) -> Result {
    let kind = kind_of(inode)?;
    let seed = dir.super_block().data().seed;
    change_entry(io, dir, name, old, |block| {
        dir::replace(block, name, inode.ino(), kind, seed)
    })
}

/// What the entries of an inode say about it.
pub(super) fn kind_of(inode: &Inode) -> Result<FileType> {
    FileType::from_mode(inode.mode().into()).ok_or(EINVAL)
}

/// Whether a directory has no entries.
pub(super) fn is_empty(io: &impl BlockIo, dir: &Inode) -> Result<bool> {
    let occupied = find_block(io, dir, Seek::Any, |block| {
        Ok((!dir::is_empty(block)?).then_some(()))
    })?;
    Ok(occupied.is_none())
}

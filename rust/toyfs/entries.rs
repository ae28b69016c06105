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
    Ok(disk)
}

pub(super) fn new_buffer() -> Result<Block> {
    Ok(KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?)
}

/// Calls `f` for each block until it returns something.
pub(super) fn for_each_block<R>(
    io: &impl BlockIo,
    dir: &Inode,
    mut f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<(u64, Block, R)>> {
    let _nofs = NofsScope::enter();
    let mut buf = new_buffer()?;
    for index in 0..block_count(dir) {
        io.may_go_on()?;
        let disk = read_block(io, dir, index, &mut buf)?;
        if let Some(found) = f(&mut buf).map_err(corrupt(io, "directory", dir.ino()))? {
            return Ok(Some((disk, buf, found)));
        }
    }
    Ok(None)
}

/// Changes the first block for which `f` returns something, and writes it.
fn change_block<R>(
    io: &impl BlockIo,
    dir: &LockedInode,
    f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<R>> {
    match for_each_block(io, dir, f)? {
        Some((disk, buf, found)) => {
            io.write(disk, 0, &buf)?;
            Ok(Some(found))
        }
        None => Ok(None),
    }
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
    let added = change_block(io, dir, |block| {
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
    InodeData::update_sectors(dir, &map);
    Ok(())
}

/// Changes an entry with `f`, which returns the inode that it was for: that must be `ino`. Writes the directory.
fn change_entry(
    io: &Change<'_>,
    dir: &LockedInode,
    ino: u64,
    f: impl FnMut(&mut [u8]) -> Result<Option<u64>, format::Corrupt>,
) -> Result {
    if change_block(io, dir, f)? != Some(ino) {
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
    change_entry(io, dir, ino, |block| dir::remove(block, name, seed))
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
    change_entry(io, dir, old, |block| {
        dir::replace(block, name, inode.ino(), kind, seed)
    })
}

/// What the entries of an inode say about it.
pub(super) fn kind_of(inode: &Inode) -> Result<FileType> {
    FileType::from_mode(inode.mode().into()).ok_or(EINVAL)
}

/// Whether a directory has no entries.
pub(super) fn is_empty(io: &impl BlockIo, dir: &Inode) -> Result<bool> {
    let occupied = for_each_block(io, dir, |block| Ok((!dir::is_empty(block)?).then_some(())))?;
    Ok(occupied.is_none())
}

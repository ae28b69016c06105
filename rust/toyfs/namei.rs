// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! The blocks of a directory are metadata: they are changed by way of the journal, each call in one change. The VFS's lock
//! on the directory orders everything here.

use super::{
    block::{corrupt, BlockIo},
    errors::{Change, Credits},
    extent::Mapping,
    inode::InodeData,
    Inode, InodeRef, LockedInode, SuperBlock, ToyFs,
};
use crate::vfs::{DirEmitter, DirOps, Idmap, NewInode, NofsScope, StatDio, Timestamp};
use kernel::prelude::*;
use toyfs_format::{
    self as format,
    dir::{self, FileType},
    BLOCK_LOG2, BLOCK_SIZE,
};

/// Bytes of one directory block.
type Block = KVec<u8>;

/// Number of blocks of a directory.
fn block_count(dir: &Inode) -> u64 {
    dir.size() >> BLOCK_LOG2
}

/// Reads block `index` of a directory, and checks it if that has not been done.
fn read_block(io: &impl BlockIo, dir: &Inode, index: u64, buf: &mut Block) -> Result<u64> {
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

fn new_buffer() -> Result<Block> {
    Ok(KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?)
}

/// Calls `f` for each block until it returns something.
fn for_each_block<R>(
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
fn add_entry(io: &Change<'_>, dir: &LockedInode, name: &[u8], ino: u64, kind: FileType) -> Result {
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

/// Removes the entry of `name`, which must be for inode `ino`.
fn remove_entry(io: &Change<'_>, dir: &LockedInode, name: &[u8], ino: u64) -> Result {
    let seed = dir.super_block().data().seed;
    let removed = change_block(io, dir, |block| dir::remove(block, name, seed))?;
    if removed != Some(ino) {
        return Err(corrupt(io, "directory", dir.ino())(format::Corrupt(
            "an entry in memory is not on disk",
        )));
    }
    dir.touch();
    InodeData::store(dir, io)
}

/// Whether a directory has no entries.
fn is_empty(io: &impl BlockIo, dir: &Inode) -> Result<bool> {
    let occupied = for_each_block(io, dir, |block| Ok((!dir::is_empty(block)?).then_some(())))?;
    Ok(occupied.is_none())
}

/// Removes a link that the caller has removed the entry of; complains instead of going below zero.
fn drop_link(io: &impl BlockIo, inode: &LockedInode, least: u32) {
    if inode.nlink() <= least {
        // What the caller wants is done all the same.
        corrupt(io, "inode", inode.ino())(format::Corrupt("more entries than links"));
        return;
    }
    inode.drop_nlink();
}

/// Writes an inode that has lost a link. If that was the last one it is freed when nobody uses it any more, or by the next mount.
fn store_unlinked(io: &Change<'_>, inode: &LockedInode) -> Result {
    inode.touch_ctime();
    if inode.nlink() == 0 {
        let mut allocator = inode.super_block().data().allocator.lock();
        allocator.set_orphan(io, inode.ino(), true)?;
    }
    InodeData::store(inode, io)
}

/// Allocates an inode number and makes an in-memory inode for it.
fn allocate<'a>(
    io: &Change<'_>,
    sb: &'a SuperBlock,
    dir: &Inode,
    idmap: &Idmap,
    mode: u16,
) -> Result<NewInode<'a, ToyFs>> {
    let ino = sb.data().allocator.lock().alloc_inode(io, dir.ino())?;
    let new = match sb.new_inode(ino) {
        Ok(new) => new,
        Err(e) => {
            if e == EUCLEAN {
                // In memory, it is in use.
                return Err(corrupt(io, "inode", ino)(format::Corrupt(
                    "marked free, but in use",
                )));
            }
            // If that fails, it has been reported.
            let _ = sb.data().allocator.lock().free_inode(io, ino);
            return Err(e);
        }
    };
    let parent = if u32::from(mode) & format::S_IFMT == format::S_IFDIR {
        dir.ino()
    } else {
        0
    };
    new.set_created(dir, idmap, mode);
    InodeData::init_created(&new, parent);
    if new.is_dir() {
        new.inc_nlink();
    }
    Ok(new)
}

/// Makes a new inode and its entry, in one change.
fn create<'a>(
    dir: &'a LockedInode,
    idmap: &Idmap,
    name: &[u8],
    mode: u16,
) -> Result<NewInode<'a, ToyFs>> {
    let kind = FileType::from_mode(mode.into()).ok_or(EINVAL)?;
    let sb = dir.super_block();
    let io = sb.change(Credits::NAMES)?;
    let new = allocate(&io, sb, dir, idmap, mode)?;
    InodeData::renamed(&new, &io);
    let made = InodeData::store(&new, &io)
        .and_then(|()| add_entry(&io, dir, name, new.ino(), kind))
        .and_then(|()| {
            if !new.is_dir() {
                return Ok(());
            }
            dir.inc_nlink();
            InodeData::store(dir, &io)
        });
    if let Err(e) = made {
        new.clear_nlink();
        // Freed when it is dropped here, after the change.
        let orphaned = store_unlinked(&io, &new);
        drop(io);
        return Err(orphaned.err().unwrap_or(e));
    }
    io.finish(dir.is_dirsync())?;
    Ok(new)
}

/// Moves an entry, over another one perhaps.
fn rename(
    io: &Change<'_>,
    old_dir: &LockedInode,
    old_name: &[u8],
    inode: &Inode,
    new_dir: &LockedInode,
    new_name: &[u8],
    target: Option<&LockedInode>,
) -> Result {
    let kind = FileType::from_mode(inode.mode().into()).ok_or(EINVAL)?;
    let seed = new_dir.super_block().data().seed;
    match target {
        Some(target) => {
            if target.is_dir() && !is_empty(io, target)? {
                return Err(ENOTEMPTY);
            }
            let replaced = change_block(io, new_dir, |block| {
                dir::replace(block, new_name, inode.ino(), kind, seed)
            })?;
            if replaced != Some(target.ino()) {
                return Err(corrupt(io, "directory", new_dir.ino())(format::Corrupt(
                    "an entry in memory is not on disk",
                )));
            }
            new_dir.touch();
        }
        None => add_entry(io, new_dir, new_name, inode.ino(), kind)?,
    }
    if let Err(e) = remove_entry(io, old_dir, old_name, inode.ino()) {
        // As it was before.
        let undone = match target {
            Some(target) => {
                let kind = FileType::from_mode(target.mode().into()).ok_or(EINVAL)?;
                change_block(io, new_dir, |block| {
                    dir::replace(block, new_name, target.ino(), kind, seed)
                })
                .map(drop)
            }
            None => remove_entry(io, new_dir, new_name, inode.ino()),
        };
        if let Err(e) = undone {
            io.half_done("an inode has two names", e);
        }
        return Err(e);
    }
    if let Some(target) = target {
        if target.is_dir() {
            target.clear_nlink();
            drop_link(io, new_dir, 2);
        } else {
            drop_link(io, target, 0);
        }
        store_unlinked(io, target)?;
    }
    if inode.is_dir() && old_dir.ino() != new_dir.ino() {
        drop_link(io, old_dir, 2);
        InodeData::store(old_dir, io)?;
        new_dir.inc_nlink();
        inode.data().lock_map().parent = new_dir.ino();
    }
    InodeData::store(new_dir, io)?;
    inode.touch_ctime();
    InodeData::renamed(inode, io);
    InodeData::store(inode, io)
}

impl DirOps for ToyFs {
    fn lookup<'a>(dir: &'a Inode, name: &[u8]) -> Result<Option<InodeRef<'a>>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = dir.super_block();
        let io = &sb.reader();
        let found = for_each_block(io, dir, |block| {
            Ok(dir::find(block, name)?.map(|e| (e.ino, e.kind)))
        })?;
        let Some((_, _, (ino, kind))) = found else {
            return Ok(None);
        };
        let inode = InodeData::get(sb, ino)?;
        if inode.is_dir() != matches!(kind, FileType::Dir) {
            return Err(corrupt(io, "inode", ino)(format::Corrupt(
                "is not what its directory entry says",
            )));
        }
        Ok(Some(inode))
    }

    fn create<'a>(
        dir: &'a LockedInode,
        idmap: &Idmap,
        name: &[u8],
        mode: u16,
    ) -> Result<NewInode<'a, ToyFs>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = dir.super_block();
        sb.with_space(|| create(dir, idmap, name, mode))
    }

    fn link(dir: &LockedInode, name: &[u8], inode: &LockedInode) -> Result {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let kind = FileType::from_mode(inode.mode().into()).ok_or(EINVAL)?;
        let sb = dir.super_block();
        sb.with_space(|| {
            let io = sb.change(Credits::NAMES)?;
            add_entry(&io, dir, name, inode.ino(), kind)?;
            inode.inc_nlink();
            inode.touch_ctime();
            InodeData::renamed(inode, &io);
            InodeData::store(inode, &io)?;
            io.finish(dir.is_dirsync())
        })
    }

    fn unlink(dir: &LockedInode, name: &[u8], inode: &LockedInode) -> Result {
        let io = dir.super_block().change(Credits::NAMES)?;
        remove_entry(&io, dir, name, inode.ino())?;
        drop_link(&io, inode, 0);
        store_unlinked(&io, inode)?;
        io.finish(dir.is_dirsync())
    }

    fn rmdir(dir: &LockedInode, name: &[u8], inode: &LockedInode) -> Result {
        let io = dir.super_block().change(Credits::NAMES)?;
        if !is_empty(&io, inode)? {
            return Err(ENOTEMPTY);
        }
        remove_entry(&io, dir, name, inode.ino())?;
        inode.clear_nlink();
        store_unlinked(&io, inode)?;
        drop_link(&io, dir, 2);
        InodeData::store(dir, &io)?;
        io.finish(dir.is_dirsync())
    }

    fn rename(
        old_dir: &LockedInode,
        old_name: &[u8],
        inode: &Inode,
        new_dir: &LockedInode,
        new_name: &[u8],
        target: Option<&LockedInode>,
        no_replace: bool,
    ) -> Result {
        if new_name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        if no_replace && target.is_some() {
            return Err(EEXIST);
        }
        let sb = new_dir.super_block();
        sb.with_space(|| {
            let io = sb.change(Credits::NAMES)?;
            rename(&io, old_dir, old_name, inode, new_dir, new_name, target)?;
            io.finish(old_dir.is_dirsync() || new_dir.is_dirsync())
        })
    }

    fn iterate(dir: &Inode, out: &mut DirEmitter<'_>) -> Result {
        let io = &dir.super_block().reader();
        let mut buf = new_buffer()?;
        // Positions 0 to 2 lie in the header of the first block, before all entries.
        loop {
            let pos = out.pos();
            let (index, offset) = (pos >> BLOCK_LOG2, pos as usize % BLOCK_SIZE);
            if index >= block_count(dir) {
                return Ok(());
            }
            {
                let _nofs = NofsScope::enter();
                io.may_go_on()?;
                read_block(io, dir, index, &mut buf)?;
            }
            let mut full = false;
            let next = dir::iterate(&buf, offset, |e| {
                // Where this entry is: what the one before it is given as its offset.
                out.set_pos((index << BLOCK_LOG2) + e.offset as u64);
                full = !out.emit(e.name, e.ino, e.kind as u8);
                !full
            })
            .map_err(corrupt(io, "directory", dir.ino()))?;
            out.set_pos((index << BLOCK_LOG2) + next as u64);
            if full {
                return Ok(());
            }
        }
    }

    fn set_size(inode: &LockedInode, size: u64) -> Result {
        super::data::set_size(inode, size)
    }

    fn dio_alignment(inode: &Inode) -> StatDio {
        let device = inode.super_block().device();
        StatDio {
            memory: device.dma_alignment() + 1,
            offset: device.logical_block_size(),
        }
    }

    fn sync_metadata(inode: &Inode) -> Result {
        super::data::sync_metadata(inode, false)
    }

    fn birth_time(inode: &Inode) -> Timestamp {
        InodeData::birth_time(inode)
    }
}

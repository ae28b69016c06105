// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! The blocks of a directory are metadata: they live in the page cache of the device. The VFS's lock
//! on the directory orders everything here.

use super::{
    block::{corrupt, BlockIo},
    dir::{self, FileType},
    extent::Mapping,
    format::{self, BLOCK_LOG2, BLOCK_SIZE},
    inode::InodeData,
    Inode, SuperBlock, ToyFs,
};
use crate::vfs::{DirEmitter, DirOps, Idmap, NewInode, NofsScope, StatDio, Timestamp};
use kernel::{prelude::*, sync::aref::ARef};

/// Bytes of one directory block.
type Block = KVec<u8>;

/// Number of blocks of a directory.
fn block_count(dir: &Inode) -> u64 {
    dir.size() >> BLOCK_LOG2
}

/// Reads block `index` of a directory, and checks it if that has not been done.
fn read_block(dir: &Inode, index: u64, buf: &mut Block) -> Result<u64> {
    let sb = dir.super_block();
    let mut map = dir.data().map.lock();
    let Mapping::Mapped { disk, .. } = map.extents.lookup(index) else {
        return Err(corrupt("directory", dir.ino())(format::Corrupt(
            "has a hole",
        )));
    };
    BlockIo::read(sb.device(), disk, 0, buf)?;
    if index >= map.validated {
        dir::validate(buf, dir.ino(), sb.data().seed).map_err(corrupt("directory", dir.ino()))?;
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
    dir: &Inode,
    mut f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<(u64, Block, R)>> {
    let _nofs = NofsScope::enter();
    let mut buf = new_buffer()?;
    for index in 0..block_count(dir) {
        let disk = read_block(dir, index, &mut buf)?;
        if let Some(found) = f(&mut buf).map_err(corrupt("directory", dir.ino()))? {
            return Ok(Some((disk, buf, found)));
        }
    }
    Ok(None)
}

/// Changes the first block for which `f` returns something, and writes it.
fn change_block<R>(
    dir: &Inode,
    f: impl FnMut(&mut [u8]) -> Result<Option<R>, format::Corrupt>,
) -> Result<Option<R>> {
    match for_each_block(dir, f)? {
        Some((disk, buf, found)) => {
            BlockIo::write(dir.super_block().device(), disk, 0, &buf)?;
            Ok(Some(found))
        }
        None => Ok(None),
    }
}

/// Adds an entry for a name that is not there.
fn add_entry(dir: &Inode, name: &[u8], ino: u64, kind: FileType) -> Result {
    let seed = dir.super_block().data().seed;
    let added = change_block(dir, |block| {
        Ok(dir::insert(block, name, ino, kind, seed)?.then_some(()))
    })?;
    if added.is_none() {
        append_block(dir, name, ino, kind)?;
    }
    dir.touch();
    dir.mark_dirty();
    Ok(())
}

/// Adds a block to a directory, with one entry in it.
fn append_block(dir: &Inode, name: &[u8], ino: u64, kind: FileType) -> Result {
    let sb = dir.super_block();
    let seed = sb.data().seed;
    let index = block_count(dir);
    let _nofs = NofsScope::enter();
    let mut buf = new_buffer()?;
    dir::init_block(&mut buf, dir.ino(), seed);
    dir::insert(&mut buf, name, ino, kind, seed).map_err(corrupt("directory", dir.ino()))?;
    let mut map = dir.data().map.lock();
    let mut allocator = sb.data().allocator.lock();
    let disk = match map
        .extents
        .allocate(sb.device(), &mut allocator, index, 1, false)?
    {
        Mapping::Mapped { disk, .. } => disk,
        Mapping::Hole { .. } => return Err(EIO),
    };
    if let Err(e) = BlockIo::write(sb.device(), disk, 0, &buf) {
        let _ = map
            .extents
            .remove(sb.device(), &mut allocator, index, u64::MAX);
        return Err(e);
    }
    dir.set_size_field((index + 1) << BLOCK_LOG2);
    InodeData::update_sectors(dir, &map);
    Ok(())
}

/// Removes the entry of `name`, which must be for inode `ino`.
fn remove_entry(dir: &Inode, name: &[u8], ino: u64) -> Result {
    let seed = dir.super_block().data().seed;
    let removed = change_block(dir, |block| dir::remove(block, name, seed))?;
    if removed != Some(ino) {
        return Err(corrupt("directory", dir.ino())(format::Corrupt(
            "an entry in memory is not on disk",
        )));
    }
    dir.touch();
    dir.mark_dirty();
    Ok(())
}

/// Whether a directory has no entries.
fn is_empty(dir: &Inode) -> Result<bool> {
    let occupied = for_each_block(dir, |block| Ok((!dir::is_empty(block)?).then_some(())))?;
    Ok(occupied.is_none())
}

/// Removes a link that the caller has removed the entry of; complains instead of going below zero.
fn drop_link(inode: &Inode, least: u32) {
    if inode.nlink() <= least {
        let ino = inode.ino();
        pr_err!("inode {ino}: more entries than links (see fsck.toyfs)\n");
        return;
    }
    inode.drop_nlink();
}

/// Allocates an inode number and makes an in-memory inode for it.
fn allocate(sb: &SuperBlock, dir: &Inode, idmap: &Idmap, mode: u16) -> Result<NewInode<ToyFs>> {
    let _nofs = NofsScope::enter();
    let ino = sb
        .data()
        .allocator
        .lock()
        .alloc_inode(sb.device(), dir.ino())?;
    let new = match sb.new_inode(ino) {
        Ok(new) => new,
        Err(e) => {
            let _ = sb.data().allocator.lock().free_inode(sb.device(), ino);
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

impl DirOps for ToyFs {
    fn lookup(dir: &Inode, name: &[u8]) -> Result<Option<ARef<Inode>>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let found = for_each_block(dir, |block| {
            Ok(dir::find(block, name)?.map(|e| (e.ino, e.kind)))
        })?;
        let Some((_, _, (ino, kind))) = found else {
            return Ok(None);
        };
        let inode = InodeData::get(dir.super_block(), ino)?;
        if inode.is_dir() != matches!(kind, FileType::Dir) {
            return Err(corrupt("inode", ino)(format::Corrupt(
                "is not what its directory entry says",
            )));
        }
        Ok(Some(inode))
    }

    fn create(dir: &Inode, idmap: &Idmap, name: &[u8], mode: u16) -> Result<NewInode<ToyFs>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let kind = FileType::from_mode(mode.into()).ok_or(EINVAL)?;
        let new = allocate(dir.super_block(), dir, idmap, mode)?;
        // The inode first: an entry must never name one that is not there.
        let added = InodeData::store(&new).and_then(|()| add_entry(dir, name, new.ino(), kind));
        if let Err(e) = added {
            new.clear_nlink();
            return Err(e);
        }
        if new.is_dir() {
            dir.inc_nlink();
            dir.mark_dirty();
        }
        new.mark_dirty();
        Ok(new)
    }

    fn unlink(dir: &Inode, name: &[u8], inode: &Inode) -> Result {
        remove_entry(dir, name, inode.ino())?;
        drop_link(inode, 0);
        inode.touch_ctime();
        inode.mark_dirty();
        Ok(())
    }

    fn rmdir(dir: &Inode, name: &[u8], inode: &Inode) -> Result {
        if !is_empty(inode)? {
            return Err(ENOTEMPTY);
        }
        remove_entry(dir, name, inode.ino())?;
        inode.clear_nlink();
        inode.mark_dirty();
        drop_link(dir, 2);
        dir.mark_dirty();
        Ok(())
    }

    fn rename(
        old_dir: &Inode,
        old_name: &[u8],
        inode: &Inode,
        new_dir: &Inode,
        new_name: &[u8],
        target: Option<&Inode>,
        no_replace: bool,
    ) -> Result {
        if new_name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        if no_replace && target.is_some() {
            return Err(EEXIST);
        }
        let kind = FileType::from_mode(inode.mode().into()).ok_or(EINVAL)?;
        let seed = new_dir.super_block().data().seed;
        match target {
            Some(target) => {
                if target.is_dir() && !is_empty(target)? {
                    return Err(ENOTEMPTY);
                }
                let replaced = change_block(new_dir, |block| {
                    dir::replace(block, new_name, inode.ino(), kind, seed)
                })?;
                if replaced != Some(target.ino()) {
                    return Err(EUCLEAN);
                }
                new_dir.touch();
                new_dir.mark_dirty();
            }
            None => add_entry(new_dir, new_name, inode.ino(), kind)?,
        }
        if let Err(e) = remove_entry(old_dir, old_name, inode.ino()) {
            // As it was before. If that fails as well, the inode has two names, which a check finds.
            let _ = match target {
                Some(target) => {
                    let kind = FileType::from_mode(target.mode().into()).ok_or(EINVAL)?;
                    change_block(new_dir, |block| {
                        dir::replace(block, new_name, target.ino(), kind, seed)
                    })
                    .map(drop)
                }
                None => remove_entry(new_dir, new_name, inode.ino()),
            };
            return Err(e);
        }
        if let Some(target) = target {
            if target.is_dir() {
                target.clear_nlink();
                drop_link(new_dir, 2);
            } else {
                drop_link(target, 0);
            }
            target.touch_ctime();
            target.mark_dirty();
        }
        if inode.is_dir() && old_dir.ino() != new_dir.ino() {
            drop_link(old_dir, 2);
            old_dir.mark_dirty();
            new_dir.inc_nlink();
            new_dir.mark_dirty();
            inode.data().map.lock().parent = new_dir.ino();
        }
        inode.touch_ctime();
        inode.mark_dirty();
        Ok(())
    }

    fn iterate(dir: &Inode, out: &mut DirEmitter<'_>) -> Result {
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
                read_block(dir, index, &mut buf)?;
            }
            let mut full = false;
            let next = dir::iterate(&buf, offset, |e| {
                // Where this entry is: what the one before it is given as its offset.
                out.set_pos((index << BLOCK_LOG2) + e.offset as u64);
                full = !out.emit(e.name, e.ino, e.kind as u8);
                !full
            })
            .map_err(corrupt("directory", dir.ino()))?;
            out.set_pos((index << BLOCK_LOG2) + next as u64);
            if full {
                return Ok(());
            }
        }
    }

    fn set_size(inode: &Inode, size: u64) -> Result {
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
        super::data::sync_metadata(inode)
    }

    fn birth_time(inode: &Inode) -> Timestamp {
        InodeData::birth_time(inode)
    }
}

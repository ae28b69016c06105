// SPDX-License-Identifier: GPL-2.0

//! Names: each call is one change, or none.
//!
//! The VFS's locks on the directories order everything here.

use super::{
    block::{corrupt, BlockIo},
    entries::{
        add_entry, block_count, find_entry, is_empty, kind_of, new_buffer, read_block,
        remove_entry, replace_entry,
    },
    errors::{Change, Credits},
    inode::InodeData,
    xattr::Inherited,
    Inode, InodeRef, LockedInode, SuperBlock, ToyFs,
};
use crate::vfs::{
    DirEmitter, DirOps, ExportOps, Idmap, NewInode, NofsScope, Place, StatDio, Timestamp,
};
use kernel::prelude::*;
use toyfs_format::{
    self as format,
    dir::{self, FileType},
    symlink, BLOCK_LOG2, BLOCK_SIZE,
};

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

/// What an inode is made as.
#[derive(Clone, Copy)]
struct Made<'a> {
    /// Type and permissions.
    mode: u16,
    /// The number of a device.
    rdev: u32,
    /// The target of a symbolic link.
    target: &'a [u8],
}

impl Made<'_> {
    /// Without anything but a mode.
    fn plain(mode: u16) -> Self {
        Self {
            mode,
            rdev: 0,
            target: &[],
        }
    }
}

/// Allocates an inode number and makes an in-memory inode for it, which inherits from `dir` what it has to. Whatever is created
/// comes from here.
fn allocate<'a>(
    io: &Change<'_>,
    sb: &'a SuperBlock,
    dir: &Inode,
    idmap: &Idmap,
    mut made: Made<'_>,
) -> Result<NewInode<'a, ToyFs>> {
    let inherited = Inherited::prepare(io, dir, &mut made.mode)?;
    let number = sb.data().allocator.lock().alloc_inode(io, dir.ino());
    let ino = number.inspect_err(|_| inherited.discard(io, sb))?;
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
            inherited.discard(io, sb);
            return Err(e);
        }
    };
    let parent = if u32::from(made.mode) & format::S_IFMT == format::S_IFDIR {
        dir.ino()
    } else {
        0
    };
    new.set_created(dir, idmap, made.mode, made.rdev);
    InodeData::init_created(&new, parent);
    inherited.give_to(io, &new, dir);
    if new.is_dir() {
        new.inc_nlink();
    }
    Ok(new)
}

/// Takes back an inode that was allocated in this change, which failed with `e` and ends. Returns what the caller is to fail with.
fn discard(io: Change<'_>, new: NewInode<'_, ToyFs>, e: Error) -> Error {
    new.clear_nlink();
    let orphaned = store_unlinked(&io, &new);
    drop(io);
    // It is freed when it is dropped, after the change.
    drop(new);
    orphaned.err().unwrap_or(e)
}

/// Makes a new inode and its entry, in one change.
fn create<'a>(
    dir: &'a LockedInode,
    idmap: &Idmap,
    name: &[u8],
    made: Made<'_>,
) -> Result<NewInode<'a, ToyFs>> {
    let kind = FileType::from_mode(made.mode.into()).ok_or(EINVAL)?;
    let sb = dir.super_block();
    let io = sb.change(Credits::NAMES)?;
    let new = allocate(&io, sb, dir, idmap, made)?;
    InodeData::renamed(&new, &io);
    let linked = match kind {
        FileType::Lnk => InodeData::set_link(&new, &io, made.target),
        _ => Ok(()),
    };
    let done = linked
        .and_then(|()| InodeData::store(&new, &io))
        .and_then(|()| add_entry(&io, dir, name, new.ino(), kind))
        .and_then(|()| {
            if !new.is_dir() {
                return Ok(());
            }
            dir.inc_nlink();
            InodeData::store(dir, &io)
        });
    if let Err(e) = done {
        return Err(discard(io, new, e));
    }
    io.finish(dir.is_dirsync())?;
    Ok(new)
}

/// Makes a file without a name, which an entry of the orphan bitmap stands for.
fn create_unnamed<'a>(
    dir: &'a Inode,
    idmap: &Idmap,
    made: Made<'_>,
) -> Result<NewInode<'a, ToyFs>> {
    let sb = dir.super_block();
    let io = sb.change(Credits::NAMES)?;
    let new = allocate(&io, sb, dir, idmap, made)?;
    new.clear_nlink();
    if let Err(e) = store_unlinked(&io, &new) {
        return Err(discard(io, new, e));
    }
    io.finish(dir.is_dirsync())?;
    Ok(new)
}

/// Gives an inode another name, or its first one.
fn link(io: &Change<'_>, dir: &LockedInode, name: &[u8], inode: &LockedInode) -> Result {
    add_entry(io, dir, name, inode.ino(), kind_of(inode)?)?;
    let mut done = Ok(());
    if inode.nlink() == 0 {
        let mut allocator = inode.super_block().data().allocator.lock();
        done = allocator.set_orphan(io, inode.ino(), false);
    }
    inode.inc_nlink();
    inode.touch_ctime();
    InodeData::renamed(inode, io);
    done.and_then(|()| InodeData::store(inode, io))
        .inspect_err(|&e| io.half_done("an inode has a name that it does not know of", e))
}

/// Moves an entry, over another one perhaps. What has the name then that is given up is `whiteout`, or nothing.
fn rename(
    io: &Change<'_>,
    from: &Place<'_, ToyFs>,
    inode: &Inode,
    to: &Place<'_, ToyFs>,
    target: Option<&LockedInode>,
    whiteout: Option<&Inode>,
) -> Result {
    let (old_dir, new_dir) = (from.dir, to.dir);
    match target {
        Some(target) => {
            if target.is_dir() && !is_empty(io, target)? {
                return Err(ENOTEMPTY);
            }
            replace_entry(io, new_dir, to.name, target.ino(), inode)?;
        }
        None => add_entry(io, new_dir, to.name, inode.ino(), kind_of(inode)?)?,
    }
    let given_up = match whiteout {
        Some(whiteout) => replace_entry(io, old_dir, from.name, inode.ino(), whiteout),
        None => remove_entry(io, old_dir, from.name, inode.ino()),
    };
    if let Err(e) = given_up {
        // As it was before.
        let undone = match target {
            Some(target) => replace_entry(io, new_dir, to.name, inode.ino(), target),
            None => remove_entry(io, new_dir, to.name, inode.ino()),
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

/// Moves an entry, and has a new character device 0/0 in its place.
fn rename_leaving_whiteout(
    io: Change<'_>,
    idmap: &Idmap,
    from: &Place<'_, ToyFs>,
    inode: &Inode,
    to: &Place<'_, ToyFs>,
    target: Option<&LockedInode>,
) -> Result {
    // CAST: The type is in the low 16 bits.
    let made = Made::plain(format::S_IFCHR as u16);
    let whiteout = allocate(&io, from.dir.super_block(), from.dir, idmap, made)?;
    let done = InodeData::store(&whiteout, &io)
        .and_then(|()| rename(&io, from, inode, to, target, Some(&whiteout)));
    if let Err(e) = done {
        return Err(discard(io, whiteout, e));
    }
    let finished = io.finish(from.dir.is_dirsync() || to.dir.is_dirsync());
    drop(whiteout.publish());
    finished
}

/// Lets two entries change places.
fn exchange(
    io: &Change<'_>,
    a: &Place<'_, ToyFs>,
    a_inode: &Inode,
    b: &Place<'_, ToyFs>,
    b_inode: &Inode,
) -> Result {
    replace_entry(io, b.dir, b.name, b_inode.ino(), a_inode)?;
    if let Err(e) = replace_entry(io, a.dir, a.name, a_inode.ino(), b_inode) {
        if let Err(e) = replace_entry(io, b.dir, b.name, a_inode.ino(), b_inode) {
            io.half_done("an inode has two names", e);
        }
        return Err(e);
    }
    if a.dir.ino() != b.dir.ino() {
        for (inode, from, to) in [(a_inode, a.dir, b.dir), (b_inode, b.dir, a.dir)] {
            if inode.is_dir() {
                inode.data().lock_map().parent = to.ino();
            }
            // If both are, each directory has as many as before.
            if inode.is_dir() && !(a_inode.is_dir() && b_inode.is_dir()) {
                drop_link(io, from, 2);
                InodeData::store(from, io)?;
                to.inc_nlink();
                InodeData::store(to, io)?;
            }
        }
    }
    for inode in [a_inode, b_inode] {
        inode.touch_ctime();
        InodeData::renamed(inode, io);
        InodeData::store(inode, io)?;
    }
    Ok(())
}

impl DirOps for ToyFs {
    fn lookup<'a>(dir: &'a Inode, name: &[u8]) -> Result<Option<InodeRef<'a>>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = dir.super_block();
        let io = &sb.reader();
        let Some((ino, kind)) = find_entry(io, dir, name)? else {
            return Ok(None);
        };
        let inode = InodeData::get(sb, ino)?;
        if kind_of(&inode)? != kind {
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
        rdev: u32,
    ) -> Result<NewInode<'a, ToyFs>> {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let made = Made {
            rdev,
            ..Made::plain(mode)
        };
        dir.super_block()
            .with_space(|| create(dir, idmap, name, made))
    }

    fn symlink<'a>(
        dir: &'a LockedInode,
        idmap: &Idmap,
        name: &[u8],
        target: &[u8],
    ) -> Result<NewInode<'a, ToyFs>> {
        if name.len() > dir::NAME_MAX || target.len() > symlink::MAX_TARGET {
            return Err(ENAMETOOLONG);
        }
        let made = Made {
            target,
            // CAST: The type is in the low 16 bits.
            ..Made::plain(format::S_IFLNK as u16 | 0o777)
        };
        dir.super_block()
            .with_space(|| create(dir, idmap, name, made))
    }

    fn tmpfile<'a>(dir: &'a Inode, idmap: &Idmap, mode: u16) -> Result<NewInode<'a, ToyFs>> {
        dir.super_block()
            .with_space(|| create_unnamed(dir, idmap, Made::plain(mode)))
    }

    fn link(dir: &LockedInode, name: &[u8], inode: &LockedInode) -> Result {
        if name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = dir.super_block();
        sb.with_space(|| {
            let io = sb.change(Credits::NAMES)?;
            link(&io, dir, name, inode)?;
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
        from: &Place<'_, ToyFs>,
        inode: &Inode,
        to: &Place<'_, ToyFs>,
        target: Option<&LockedInode>,
        whiteout: Option<&Idmap>,
    ) -> Result {
        if to.name.len() > dir::NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = to.dir.super_block();
        sb.with_space(|| {
            let io = sb.change(Credits::NAMES)?;
            if let Some(idmap) = whiteout {
                return rename_leaving_whiteout(io, idmap, from, inode, to, target);
            }
            rename(&io, from, inode, to, target, None)?;
            io.finish(from.dir.is_dirsync() || to.dir.is_dirsync())
        })
    }

    fn exchange(
        a: &Place<'_, ToyFs>,
        a_inode: &Inode,
        b: &Place<'_, ToyFs>,
        b_inode: &Inode,
    ) -> Result {
        let io = a.dir.super_block().change(Credits::NAMES)?;
        exchange(&io, a, a_inode, b, b_inode)?;
        io.finish(a.dir.is_dirsync() || b.dir.is_dirsync())
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

impl ExportOps for ToyFs {
    fn inode_of_handle(sb: &SuperBlock, ino: u64, generation: u32) -> Result<InodeRef<'_>> {
        InodeData::get_by_handle(sb, ino, generation)
    }

    fn parent(dir: &Inode) -> Result<InodeRef<'_>> {
        // What is no directory has 0 there, which is no inode.
        InodeData::get_parent(dir)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes: extended ones, in a block that an inode has for them, ACLs among them, and flags.
//!
//! The number of the block is in the map of the inode, whose lock orders those who look into the block and those who change it.

use super::{
    block::{corrupt, BlockIo},
    errors::{Change, Credits},
    inode::InodeData,
    Inode, LockedInode, SuperBlock, ToyFs,
};
use crate::vfs::{
    AttrOps, FileFlags, NewAcls, NewInode, NofsScope, XattrKind, XattrList, XattrMode,
};
use kernel::{prelude::*, sync::atomic::Relaxed};
use toyfs_format::{
    flags,
    xattr::{self, Prefix},
    BLOCK_SIZE,
};

/// Bytes of the block.
type Block = KVec<u8>;

/// What the flags on disk are called elsewhere.
const FLAGS: [(u32, u32); 6] = [
    (flags::SYNC, FileFlags::SYNC),
    (flags::DIRSYNC, FileFlags::DIRSYNC),
    (flags::IMMUTABLE, FileFlags::IMMUTABLE),
    (flags::APPEND, FileFlags::APPEND),
    (flags::NOATIME, FileFlags::NOATIME),
    (flags::NODUMP, FileFlags::NODUMP),
];

/// What an inode has of the directory that it is made in.
const INHERITED: u32 = flags::SYNC | flags::DIRSYNC | flags::NOATIME | flags::NODUMP;

/// Those of `on_disk` as others call them.
fn file_flags(on_disk: u32) -> u32 {
    let set = FLAGS.iter().filter(|(disk, _)| on_disk & disk != 0);
    set.fold(0, |all, (_, flag)| all | flag)
}

impl InodeData {
    /// Sets the flags of an inode in memory.
    pub(super) fn set_flags(inode: &Inode, on_disk: u32) {
        inode.data().flags.store(on_disk, Relaxed);
        inode.apply_file_flags(file_flags(on_disk));
    }
}

fn prefix(kind: XattrKind) -> Prefix {
    match kind {
        XattrKind::User => Prefix::User,
        XattrKind::Trusted => Prefix::Trusted,
        XattrKind::Security => Prefix::Security,
        XattrKind::AclAccess => Prefix::AclAccess,
        XattrKind::AclDefault => Prefix::AclDefault,
    }
}

fn kind(prefix: Prefix) -> XattrKind {
    match prefix {
        Prefix::User => XattrKind::User,
        Prefix::Trusted => XattrKind::Trusted,
        Prefix::Security => XattrKind::Security,
        Prefix::AclAccess => XattrKind::AclAccess,
        Prefix::AclDefault => XattrKind::AclDefault,
    }
}

fn new_buffer() -> Result<Block> {
    Ok(KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?)
}

/// Reads the block, which the caller has the map for, and checks it.
fn read_block(io: &impl BlockIo, inode: &Inode, block: u64, buf: &mut Block) -> Result {
    io.read(block, 0, buf)?;
    let seed = inode.super_block().data().seed;
    xattr::validate(buf, inode.ino(), seed).map_err(corrupt(io, "inode", inode.ino()))
}

/// A copy of the block with the attributes, if there are any.
fn read(inode: &Inode) -> Result<Option<Block>> {
    if !inode.data().has_xattrs.load(Relaxed) {
        return Ok(None);
    }
    let _nofs = NofsScope::enter();
    let mut buf = new_buffer()?;
    let map = inode.data().lock_map();
    match map.extents.xattr_block {
        0 => Ok(None),
        block => {
            read_block(&inode.super_block().reader(), inode, block, &mut buf)?;
            Ok(Some(buf))
        }
    }
}

/// Sets or removes an attribute, and stores the inode. Returns whether it fits into the block; otherwise nothing has changed.
fn set(
    io: &Change<'_>,
    inode: &LockedInode,
    buf: &mut Block,
    (prefix, name): (Prefix, &[u8]),
    value: Option<&[u8]>,
    mode: XattrMode,
    may_lack: bool,
) -> Result<bool> {
    let sb = inode.super_block();
    let mut map = inode.data().lock_map();
    let old = map.extents.xattr_block;
    match old {
        0 => xattr::init_block(buf, inode.ino()),
        block => read_block(io, inode, block, buf)?,
    }
    let fail = |e| corrupt(io, "inode", inode.ino())(e);
    let there = xattr::find(buf, prefix, name).map_err(fail)?.is_some();
    match mode {
        XattrMode::Create if there => return Err(EEXIST),
        XattrMode::Replace if !there => return Err(ENODATA),
        _ if value.is_none() && !there && !may_lack => return Err(ENODATA),
        _ => {}
    }
    if !xattr::set(buf, prefix, name, value).map_err(fail)? {
        return Ok(false);
    }
    let block = match (xattr::is_empty(buf), old) {
        (true, 0) => 0,
        (true, block) => {
            sb.data().allocator.lock().free_chain_block(io, block)?;
            0
        }
        (false, 0) => sb.data().allocator.lock().alloc_blocks(io, 0, 1)?.0,
        (false, block) => block,
    };
    map.extents.xattr_block = block;
    inode.data().has_xattrs.store(block != 0, Relaxed);
    let written = if block == 0 {
        Ok(())
    } else {
        xattr::seal(buf, sb.data().seed);
        io.write(block, 0, buf)
    };
    InodeData::update_sectors(inode, &map);
    inode.touch_ctime();
    written
        .and_then(|()| InodeData::store_map(inode, io, &mut map))
        .inspect_err(|&e| io.half_done("attributes of an inode were not written", e))?;
    Ok(true)
}

impl AttrOps for ToyFs {
    fn get_xattr(
        inode: &Inode,
        kind: XattrKind,
        name: &[u8],
        f: impl FnOnce(&[u8]) -> Result,
    ) -> Result {
        let block = read(inode)?.ok_or(ENODATA)?;
        let io = &inode.super_block().reader();
        let found = xattr::find(&block, prefix(kind), name);
        let value = found.map_err(corrupt(io, "inode", inode.ino()))?;
        f(value.ok_or(ENODATA)?)
    }

    fn set_xattr(
        inode: &LockedInode,
        kind: XattrKind,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
        permissions: Option<u16>,
    ) -> Result {
        if name.len() > xattr::NAME_MAX {
            return Err(ERANGE);
        }
        // Not even if there is no other.
        if value.is_some_and(|value| name.len().max(1) + value.len() > xattr::VALUE_MAX + 1) {
            return Err(E2BIG);
        }
        if value.is_none() && permissions.is_none() && !inode.data().has_xattrs.load(Relaxed) {
            return Err(ENODATA);
        }
        let _nofs = NofsScope::enter();
        let mut buf = new_buffer()?;
        let sb = inode.super_block();
        let before = inode.mode();
        if let Some(permissions) = permissions {
            inode.set_mode(permissions);
        }
        let done = sb.with_space(|| {
            let io = sb.change(Credits::XATTR)?;
            let place = (prefix(kind), name);
            let may_lack = permissions.is_some();
            let fits = set(&io, inode, &mut buf, place, value, mode, may_lack)?;
            io.finish(inode.is_sync() && fits)?;
            Ok(fits)
        });
        // Not within, where space that a commit frees would be waited for.
        let done = done.and_then(|fits| fits.then_some(()).ok_or(ENOSPC));
        done.inspect_err(|_| {
            // It may have been written in between.
            inode.set_mode(before);
            inode.mark_dirty();
        })
    }

    fn list_xattrs(inode: &Inode, list: &mut XattrList<'_>) -> Result {
        let Some(block) = read(inode)? else {
            return Ok(());
        };
        let io = &inode.super_block().reader();
        for entry in xattr::entries(&block) {
            let entry = entry.map_err(corrupt(io, "inode", inode.ino()))?;
            list.add(kind(entry.prefix), entry.name)?;
        }
        Ok(())
    }

    fn file_flags(inode: &Inode) -> u32 {
        file_flags(inode.data().flags.load(Relaxed))
    }

    fn set_file_flags(inode: &LockedInode, new: u32) -> Result {
        let set = FLAGS.iter().filter(|(_, flag)| new & flag != 0);
        let on_disk = set.fold(0, |all, (disk, _)| all | disk);
        let old = inode.data().flags.load(Relaxed);
        if file_flags(on_disk) != new || (on_disk & flags::DIRSYNC != 0 && !inode.is_dir()) {
            return Err(EOPNOTSUPP);
        }
        if old & on_disk & flags::IMMUTABLE != 0 && old != on_disk {
            return Err(EPERM);
        }
        if on_disk & !old & flags::IMMUTABLE != 0 && !inode.is_dir() {
            // Who stores to a mapping asks again then.
            inode.dio_wait();
            inode.write_back_all()?;
        }
        let io = inode.super_block().change(Credits::MAP)?;
        InodeData::set_flags(inode, on_disk);
        inode.touch_ctime();
        InodeData::store(inode, &io)
            .and_then(|()| io.finish(inode.is_sync()))
            .inspect_err(|_| InodeData::set_flags(inode, old))
    }
}

/// What an inode gets from the directory that it is made in: ACLs, with a block for them, and flags.
#[must_use = "the block is to be given to the inode, or back"]
pub(super) struct Inherited {
    acls: NewAcls,
    /// The block and what is to be in it, but for the number of its inode.
    block: Option<(u64, Block)>,
}

impl Inherited {
    /// Finds out, for an inode with that `mode`, which the ACLs may change.
    pub(super) fn prepare(io: &Change<'_>, dir: &Inode, mode: &mut u16) -> Result<Self> {
        let _nofs = NofsScope::enter();
        let acls = NewAcls::inherit(dir, mode)?;
        if acls.is_empty() {
            return Ok(Self { acls, block: None });
        }
        let mut buf = new_buffer()?;
        xattr::init_block(&mut buf, 0);
        acls.for_each(dir, |kind, value| {
            let fits = xattr::set(&mut buf, prefix(kind), b"", Some(value));
            fits.map_err(corrupt(io, "inode", dir.ino()))?
                .then_some(())
                .ok_or(ENOSPC)
        })?;
        let mut allocator = dir.super_block().data().allocator.lock();
        let (block, _) = allocator.alloc_blocks(io, 0, 1)?;
        Ok(Self {
            acls,
            block: Some((block, buf)),
        })
    }

    /// For when there is no inode in the end.
    pub(super) fn discard(&self, io: &Change<'_>, sb: &SuperBlock) {
        if let Some((block, _)) = self.block {
            // It has not been written yet. If that fails, it has been reported.
            let _ = sb.data().allocator.lock().free_blocks(io, block, 1);
        }
    }

    /// Gives it to `new`, which the caller stores.
    pub(super) fn give_to(self, io: &Change<'_>, new: &NewInode<'_, ToyFs>, dir: &Inode) {
        let inherited = match (new.is_dir(), new.is_file()) {
            (true, _) => INHERITED,
            (_, true) => INHERITED & !flags::DIRSYNC,
            _ => INHERITED & (flags::NOATIME | flags::NODUMP),
        };
        InodeData::set_flags(new, dir.data().flags.load(Relaxed) & inherited);
        new.set_without_xattrs();
        let Some((block, mut buf)) = self.block else {
            return;
        };
        xattr::set_owner(&mut buf, new.ino());
        xattr::seal(&mut buf, new.super_block().data().seed);
        {
            let mut map = new.data().lock_map();
            map.extents.xattr_block = block;
            new.data().has_xattrs.store(true, Relaxed);
            InodeData::update_sectors(new, &map);
        }
        if let Err(e) = io.write(block, 0, &buf) {
            io.half_done("ACLs of a new inode were not written", e);
        }
        self.acls.publish(new);
    }
}

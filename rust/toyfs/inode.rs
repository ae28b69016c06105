// SPDX-License-Identifier: GPL-2.0

//! Inodes: between the disk, the VFS and the extent map.

use super::{
    block::{corrupt, BlockIo},
    errors::{Change, Credits, Reader},
    extent::{ExtentMap, Mapping, Published, REMOVED_AT_ONCE},
    summary::Summaries,
    Inode, InodeRef, LockedInode, SuperBlock, ToyFs,
};
use crate::{
    lock::{new_two_state_shared_lock, KeptHold, TwoStateSharedLock},
    vfs::{
        cond_resched, might_lock_folio, AtomicTid, Attr, LastTime, NewInode, NofsScope, Tid,
        Timestamp,
    },
};
use core::{
    convert::Infallible,
    ops::{Deref, DerefMut},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Mutex, MutexGuard,
    },
};
use toyfs_format::{self as format, symlink, Extent, Time, INODE_SIZE};

/// 512-byte sectors in a block.
const SECTORS: u64 = (format::BLOCK_SIZE / 512) as u64;

/// What toyfs keeps about an inode in memory.
#[pin_data]
pub(crate) struct InodeData {
    /// Who may make pages of the page cache dirty (`Add`), and who keeps them out (`Block`).
    #[pin]
    pub(super) add_lock: TwoStateSharedLock,
    /// The hold of `add_lock` of whoever copies into the page cache, which holds `i_rwsem` exclusively.
    pub(super) copying: KeptHold,
    /// Where the file's blocks are, and what only the disk inode knows.
    #[pin]
    map: Mutex<Map>,
    /// The extents of `map`, for those who only look.
    published: Published,
    /// The last transaction that has changed the inode on disk.
    changed: AtomicTid,
    /// The last one that has changed what is needed to find its data: map, size, and names.
    moved: AtomicTid,
    /// The size on disk. Changed with the map.
    stored_size: Atomic<u64>,
    /// Writes in flight that end behind the end of the file.
    extending: Atomic<u32>,
    /// When somebody has taken `add_lock` in `Block`.
    pub(super) blocked: LastTime,
    /// The flags on disk ([`format::flags`]). Changed with `i_rwsem` held exclusively.
    pub(super) flags: Atomic<u32>,
    /// Whether there are extended attributes. Changed with the map.
    pub(super) has_xattrs: Atomic<bool>,
}

/// One of the writes in flight that end behind the end of the file.
pub(super) struct Extending<'a>(&'a InodeData);

impl Drop for Extending<'_> {
    fn drop(&mut self) {
        self.0.extending.fetch_sub(1, Release);
    }
}

/// The part of an inode that [`InodeData::lock_map`] gives access to.
pub(crate) struct Map {
    pub(super) extents: ExtentMap,
    /// Creation time.
    btime: Time,
    /// Of a directory: the directory that it is in.
    pub(super) parent: u64,
    /// Of a directory: as many blocks from the first on have been validated.
    pub(super) validated: u64,
    /// Of a large directory: what is in which block.
    pub(super) summaries: Summaries,
}

/// Who asks for an inode.
#[derive(Clone, Copy)]
enum Source {
    /// A directory.
    Entry,
    /// The orphan bitmap.
    Orphan,
    /// A handle, with this generation.
    Handle(u32),
    /// A directory in it, which may be deleted already.
    Parent,
}

impl Source {
    /// Whether this may be the inode, as far as its generation goes.
    fn is_about(self, generation: u32) -> bool {
        match self {
            Self::Handle(asked) => asked == generation,
            _ => true,
        }
    }

    /// How many links an inode must have that is not in memory.
    fn least_links(self, is_dir: bool) -> u32 {
        match self {
            Self::Orphan => 0,
            _ if is_dir => 2,
            _ => 1,
        }
    }
}

fn from_disk(t: Time) -> Timestamp {
    Timestamp {
        sec: t.sec,
        nsec: t.nsec,
    }
}

fn to_disk(t: Timestamp) -> Time {
    Time {
        sec: t.sec,
        nsec: t.nsec,
    }
}

impl InodeData {
    /// Without extents: to be filled in.
    pub(super) fn new() -> impl PinInit<Self, Infallible> {
        pin_init!(InodeData {
            add_lock <- Self::new_add_lock(),
            copying: KeptHold::new(),
            map <- new_mutex!(
                Map {
                    extents: ExtentMap::new(0),
                    btime: Time::default(),
                    parent: 0,
                    validated: 0,
                    summaries: Summaries::new(),
                },
                "toyfs_map"
            ),
            published: Published::new(),
            changed: AtomicTid::new(Tid::NONE),
            moved: AtomicTid::new(Tid::NONE),
            stored_size: Atomic::new(0),
            extending: Atomic::new(0),
            blocked: LastTime::never(),
            flags: Atomic::new(0),
            has_xattrs: Atomic::new(false),
        })
    }

    fn new_add_lock() -> impl PinInit<TwoStateSharedLock> {
        new_two_state_shared_lock!("toyfs_add_lock")
    }

    /// Teaches lockdep the place of `add_lock` in the lock order, for what would be learned on the day of a deadlock
    /// otherwise: no user memory under it, and no wait for it with a folio locked.
    pub(super) fn teach_lock_order() -> Result {
        if cfg!(CONFIG_LOCKDEP) {
            let lock = KBox::pin_init(Self::new_add_lock(), GFP_KERNEL)?;
            lock.taken_in_faults();
            let _add = lock.add();
            might_lock_folio();
        }
        Ok(())
    }

    /// Waits for the map.
    pub(super) fn lock_map(&self) -> MapGuard<'_> {
        MapGuard {
            map: self.map.lock(),
            published: &self.published,
        }
    }

    /// The extents as they were when somebody had the map last. Read without a lock: what is found may be changed at
    /// any time, if the caller holds nothing that keeps it as it is.
    pub(super) fn extents(&self) -> &Published {
        &self.published
    }

    /// The transaction to be committed for the inode to be durable, as it is on disk, with the names that lead to it; with
    /// `data` only for its data to be found.
    pub(super) fn last_change(inode: &Inode, data: bool) -> Tid {
        let own = inode.data();
        let change = if data { &own.moved } else { &own.changed };
        change.load().later(inode.super_block().data().moved.load())
    }

    /// Whether map and size are known to be durable as they are, with the names that lead to them: what is written into written
    /// blocks is then found after a power cut.
    pub(super) fn is_durable(inode: &Inode) -> bool {
        // In this order: who writes it back notes the transaction before it is clean.
        if inode.is_dirty(true) || Self::lacks_size(inode) {
            return false;
        }
        let last = Self::last_change(inode, true);
        let journal = inode.super_block().journal();
        journal.is_ok_and(|journal| journal.is_committed(last))
    }

    /// Whether the file is longer than on disk, which whoever made it so may be about to say by making the inode dirty.
    fn lacks_size(inode: &Inode) -> bool {
        inode.data().stored_size.load(Acquire) < inode.size()
    }

    /// Makes the inode dirty if what is in the file is not all found without its size.
    pub(super) fn mark_if_longer(inode: &Inode) {
        if Self::lacks_size(inode) {
            inode.mark_dirty();
        }
    }

    /// Notes that a name that leads to the inode is changed, if it is a directory to all that is in it.
    pub(super) fn renamed(inode: &Inode, io: &Change<'_>) {
        inode.data().moved.store(io.tid());
        if inode.is_dir() {
            inode.super_block().data().moved.store(io.tid());
        }
    }

    /// Notes a write that may be in flight when `i_rwsem` is released, and ends behind the end of the file.
    pub(super) fn extending(&self) -> Extending<'_> {
        self.extending.add(1, Relaxed);
        Extending(self)
    }

    /// Before anything is done to a file under exclusive `i_rwsem` that depends on where it ends: waits for those who are
    /// about to change that. Only who has the lock makes it more of them.
    pub(super) fn settle(inode: &LockedInode) {
        if Self::is_extending(inode) {
            inode.dio_wait();
        }
    }

    /// Whether [`Self::settle`] would wait.
    pub(super) fn is_extending(inode: &LockedInode) -> bool {
        inode.data().extending.load(Acquire) != 0
    }

    /// Returns inode `ino`, from memory or from disk.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` for a number that does not exist, is free, or whose inode is corrupt or has no links.
    pub(super) fn get(sb: &SuperBlock, ino: u64) -> Result<InodeRef<'_>> {
        Self::get_with(sb, ino, Source::Entry)
    }

    /// Returns an inode that need not have links.
    pub(super) fn get_orphan(sb: &SuperBlock, ino: u64) -> Result<InodeRef<'_>> {
        Self::get_with(sb, ino, Source::Orphan)
    }

    /// Returns the inode of a file handle.
    ///
    /// # Errors
    ///
    /// `ESTALE`, without a message, if there is none of that number and generation.
    pub(super) fn get_by_handle(
        sb: &SuperBlock,
        ino: u64,
        generation: u32,
    ) -> Result<InodeRef<'_>> {
        Self::get_with(sb, ino, Source::Handle(generation))
    }

    /// Returns the directory that a directory is in, or has been. `ESTALE`, without a message, if that is gone.
    pub(super) fn get_parent(dir: &Inode) -> Result<InodeRef<'_>> {
        let parent = dir.data().lock_map().parent;
        Self::get_with(dir.super_block(), parent, Source::Parent)
    }

    fn get_with(sb: &SuperBlock, ino: u64, source: Source) -> Result<InodeRef<'_>> {
        let data = sb.data();
        let io = &sb.reader();
        let fail = |why: format::Corrupt| match source {
            // Somebody may be about to create it, or has deleted it: what is in its place says nothing.
            Source::Handle(_) | Source::Parent => ESTALE,
            _ => corrupt(io, "inode", ino)(why),
        };
        let (block, offset) = data
            .format
            .inode_location(ino)
            .ok_or_else(|| fail(format::Corrupt("no such inode")))?;
        let new = match sb.inode(ino)? {
            Ok(inode) if source.is_about(inode.generation()) => return Ok(inode),
            Ok(_) => return Err(ESTALE),
            Err(new) => new,
        };
        let _nofs = NofsScope::enter();
        if !data.allocator.lock().inode_in_use(io, ino)? {
            return Err(fail(format::Corrupt("referenced but free")));
        }
        let mut raw = [0; INODE_SIZE];
        io.read(block, offset, &mut raw)?;
        let disk = format::Inode::parse(&raw, ino, data.seed).map_err(fail)?;
        if !source.is_about(disk.generation) {
            return Err(ESTALE);
        }
        if disk.nlink < source.least_links(disk.is_dir()) {
            return Err(fail(format::Corrupt("referenced, but has too few links")));
        }
        if disk.xattr_block != 0 && !data.format.is_data(disk.xattr_block, 1) {
            return Err(fail(format::Corrupt(
                "attribute block outside the data region",
            )));
        }
        let extents = ExtentMap::load(io, &data.format, &disk)?;
        let sectors = extents.total_blocks() * SECTORS;
        {
            let mut map = new.data().lock_map();
            map.extents = extents;
            map.btime = disk.btime;
            map.parent = disk.parent;
            new.data().stored_size.store(disk.size, Relaxed);
        }
        if let Ok(journal) = sb.journal() {
            // It may have left memory with a change that is not on disk yet.
            let latest = journal.latest();
            new.data().changed.store(latest);
            new.data().moved.store(latest);
        }
        new.set_attr(&Attr {
            mode: disk.mode as u16,
            uid: disk.uid,
            gid: disk.gid,
            nlink: disk.nlink,
            size: disk.size,
            sectors,
            generation: disk.generation,
            rdev: disk.rdev,
            atime: from_disk(disk.atime),
            mtime: from_disk(disk.mtime),
            ctime: from_disk(disk.ctime),
        });
        if disk.is_symlink() && disk.size > 0 {
            Self::load_link(io, &new, &disk)?;
        }
        Self::set_flags(&new, disk.flags);
        if disk.xattr_block == 0 {
            new.set_without_xattrs();
        }
        new.data().has_xattrs.store(disk.xattr_block != 0, Relaxed);
        Ok(new.publish())
    }

    /// Reads the target of a symbolic link.
    fn load_link(io: &Reader<'_>, new: &NewInode<'_, ToyFs>, disk: &format::Inode) -> Result {
        if let Some(padded) = &disk.target {
            return new.set_link(padded.get(..disk.size as usize).unwrap_or(&[]));
        }
        if disk.nlink == 0 {
            // Nobody will ask.
            return Ok(());
        }
        let seed = new.super_block().data().seed;
        let mut block = KVec::from_elem(0, format::BLOCK_SIZE, GFP_KERNEL)?;
        let [Extent { disk_block, .. }, ..] = disk.inline;
        io.read(disk_block, 0, &mut block)?;
        let target = symlink::parse(&block, disk.ino, disk.size, seed);
        new.set_link(target.map_err(corrupt(io, "inode", disk.ino))?)
    }

    /// Gives a symbolic link that is being created its target. The caller stores the inode, with or without it.
    pub(super) fn set_link(new: &NewInode<'_, ToyFs>, io: &Change<'_>, target: &[u8]) -> Result {
        if format::Inode::inline_target(target).is_none() {
            let data = new.super_block().data();
            let mut block = KVec::from_elem(0, format::BLOCK_SIZE, GFP_KERNEL)?;
            symlink::encode(&mut block, new.ino(), target, data.seed);
            let mut map = new.data().lock_map();
            let mut allocator = data.allocator.lock();
            let mapping = map
                .extents
                .allocate(io, &mut allocator, 0, 1, false, u64::MAX)?;
            let Mapping::Mapped { disk, .. } = mapping else {
                return Err(EIO);
            };
            Self::update_sectors(new, &map);
            io.write(disk, 0, &block)?;
        }
        new.set_link(target)?;
        // Only now: without size it is one that came to nothing.
        new.set_size_field(target.len() as u64);
        Ok(())
    }

    /// Sets up the data of an inode that is being created.
    pub(super) fn init_created(inode: &Inode, parent: u64) {
        let mut map = inode.data().lock_map();
        map.extents = ExtentMap::new(inode.ino());
        map.btime = to_disk(inode.times()[2]);
        map.parent = parent;
    }

    /// When the inode was created.
    pub(super) fn birth_time(inode: &Inode) -> Timestamp {
        from_disk(inode.data().lock_map().btime)
    }

    /// Writes the inode, and the blocks of its extent chain that changed.
    pub(super) fn store(inode: &Inode, io: &Change<'_>) -> Result {
        Self::store_map(inode, io, &mut inode.data().lock_map())
    }

    /// As [`Self::store`], for who has the map.
    pub(super) fn store_map(inode: &Inode, io: &Change<'_>, map: &mut MapGuard<'_>) -> Result {
        let data = inode.super_block().data();
        let size = inode.size();
        let (block, offset) = data.format.inode_location(inode.ino()).ok_or(EIO)?;
        let (uid, gid) = inode.owner();
        let [atime, mtime, ctime] = inode.times();
        let mut disk = format::Inode {
            ino: inode.ino(),
            mode: inode.mode().into(),
            uid,
            gid,
            nlink: inode.nlink(),
            flags: inode.data().flags.load(Relaxed),
            generation: inode.generation(),
            size,
            atime: to_disk(atime),
            mtime: to_disk(mtime),
            ctime: to_disk(ctime),
            btime: map.btime,
            rdev: inode.rdev(),
            parent: map.parent,
            target: inode.link().and_then(format::Inode::inline_target),
            ..format::Inode::default()
        };
        let own = inode.data();
        // Before the map is published: who sees that sees this.
        if map.extents.is_unpublished() || size != own.stored_size.load(Relaxed) {
            own.moved.store(io.tid());
        }
        own.changed.store(io.tid());
        map.extents.store(io, &data.format, &mut disk)?;
        io.write(block, offset, &disk.encode(data.seed))?;
        own.stored_size.store(size, Release);
        Ok(())
    }

    /// Publishes what has been changed in the map of a file that is going to be stored.
    pub(super) fn publish_moved(inode: &Inode, io: &Change<'_>, map: &mut MapGuard<'_>) {
        inode.data().moved.store(io.tid());
        map.publish();
    }

    /// Writes an inode that was only changed in memory.
    pub(super) fn write_back(inode: &Inode) -> Result {
        let change = inode.super_block().change(Credits::MAP);
        let io = change.map_err(|_| EIO)?;
        Self::store(inode, &io)?;
        io.finish(false)
    }

    /// Frees an inode without links on disk, when it leaves memory.
    pub(super) fn evict(inode: &Inode) {
        // Number 0 is an inode that never got one.
        if inode.nlink() != 0 || inode.ino() == 0 {
            return;
        }
        // On an error it stays on disk as it is: used, without links, and an orphan.
        while let Ok(io) = inode.super_block().change_at_end(Credits::FREE) {
            match Self::evict_some(inode, &io) {
                Ok(true) => cond_resched(),
                Ok(false) => break,
                Err(e) => {
                    io.half_done("not everything of a deleted inode could be freed", e);
                    break;
                }
            }
        }
    }

    /// Frees some of the inode's blocks, or the inode when there are none. Returns whether there is more to do.
    fn evict_some(inode: &Inode, io: &Change<'_>) -> Result<bool> {
        let data = inode.super_block().data();
        let mut map = inode.data().lock_map();
        let mut allocator = data.allocator.lock();
        let mut first = 0;
        if !inode.is_file() {
            // The blocks are metadata.
            let end = map.extents.iter().last().map_or(0, Extent::end);
            first = end.saturating_sub(REMOVED_AT_ONCE);
            for block in first..end {
                if let Mapping::Mapped { disk, .. } = map.extents.lookup(block) {
                    io.revoke(disk)?;
                }
            }
        }
        // So few that none of what was revoked is left.
        let more = map
            .extents
            .remove_some(io, &mut allocator, first, u64::MAX)?
            || first > 0;
        if !more {
            if map.extents.xattr_block != 0 {
                allocator.free_chain_block(io, map.extents.xattr_block)?;
                map.extents.xattr_block = 0;
            }
            allocator.free_inode(io, inode.ino())?;
            allocator.set_orphan(io, inode.ino(), false)?;
        }
        Self::store_map(inode, io, &mut map)?;
        Ok(more)
    }

    /// Updates what `stat(2)` reports after a change of the map.
    pub(super) fn update_sectors(inode: &Inode, map: &Map) {
        inode.set_sectors(map.extents.total_blocks() * SECTORS);
    }

    /// Whether all of `pos..pos + len` has blocks with the file's data in them, so that writing it
    /// changes no metadata.
    ///
    /// The caller holds `i_rwsem`, shared or exclusively: then nobody takes blocks away, or makes them unwritten again, and
    /// a yes stays true. It is put together from as many lookups as there are extents.
    ///
    /// `EAGAIN` if `nowait` and it cannot be told without waiting, or takes more than one extent.
    pub(super) fn is_written(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<bool> {
        let data = inode.data();
        let mut block = pos >> format::BLOCK_LOG2;
        let end = (pos + len).div_ceil(format::BLOCK_SIZE as u64);
        while block < end {
            let mapping = match data.published.lookup(block) {
                Some((mapping, _)) => mapping,
                None if nowait => return Err(EAGAIN),
                None => data.lock_map().extents.lookup(block),
            };
            match mapping {
                Mapping::Mapped {
                    len,
                    unwritten: false,
                    ..
                } => block = block.saturating_add(len),
                _ => return Ok(false),
            }
            if nowait && block < end {
                return Err(EAGAIN);
            }
        }
        Ok(true)
    }
}

/// The map of an inode, locked. What has been changed is published when this is dropped, at the latest.
#[must_use = "the map is unlocked as soon as this is dropped"]
pub(super) struct MapGuard<'a> {
    map: MutexGuard<'a, Map>,
    published: &'a Published,
}

impl MapGuard<'_> {
    /// Publishes the extents, and returns the [`Published::sequence`] that they have now.
    pub(super) fn publish(&mut self) -> u64 {
        if self.map.extents.is_unpublished() {
            let _nofs = NofsScope::enter();
            self.map.extents.publish(self.published);
        }
        self.published.sequence()
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        self.publish();
    }
}

impl Deref for MapGuard<'_> {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

impl DerefMut for MapGuard<'_> {
    fn deref_mut(&mut self) -> &mut Map {
        &mut self.map
    }
}

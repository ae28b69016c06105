// SPDX-License-Identifier: GPL-2.0

//! Inodes: between the disk, the VFS and the extent map.

use super::{
    block::{corrupt, BlockIo},
    extent::{ExtentMap, Mapping},
    format::{self, Time, INODE_SIZE},
    Inode, SuperBlock,
};
use crate::{
    lock::{new_two_state_shared_lock, TwoStateSharedLock},
    vfs::{Attr, NofsScope, Timestamp},
};
use core::convert::Infallible;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Mutex,
    },
};

/// 512-byte sectors in a block.
const SECTORS: u64 = (format::BLOCK_SIZE / 512) as u64;

/// What toyfs keeps about an inode in memory.
#[pin_data]
pub(crate) struct InodeData {
    /// Who may add pages to the page cache (`Add`), and who keeps them out (`Block`).
    #[pin]
    pub(super) pages: TwoStateSharedLock,
    /// Where the file's blocks are, and what only the disk inode knows.
    #[pin]
    pub(super) map: Mutex<Map>,
    /// Counts the changes of the map. Written under `map`.
    sequence: Atomic<u64>,
}

/// The part of an inode that [`InodeData::map`] protects.
pub(crate) struct Map {
    pub(super) extents: ExtentMap,
    /// Creation time.
    btime: Time,
    /// Of a directory: the directory that it is in.
    pub(super) parent: u64,
    /// Of a directory: as many blocks from the first on have been validated.
    pub(super) validated: u64,
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
            pages <- new_two_state_shared_lock!("toyfs_pages"),
            map <- new_mutex!(
                Map {
                    extents: ExtentMap::new(0),
                    btime: Time::default(),
                    parent: 0,
                    validated: 0,
                },
                "toyfs_map"
            ),
            sequence: Atomic::new(0),
        })
    }

    /// Changes with every change of the map that could mislead somebody who looked at it before.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Relaxed)
    }

    /// Notes a change of the map. The caller holds `map`.
    pub(super) fn changed(&self) {
        self.sequence
            .store(self.sequence.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Returns inode `ino`, from memory or from disk.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` for a number that does not exist, is free, or whose inode is corrupt.
    pub(super) fn get(sb: &SuperBlock, ino: u64) -> Result<ARef<Inode>> {
        let data = sb.data();
        let fail = |why| corrupt("inode", ino)(format::Corrupt(why));
        let (block, offset) = data
            .format
            .inode_location(ino)
            .ok_or_else(|| fail("no such inode"))?;
        let new = match sb.inode(ino)? {
            Ok(inode) => return Ok(inode),
            Err(new) => new,
        };
        let _nofs = NofsScope::enter();
        let device = sb.device();
        if !data.allocator.lock().inode_in_use(device, ino)? {
            return Err(fail("referenced but free"));
        }
        let mut raw = [0; INODE_SIZE];
        BlockIo::read(device, block, offset, &mut raw)?;
        let disk = format::Inode::parse(&raw, ino, data.seed).map_err(corrupt("inode", ino))?;
        if disk.nlink < if disk.is_dir() { 2 } else { 1 } {
            return Err(fail("referenced, but has too few links"));
        }
        let extents = ExtentMap::load(device, &data.format, &disk)?;
        let sectors = extents.total_blocks() * SECTORS;
        {
            let mut map = new.data().map.lock();
            map.extents = extents;
            map.btime = disk.btime;
            map.parent = disk.parent;
        }
        new.set_attr(&Attr {
            mode: disk.mode as u16,
            uid: disk.uid,
            gid: disk.gid,
            nlink: disk.nlink,
            size: disk.size,
            sectors,
            generation: disk.generation,
            atime: from_disk(disk.atime),
            mtime: from_disk(disk.mtime),
            ctime: from_disk(disk.ctime),
        });
        Ok(new.publish())
    }

    /// Sets up the data of an inode that is being created.
    pub(super) fn init_created(inode: &Inode, parent: u64) {
        let mut map = inode.data().map.lock();
        map.extents = ExtentMap::new(inode.ino());
        map.btime = to_disk(inode.times()[2]);
        map.parent = parent;
    }

    /// When the inode was created.
    pub(super) fn birth_time(inode: &Inode) -> Timestamp {
        from_disk(inode.data().map.lock().btime)
    }

    /// Copies the inode, and the blocks of its extent chain that changed, into the page cache of the
    /// device.
    pub(super) fn store(inode: &Inode) -> Result {
        let sb = inode.super_block();
        let data = sb.data();
        let device = sb.device();
        let (block, offset) = data.format.inode_location(inode.ino()).ok_or(EIO)?;
        let _nofs = NofsScope::enter();
        let mut map = inode.data().map.lock();
        let (uid, gid) = inode.owner();
        let [atime, mtime, ctime] = inode.times();
        let mut disk = format::Inode {
            ino: inode.ino(),
            mode: inode.mode().into(),
            uid,
            gid,
            nlink: inode.nlink(),
            generation: inode.generation(),
            size: inode.size(),
            atime: to_disk(atime),
            mtime: to_disk(mtime),
            ctime: to_disk(ctime),
            btime: map.btime,
            parent: map.parent,
            ..format::Inode::default()
        };
        map.extents.store(device, &data.format, &mut disk)?;
        BlockIo::write(device, block, offset, &disk.encode(data.seed))
    }

    /// Frees an inode without links on disk, when it leaves memory.
    pub(super) fn evict(inode: &Inode) {
        // Number 0 is an inode that never got one.
        if inode.nlink() != 0 || inode.ino() == 0 {
            return;
        }
        let sb = inode.super_block();
        let _nofs = NofsScope::enter();
        let mut map = inode.data().map.lock();
        let mut allocator = sb.data().allocator.lock();
        let freed = map
            .extents
            .remove(sb.device(), &mut allocator, 0, u64::MAX)
            .and(allocator.free_inode(sb.device(), inode.ino()));
        if let Err(e) = freed {
            let (id, ino) = (sb.id(), inode.ino());
            pr_err!("{id}: inode {ino}: not everything could be freed: {e:?}\n");
        }
    }

    /// Updates what `stat(2)` reports after a change of the map.
    pub(super) fn update_sectors(inode: &Inode, map: &Map) {
        inode.set_sectors(map.extents.total_blocks() * SECTORS);
    }

    /// Whether all of `pos..pos + len` has blocks with the file's data in them, so that writing it
    /// changes no metadata.
    ///
    /// `EAGAIN` if `nowait` and it cannot be told without waiting.
    pub(super) fn is_written(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<bool> {
        let map = if nowait {
            inode.data().map.try_lock().ok_or(EAGAIN)?
        } else {
            inode.data().map.lock()
        };
        let mut block = pos >> format::BLOCK_LOG2;
        let end = (pos + len).div_ceil(format::BLOCK_SIZE as u64);
        while block < end {
            match map.extents.lookup(block) {
                Mapping::Mapped {
                    len,
                    unwritten: false,
                    ..
                } => block = block.saturating_add(len),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

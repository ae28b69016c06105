// SPDX-License-Identifier: GPL-2.0

//! File data through the page cache: reads, buffered writes, writeback, truncation.
//!
//! Whatever makes pages of the cache dirty holds [`InodeData::add_lock`] in `Add` while it does, so that a direct write can
//! drop them, and drop what is read in meanwhile when it is done:
//!
//! - a buffered write waits before it takes the folio,
//! - so does a store through mmap, see [`file`](super::file).
//!
//! Who only reads pages in, holds nothing.

use super::{
    bitmap::Allocator,
    errors::{Change, Credits},
    extent::{ExtentMap, Mapping},
    hold::Hold,
    inode::InodeData,
    wanted::FORGOTTEN_MS,
    Inode, InvalidateLock, LockedInode, ToyFs,
};
use crate::{
    lock::State,
    vfs::{
        cond_resched, fatal_signal_pending, Extent, ExtentKind, IomapFlags, IovIter, Kiocb,
        MappingOps, Reader,
    },
};
use core::ops::RangeInclusive;
use kernel::prelude::*;
use toyfs_format::{BLOCK_LOG2, BLOCK_SIZE};

/// The block that contains byte `pos`.
fn block_of(pos: u64) -> u64 {
    pos >> BLOCK_LOG2
}

/// Maps `pos`, giving blocks to a hole if `allocate` says so.
///
/// Blocks that are there are found without a lock ([`Published`](super::extent::Published)), and so are holes, unless they are
/// to be filled. Locked or not, the answer may be an old one as soon as it is given; each caller holds what keeps true
/// what he needs of it, until he has no use for it any more:
///
/// - *Who takes blocks away* ([`set_size`], [`punch`], [`free_unused`]) holds `i_rwsem` exclusively. The first two hold
///   `invalidate_lock` exclusively as well, wait for direct I/O before, and for the folios of the range, which are locked or
///   under writeback as long as somebody is at work on one; the last takes what lies behind the end of the file, which is
///   read and written with `i_rwsem` only.
/// - *Direct I/O* holds `i_rwsem` when it asks, and is counted in `i_dio_count` until it has ended: no block that it has
///   found is taken away. A hole may get blocks meanwhile, by a store through mmap, and unwritten blocks may become
///   ordinary ones: a read then has zeroes, as if it had come before. It cannot have come after, since whoever has written
///   publishes that before he returns, or ends the writeback for which the read waits first. A write with `i_rwsem` shared
///   has seen that its blocks are written, and they stay so.
/// - *Reads into the page cache* have the folio locked. If somebody has written to it before, and it has left the cache
///   since, then its writeback has ended, and before that its blocks were published as ordinary ones.
/// - *Buffered writes and stores through mmap* may find that a block has become an ordinary one, and its folio is gone:
///   then what is around the bytes to be written has to be read instead of zeroed. iomap compares the sequence when it has
///   locked the folio.
/// - *Writeback* has the folio locked or under writeback, and compares the sequence for each further one.
/// - *Reports* (`SEEK_DATA`, fiemap) promise nothing.
fn map(inode: &Inode, pos: u64, len: u64, allocate: bool, nowait: bool) -> Result<Extent> {
    let data = inode.data();
    let block = block_of(pos);
    // Whole blocks that are asked for; no file is longer than this can express.
    let want = pos
        .saturating_add(len)
        .div_ceil(BLOCK_SIZE as u64)
        .saturating_sub(block)
        .max(1);
    let mut end = pos.saturating_add(len);
    if nowait && !allocate {
        let size = inode.size();
        if pos >= size.next_multiple_of(BLOCK_SIZE as u64) {
            // Nothing is ever read from there.
            return Ok(Extent {
                offset: block << BLOCK_LOG2,
                len: want << BLOCK_LOG2,
                kind: ExtentKind::Hole,
                dirty: false,
                sequence: data.extents().sequence(),
            });
        }
        end = end.min(size);
    }
    let (mapping, sequence) = match data.extents().lookup(block) {
        Some((Mapping::Hole { .. }, _)) if allocate && nowait => return Err(EAGAIN),
        Some((Mapping::Hole { .. }, _)) if allocate => lookup_or_allocate(inode, block, want)?,
        Some(found) => found,
        None if nowait => return Err(EAGAIN),
        None if allocate => lookup_or_allocate(inode, block, want)?,
        None => {
            let mut map = data.lock_map();
            (map.extents.lookup(block), map.publish())
        }
    };
    let (kind, blocks) = match mapping {
        Mapping::Hole { len } => (ExtentKind::Hole, len),
        Mapping::Mapped {
            disk,
            len,
            unwritten,
        } => {
            let addr = disk << BLOCK_LOG2;
            if unwritten {
                (ExtentKind::Unwritten(addr), len)
            } else {
                (ExtentKind::Mapped(addr), len)
            }
        }
    };
    if nowait && block.saturating_add(blocks) < end.div_ceil(BLOCK_SIZE as u64) {
        // Nobody could wait for the map either when he comes for the rest, with the first part on its way.
        return Err(EAGAIN);
    }
    Ok(Extent {
        offset: block << BLOCK_LOG2,
        len: blocks.min(want) << BLOCK_LOG2,
        kind,
        // Looked at after the extent: the inode was marked before that was published.
        dirty: !InodeData::is_durable(inode),
        sequence,
    })
}

/// What `block` maps to, after up to `want` blocks were given to it if it was in a hole, and the sequence with which it does.
fn lookup_or_allocate(inode: &Inode, block: u64, want: u64) -> Result<(Mapping, u64)> {
    let sb = inode.super_block();
    sb.with_space(|| {
        let io = &sb.change(Credits::MAP)?;
        let mut map = inode.data().lock_map();
        let mut mapping = map.extents.lookup(block);
        if matches!(mapping, Mapping::Hole { .. }) {
            let mut allocator = sb.data().allocator.lock();
            let end = inode.size().div_ceil(BLOCK_SIZE as u64);
            mapping = map
                .extents
                .allocate(io, &mut allocator, block, want, true, end)?;
            drop(allocator);
            InodeData::update_sectors(inode, &map);
            if let Mapping::Mapped { disk, len, .. } = mapping {
                // Metadata that once was in these blocks must not be written over the data: before they are published.
                sb.device().forget(disk, len);
            }
            InodeData::store_map(inode, io, &mut map)?;
        }
        Ok((mapping, map.publish()))
    })
}

/// Makes the unwritten blocks of `pos..pos + len`, which have been written, ordinary ones, and the file as long as `extend` does:
/// that is told up to where the file can be read.
///
/// On disk the file is never shorter than what has been written: it gets its size with the blocks.
pub(super) fn mark_written(inode: &Inode, pos: u64, len: u64, extend: impl Fn(u64)) -> Result {
    let sb = inode.super_block();
    let mut at = block_of(pos);
    let end = (pos + len).div_ceil(BLOCK_SIZE as u64);
    while at < end {
        // Of an error the writer is told. The inode is as it is in memory.
        at = sb
            .with_space(|| mark_some_written(inode, at, end, &extend))
            .inspect_err(|_| inode.mark_dirty())?;
    }
    Ok(())
}

/// Makes the first unwritten blocks of `at..end` ordinary ones. Returns where to go on.
fn mark_some_written(inode: &Inode, at: u64, end: u64, extend: &impl Fn(u64)) -> Result<u64> {
    let sb = inode.super_block();
    let io = &sb.change_at_end(Credits::MAP)?;
    let mut map = inode.data().lock_map();
    let mut next = end;
    let mut done = Ok(());
    if let Some(part) = map.extents.unwritten(at, end) {
        let mut allocator = sb.data().allocator.lock();
        done = map
            .extents
            .mark_written(io, &mut allocator, part.start, part.end);
        drop(allocator);
        InodeData::update_sectors(inode, &map);
        let more = map.extents.unwritten(part.end, end);
        next = more.map_or(end, |more| more.start);
    }
    if done.is_ok() {
        // Who sees the new end finds the blocks before it; and nobody else stores the inode in between, with the old end.
        InodeData::publish_moved(inode, io, &mut map);
        extend(next << BLOCK_LOG2);
    }
    let stored = InodeData::store_map(inode, io, &mut map);
    done.and(stored)?;
    Ok(next)
}

/// Notes whether something of the file is to be freed at the next mount.
fn set_orphan(inode: &LockedInode, orphan: bool) -> Result {
    let sb = inode.super_block();
    let io = sb.change(Credits::ONE)?;
    let allocator = &sb.data().allocator;
    allocator.lock().set_orphan(&io, inode.ino(), orphan)?;
    io.finish(false)
}

/// Before the file ends at `end`, or no longer does: what is behind that in its block is zeroes.
fn end_at(inode: &LockedInode, end: u64) -> Result {
    // If it gets longer, a store through mmap may have left something behind the old end.
    inode.zero_tail(end)?;
    if end % BLOCK_SIZE as u64 != 0 {
        // Or a power cut could bring back what was there.
        inode.write_back(end)?;
    }
    Ok(())
}

/// Changes the size of a file.
pub(super) fn set_size(inode: &LockedInode, size: u64) -> Result {
    if inode.is_dir() {
        return Err(EISDIR);
    }
    inode.dio_wait();
    // Not before: what was in flight may have made the file longer.
    let old = inode.size();
    let cache = inode.lock_invalidate();
    if size < old {
        // The inode may be written with the new size, and that committed, long before the blocks behind it go.
        set_orphan(inode, true)?;
    }
    end_at(inode, size.min(old)).inspect_err(|_| {
        if size < old {
            // What is behind the old end stays. If not even that can be said, the next mount frees it.
            let _ = set_orphan(inode, inode.nlink() == 0);
        }
    })?;
    cache.truncate_pages(size);
    inode.touch();
    let done = if size > old {
        let io = inode.super_block().change(Credits::MAP);
        io.and_then(|io| {
            InodeData::store(inode, &io)?;
            io.finish(inode.is_sync())
        })
    } else {
        // Also when the size stays the same: what fallocate(2) made behind the end goes, as on xfs
        // and ext4.
        free_beyond_end(inode)
    };
    // It is the size that the file has.
    done.inspect_err(|_| inode.mark_dirty())
}

/// Frees the blocks behind the end of the file, and writes the inode. What a power cut leaves of them, the next mount frees.
pub(super) fn free_beyond_end(inode: &LockedInode) -> Result {
    let ino = inode.ino();
    change_map(inode, |io, map, allocator, end| {
        let more = map.remove_some(io, allocator, end, u64::MAX)?;
        allocator.set_orphan(io, ino, more || inode.nlink() == 0)?;
        Ok(more)
    })
}

/// Frees the blocks behind the end of the file that an operation has allocated and not come to use; those
/// that were there before stay. The caller has held `i_rwsem` from the beginning.
pub(super) fn free_unused(inode: &LockedInode) {
    let freed = change_map(inode, |io, map, allocator, end| {
        map.remove_noted(io, allocator, end)
    });
    // What cannot be freed now stays allocated to the file. Errors of the file system have been
    // reported where they happened, and the caller has something else to say.
    let _ = freed;
}

/// Takes blocks away with `f`, to which it tells in which block the file ends, in as many changes as `f` says that there is more
/// to do; and writes the inode.
fn change_map(
    inode: &LockedInode,
    mut f: impl FnMut(&Change<'_>, &mut ExtentMap, &mut Allocator, u64) -> Result<bool>,
) -> Result {
    let sb = inode.super_block();
    loop {
        let more = sb.with_space(|| {
            let io = sb.change(Credits::FREE)?;
            let more = {
                let mut map = inode.data().lock_map();
                let mut allocator = sb.data().allocator.lock();
                let end = inode.size().div_ceil(BLOCK_SIZE as u64);
                let more = f(&io, &mut map.extents, &mut allocator, end);
                drop(allocator);
                InodeData::update_sectors(inode, &map);
                InodeData::store_map(inode, &io, &mut map)?;
                more?
            };
            io.finish(inode.is_sync() && !more)?;
            Ok(more)
        })?;
        if !more {
            return Ok(());
        }
        cond_resched();
    }
}

/// Makes `pos..end` of the file read as zeroes, and frees the blocks that are all within. No direct I/O is in
/// flight.
pub(super) fn punch(inode: &InvalidateLock<'_>, pos: u64, end: u64) -> Result {
    let block = BLOCK_SIZE as u64;
    let (first, last) = (pos.div_ceil(block), block_of(end));
    let size = inode.size();
    if first >= last {
        // Parts of two blocks at most.
        return inode.zero(pos, end.min(size));
    }
    // The blocks of a folio that has to stay in the cache stay as well: it may be written back.
    let gone = inode.without_pinned(first << BLOCK_LOG2, last << BLOCK_LOG2);
    if gone.is_empty() {
        return inode.zero(pos, end.min(size));
    }
    inode.zero(pos, gone.start.min(size))?;
    inode.zero(gone.end, end.min(size))?;
    // What was written must still be there if the rest fails.
    inode.drop_pages(gone.start, gone.end)?;
    let (first, last) = (block_of(gone.start), block_of(gone.end));
    change_map(inode, |io, map, allocator, _| {
        map.remove_some(io, allocator, first, last)
    })
}

/// Gives blocks to the holes of `pos..end`. They read as zeroes, as the holes did.
pub(super) fn preallocate(inode: &Inode, pos: u64, end: u64) -> Result {
    let mut at = pos;
    while at < end {
        if fatal_signal_pending() {
            return Err(EINTR);
        }
        let extent = map(inode, at, end - at, true, false)?;
        at = extent.offset + extent.len;
    }
    Ok(())
}

/// Makes an inode durable, with the names that lead to it; with `data` only what its data need.
pub(super) fn sync_metadata(inode: &Inode, data: bool) -> Result {
    // Somebody else may have been told of an error that concerns this inode.
    let sb = inode.super_block();
    sb.check_lost()?;
    InodeData::mark_if_longer(inode);
    if inode.is_dirty(data) {
        inode.sync()?;
    }
    sb.commit(InodeData::last_change(inode, data))
}

/// Before a write at `pos`: what lies between the old end of the file and there reads as zeroes.
pub(super) fn zero_up_to(inode: &LockedInode, pos: u64) -> Result {
    let size = inode.size();
    if pos > size {
        inode.zero_tail(size)?;
    }
    Ok(())
}

/// Copies into the page cache of `inode`, which is that of `iocb`.
pub(super) fn buffered_write(
    inode: &LockedInode,
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
) -> Result<usize> {
    let written = inode.buffered_write(iocb, from);
    if !from.is_empty() {
        // It ended early, perhaps with blocks for the rest.
        free_unused(inode);
    }
    written
}

/// Whether somebody writes the file directly, or has not long ago: who brings in pages of it may lose them.
#[inline]
pub(super) fn is_written_directly(inode: &Inode) -> bool {
    let own = inode.data();
    own.blocked.is_ever()
        && (own.add_lock.is_held(State::Block) || own.blocked.is_within(FORGOTTEN_MS))
}

impl MappingOps for ToyFs {
    fn map(inode: &Inode, pos: u64, len: u64, flags: IomapFlags) -> Result<Extent> {
        inode.super_block().check_up()?;
        map(inode, pos, len, flags.is_write(), flags.is_nowait())
    }

    fn map_sequence(inode: &Inode) -> u64 {
        inode.data().extents().sequence()
    }

    fn map_for_writeback(inode: &Inode, pos: u64) -> Result<Extent> {
        inode.super_block().check_up()?;
        // A dirty page has blocks since it was made dirty; should it not, it gets them now.
        map(inode, pos, BLOCK_SIZE as u64, true, false)
    }

    fn written(inode: &Inode, pos: u64, len: u64) -> Result {
        mark_written(inode, pos, len, |_| ())
    }

    fn reads(inode: &Inode, pages: &RangeInclusive<u64>, reader: impl FnOnce() -> Reader) {
        if is_written_directly(inode) {
            let data = inode.super_block().data();
            data.wanted.missed(inode.ino(), pages, reader());
        }
    }

    fn enter_folio(inode: &Inode) -> Result {
        Hold::take(inode, State::Add)?.keep_for_copy(inode)
    }

    fn copied(inode: &Inode) {
        InodeData::mark_if_longer(inode);
    }

    fn leave_folio(inode: &Inode) {
        kernel::warn_on!(Hold::of_copy(inode).is_none());
    }
}

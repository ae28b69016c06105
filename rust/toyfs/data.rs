// SPDX-License-Identifier: GPL-2.0

//! File data through the page cache: reads, buffered writes, writeback, faults, truncation.
//!
//! Whatever adds pages to the cache holds [`InodeData::pages`] in `Add` while it starts, so that no
//! page comes in while a direct write keeps the cache shut:
//!
//! - readahead gives up if that would need waiting (its folios are locked),
//! - the read of one folio unlocks it, waits, and locks it again,
//! - a buffered write waits before it takes the folio,
//! - `page_mkwrite` waits before it takes the folio: the page is in the cache already, but dirtying
//!   it between a direct write's writeback and its invalidation would make that fail.
//!
//! The hold ends when the read is submitted: from then on the folio lock, which invalidation waits
//! for, does the rest.

use super::{
    dio,
    extent::Mapping,
    format::{BLOCK_LOG2, BLOCK_SIZE},
    inode::InodeData,
    Inode, ToyFs,
};
use crate::{
    lock::{Guard, State},
    marker::{self, Verdict},
    vfs::{
        fatal_signal_pending, Extent, ExtentKind, Fallocate, FaultAnswer, FaultResult, FileOps,
        IomapFlags, IovIter, Kiocb, LockedFolio, MappingOps, NofsScope, PageMkwrite, ReadFolio,
        Readahead, Relocked,
    },
};
use kernel::prelude::*;

/// Takes [`InodeData::pages`], counting if that takes waiting. `EINTR` if the task is killed.
pub(super) fn lock_pages(inode: &Inode, state: State) -> Result<Guard<'_>> {
    let pages = &inode.data().pages;
    pages.might_lock();
    if let Some(guard) = pages.try_lock(state) {
        return Ok(guard);
    }
    inode.super_block().data().stats().lock_waits.inc();
    pages.lock_killable(state)
}

/// The block that contains byte `pos`.
fn block_of(pos: u64) -> u64 {
    pos >> BLOCK_LOG2
}

/// Maps `pos`, giving blocks to a hole if `allocate` says so.
fn map(inode: &Inode, pos: u64, len: u64, allocate: bool, nowait: bool) -> Result<Extent> {
    let data = inode.data();
    let sb = inode.super_block();
    let block = block_of(pos);
    // Whole blocks that are asked for; no file is longer than this can express.
    let want = pos
        .saturating_add(len)
        .div_ceil(BLOCK_SIZE as u64)
        .saturating_sub(block)
        .max(1);
    let _nofs = NofsScope::enter();
    let mut map = if nowait {
        data.map.try_lock().ok_or(EAGAIN)?
    } else {
        data.map.lock()
    };
    let mut mapping = map.extents.lookup(block);
    if allocate && matches!(mapping, Mapping::Hole { .. }) {
        if nowait {
            return Err(EAGAIN);
        }
        let mut allocator = sb.data().allocator.lock();
        mapping = map
            .extents
            .allocate(sb.device(), &mut allocator, block, want, true)?;
        drop(allocator);
        data.changed();
        InodeData::update_sectors(inode, &map);
        if let Mapping::Mapped { disk, len, .. } = mapping {
            // Metadata that once was in these blocks must not be written over the data.
            sb.device().forget(disk, len);
        }
        inode.mark_dirty();
    }
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
    Ok(Extent {
        offset: block << BLOCK_LOG2,
        len: blocks.min(want) << BLOCK_LOG2,
        kind,
        dirty: inode.is_dirty(true),
        sequence: data.sequence(),
    })
}

/// Makes the unwritten blocks of `pos..pos + len`, which have been written, ordinary ones.
pub(super) fn mark_written(inode: &Inode, pos: u64, len: u64) -> Result {
    if len == 0 {
        return Ok(());
    }
    let sb = inode.super_block();
    let _nofs = NofsScope::enter();
    let mut map = inode.data().map.lock();
    let mut allocator = sb.data().allocator.lock();
    let end = (pos + len).div_ceil(BLOCK_SIZE as u64);
    let done = map
        .extents
        .mark_written(sb.device(), &mut allocator, block_of(pos), end);
    drop(allocator);
    inode.data().changed();
    InodeData::update_sectors(inode, &map);
    inode.mark_dirty();
    done
}

/// Changes the size of a file. The caller holds `i_rwsem` exclusively.
pub(super) fn set_size(inode: &Inode, size: u64) -> Result {
    if inode.is_dir() {
        return Err(EISDIR);
    }
    let old = inode.size();
    inode.dio_wait();
    inode.with_invalidate_lock(|| {
        if size > old {
            // A store through mmap may have left something behind the old end.
            inode.zero_tail(old)?;
        } else {
            inode.zero_tail(size)?;
        }
        inode.truncate_pages(size);
        free_beyond_end(inode)
    })?;
    inode.touch();
    inode.mark_dirty();
    Ok(())
}

/// Frees the blocks behind the end of the file: after it was made shorter, or after a write that got
/// blocks for more than it wrote. The caller holds `i_rwsem` exclusively.
pub(super) fn free_beyond_end(inode: &Inode) -> Result {
    let sb = inode.super_block();
    let _nofs = NofsScope::enter();
    let mut map = inode.data().map.lock();
    let mut allocator = sb.data().allocator.lock();
    let from = inode.size().div_ceil(BLOCK_SIZE as u64);
    let removed = map
        .extents
        .remove(sb.device(), &mut allocator, from, u64::MAX);
    inode.data().changed();
    InodeData::update_sectors(inode, &map);
    inode.mark_dirty();
    removed
}

/// Makes `pos..end` of the file read as zeroes, and frees the blocks that are all within. The caller holds
/// `i_rwsem` and `invalidate_lock` exclusively, and no direct I/O is in flight.
fn punch(inode: &Inode, pos: u64, end: u64) -> Result {
    let block = BLOCK_SIZE as u64;
    let (first, last) = (pos.div_ceil(block), block_of(end));
    let size = inode.size();
    if first >= last {
        // Parts of two blocks at most.
        return inode.zero(pos, end.min(size));
    }
    inode.zero(pos, (first << BLOCK_LOG2).min(size))?;
    inode.zero(last << BLOCK_LOG2, end.min(size))?;
    inode.drop_pages(first << BLOCK_LOG2, last << BLOCK_LOG2);
    let sb = inode.super_block();
    let _nofs = NofsScope::enter();
    let mut map = inode.data().map.lock();
    let mut allocator = sb.data().allocator.lock();
    let removed = map.extents.remove(sb.device(), &mut allocator, first, last);
    inode.data().changed();
    InodeData::update_sectors(inode, &map);
    inode.mark_dirty();
    removed
}

/// Gives blocks to the holes of `pos..end`. They read as zeroes, as the holes did.
fn preallocate(inode: &Inode, pos: u64, end: u64) -> Result {
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

/// Makes an inode, and all metadata that leads to it, durable.
pub(super) fn sync_metadata(inode: &Inode) -> Result {
    let sb = inode.super_block();
    inode.sync()?;
    sb.device().sync()?;
    // Somebody else may have been told of an error that concerns this inode.
    sb.data().check_errors(sb.device())?;
    sb.device().flush()
}

/// Before a write at `pos`: what lies between the old end of the file and there reads as zeroes.
/// The caller holds `i_rwsem` exclusively.
pub(super) fn zero_up_to(inode: &Inode, pos: u64) -> Result {
    let size = inode.size();
    if pos > size && size % BLOCK_SIZE as u64 != 0 {
        inode.zero_tail(size)?;
    }
    Ok(())
}

/// Copies into the page cache. The caller holds `i_rwsem` exclusively.
pub(super) fn buffered_write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
    let inode = iocb.inode();
    let size = inode.size();
    let _add = if cfg!(mutant_add_across_copy) {
        Some(lock_pages(inode, State::Add)?)
    } else {
        None
    };
    let written = inode.buffered_write(iocb, from);
    if inode.size() != size {
        inode.mark_dirty();
    }
    if !from.is_empty() {
        // It ended early, perhaps with blocks for the rest. What cannot be freed now stays allocated
        // to the file; the bytes that were written are what the caller must hear of.
        let _ = free_beyond_end(inode);
    }
    written
}

impl FileOps for ToyFs {
    fn read(iocb: &mut Kiocb<'_, ToyFs>, to: &mut IovIter<'_>) -> Result<usize> {
        if iocb.is_direct() {
            dio::read(iocb, to)
        } else {
            iocb.buffered_read(to)
        }
    }

    fn write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
        if iocb.is_direct() {
            return dio::write(iocb, from);
        }
        let inode = iocb.inode();
        let written = {
            let _lock = if iocb.is_nowait() {
                inode.try_lock().ok_or(EAGAIN)?
            } else {
                inode.lock()?
            };
            if iocb.write_checks(from)? == 0 {
                return Ok(0);
            }
            iocb.modified()?;
            zero_up_to(inode, iocb.pos())?;
            buffered_write(iocb, from)?
        };
        iocb.write_sync(written)
    }

    fn fallocate(inode: &Inode, op: Fallocate, pos: u64, len: u64) -> Result {
        let end = pos + len;
        let size = inode.size();
        inode.dio_wait();
        inode.with_invalidate_lock(|| {
            if op == Fallocate::Punch || matches!(op, Fallocate::Zero { .. }) {
                punch(inode, pos, end)?;
            }
            if op != Fallocate::Punch {
                preallocate(inode, pos, end).inspect_err(|_| {
                    // What lies behind the end would be of no use to anybody. If it cannot be freed
                    // now, it stays with the file.
                    let _ = free_beyond_end(inode);
                })?;
            }
            if op.grows() && end > size {
                inode.zero_tail(size)?;
                inode.truncate_pages(end);
                inode.mark_dirty();
            }
            Ok(())
        })
    }

    fn fsync(inode: &Inode, _datasync: bool) -> Result {
        // Even for fdatasync(2) of a clean inode: it may be in the device's page cache only.
        sync_metadata(inode)
    }

    fn direct_write_ended(inode: &Inode) {
        if !cfg!(mutant_block_dropped_early) {
            inode.data().pages.release_handed_off(State::Block);
        }
    }

    fn fault(inode: &Inode, index: u64) -> FaultAnswer {
        if cfg!(mutant_marker_ignored) {
            return FaultAnswer::Serve;
        }
        let verdict = marker::check(marker::MappingId::of(inode.mapping()), index);
        if verdict == Verdict::Serve {
            return FaultAnswer::Serve;
        }
        let stats = inode.super_block().data().stats();
        stats.marker_hits.inc();
        match verdict {
            Verdict::Serve | Verdict::Disjoint => return FaultAnswer::Serve,
            Verdict::Refuse => stats.refused_faults.inc(),
            Verdict::Bug => {
                stats.fault_bugs.inc();
                kernel::warn_on!(true);
            }
        }
        FaultAnswer::Refuse
    }

    fn page_mkwrite(inode: &Inode, fault: PageMkwrite<'_, ToyFs>) -> FaultResult {
        fault.serialised(|fault| match lock_pages(inode, State::Add) {
            Ok(_add) => fault.serve(),
            Err(_) => FaultResult::RETRY_FAULT,
        })
    }
}

impl MappingOps for ToyFs {
    fn map(inode: &Inode, pos: u64, len: u64, flags: IomapFlags) -> Result<Extent> {
        map(inode, pos, len, flags.is_write(), flags.is_nowait())
    }

    fn map_sequence(inode: &Inode) -> u64 {
        inode.data().sequence()
    }

    fn map_for_writeback(inode: &Inode, pos: u64) -> Result<Extent> {
        // A dirty page has blocks since it was made dirty; should it not, it gets them now.
        map(inode, pos, BLOCK_SIZE as u64, true, false)
    }

    fn written(inode: &Inode, pos: u64, len: u64) -> Result {
        mark_written(inode, pos, len)
    }

    fn read_folio(inode: &Inode, folio: LockedFolio<'_, ToyFs>) -> Result<ReadFolio> {
        let pages = &inode.data().pages;
        if let Some(_add) = pages.try_lock(State::Add) {
            return Ok(folio.submit_read());
        }
        inode.super_block().data().stats().read_waits.inc();
        if cfg!(mutant_sleep_with_folio_locked) {
            let _add = lock_pages(inode, State::Add)?;
            return Ok(folio.submit_read());
        }
        let folio = folio.unlock();
        let _add = lock_pages(inode, State::Add)?;
        // Not dropped in between: the lock is fair, but a caller who starts over is a newcomer.
        match folio.lock(inode) {
            Relocked::Unread(folio) => Ok(folio.submit_read()),
            Relocked::Uptodate => Ok(ReadFolio::Submitted),
            Relocked::Gone => Ok(ReadFolio::Retry),
        }
    }

    fn readahead(inode: &Inode, readahead: Readahead<'_, ToyFs>) {
        match inode.data().pages.try_lock(State::Add) {
            Some(_add) => readahead.submit(),
            None => inode.super_block().data().stats().readahead_skipped.inc(),
        }
    }

    fn enter_folio(inode: &Inode) -> Result {
        if cfg!(mutant_add_across_copy) {
            return Ok(());
        }
        lock_pages(inode, State::Add)?.keep();
        Ok(())
    }

    fn leave_folio(inode: &Inode) {
        if !cfg!(mutant_add_across_copy) {
            inode.data().pages.release_kept(State::Add);
        }
    }
}

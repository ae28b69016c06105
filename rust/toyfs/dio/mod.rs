// SPDX-License-Identifier: GPL-2.0

//! Direct I/O: how a write shuts the page cache out.
//!
//! A direct write goes, for each part of at most [`PART`] bytes ([`part`]), through four steps:
//!
//! 1. It sets the marker of its task for the range of the whole request, and pins the pages of the
//!    part's buffer. Faults are served as usual, except those on the range itself, which
//!    [`FileOps::fault`](crate::vfs::FileOps::fault) refuses: a page brought in there would be thrown
//!    away next.
//! 2. If a fault was refused, or a page that is pinned now is one of the range, the buffer is the
//!    target, and the mount's strategy decides ([`SelfDio`]).
//! 3. Otherwise it takes [`InodeData::add_lock`](super::inode::InodeData::add_lock) in `Block`: nobody adds
//!    pages any more. iomap writes back and invalidates the range and does the write, from the
//!    pinned pages. Nothing faults, nothing touches user memory: a fault of this task on this file
//!    would be a bug, and is reported as one.
//! 4. When the write is done it releases `Block` and unpins. An asynchronous request that changes no
//!    metadata is left in flight, with `Block` handed to its completion.
//!
//! A direct read takes no state: it changes nothing that the cache holds, and what it waits for in a
//! fault never waits for it.
//!
//! With several parts, steps 1 and 2 are done for all of them before the first: a request overlaps as a whole, or not.

mod part;
mod retry;

use self::part::{overlaps_anywhere, write_part, End, Ending, InFlight, Progress, PART};
use super::{
    data::{buffered_write, free_unused, zero_up_to},
    inode::InodeData,
    options::SelfDio,
    Inode, ToyFs,
};
use crate::vfs::{
    direct_rw, fatal_signal_pending, DirectFlags, DirectOps, InodeLock, InodeLockShared, IovIter,
    Kiocb,
};
use kernel::prelude::*;
use toyfs_format::{BLOCK_LOG2, BLOCK_SIZE};

/// A direct read.
pub(super) fn read(iocb: &mut Kiocb<'_, ToyFs>, to: &mut IovIter<'_>) -> Result<usize> {
    if to.is_empty() {
        return Ok(0);
    }
    let inode = iocb.inode();
    if iocb.is_nowait() && !to.is_present() {
        return Err(EAGAIN);
    }
    let _lock = if iocb.is_nowait() {
        inode.try_lock_shared().ok_or(EAGAIN)?
    } else {
        inode.lock_shared()?
    };
    iocb.accessed();
    let stats = inode.super_block().data().stats();
    stats.direct_reads.inc();
    // Should a page have gone again meanwhile, it is faulted in, even if that takes waiting: a part of what was
    // asked for would be worse.
    stats.direct_in_flight.add(1);
    direct_rw(iocb, to, DirectFlags::AsAsked)
}

impl DirectOps for ToyFs {
    type InFlight<'a> = InFlight<'a>;

    fn direct_write_ended(write: InFlight<'_>) {
        write.end();
    }

    fn direct_read_ended(inode: &Inode) {
        inode.super_block().data().stats().direct_in_flight.add(-1);
    }
}

/// A direct write.
pub(super) fn write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
    let stats = iocb.inode().super_block().data().stats();
    let _counted = stats.direct_in_flight.count();
    match write_locked(iocb, from)? {
        0 => Ok(0),
        written => iocb.write_sync(written),
    }
}

/// `i_rwsem` as a direct write needs it.
enum InodeHold<'a> {
    /// The write stays within the file, and within blocks that have been written before.
    Shared(InodeLockShared<'a, ToyFs>),
    /// It changes the size or the map, or zeroes around what it writes.
    Exclusive(InodeLock<'a, ToyFs>),
}

/// Whether writing `len` bytes at `pos` does more than to put them there: changes the size, the map or the
/// mode, or has iomap zero the rest of a block.
///
/// iomap does that to a block which the write begins or ends in the middle of, if it is unwritten, and to the one
/// at the end of the file if the write reaches that. The zeroes are requests of their own, and must not
/// come down on anything that was written, and acknowledged, after they were made.
fn needs_exclusive(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<bool> {
    let (end, size) = (pos + len, inode.size());
    Ok(end > size
        || end == size && end % BLOCK_SIZE as u64 != 0
        || !inode.is_nosec()
        || !InodeData::is_written(inode, pos, len, nowait)?)
}

/// Whether the mount is for the demonstration.
fn retries(inode: &Inode) -> bool {
    inode.super_block().data().selfdio() == SelfDio::Retry
}

/// Whether `from` can be written without waiting for more than the device, as far as can be told
/// before it is tried.
fn may_be_immediate(iocb: &Kiocb<'_, ToyFs>, from: &IovIter<'_>) -> bool {
    from.len() <= PART && !retries(iocb.inode()) && (iocb.is_sync() || iocb.may_complete_later())
}

/// Locks the inode and does the checks of a write. `None` if there is nothing to write.
fn begin<'a>(iocb: &mut Kiocb<'a, ToyFs>, from: &mut IovIter<'_>) -> Result<Option<InodeHold<'a>>> {
    let inode = iocb.inode();
    let nowait = iocb.is_nowait();
    if !iocb.is_append() {
        let shared = if nowait {
            inode.try_lock_shared().ok_or(EAGAIN)?
        } else {
            inode.lock_shared()?
        };
        if shared.write_checks(iocb, from)? == 0 {
            return Ok(None);
        }
        if !needs_exclusive(inode, iocb.pos(), from.len() as u64, nowait)? {
            return Ok(Some(InodeHold::Shared(shared)));
        }
    }
    if nowait {
        return Err(EAGAIN);
    }
    let exclusive = inode.lock()?;
    if exclusive.write_checks(iocb, from)? == 0 {
        return Ok(None);
    }
    if (iocb.pos() | from.len() as u64) % BLOCK_SIZE as u64 != 0 {
        // It may share a block with requests that were left in flight.
        exclusive.dio_wait();
    }
    Ok(Some(InodeHold::Exclusive(exclusive)))
}

fn write_locked(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
    let inode = iocb.inode();
    let data = inode.super_block().data();
    let Some(hold) = begin(iocb, from)? else {
        return Ok(0);
    };
    let (pos, len) = (iocb.pos(), from.len() as u64);
    let align = u64::from(inode.super_block().device().logical_block_size()) - 1;
    if (pos | len) & align != 0 {
        return Err(EINVAL);
    }
    if iocb.is_nowait() && !may_be_immediate(iocb, from) {
        return Err(EAGAIN);
    }
    let Progress { bytes, end } = write_parts(iocb, from, &hold);
    let error = match end {
        None => return Ok(bytes),
        Some(End::InFlight) => {
            // It is all of the request, see `Pinned::write`.
            debug_assert!(bytes == 0);
            return Err(EIOCBQUEUED);
        }
        Some(End::Busy) => return fall_back(iocb, from, hold, bytes),
        Some(End::Overlap) => {
            data.stats().overlaps.inc();
            if data.selfdio() == SelfDio::Buffered {
                return fall_back(iocb, from, hold, bytes);
            }
            EFAULT
        }
        Some(End::Error(error)) => error,
    };
    if let InodeHold::Exclusive(inode) = &hold {
        // Blocks that were made for what was not written.
        free_unused(inode);
    }
    if bytes > 0 {
        Ok(bytes)
    } else {
        Err(error)
    }
}

/// Writes `from`, part by part, as the mount's strategy has it.
fn write_parts(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: &InodeHold<'_>,
) -> Progress {
    let inode = iocb.inode();
    let (pos, len) = (iocb.pos(), from.len() as u64);
    // The pages of the whole request, also if it is done in parts.
    let pages = (pos >> BLOCK_LOG2)..=((pos + len - 1) >> BLOCK_LOG2);
    let retry = retries(inode) && from.is_user_backed();
    let ending = match hold {
        InodeHold::Exclusive(inode) => Ending::Metadata(inode),
        InodeHold::Shared(_) if !retry && iocb.may_complete_later() && len <= PART as u64 => {
            Ending::Later
        }
        InodeHold::Shared(_) => Ending::Now,
    };
    if retry {
        return each_part(iocb, from, |iocb, from, want| {
            retry::write_part(iocb, from, want, &pages, ending)
        });
    }
    if len > PART as u64 && from.is_user_backed() {
        match overlaps_anywhere(inode, from, &pages) {
            Ok(false) => {}
            Ok(true) => return Progress::none(End::Overlap),
            Err(e) => return Progress::none(End::Error(e)),
        }
    }
    each_part(iocb, from, |iocb, from, want| {
        write_part(iocb, from, want, &pages, ending)
    })
}

/// Has `write` done with each part of `from` in its turn, which it leaves behind what was written, until one ends the request.
fn each_part(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    mut write: impl FnMut(&mut Kiocb<'_, ToyFs>, &mut IovIter<'_>, usize) -> Result<Progress>,
) -> Progress {
    let (mut bytes, mut again) = (0, false);
    while !from.is_empty() {
        // A buffer that is there is pinned without a look at signals.
        if again && fatal_signal_pending() {
            let end = Some(End::Error(EINTR));
            return Progress { bytes, end };
        }
        again = true;
        let want = from.len().min(PART);
        let part = write(iocb, from, want).unwrap_or_else(|e| Progress::none(End::Error(e)));
        bytes += part.bytes;
        if part.end.is_some() {
            return Progress {
                bytes,
                end: part.end,
            };
        }
    }
    Progress { bytes, end: None }
}

/// Writes the rest of a request through the page cache, after `done` bytes past it.
fn fall_back(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: InodeHold<'_>,
    done: usize,
) -> Result<usize> {
    let inode = iocb.inode();
    if iocb.is_nowait() {
        return Err(EAGAIN);
    }
    inode.super_block().data().stats().buffered_fallbacks.inc();
    let locked = match hold {
        InodeHold::Exclusive(lock) => lock,
        InodeHold::Shared(lock) => {
            drop(lock);
            match inode.lock() {
                Ok(lock) => lock,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
    };
    // The file may have become shorter while the lock was not held.
    let written = iocb
        .modified()
        .and_then(|()| zero_up_to(&locked, iocb.pos()))
        .and_then(|()| buffered_write(&locked, iocb, from));
    iocb.direct_fallback(from, done, written)
}

// SPDX-License-Identifier: GPL-2.0

//! Direct I/O: how a write shuts the page cache out.
//!
//! A direct write goes through these steps, for each window of at most [`WINDOW`] bytes:
//!
//! 1. With no lock of the file held, it pins the pages of the window's buffer ([`buffer`]). Its task has the marker set
//!    meanwhile, for the range of the request. Faults are served as usual, except those on the range itself, which
//!    [`FileOps::fault`](crate::vfs::FileOps::fault) refuses: a page brought in there would be thrown away next. However
//!    long a fault takes, nobody else waits for it.
//! 2. It takes `i_rwsem`. Now the position is known, and so is whether one of the pinned pages is one of the range: then the
//!    buffer is the target, and the mount's strategy decides ([`SelfDio`]).
//! 3. For each part of at most `PART` bytes ([`part`]), it takes
//!    [`InodeData::add_lock`](super::inode::InodeData::add_lock) in `Block`: nobody makes pages dirty any more. iomap writes
//!    back and drops the range, does the write from the pinned pages, notes what the write has done to map and size, and
//!    drops what was read into the cache meanwhile. Nothing faults, nothing touches user memory: a fault of this
//!    task on this file would be a bug, and is reported as one.
//! 4. It releases `Block` and unpins. An asynchronous request of one window is left in flight, with `Block` handed to
//!    its completion.
//!
//! A direct read takes the first step, `i_rwsem` shared, and no state: it changes nothing that the cache holds.
//!
//! A request of several windows is looked at as a whole before the first: it overlaps as a whole, or not.

mod buffer;
mod part;
mod retry;

use self::{
    buffer::{align_of, pages_of, Ahead, Buffer, Pages, NONE, WINDOW},
    part::{write_part, End, InFlight, InodeHold, Progress},
};
use super::{
    data::{buffered_write, free_unused, mark_written, zero_up_to},
    inode::InodeData,
    options::SelfDio,
    Inode, ToyFs,
};
use crate::{
    marker::{self, Active, MappingId},
    vfs::{
        direct_rw, direct_rw_later, fatal_signal_pending, DirectOps, DirectWritten, InodeHeld as _,
        InodeLockShared, IovIter, Kiocb,
    },
};
use kernel::prelude::*;
use toyfs_format::BLOCK_SIZE;

/// A direct read.
pub(super) fn read(iocb: &mut Kiocb<'_, ToyFs>, to: &mut IovIter<'_>) -> Result<usize> {
    let inode = iocb.inode();
    let align = align_of(inode);
    let stats = inode.super_block().data().stats();
    stats.direct_reads.inc();
    iocb.accessed();
    let mut done = 0;
    loop {
        // Nothing is read behind the end, and no memory needed for it.
        let size = inode.size();
        let Some(left) = size.checked_sub(iocb.pos()).filter(|left| *left > 0) else {
            return Ok(done);
        };
        if to.is_empty() {
            return Ok(done);
        }
        if (iocb.pos() | to.len() as u64) & (align - 1) != 0 {
            return Err(EINVAL);
        }
        // A power of two; `left` is no more than a file can have.
        let left = (left + align - 1) & !(align - 1);
        let want = usize::try_from(left).map_or(to.len(), |left| left.min(to.len()));
        if iocb.is_nowait() && want > WINDOW {
            return Err(EAGAIN);
        }
        let result = read_window(iocb, to, want.min(WINDOW), done == 0 && want <= WINDOW);
        match result {
            Ok(read) => {
                done += read;
                if read < want.min(WINDOW) {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(e) => return Err(e),
        }
    }
}

/// Reads the next `want` bytes, or fewer; leaves them in flight if this is `all` and the request may be.
fn read_window(
    iocb: &mut Kiocb<'_, ToyFs>,
    to: &mut IovIter<'_>,
    want: usize,
    all: bool,
) -> Result<usize> {
    let inode = iocb.inode();
    let stats = inode.super_block().data().stats();
    let mut buffer = Buffer::new();
    buffer.pin(to, want, inode, iocb.is_nowait())?;
    let later = all && !iocb.is_sync() && buffer.bytes == want;
    if later {
        buffer.dirty_ahead(iocb.is_nowait())?;
    }
    let _lock = lock_shared(iocb)?;
    let counted = stats.direct_in_flight.count();
    if !later {
        return buffer.with_iter(to, 0, want, |to| direct_rw(iocb, to, false));
    }
    let state = InFlight::of_read(counted);
    buffer.transfer_later(to, |memory| direct_rw_later(iocb, memory, false, state))
}

impl DirectOps for ToyFs {
    type InFlight<'a> = InFlight<'a>;

    fn direct_written(write: DirectWritten<'_, ToyFs>) -> Result {
        let inode = write.inode();
        if write.is_unwritten() || write.is_extending() {
            let extend = |end| write.extend(end);
            mark_written(inode, write.pos(), write.len(), extend)?;
        }
        Ok(())
    }

    fn direct_ended(state: InFlight<'_>) {
        state.end();
    }
}

/// A direct write.
pub(super) fn write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
    let data = iocb.inode().super_block().data();
    let _counted = data.stats().direct_in_flight.count();
    if iocb.is_nowait() && (from.len() > WINDOW || data.selfdio() == SelfDio::Retry) {
        return Err(EAGAIN);
    }
    let mut request = Request {
        ahead: Ahead::look(iocb, from, refused_pages(iocb, from))?,
        begun: None,
    };
    let mut done = Progress::none();
    let mut attempt = 0;
    while done.end.is_none() && !from.is_empty() {
        // A buffer that is there is pinned without a look at signals.
        if (done.bytes > 0 || attempt > 0) && fatal_signal_pending() {
            done.end = Some(End::Error(EINTR));
            break;
        }
        match write_window(iocb, from, &mut request, attempt).transpose() {
            Some(window) => {
                attempt = 0;
                done.add(window);
            }
            None => attempt += 1,
        }
    }
    match done.end {
        Some(End::InFlight) => Err(EIOCBQUEUED),
        Some(End::Error(e)) if done.bytes == 0 => Err(e),
        _ if done.durable || done.bytes == 0 => Ok(done.bytes),
        _ => iocb.write_sync(done.bytes),
    }
}

/// What is the same for all windows of a direct write.
struct Request {
    /// What was seen of its buffer before the first window.
    ahead: Ahead,
    /// The pages of the file that all of it goes to, once it has begun.
    begun: Option<Pages>,
}

/// The pages on which a fault of the task shows that the buffer is the target. `None` if the position is not known yet, or the
/// mount has something else to do with such a write than to refuse it.
fn refused_pages(iocb: &Kiocb<'_, ToyFs>, from: &IovIter<'_>) -> Option<Pages> {
    let refuses = iocb.inode().super_block().data().selfdio() == SelfDio::Error;
    (refuses && !iocb.is_append()).then(|| pages_of(iocb.pos(), from.len()))
}

/// Steps 1 to 4 for the next window. `None` if it is to be tried again.
fn write_window(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    request: &mut Request,
    attempt: usize,
) -> Result<Option<Progress>> {
    let inode = iocb.inode();
    let data = inode.super_block().data();
    let overlaps = || data.stats().overlaps.inc();
    marker::with(
        MappingId::of(inode.mapping()),
        refused_pages(iocb, from).unwrap_or(NONE),
        |active| {
            let mut buffer = Buffer::new();
            let pinned = buffer.pin(from, from.len().min(WINDOW), inode, iocb.is_nowait());
            if active.refused() {
                overlaps();
                return Err(EFAULT);
            }
            pinned?;
            let continued = request.begun.is_some();
            let Some(hold) = lock(iocb, from, buffer.bytes, continued)? else {
                return Ok(Some(Progress {
                    end: Some(End::Done),
                    ..Progress::none()
                }));
            };
            if (iocb.pos() | from.len() as u64) & (align_of(inode) - 1) != 0 {
                return Err(EINVAL);
            }
            buffer.limit(from.len());
            let (pos, len) = (iocb.pos(), from.len());
            let pages = &request.begun.clone().unwrap_or_else(|| pages_of(pos, len));
            let overlap = request.ahead.overlaps(pages)
                || match buffer.overlaps(from, inode, pages, attempt) {
                    Some(overlap) => overlap,
                    None => return Ok(None),
                };
            if !overlap {
                request.begun = Some(pages.clone());
                return write_buffer(iocb, from, hold, &mut buffer, !continued, active).map(Some);
            }
            match data.selfdio() {
                SelfDio::Error => {
                    overlaps();
                    Err(EFAULT)
                }
                SelfDio::Retry => {
                    buffer.release();
                    retry::drop_pages(inode, pages)?;
                    Ok(None)
                }
                SelfDio::Buffered => {
                    overlaps();
                    request.begun = Some(pages.clone());
                    fall_back(iocb, from, hold, &mut buffer, 0).map(Some)
                }
            }
        },
    )?
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

/// Whether one of these is in the middle of a block.
fn within_block(pos: u64, len: usize) -> bool {
    (pos | len as u64) % BLOCK_SIZE as u64 != 0
}

/// `i_rwsem` shared, at once or not at all if the request must not wait.
fn lock_shared<'a>(iocb: &Kiocb<'a, ToyFs>) -> Result<InodeLockShared<'a, ToyFs>> {
    let inode = iocb.inode();
    if iocb.is_nowait() {
        inode.try_lock_shared().ok_or(EAGAIN)
    } else {
        inode.lock_shared()
    }
}

/// Locks the inode for writing `have` bytes of `from`, or fewer, and does the checks of a write unless it is `continued`.
/// `None` if there is nothing (more) to write.
fn lock<'a>(
    iocb: &mut Kiocb<'a, ToyFs>,
    from: &mut IovIter<'_>,
    have: usize,
    continued: bool,
) -> Result<Option<InodeHold<'a>>> {
    let inode = iocb.inode();
    let nowait = iocb.is_nowait();
    if !iocb.is_append() {
        let shared = lock_shared(iocb)?;
        if !continued && shared.write_checks(iocb, from)? == 0 {
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
    InodeData::settle(&exclusive);
    if !continued {
        if exclusive.write_checks(iocb, from)? == 0 {
            return Ok(None);
        }
    } else if iocb.is_append() && inode.size() != iocb.pos() {
        // Somebody else has appended something while the lock was not held.
        return Ok(None);
    }
    if within_block(iocb.pos(), have.min(from.len())) {
        // It may share a block with requests that were left in flight.
        exclusive.dio_wait();
    }
    Ok(Some(InodeHold::Exclusive(exclusive)))
}

/// Steps 3 and 4 for what is in `buffer`. Only the `first` window may be left in flight: of one behind others, the caller would
/// be told its own count.
fn write_buffer(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: InodeHold<'_>,
    buffer: &mut Buffer,
    first: bool,
    active: &Active,
) -> Result<Progress> {
    let later = first
        && !iocb.is_sync()
        && buffer.is_all_of(from)
        && match hold {
            InodeHold::Shared(_) => true,
            InodeHold::Exclusive(_) => !within_block(iocb.pos(), buffer.bytes),
        };
    let mut done = Progress::none();
    while done.end.is_none() && done.bytes < buffer.bytes {
        if done.bytes > 0 && fatal_signal_pending() {
            done.end = Some(End::Error(EINTR));
            break;
        }
        let at = done.bytes;
        done.add(write_part(iocb, from, &hold, buffer, at, later, active));
    }
    if let Some(End::Busy) = done.end {
        let at = done.bytes;
        done.add(fall_back(iocb, from, hold, buffer, at));
        return Ok(done);
    }
    done.end = done.end.or(buffer.short.map(End::Error));
    if let (Some(End::Error(_)), InodeHold::Exclusive(inode)) = (&done.end, &hold) {
        // Blocks that were made for what was not written.
        free_unused(inode);
    }
    Ok(done)
}

/// Writes what is in `buffer` from `at` on through the page cache.
fn fall_back(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: InodeHold<'_>,
    buffer: &mut Buffer,
    at: usize,
) -> Result<Progress> {
    let inode = iocb.inode();
    if iocb.is_nowait() {
        return Err(EAGAIN);
    }
    inode.super_block().data().stats().buffered_fallbacks.inc();
    let locked = match hold {
        InodeHold::Exclusive(lock) => lock,
        InodeHold::Shared(lock) => {
            drop(lock);
            let lock = inode.lock()?;
            InodeData::settle(&lock);
            lock
        }
    };
    let (pos, want) = (iocb.pos(), buffer.bytes - at);
    let bytes = buffer.with_iter(from, at, want, |from| {
        // The file may have become shorter while the lock was not held.
        let written = locked
            .modified(iocb)
            .and_then(|()| zero_up_to(&locked, iocb.pos()))
            .and_then(|()| buffered_write(&locked, iocb, from));
        iocb.direct_fallback(from, written)
    });
    // What has not reached the device is not to be read, any more than on the direct way. What is dirty, or would take others with
    // it, stays.
    let bytes = bytes.inspect_err(|_| {
        let _ = locked.drop_clean_folios(pos, pos + want as u64 - 1);
    })?;
    Ok(Progress {
        bytes,
        durable: false,
        end: if bytes < want {
            Some(End::Done)
        } else {
            buffer.short.map(End::Error)
        },
    })
}

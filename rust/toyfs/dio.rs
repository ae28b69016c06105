// SPDX-License-Identifier: GPL-2.0

//! Direct I/O: how a write shuts the page cache out.
//!
//! A direct write goes, for each part of at most [`PART`] bytes, through four steps:
//!
//! 1. It sets the marker of its task for the range of the whole request, and pins the pages of the
//!    part's buffer. Faults are served as usual, except those on the range itself, which
//!    [`FileOps::fault`](crate::vfs::FileOps::fault) refuses: a page brought in there would be thrown
//!    away next.
//! 2. If a fault was refused, or a page that is pinned now is one of the range, the buffer is the
//!    target, and the mount's strategy decides ([`SelfDio`]).
//! 3. Otherwise it takes [`InodeData::pages`](super::inode::InodeData::pages) in `Block`: nobody adds
//!    pages any more. iomap writes back and invalidates the range and does the write, from the
//!    pinned pages. Nothing faults, nothing touches user memory: a fault of this task on this file
//!    would be a bug, and is reported as one.
//! 4. When the write is done it releases `Block` and unpins. An asynchronous request that changes no
//!    metadata is left in flight, with `Block` handed to its completion.
//!
//! A direct read takes no state: it changes nothing that the cache holds, and what it waits for in a
//! fault never waits for it.

use super::{
    data::{buffered_write, free_beyond_end, lock_pages, mark_written, zero_up_to},
    format::BLOCK_LOG2,
    inode::InodeData,
    options::SelfDio,
    Inode, ToyFs,
};
use crate::{
    lock::State,
    marker::{self, Active, MappingId},
    vfs::{
        direct_rw, direct_write_later, fatal_signal_pending, DirectFlags, InodeLock,
        InodeLockShared, IovIter, IterState, Kiocb, PageOwner, PinnedBuffer,
    },
};
use core::ops::RangeInclusive;
use kernel::{alloc::flags::GFP_NOWAIT, prelude::*};

/// A request of more bytes than this is done in parts, so that the memory for describing its buffer
/// and the time that the cache is shut stay bounded.
const PART: usize = 4 << 20;

/// How often a buffer is pinned anew because one of its pages left a page cache meanwhile.
const PIN_ATTEMPTS: u32 = 3;

/// A direct read.
pub(super) fn read(iocb: &mut Kiocb<'_, ToyFs>, to: &mut IovIter<'_>) -> Result<usize> {
    if to.is_empty() {
        return Ok(0);
    }
    let inode = iocb.inode();
    let _lock = if iocb.is_nowait() {
        inode.try_lock_shared().ok_or(EAGAIN)?
    } else {
        inode.lock_shared()?
    };
    iocb.accessed();
    inode.super_block().data().stats().direct_reads.inc();
    if iocb.is_nowait() && to.is_user_backed() {
        // As far as the buffer is there. If its beginning is not, whoever may wait finds out why.
        let read = to.without_faults(|to| direct_rw(iocb, to, DirectFlags::Partial));
        return if read == Err(EFAULT) {
            Err(EAGAIN)
        } else {
            read
        };
    }
    direct_rw(iocb, to, DirectFlags::AsAsked)
}

/// A direct write.
pub(super) fn write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
    match write_locked(iocb, from)? {
        0 => Ok(0),
        written => iocb.write_sync(written),
    }
}

/// `i_rwsem` as a direct write needs it.
enum InodeHold<'a> {
    /// The write stays within the file, and within blocks that have been written before.
    Shared(InodeLockShared<'a, ToyFs>),
    /// It changes the size or the map.
    Exclusive(InodeLock<'a, ToyFs>),
}

impl InodeHold<'_> {
    fn is_exclusive(&self) -> bool {
        matches!(self, InodeHold::Exclusive(_))
    }
}

/// Whether writing `len` bytes at `pos` changes anything but data.
fn changes_metadata(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<bool> {
    Ok(pos + len > inode.size()
        || !inode.is_nosec()
        || !InodeData::is_written(inode, pos, len, nowait)?)
}

/// Whether `from` can be written without waiting for more than the device, as far as can be told
/// before it is tried.
fn may_be_immediate(iocb: &Kiocb<'_, ToyFs>, from: &IovIter<'_>) -> bool {
    let retries = iocb.inode().super_block().data().selfdio() == SelfDio::Retry;
    from.len() <= PART && !retries && (iocb.is_sync() || iocb.may_complete_later())
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
        if iocb.write_checks(from)? == 0 {
            return Ok(None);
        }
        if !changes_metadata(inode, iocb.pos(), from.len() as u64, nowait)? {
            return Ok(Some(InodeHold::Shared(shared)));
        }
    }
    if nowait {
        return Err(EAGAIN);
    }
    let exclusive = inode.lock()?;
    if iocb.write_checks(from)? == 0 {
        return Ok(None);
    }
    Ok(Some(InodeHold::Exclusive(exclusive)))
}

/// How far a part of a request came.
enum Part {
    /// So many bytes were written; fewer than asked for ends the request.
    Written(usize),
    /// The buffer is the target. Nothing was written.
    Overlap,
    /// The page cache could not be invalidated. Nothing was written.
    Busy,
    /// The write is in flight. The request, the iterator and the inode are no longer ours.
    Queued,
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
    iocb.modified()?;
    if hold.is_exclusive() {
        zero_up_to(inode, pos)?;
    }
    let written = if data.selfdio() == SelfDio::Retry && from.is_user_backed() {
        write_retrying(iocb, from, &hold)
    } else {
        write_parts(iocb, from, &hold)
    };
    match written {
        Progress::Done(n) => Ok(n),
        Progress::Stopped(n, error) => {
            if hold.is_exclusive() {
                // Blocks that were made for what was not written. If they cannot be freed now, they
                // stay with the file.
                let _ = free_beyond_end(inode);
            }
            if n > 0 {
                Ok(n)
            } else {
                Err(error)
            }
        }
        Progress::FallBack(_) if iocb.is_nowait() => Err(EAGAIN),
        Progress::FallBack(n) => fall_back(iocb, from, hold, n),
        Progress::Queued => Err(EIOCBQUEUED),
    }
}

/// How far a request came.
enum Progress {
    /// To its end: so many bytes.
    Done(usize),
    /// So many bytes; why no further.
    Stopped(usize, Error),
    /// So many bytes; the rest is to go through the page cache.
    FallBack(usize),
    /// It is in flight.
    Queued,
}

/// Writes `from` part by part.
fn write_parts(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: &InodeHold<'_>,
) -> Progress {
    let data = iocb.inode().super_block().data();
    let (pos, len) = (iocb.pos(), from.len() as u64);
    // The pages of the whole request, also if it is done in parts.
    let pages = (pos >> BLOCK_LOG2)..=((pos + len - 1) >> BLOCK_LOG2);
    let ending = if hold.is_exclusive() {
        Ending::Metadata
    } else if iocb.may_complete_later() && len <= PART as u64 {
        Ending::Later
    } else {
        Ending::Now
    };
    let mut done = 0;
    while !from.is_empty() {
        let want = from.len().min(PART);
        match write_part(iocb, from, want, &pages, ending) {
            Ok(Part::Written(n)) => {
                done += n;
                if n < want {
                    return Progress::Stopped(done, EFAULT);
                }
            }
            Ok(Part::Overlap) => {
                data.stats().overlaps.inc();
                return match data.selfdio() {
                    SelfDio::Buffered => Progress::FallBack(done),
                    SelfDio::Error | SelfDio::Retry => Progress::Stopped(done, EFAULT),
                };
            }
            Ok(Part::Busy) => return Progress::FallBack(done),
            Ok(Part::Queued) => return Progress::Queued,
            Err(e) => return Progress::Stopped(done, e),
        }
    }
    Progress::Done(done)
}

/// What there is to do when the data is on the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing, and whoever made the request waits for it.
    Now,
    /// Nothing, and nobody waits: the completion does the rest.
    Later,
    /// The size or the map changes. `i_rwsem` is held exclusively.
    Metadata,
}

/// Whether one of `owners` is a page of `pages` of `inode`'s page cache.
fn overlaps(
    owners: impl Iterator<Item = PageOwner>,
    inode: &Inode,
    pages: &RangeInclusive<u64>,
) -> bool {
    owners.into_iter().any(|owner| match owner {
        PageOwner::Mapping {
            mapping,
            first,
            last,
        } => mapping == inode.mapping() && first <= *pages.end() && last >= *pages.start(),
        PageOwner::Detached | PageOwner::Other => false,
    })
}

/// Steps 1 to 4 for the next `want` bytes of `from`.
fn write_part(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    want: usize,
    pages: &RangeInclusive<u64>,
    ending: Ending,
) -> Result<Part> {
    let inode = iocb.inode();
    inode.super_block().data().stats().direct_writes.inc();
    if cfg!(mutant_pin_after_block) && from.is_user_backed() {
        return shut_out(iocb, Ending::Now, None, |iocb| {
            let Some(pinned) = pin(from, want, inode, pages, false, || false)? else {
                return Err(EFAULT);
            };
            pinned.buffer.write(iocb, pinned.bytes)
        });
    }
    let nowait = iocb.is_nowait();
    marker::with(MappingId::of(inode.mapping()), pages.clone(), |active| {
        if from.is_user_backed() {
            match pin(from, want, inode, pages, nowait, || active.refused())? {
                Some(pinned) => pinned.write(iocb, from, ending, Some(active)),
                None => Ok(Part::Overlap),
            }
        } else if overlaps(from.page_owners(), inode, pages) {
            Ok(Part::Overlap)
        } else {
            // Pages of the kernel's, or pinned by it: they need no faults and stay where they are.
            shut_out(iocb, ending, Some(active), |iocb| {
                from.limited(want, |from| match ending {
                    Ending::Later => direct_write_later(iocb, from, None),
                    Ending::Now | Ending::Metadata => direct_rw(iocb, from, DirectFlags::Wait),
                })
            })
        }
    })?
}

/// The pinned buffer of a part, and where it came from.
struct Pinned {
    buffer: PinnedBuffer,
    /// As many bytes of it can be written.
    bytes: usize,
    /// Where the iterator was before.
    before: IterState,
}

/// Step 1 and 2: pins up to `want` bytes of `from`. `None` if the buffer is the target; `refused` says
/// whether a fault was refused for that reason.
///
/// `EAGAIN` if `nowait` and not all of it is there.
fn pin(
    from: &mut IovIter<'_>,
    want: usize,
    inode: &Inode,
    pages: &RangeInclusive<u64>,
    nowait: bool,
    refused: impl Fn() -> bool,
) -> Result<Option<Pinned>> {
    let device = inode.super_block().device();
    let before = from.save();
    let mut attempt = 1;
    let (buffer, stopped) = loop {
        let align = device.dma_alignment();
        let (buffer, stopped) = if nowait {
            from.without_faults(|from| PinnedBuffer::pin(from, want, align, GFP_NOWAIT))
        } else {
            PinnedBuffer::pin(from, want, align, GFP_KERNEL)
        };
        if refused() || overlaps(buffer.page_owners(), inode, pages) {
            from.restore(&before);
            return Ok(None);
        }
        // A page that has left its page cache since it was found may have been one of the range. If
        // it is looked for again, the fault handler will say.
        let detached = buffer
            .page_owners()
            .any(|owner| owner == PageOwner::Detached);
        if !detached || attempt == PIN_ATTEMPTS {
            break (buffer, stopped);
        }
        attempt += 1;
        from.restore(&before);
    };
    if nowait && stopped.is_err() {
        from.restore(&before);
        return Err(EAGAIN);
    }
    // What can be had of a buffer that is not all there is written, in whole units of the device.
    let unit = device.logical_block_size() as usize;
    let bytes = buffer.len() / unit * unit;
    if bytes == 0 {
        from.restore(&before);
        return Err(stopped.err().unwrap_or(EFAULT));
    }
    Ok(Some(Pinned {
        buffer,
        bytes,
        before,
    }))
}

impl Pinned {
    /// Step 3 and 4. Leaves `from` behind what was written.
    fn write(
        self,
        iocb: &mut Kiocb<'_, ToyFs>,
        from: &mut IovIter<'_>,
        ending: Ending,
        active: Option<&Active>,
    ) -> Result<Part> {
        let Pinned {
            buffer,
            bytes,
            before,
        } = self;
        let part = shut_out(iocb, ending, active, |iocb| match ending {
            // What cannot be had all at once has to end short, here.
            Ending::Later if from.is_empty() && bytes == buffer.len() => {
                buffer.write_later(iocb, bytes)
            }
            _ => buffer.write(iocb, bytes),
        });
        from.restore(&before);
        if let Ok(Part::Written(n)) = part {
            from.advance(n);
        }
        part
    }
}

/// Step 3 and 4: has `write` done while nobody can add pages to the cache.
fn shut_out(
    iocb: &mut Kiocb<'_, ToyFs>,
    ending: Ending,
    active: Option<&Active>,
    write: impl FnOnce(&mut Kiocb<'_, ToyFs>) -> Result<usize>,
) -> Result<Part> {
    let inode = iocb.inode();
    let block = if iocb.is_nowait() {
        inode.data().pages.try_lock(State::Block).ok_or(EAGAIN)?
    } else {
        lock_pages(inode, State::Block)?
    };
    let blocking = |on| {
        if let Some(active) = active {
            active.set_blocking(on);
        }
    };
    let pos = iocb.pos();
    blocking(true);
    let written = if ending == Ending::Later {
        // Before the write: its completion may come at any time.
        let block = block.hand_off();
        let written = write(iocb);
        if written == Err(EIOCBQUEUED) && !cfg!(mutant_block_dropped_early) {
            block.keep();
        }
        written
    } else {
        let written = write(iocb);
        if let (Ok(n), Ending::Metadata) = (&written, ending) {
            finish(inode, pos, *n)?;
        }
        drop(block);
        written
    };
    blocking(false);
    match written {
        Ok(n) => Ok(Part::Written(n)),
        Err(EIOCBQUEUED) => Ok(Part::Queued),
        Err(ENOTBLK) => Ok(Part::Busy),
        Err(e) => Err(e),
    }
}

/// After `len` bytes were written at `pos` with `i_rwsem` held exclusively: makes them part of the
/// file.
fn finish(inode: &Inode, pos: u64, len: usize) -> Result {
    if len == 0 {
        return Ok(());
    }
    mark_written(inode, pos, len as u64)?;
    if pos + len as u64 > inode.size() {
        inode.set_size_field(pos + len as u64);
        inode.mark_dirty();
    }
    Ok(())
}

/// Writes the rest of a request through the page cache, after `done` bytes past it.
fn fall_back(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: InodeHold<'_>,
    done: usize,
) -> Result<usize> {
    let inode = iocb.inode();
    inode.super_block().data().stats().buffered_fallbacks.inc();
    let _lock = match hold {
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
    let written = zero_up_to(inode, iocb.pos()).and_then(|()| buffered_write(iocb, from));
    iocb.direct_fallback(from, done, written)
}

/// `selfdio=retry`: without a marker. Faults the buffer in, and if it is the target, so that shutting
/// the cache out will take its pages away, does just that and starts over. Ends when the task is
/// killed.
fn write_retrying(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: &InodeHold<'_>,
) -> Progress {
    let inode = iocb.inode();
    let stats = inode.super_block().data().stats();
    let (pos, last) = (iocb.pos(), iocb.pos() + from.len() as u64 - 1);
    let pages = (pos >> BLOCK_LOG2)..=(last >> BLOCK_LOG2);
    let mut done = 0;
    while !from.is_empty() {
        if fatal_signal_pending() {
            return Progress::Stopped(done, EINTR);
        }
        let want = from.len().min(PART);
        let part = match pin(from, want, inode, &pages, false, || false) {
            Ok(Some(pinned)) => {
                let ending = if hold.is_exclusive() {
                    Ending::Metadata
                } else {
                    Ending::Now
                };
                pinned.write(iocb, from, ending, None)
            }
            Ok(None) => {
                stats.retries.inc();
                lock_pages(inode, State::Block).map(|_block| {
                    // Should a page be in use, the next round finds it again.
                    let _ = inode.invalidate_pages(pos, last);
                    Part::Overlap
                })
            }
            Err(e) => Err(e),
        };
        match part {
            Ok(Part::Written(n)) => {
                done += n;
                if n < want {
                    return Progress::Stopped(done, EFAULT);
                }
            }
            Ok(Part::Overlap | Part::Queued) => {}
            Ok(Part::Busy) => return Progress::FallBack(done),
            Err(e) => return Progress::Stopped(done, e),
        }
    }
    Progress::Done(done)
}

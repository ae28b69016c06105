// SPDX-License-Identifier: GPL-2.0

//! A part of a direct write: pinned, compared with the range, and written while the cache is shut.

use crate::{
    gauge::Counted,
    lock::State,
    marker::{self, Active, MappingId},
    toyfs::{
        data::{mark_written, zero_up_to},
        hold::{HandedOffHold, Hold},
        inode::InodeData,
        Inode, LockedInode, ToyFs,
    },
    vfs::{
        direct_rw, direct_write_later, fatal_signal_pending, DirectFlags, IovIter, IterState,
        Kiocb, PageOwner, PinnedBuffer,
    },
};
use core::ops::RangeInclusive;
use kernel::{alloc::flags::GFP_NOWAIT, prelude::*};

/// A request of more bytes than this is done in parts, so that the memory for describing its buffer
/// and the time that the cache is shut stay bounded.
pub(super) const PART: usize = 4 << 20;

/// How often a buffer is pinned anew because one of its pages left a page cache meanwhile.
const PIN_ATTEMPTS: u32 = 3;

/// How far a request, or a part of it, came.
pub(super) struct Progress {
    /// So many bytes were written.
    pub(super) bytes: usize,
    /// Why no further, if something keeps it from going on.
    pub(super) end: Option<End>,
}

impl Progress {
    /// Nothing was written, because of `end`.
    pub(super) fn none(end: End) -> Self {
        Self {
            bytes: 0,
            end: Some(end),
        }
    }
}

/// Why a request does not go on.
pub(super) enum End {
    /// The buffer is the target.
    Overlap,
    /// The page cache could not be invalidated.
    Busy,
    /// The write is in flight. The request, the iterator and the inode are no longer ours.
    InFlight,
    /// For this reason.
    Error(Error),
}

/// What there is to do when the data is on the device.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a> {
    /// Nothing, and whoever made the request waits for it.
    Now,
    /// Nothing, and nobody waits: the completion does the rest.
    Later,
    /// The size or the map may change.
    Metadata(&'a LockedInode),
}

/// What travels with a direct write in flight.
pub(crate) struct InFlight<'a> {
    block: HandedOffHold<'a>,
    counted: Counted<'a>,
}

impl InFlight<'_> {
    /// The write has ended: lets pages in again. In any context.
    pub(super) fn end(self) {
        let Self { block, counted } = self;
        block.release();
        drop(counted);
    }
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
pub(super) fn write_part(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    want: usize,
    pages: &RangeInclusive<u64>,
    ending: Ending<'_>,
) -> Result<Progress> {
    let inode = iocb.inode();
    inode.super_block().data().stats().direct_writes.inc();
    let nowait = iocb.is_nowait();
    marker::with(MappingId::of(inode.mapping()), pages.clone(), |active| {
        if from.is_user_backed() {
            match pin(from, want, inode, pages, nowait, || active.refused())? {
                Some(pinned) => pinned.write(iocb, from, ending, Some(active)),
                None => Ok(Progress::none(End::Overlap)),
            }
        } else if overlaps(from.page_owners(), inode, pages) {
            Ok(Progress::none(End::Overlap))
        } else {
            // Pages of the kernel's, or pinned by it: they need no faults and stay where they are.
            shut_out(iocb, want, ending, Some(active), |iocb, later| {
                from.limited(want, |from| match later {
                    Some(block) => direct_write_later(iocb, from, block),
                    None => direct_rw(iocb, from, DirectFlags::Wait),
                })
            })
        }
    })?
}

/// Whether the buffer of a request of several parts overlaps in any of them: then nothing of it is written, as of a shorter
/// one. Brings all of it in, part by part, and leaves `from` as it was.
///
/// Each part is looked at again when it is written: its buffer may have become another one meanwhile.
///
/// # Errors
///
/// `EINVAL` if a segment is not aligned, `EINTR` if the task is killed, `ENOMEM`. Where a part of the buffer is not mapped the
/// write will end: what lies behind is not looked at, and that is no error.
pub(super) fn overlaps_anywhere(
    inode: &Inode,
    from: &mut IovIter<'_>,
    pages: &RangeInclusive<u64>,
) -> Result<bool> {
    marker::with(MappingId::of(inode.mapping()), pages.clone(), |active| {
        let before = from.save();
        let result = loop {
            if from.is_empty() {
                break Ok(false);
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
            let want = from.len().min(PART);
            let short = match pin(from, want, inode, pages, false, || active.refused()) {
                Ok(None) => break Ok(true),
                Ok(Some(pinned)) => pinned.short,
                Err(e) => Some(e),
            };
            match short {
                None => {}
                Some(EFAULT) => break Ok(false),
                Some(e) => break Err(e),
            }
        };
        from.restore(&before);
        result
    })?
}

/// The pinned buffer of a part, and where it came from.
pub(super) struct Pinned<'f> {
    buffer: PinnedBuffer,
    /// As many bytes of it can be written.
    bytes: usize,
    /// Why these are not all that were asked for.
    short: Option<Error>,
    /// Where the iterator was before.
    before: IterState<'f>,
}

/// Step 1 and 2: pins up to `want` bytes of `from`. `None` if the buffer is the target; `refused` says
/// whether a fault was refused for that reason.
///
/// `EAGAIN` if `nowait` and not all of it is there.
pub(super) fn pin<'f>(
    from: &mut IovIter<'f>,
    want: usize,
    inode: &Inode,
    pages: &RangeInclusive<u64>,
    nowait: bool,
    refused: impl Fn() -> bool,
) -> Result<Option<Pinned<'f>>> {
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
    if stopped == Err(EINVAL) {
        // A segment that is not aligned is a mistake of the whole request, wherever it is.
        from.restore(&before);
        return Err(EINVAL);
    }
    if nowait && stopped.is_err() {
        from.restore(&before);
        return Err(EAGAIN);
    }
    // What can be had of a buffer that is not all there is written, in whole units of the device.
    let bytes = buffer.len() & (device.logical_block_size() as usize).wrapping_neg();
    if bytes == 0 {
        from.restore(&before);
        return Err(stopped.err().unwrap_or(EFAULT));
    }
    let short = (bytes < want).then(|| stopped.err().unwrap_or(EFAULT));
    Ok(Some(Pinned {
        buffer,
        bytes,
        short,
        before,
    }))
}

impl<'f> Pinned<'f> {
    /// Step 3 and 4. Leaves `from` behind what was written.
    pub(super) fn write(
        self,
        iocb: &mut Kiocb<'_, ToyFs>,
        from: &mut IovIter<'f>,
        ending: Ending<'_>,
        active: Option<&Active>,
    ) -> Result<Progress> {
        let Pinned {
            buffer,
            bytes,
            short,
            before,
        } = self;
        let mut part = shut_out(iocb, bytes, ending, active, |iocb, later| match later {
            // What cannot be had all at once has to end short, here.
            Some(block) if from.is_empty() && bytes == buffer.len() => {
                buffer.write_later(iocb, bytes, block)
            }
            _block => buffer.write(iocb, bytes),
        });
        from.restore(&before);
        if let Ok(part) = &mut part {
            from.advance(part.bytes);
            // What is left is not tried again: should it be there by now, and go on its way, nobody would count what was
            // written before.
            part.end = part.end.take().or(short.map(End::Error));
        }
        part
    }
}

/// Step 3 and 4: has `write` done, of the next `bytes` bytes, while nobody can add pages to the cache. With
/// [`Ending::Later`] it gets the hold.
fn shut_out<'a>(
    iocb: &mut Kiocb<'a, ToyFs>,
    bytes: usize,
    ending: Ending<'_>,
    active: Option<&Active>,
    write: impl FnOnce(&mut Kiocb<'a, ToyFs>, Option<InFlight<'a>>) -> Result<usize>,
) -> Result<Progress> {
    let inode = iocb.inode();
    let nowait = iocb.is_nowait();
    // The first changes of the file. Where it is refused for its buffer, a request has made none.
    let block = if nowait {
        let block = Hold::try_take(inode, State::Block).ok_or(EAGAIN)?;
        if inode.has_pages(iocb.pos(), iocb.pos() + bytes as u64 - 1) {
            return Err(EAGAIN);
        }
        iocb.modified()?;
        block
    } else {
        iocb.modified()?;
        if let Ending::Metadata(inode) = ending {
            zero_up_to(inode, iocb.pos())?;
        }
        Hold::take(inode, State::Block)?
    };
    let blocking = |on| {
        if let Some(active) = active {
            active.set_blocking(on);
        }
    };
    let pos = iocb.pos();
    blocking(true);
    let written = if let Ending::Later = ending {
        // Before the write: its completion may come at any time.
        block.hand_off_while(|block| {
            let counted = inode.super_block().data().stats().direct_in_flight.count();
            write(iocb, Some(InFlight { block, counted }))
        })
    } else {
        let written = write(iocb, None);
        if let (Ok(n), Ending::Metadata(inode)) = (&written, ending) {
            finish(inode, pos, *n)?;
        }
        drop(block);
        written
    };
    blocking(false);
    match written {
        // Fewer than asked for end the request.
        Ok(written) => Ok(Progress {
            bytes: written,
            end: (written < bytes).then_some(End::Error(EFAULT)),
        }),
        Err(EIOCBQUEUED) => Ok(Progress::none(End::InFlight)),
        Err(ENOTBLK) => Ok(Progress::none(End::Busy)),
        Err(ENOMEM) if nowait => Err(EAGAIN),
        Err(e) => Err(e),
    }
}

/// After `len` bytes were written at `pos`: makes them part of the file.
fn finish(inode: &LockedInode, pos: u64, len: usize) -> Result {
    if len == 0 {
        return Ok(());
    }
    if !InodeData::is_written(inode, pos, len as u64, false)? {
        mark_written(inode, pos, len as u64)?;
    }
    if pos + len as u64 > inode.size() {
        inode.set_size_field(pos + len as u64);
        inode.mark_dirty();
    }
    Ok(())
}

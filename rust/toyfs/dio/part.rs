// SPDX-License-Identifier: GPL-2.0

//! A part of a direct write: done while nobody can make pages of the file dirty.

use super::buffer::{pages_of, Buffer};
use crate::{
    gauge::Counted,
    lock::State,
    marker::Active,
    toyfs::{
        data::{preallocate, zero_up_to},
        hold::{HandedOffHold, Hold},
        inode::{Extending, InodeData},
        ToyFs,
    },
    vfs::{
        direct_rw, direct_rw_later, flush_plug, InodeHeld as _, InodeLock, InodeLockShared,
        IovIter, Kiocb,
    },
};
use kernel::prelude::*;

/// A request of more bytes than this that is waited for is done in parts, so that others come in between.
const PART: usize = 4 << 20;

/// How far a request, a window or a part of it, came.
pub(super) struct Progress {
    /// So many bytes were written.
    pub(super) bytes: usize,
    /// Whether they are durable, if the request asks for that.
    pub(super) durable: bool,
    /// Why no further, if something keeps it from going on.
    pub(super) end: Option<End>,
}

/// Why a request does not go on.
pub(super) enum End {
    /// There is nothing more that it could write.
    Done,
    /// The page cache could not be invalidated, or somebody needs what is in it.
    Busy,
    /// The write is in flight. The request, the iterator and the inode are no longer ours.
    InFlight,
    /// For this reason.
    Error(Error),
}

impl Progress {
    /// Nothing was written yet.
    pub(super) const fn none() -> Self {
        Self {
            bytes: 0,
            durable: true,
            end: None,
        }
    }

    /// Goes on with what `next` says.
    pub(super) fn add(&mut self, next: Result<Self>) {
        match next {
            Ok(next) => {
                self.bytes += next.bytes;
                self.durable &= next.durable;
                self.end = next.end;
            }
            Err(e) => self.end = Some(End::Error(e)),
        }
    }
}

/// `i_rwsem` as a direct write needs it.
pub(super) enum InodeHold<'a> {
    /// The write stays within the file, and within blocks that have been written before.
    Shared(InodeLockShared<'a, ToyFs>),
    /// It changes the size or the map, or zeroes around what it writes.
    Exclusive(InodeLock<'a, ToyFs>),
}

impl InodeHold<'_> {
    /// As [`InodeHeld::modified`](crate::vfs::InodeHeld::modified).
    pub(super) fn modified(&self, iocb: &mut Kiocb<'_, ToyFs>) -> Result {
        match self {
            Self::Shared(lock) => lock.modified(iocb),
            Self::Exclusive(lock) => lock.modified(iocb),
        }
    }
}

/// What travels with a direct request in flight.
pub(crate) struct InFlight<'a> {
    block: Option<HandedOffHold<'a>>,
    extending: Option<Extending<'a>>,
    counted: Counted<'a>,
}

impl<'a> InFlight<'a> {
    /// Of a read, which holds nothing.
    pub(super) fn of_read(counted: Counted<'a>) -> Self {
        Self {
            block: None,
            extending: None,
            counted,
        }
    }

    /// The request has ended: what it has kept out may come in. In any context.
    pub(super) fn end(self) {
        let Self {
            block,
            extending,
            counted,
        } = self;
        if let Some(block) = block {
            block.release();
        }
        drop(extending);
        drop(counted);
    }
}

/// Steps 3 and 4 for the next bytes of `buffer`, from `at` on, where `from` is: all if they are left in flight, as
/// the request has it if it may be completed `later`.
pub(super) fn write_part(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    hold: &InodeHold<'_>,
    buffer: &mut Buffer,
    at: usize,
    later: bool,
    active: &Active,
) -> Result<Progress> {
    let inode = iocb.inode();
    let data = inode.super_block().data();
    let nowait = iocb.is_nowait();
    data.stats().direct_writes.inc();
    let want = if later || nowait {
        // All or nothing, if nobody may wait.
        buffer.bytes
    } else {
        (buffer.bytes - at).min(PART)
    };
    let (pos, end) = (iocb.pos(), iocb.pos() + want as u64);
    // The first changes of the file. Where it is refused for its buffer, a request has made none.
    let pages = pages_of(pos, want);
    let block = if nowait {
        let block = Hold::try_take(inode, State::Block).ok_or(EAGAIN)?;
        if inode.has_pages(pos, end - 1) || data.wanted.spares(inode.ino(), &pages) {
            return Err(EAGAIN);
        }
        hold.modified(iocb)?;
        block
    } else {
        hold.modified(iocb)?;
        if let InodeHold::Exclusive(inode) = hold {
            zero_up_to(inode, pos)?;
            if later {
                // So that there is somebody to be told, and to clean up, if there is no space.
                preallocate(inode, pos, end)?;
            }
        }
        let block = Hold::take(inode, State::Block)?;
        if pos > inode.size() {
            // What was stored behind the end since that was zeroed is zeroed again, and nobody can store there now.
            inode.write_back(inode.size())?;
        }
        block
    };
    // Past the device's cache, where nothing but the data has to reach the medium.
    let through = matches!(hold, InodeHold::Shared(_))
        && iocb.is_dsync()
        && !iocb.is_sync_all()
        && inode.super_block().device().writes_through()
        && InodeData::is_durable(inode);
    let spared = !nowait && data.wanted.spares(inode.ino(), &pages);
    if spared {
        data.stats().pages_spared.inc();
    }
    // If nobody may wait the cache has none of them.
    if spared || !nowait && inode.is_pinned_beside(pos, end - 1, |folio| buffer.pins(inode, folio))
    {
        return Ok(Progress {
            end: Some(End::Busy),
            ..Progress::none()
        });
    }
    active.set_blocking(true);
    let written = if later {
        let extending = (end > inode.size()).then(|| inode.data().extending());
        // Before the write: its completion may come at any time.
        let written = block.hand_off_while(|block| {
            let state = InFlight {
                block: Some(block),
                extending,
                counted: data.stats().direct_in_flight.count(),
            };
            buffer.transfer_later(from, |memory| direct_rw_later(iocb, memory, through, state))
        });
        if written == Err(EIOCBQUEUED) && inode.data().add_lock.is_contended() {
            // Whoever waits for its end must not wait for whatever else this task submits, too.
            flush_plug();
        }
        written
    } else {
        let written = buffer.with_iter(from, at, want, |from| direct_rw(iocb, from, through));
        drop(block);
        written
    };
    active.set_blocking(false);
    let (bytes, end) = match written {
        // Fewer than asked for end the request.
        Ok(bytes) => (bytes, (bytes < want).then_some(End::Error(EFAULT))),
        Err(EIOCBQUEUED) => (0, Some(End::InFlight)),
        Err(ENOTBLK) => (0, Some(End::Busy)),
        Err(ENOMEM) if nowait => return Err(EAGAIN),
        Err(e) => return Err(e),
    };
    Ok(Progress {
        bytes,
        durable: through || !iocb.is_dsync(),
        end,
    })
}

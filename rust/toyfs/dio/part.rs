// SPDX-License-Identifier: GPL-2.0

//! A part of a direct write: done while nobody can make pages of the file dirty.

use super::{buffer::Buffer, pages_of, End, InodeHold, Progress};
use crate::{
    gauge::Counted,
    lock::State,
    marker::Active,
    toyfs::{
        data::zero_up_to,
        hold::{HandedOffHold, Hold},
        inode::Extending,
        ToyFs,
    },
    vfs::{direct_rw, direct_rw_later, flush_plug, IovIter, Kiocb},
};
use kernel::prelude::*;

/// A request of more bytes than this that is waited for is done in parts, so that others come in between.
const PART: usize = 4 << 20;

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
    let want = if later {
        buffer.bytes
    } else {
        (buffer.bytes - at).min(PART)
    };
    let (pos, end) = (iocb.pos(), iocb.pos() + want as u64);
    // The first changes of the file. Where it is refused for its buffer, a request has made none.
    let block = if nowait {
        let block = Hold::try_take(inode, State::Block).ok_or(EAGAIN)?;
        if inode.has_pages(pos, end - 1) {
            return Err(EAGAIN);
        }
        hold.modified(iocb)?;
        block
    } else {
        hold.modified(iocb)?;
        if let InodeHold::Exclusive(inode) = hold {
            zero_up_to(inode, pos)?;
        }
        Hold::take(inode, State::Block)?
    };
    // Past the device's cache, where nothing but the data has to reach the medium.
    let through = matches!(hold, InodeHold::Shared(_))
        && iocb.is_dsync()
        && !iocb.is_sync_all()
        && inode.super_block().device().writes_through()
        && inode.data().is_durable();
    if data.wanted.spares(inode.ino(), &pages_of(pos, want)) {
        if nowait {
            return Err(EAGAIN);
        }
        data.stats().pages_spared.inc();
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

// SPDX-License-Identifier: GPL-2.0

//! Holds of the add lock ([`InodeData::add_lock`](super::inode::InodeData::add_lock)), each of which the statistics
//! count for as long as it lasts.

use super::Inode;
use crate::{
    gauge::Counted,
    lock::{Guard, HandedOff, State},
};
use kernel::prelude::*;

/// A hold of the add lock by the current task.
#[must_use = "the lock is released as soon as this is dropped"]
pub(super) struct Hold<'a> {
    guard: Guard<'a>,
    counted: Counted<'a>,
}

impl<'a> Hold<'a> {
    fn new(inode: &'a Inode, guard: Guard<'a>) -> Self {
        let stats = inode.super_block().data().stats();
        let counted = match guard.state() {
            State::Add => stats.add_holds.count(),
            State::Block => {
                inode.data().blocked.set();
                stats.block_holds.count()
            }
        };
        Self { guard, counted }
    }

    /// Takes the lock if that needs no waiting.
    pub(super) fn try_take(inode: &'a Inode, state: State) -> Option<Self> {
        let guard = inode.data().add_lock.try_lock(state)?;
        Some(Self::new(inode, guard))
    }

    /// Takes the lock, counting if that takes waiting. `EINTR` if the task is killed.
    pub(super) fn take(inode: &'a Inode, state: State) -> Result<Self> {
        let lock = &inode.data().add_lock;
        lock.might_lock();
        let guard = match lock.try_lock(state) {
            Some(guard) => guard,
            None => {
                inode.super_block().data().stats().lock_waits.inc();
                lock.lock_killable(state)?
            }
        };
        Ok(Self::new(inode, guard))
    }

    /// Leaves the hold to the end of a copy into the page cache, in the same task: to
    /// [`Hold::of_copy`].
    pub(super) fn keep_for_copy(self, inode: &'a Inode) -> Result {
        let Self { guard, counted } = self;
        inode.data().copying.keep(guard).map_err(|_| EBUSY)?;
        core::mem::forget(counted);
        Ok(())
    }

    /// The hold that [`Hold::keep_for_copy`] has left.
    pub(super) fn of_copy(inode: &'a Inode) -> Option<Self> {
        let data = inode.data();
        let guard = data.copying.take(&data.add_lock)?;
        let this = Self::new(inode, guard);
        // It was counted already.
        inode.super_block().data().stats().add_holds.add(-1);
        Some(this)
    }

    /// Has `f` submit what will release the hold, see [`Guard::hand_off_while`].
    pub(super) fn hand_off_while<R>(self, f: impl FnOnce(HandedOffHold<'a>) -> R) -> R {
        let Self { guard, counted } = self;
        guard.hand_off_while(|block| f(HandedOffHold { block, counted }))
    }
}

/// A hold of the add lock by a request in flight.
#[must_use = "the lock is released as soon as this is dropped"]
pub(crate) struct HandedOffHold<'a> {
    block: HandedOff<'a>,
    counted: Counted<'a>,
}

impl HandedOffHold<'_> {
    /// Releases the hold, in any context.
    pub(super) fn release(self) {
        let Self { block, counted } = self;
        drop(block.take());
        drop(counted);
    }
}

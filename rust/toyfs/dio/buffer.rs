// SPDX-License-Identifier: GPL-2.0

//! The memory of a direct request: pinned with no lock held, and compared with the range that the request is on.

use crate::{
    marker::{self, MappingId},
    toyfs::{options::SelfDio, Inode, ToyFs},
    vfs::{fatal_signal_pending, DirectMemory, IovIter, Kiocb, PageOwner, PinnedBuffer},
};
use core::ops::RangeInclusive;
use kernel::{alloc::flags::GFP_NOWAIT, prelude::*};
use toyfs_format::BLOCK_LOG2;

/// So many bytes of a request's buffer are pinned at a time, at most: memory that nobody else can use, and that the pages are
/// described in. A request of no more is done as one: appended without a gap, or left in flight.
pub(super) const WINDOW: usize = 16 << 20;

/// How often a buffer is pinned because one of its pages has left a page cache meanwhile.
const PIN_ATTEMPTS: usize = 3;

/// Pages of a file, from the first to the last.
pub(super) type Pages = RangeInclusive<u64>;

/// The pages of the file that `len` bytes at `pos` are in.
pub(super) fn pages_of(pos: u64, len: usize) -> Pages {
    (pos >> BLOCK_LOG2)..=((pos + len.max(1) as u64 - 1) >> BLOCK_LOG2)
}

/// No pages.
pub(super) const NONE: Pages = RangeInclusive::new(1, 0);

/// What positions and lengths of direct requests must be multiples of.
pub(super) fn align_of(inode: &Inode) -> u64 {
    inode.super_block().device().logical_block_size().into()
}

/// The memory of a request, or of a window of it. Filled where it stays: it is large.
pub(super) struct Buffer {
    /// What was pinned of a user's.
    pinned: PinnedBuffer,
    /// Whether it is a user's. What is the kernel's, or pinned by it, needs no faults and stays where it is.
    user: bool,
    /// So many bytes of it are there, a multiple of [`align_of`] unless that is all that there was to pin.
    pub(super) bytes: usize,
    /// Why these are not all that were asked for.
    pub(super) short: Option<Error>,
}

/// Whether `owner` has pages of `inode`'s page cache: which.
fn pages_of_inode(owner: &PageOwner, inode: &Inode) -> Option<Pages> {
    match *owner {
        PageOwner::Mapping {
            mapping,
            first,
            last,
        } if mapping == inode.mapping() => Some(first..=last),
        _ => None,
    }
}

fn meet(a: &Pages, b: &Pages) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

impl Buffer {
    /// Nothing.
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self {
            pinned: PinnedBuffer::new(),
            user: false,
            bytes: 0,
            short: None,
        }
    }

    /// Pins up to `want` bytes of `iter`, which stays where it is, instead of what was pinned before.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if `nowait` and not all of it is there; `EFAULT` if nothing of it is; `EINVAL` if a segment is not aligned,
    /// wherever it is; `ENOMEM`.
    pub(super) fn pin(
        &mut self,
        iter: &mut IovIter<'_>,
        want: usize,
        inode: &Inode,
        nowait: bool,
    ) -> Result {
        self.user = iter.is_user_backed();
        self.bytes = want;
        self.short = None;
        if !self.user {
            return Ok(());
        }
        let before = iter.save();
        let align = inode.super_block().device().dma_alignment();
        let pinned = &mut self.pinned;
        let stopped = if nowait {
            iter.without_faults(|iter| pinned.pin(iter, want, align, GFP_NOWAIT))
        } else {
            pinned.pin(iter, want, align, GFP_KERNEL)
        };
        iter.restore(&before);
        self.bytes = pinned.len();
        if let Err(e) = stopped {
            if e == EINVAL {
                return Err(EINVAL);
            }
            if nowait {
                return Err(EAGAIN);
            }
            // What can be had of a buffer that is not all there is used, in whole units of the device.
            self.bytes &= (align_of(inode) as usize).wrapping_neg();
            self.short = Some(e);
        }
        if self.bytes == 0 {
            return Err(self.short.unwrap_or(EFAULT));
        }
        Ok(())
    }

    /// Unpins it.
    pub(super) fn release(&mut self) {
        *self = Self::new();
    }

    /// Forgets what is behind the first `bytes`.
    pub(super) fn limit(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        self.pinned.truncate(self.bytes);
    }

    /// Whether there is nothing else in `iter`.
    pub(super) fn is_all_of(&self, iter: &IovIter<'_>) -> bool {
        self.bytes == iter.len()
    }

    /// Before [`Self::transfer_later`] of a read, with no lock held.
    pub(super) fn dirty_ahead(&self, nowait: bool) -> Result {
        self.pinned.dirty_ahead(nowait)
    }

    /// Whether some of it is in `pages` of the file. `None` if that cannot be told, and it should be pinned once more: a page
    /// that has left its page cache since it was found may have been one of them. If it is looked for again, the fault handler
    /// will say.
    pub(super) fn overlaps(
        &self,
        iter: &IovIter<'_>,
        inode: &Inode,
        pages: &Pages,
        attempt: usize,
    ) -> Option<bool> {
        let mut detached = false;
        let mut look = |owner: PageOwner| {
            detached |= owner == PageOwner::Detached;
            pages_of_inode(&owner, inode).is_some_and(|found| meet(&found, pages))
        };
        let overlap = if self.user {
            self.pinned.page_owners().any(&mut look)
        } else {
            iter.page_owners().any(&mut look)
        };
        let again = detached && self.user && attempt + 1 < PIN_ATTEMPTS;
        (overlap || !again).then_some(overlap)
    }

    /// How often it has pinned one of `pages` of the file.
    pub(super) fn pins(&self, inode: &Inode, pages: &Pages) -> usize {
        let owners = self.pinned.page_owners();
        owners
            .filter_map(|owner| pages_of_inode(&owner, inode))
            .map(|own| {
                let (first, last) = (own.start().max(pages.start()), own.end().min(pages.end()));
                (last + 1).saturating_sub(*first) as usize
            })
            .sum()
    }

    /// Has `f` done, and waited for, with `want` bytes from `at` on, where `iter` is. That moves on as far as `f` says.
    pub(super) fn with_iter(
        &mut self,
        iter: &mut IovIter<'_>,
        at: usize,
        want: usize,
        f: impl FnOnce(&mut IovIter<'_>) -> Result<usize>,
    ) -> Result<usize> {
        let want = want.min(self.bytes - at);
        let done = if self.user {
            self.pinned.with_iter(at, want, f)
        } else {
            let before = iter.save();
            let done = iter.limited(want, f);
            iter.restore(&before);
            done
        }?;
        iter.advance(done);
        Ok(done)
    }

    /// Has `f` done with all of it, which is all of `iter`. What `f` leaves in flight keeps the memory; `iter` stays.
    pub(super) fn transfer_later(
        &mut self,
        iter: &mut IovIter<'_>,
        f: impl FnOnce(DirectMemory<'_, '_>) -> Result<usize>,
    ) -> Result<usize> {
        if !self.user {
            return iter.limited(self.bytes, |iter| f(DirectMemory::Fixed(iter)));
        }
        let done = f(DirectMemory::Pinned(&mut self.pinned))?;
        iter.advance(done);
        Ok(done)
    }
}

/// What is seen of the buffer of a write of several windows before the first of them: brought in, looked at, and let go.
pub(super) struct Ahead {
    /// Some of it is in the range of the write.
    overlaps: bool,
    /// The last page of the file that is in it, of a write whose range is not known yet: one at the end of the file.
    last: Option<u64>,
}

impl Ahead {
    /// Looks at all of `from`, which stays where it is. Faults on `refused` show that it overlaps.
    ///
    /// Each window is looked at again when it is written: its buffer may have become another one meanwhile.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a segment is not aligned, `EINTR` if the task is killed, `ENOMEM`. Where a part of the buffer is not mapped
    /// the write will end: what lies behind is not looked at, and that is no error.
    pub(super) fn look(
        iocb: &Kiocb<'_, ToyFs>,
        from: &mut IovIter<'_>,
        refused: Option<Pages>,
    ) -> Result<Self> {
        let mut this = Self {
            overlaps: false,
            last: None,
        };
        let inode = iocb.inode();
        if from.len() <= WINDOW
            || !from.is_user_backed()
            || inode.super_block().data().selfdio() == SelfDio::Retry
        {
            return Ok(this);
        }
        let pages = (!iocb.is_append()).then(|| pages_of(iocb.pos(), from.len()));
        let id = MappingId::of(inode.mapping());
        marker::with(id, refused.unwrap_or(NONE), |active| {
            let before = from.save();
            let mut buffer = Buffer::new();
            let result = loop {
                if from.is_empty() || this.overlaps {
                    break Ok(());
                }
                if fatal_signal_pending() {
                    break Err(EINTR);
                }
                let pinned = buffer.pin(from, from.len().min(WINDOW), inode, false);
                this.overlaps |= active.refused();
                let short = match pinned {
                    Ok(()) => {
                        this.note(&buffer, inode, pages.as_ref());
                        from.advance(buffer.bytes);
                        buffer.short
                    }
                    Err(e) => Some(e),
                };
                match short {
                    None => {}
                    Some(_) if this.overlaps => {}
                    Some(EFAULT) => break Ok(()),
                    Some(e) => break Err(e),
                }
            };
            from.restore(&before);
            result
        })??;
        Ok(this)
    }

    fn note(&mut self, buffer: &Buffer, inode: &Inode, pages: Option<&Pages>) {
        for found in buffer
            .pinned
            .page_owners()
            .filter_map(|owner| pages_of_inode(&owner, inode))
        {
            match pages {
                Some(pages) => self.overlaps |= meet(&found, pages),
                None => self.last = self.last.max(Some(*found.end())),
            }
        }
    }

    /// Whether what was seen is in the range `pages` of the write.
    pub(super) fn overlaps(&self, pages: &Pages) -> bool {
        self.overlaps || self.last.is_some_and(|last| last >= *pages.start())
    }
}

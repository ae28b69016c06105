// SPDX-License-Identifier: GPL-2.0

//! The pages of a request's memory: whose they are, and how they are pinned.
//!
//! C headers: `include/linux/uio.h`, `include/linux/bvec.h`, `include/linux/mm.h`.

use super::{errno::from_ssize, iov_iter::IovIter};
use crate::{bindings, gauge::Gauge};
use core::{mem::MaybeUninit, ptr, slice};
use kernel::{alloc::Flags, error::Result, page::PAGE_SIZE, prelude::*};

/// Whom a run of pages of a buffer belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageOwner {
    /// Nobody's page cache: anonymous memory, the zero page.
    Other,
    /// Perhaps a page cache once, but no longer: truncated or invalidated. Or a driver.
    Detached,
    /// The page cache identified by `mapping`, pages `first..=last` of it.
    Mapping {
        mapping: *const (),
        first: u64,
        last: u64,
    },
}

/// The owners of the pages of `bv`, a folio at a time: whoever made it may have joined pages of
/// several folios.
///
/// # Safety
///
/// `bv` must describe pages that cannot be freed while the iterator is used.
unsafe fn owners_of(bv: &bindings::bio_vec) -> impl Iterator<Item = PageOwner> {
    // A bvec is a contiguous range that may start beyond its first page.
    let mut page = bv.bv_page.wrapping_add(bv.bv_offset as usize / PAGE_SIZE);
    let within = bv.bv_offset as usize % PAGE_SIZE;
    let mut left = (within + bv.bv_len as usize).div_ceil(PAGE_SIZE).max(1);
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let mut mapping = ptr::null_mut();
        let mut index = 0;
        let mut pages = 0;
        // SAFETY: The pages exist, by the caller's promise; the structures of physically contiguous
        // pages are contiguous where such a range may be made.
        let kind = unsafe { bindings::vfs_page_owner(page, &mut mapping, &mut index, &mut pages) };
        let pages = pages.clamp(1, left);
        left -= pages;
        page = page.wrapping_add(pages);
        Some(match kind {
            bindings::vfs_page_kind_VFS_PAGE_FILE => PageOwner::Mapping {
                mapping: mapping.cast_const().cast(),
                first: index as u64,
                last: index as u64 + pages as u64 - 1,
            },
            bindings::vfs_page_kind_VFS_PAGE_DETACHED => PageOwner::Detached,
            _ => PageOwner::Other,
        })
    })
}

impl IovIter<'_> {
    /// The owners of the pages of an iterator for which [`IovIter::is_bvec`]; nothing for others.
    pub(crate) fn page_owners(&self) -> impl Iterator<Item = PageOwner> + '_ {
        let mut bvecs = ptr::null();
        let mut offset = 0;
        let mut left = self.len();
        // SAFETY: Valid iterator; the array has as many elements as it says.
        let bvecs = unsafe {
            if self.is_bvec() {
                let n = bindings::vfs_bvecs_of_iter(self.raw, &mut bvecs, &mut offset);
                slice::from_raw_parts(bvecs, n as usize)
            } else {
                &[]
            }
        };
        bvecs.iter().flat_map(move |bv| {
            let skip = offset.min(bv.bv_len as usize);
            offset -= skip;
            let part = bindings::bio_vec {
                bv_page: bv.bv_page,
                bv_len: (bv.bv_len as usize - skip).min(left) as u32,
                bv_offset: bv.bv_offset + skip as u32,
            };
            left -= part.bv_len as usize;
            let owners = (part.bv_len > 0).then(|| {
                // SAFETY: Whoever made the iterator keeps its pages until the request completes.
                unsafe { owners_of(&part) }
            });
            owners.into_iter().flatten()
        })
    }
}

/// Pages of users' buffers that are pinned, by all mounts together.
static PINNED: Gauge = Gauge::new();

/// Pages of users' buffers that are pinned at the moment, by all mounts together.
pub(crate) fn pinned_pages() -> i64 {
    PINNED.get()
}

/// The number of pages that `bv` describes parts of.
fn pages_of(bv: &bindings::bio_vec) -> usize {
    (bv.bv_offset as usize + bv.bv_len as usize).div_ceil(PAGE_SIZE)
}

/// Counts the pages of `bvecs`, which have just been pinned. Unpinning counts them out.
fn count_pinned(bvecs: &[bindings::bio_vec]) {
    PINNED.add(bvecs.iter().map(pages_of).sum::<usize>() as i64);
}

/// Calls `f` with each folio that `bv` describes a part of.
///
/// # Safety
///
/// `bv` must describe pages that cannot be freed meanwhile.
unsafe fn folios_of(bv: &bindings::bio_vec, mut f: impl FnMut(*mut bindings::folio)) {
    let mut page = bv.bv_page.wrapping_add(bv.bv_offset as usize / PAGE_SIZE);
    let within = bv.bv_offset as usize % PAGE_SIZE;
    let mut left = (within + bv.bv_len as usize).div_ceil(PAGE_SIZE);
    while left > 0 {
        let mut pages = 0;
        // SAFETY: By the caller's promise; see `owners_of`.
        f(unsafe { bindings::vfs_folio_of(page, &mut pages) });
        let pages = pages.clamp(1, left);
        left -= pages;
        page = page.wrapping_add(pages);
    }
}

/// Elements that need no memory of their own.
const FEW: usize = 8;

/// Pages of a user's buffer, pinned until the value is dropped.
///
/// # Invariants
///
/// The first `few_len` elements of `few` are initialised. They, or if `many` is there its elements, describe `bytes`
/// bytes of pages at least, each pinned once for each page of each element.
pub(crate) struct PinnedBuffer {
    few: [MaybeUninit<bindings::bio_vec>; FEW],
    few_len: usize,
    many: Option<KVVec<bindings::bio_vec>>,
    bytes: usize,
    /// Whether it is for reading into.
    destination: bool,
    /// Whether something may have been read into it since its pages were marked dirty.
    filled: bool,
    /// So many of its folios have been marked since.
    dirtied: usize,
}

// SAFETY: Whoever has the value has the pins; they may be given up anywhere.
unsafe impl Send for PinnedBuffer {}

impl PinnedBuffer {
    /// Elements to make room for at a time.
    const BATCH: usize = 256;

    /// Nothing. To be filled where it stays: it is large.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        // INVARIANT: Describes nothing.
        PinnedBuffer {
            few: [const { MaybeUninit::uninit() }; FEW],
            few_len: 0,
            many: None,
            bytes: 0,
            destination: false,
            filled: false,
            dirtied: 0,
        }
    }

    /// Pins the next bytes of `iter`, which moves on: `max` of them, or fewer if it ends or a page cannot be had. Faults
    /// pages in unless the iterator says otherwise. `flags` are for the memory of a long description. What was pinned before
    /// is unpinned.
    ///
    /// # Errors
    ///
    /// Why it stopped early, if it did; what was pinned until then is: `EINVAL` if the memory is not a user's, or does not
    /// begin and end where `align_mask` allows it.
    pub(crate) fn pin(
        &mut self,
        iter: &mut IovIter<'_>,
        max: usize,
        align_mask: u32,
        flags: Flags,
    ) -> Result {
        self.unpin_pages();
        self.many = None;
        self.destination = !iter.is_source();
        if !iter.is_user_backed() {
            // Nothing would be pinned, nor may it be unpinned.
            return Err(EINVAL);
        }
        while self.bytes < max && !iter.is_empty() {
            let left = iter.len().min(max - self.bytes);
            self.pin_some(iter, left, align_mask, flags)?;
        }
        Ok(())
    }

    /// Pins some of the next `left` bytes.
    fn pin_some(
        &mut self,
        iter: &mut IovIter<'_>,
        left: usize,
        align_mask: u32,
        flags: Flags,
    ) -> Result {
        // A page at least for each, and one more for what does not begin with a page.
        let elements = (left / PAGE_SIZE + 2).min(Self::BATCH);
        let (room, elements) = match &mut self.many {
            None if self.bytes == 0 => (self.few.as_mut_ptr().cast(), FEW),
            None => {
                let mut many = KVVec::with_capacity(self.few_len + elements, flags)?;
                for bv in &self.few[..self.few_len] {
                    // SAFETY: Initialised, by the type invariant; plain data. There is room.
                    many.push(unsafe { *bv.as_ptr() }, flags)?;
                }
                let room = many.spare_capacity_mut().as_mut_ptr().cast();
                // INVARIANT: It describes the same.
                self.many = Some(many);
                (room, elements)
            }
            Some(many) => {
                many.reserve(elements, flags)?;
                (many.spare_capacity_mut().as_mut_ptr().cast(), elements)
            }
        };
        let mut n = 0;
        // SAFETY: There is room for `elements`; the function initialises the first `n` of them.
        let ret = unsafe {
            bindings::iov_iter_extract_bvecs(
                iter.as_raw(),
                room,
                left,
                &mut n,
                elements as u16,
                align_mask,
                0,
            )
        };
        let n = usize::from(n);
        // SAFETY: As above.
        count_pinned(unsafe { slice::from_raw_parts(room, n) });
        // INVARIANT: The new elements are initialised, and their pages pinned.
        match &mut self.many {
            None => self.few_len = n,
            // SAFETY: As above.
            Some(many) => unsafe { many.inc_len(n) },
        }
        match from_ssize(ret)? {
            0 => Err(EFAULT),
            bytes => {
                self.bytes += bytes;
                Ok(())
            }
        }
    }

    fn bvecs(&self) -> &[bindings::bio_vec] {
        match &self.many {
            // SAFETY: Initialised, by the type invariant.
            None => unsafe { slice::from_raw_parts(self.few.as_ptr().cast(), self.few_len) },
            Some(many) => many,
        }
    }

    /// Bytes pinned.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The owners of the pages, a run at a time.
    pub(crate) fn page_owners(&self) -> impl Iterator<Item = PageOwner> + '_ {
        // SAFETY: The pages are pinned.
        self.bvecs().iter().flat_map(|bv| unsafe { owners_of(bv) })
    }

    /// Runs `f` on an iterator over `bytes` bytes from `at` on, as far as there are so many.
    pub(crate) fn with_iter<R>(
        &mut self,
        at: usize,
        bytes: usize,
        f: impl FnOnce(&mut IovIter<'_>) -> R,
    ) -> R {
        self.filled |= self.destination;
        let mut iter = self.iter(bytes.saturating_add(at));
        let mut iter = IovIter::new(&mut iter);
        iter.advance(at);
        f(&mut iter)
    }

    /// An iterator over the first `bytes`. It must not be used after the buffer is moved or dropped.
    fn iter(&self, bytes: usize) -> bindings::iov_iter {
        let direction = if self.destination {
            bindings::ITER_DEST
        } else {
            bindings::ITER_SOURCE
        };
        let bvecs = self.bvecs();
        let mut iter = MaybeUninit::uninit();
        // SAFETY: The array is valid for as long as the buffer stays. The function initialises all of the iterator.
        unsafe {
            bindings::iov_iter_bvec(
                iter.as_mut_ptr(),
                direction,
                bvecs.as_ptr(),
                bvecs.len(),
                bytes.min(self.bytes),
            );
            iter.assume_init()
        }
    }

    /// As [`Self::with_iter`], of all that is pinned. It must not be used after the buffer is moved or dropped.
    pub(super) fn whole_iter(&mut self) -> bindings::iov_iter {
        self.filled |= self.destination;
        self.iter(self.bytes)
    }

    /// Gives up what is pinned behind the first `bytes`, which are a multiple of what the device writes at once.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }

    /// Before a request that reads into the buffer and ends in any context: marks the pages dirty, so that the end of the
    /// request need not, as a rule. Waits for whoever holds their locks, unless `nowait` says that it must not.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if `nowait`, and one of them is locked. Others are dirty then, as if they had been read into.
    pub(crate) fn dirty_ahead(&self, nowait: bool) -> Result {
        let mut locked = false;
        for bv in self.bvecs().iter().filter(|_| self.destination) {
            // SAFETY: The pages are pinned.
            unsafe {
                folios_of(bv, |folio| {
                    if !nowait {
                        bindings::vfs_folio_lock(folio);
                    } else if !bindings::vfs_folio_trylock(folio) {
                        locked = true;
                        return;
                    }
                    bindings::folio_mark_dirty(folio);
                    bindings::folio_unlock(folio);
                })
            }
        }
        if locked {
            return Err(EAGAIN);
        }
        Ok(())
    }

    /// As [`Self::dirty_ahead`], after the read, without waiting for anybody; in a task. False if it has come to a page whose
    /// lock somebody has: to be called again, to go on there. Once it has returned true, [`Self::unpin`] has nothing to wait
    /// for.
    ///
    /// Each page is marked once: what is written back after that has what was read.
    pub(super) fn try_dirty_again(&mut self) -> bool {
        let (done, mut at) = (self.dirtied, 0);
        for bv in self.bvecs().iter().filter(|_| self.filled) {
            let mut locked = false;
            // SAFETY: The pages are pinned.
            unsafe {
                folios_of(bv, |folio| {
                    if locked {
                        return;
                    }
                    if at >= done && !bindings::vfs_folio_test_dirty(folio) {
                        if !bindings::vfs_folio_trylock(folio) {
                            locked = true;
                            return;
                        }
                        bindings::folio_mark_dirty(folio);
                        bindings::folio_unlock(folio);
                    }
                    at += 1;
                })
            }
            if locked {
                self.dirtied = at;
                return false;
            }
        }
        self.filled = false;
        true
    }

    fn is_dirty(&self) -> bool {
        self.bvecs().iter().all(|bv| {
            let mut dirty = true;
            // SAFETY: The pages are pinned.
            unsafe { folios_of(bv, |folio| dirty &= bindings::vfs_folio_test_dirty(folio)) };
            dirty
        })
    }

    /// Unpins the pages, in any context, unless one of them has been read into and was written back meanwhile: it must be
    /// marked dirty again, before anybody takes the read for complete, and that takes its lock.
    ///
    /// Says what is left to do.
    pub(super) fn unpin(&mut self) -> Memory {
        if self.filled && self.is_dirty() {
            self.filled = false;
        }
        if self.filled {
            return Memory::DirtiedInTask;
        }
        self.unpin_pages();
        match &self.many {
            // SAFETY: Looks at the address only.
            Some(many) if unsafe { bindings::is_vmalloc_addr(many.as_ptr().cast()) } => {
                Memory::FreedInTask
            }
            _ => Memory::FreedAnywhere,
        }
    }

    /// Leaves the memory of the description.
    fn unpin_pages(&mut self) {
        for bv in self.bvecs() {
            let pages = pages_of(bv);
            // SAFETY: Pinned by `pin`, once for each page of the element, and not unpinned again.
            unsafe { bindings::unpin_user_page_range_dirty_lock(bv.bv_page, pages, self.filled) }
            PINNED.add(-(pages as i64));
        }
        // INVARIANT: Describes nothing.
        if let Some(many) = &mut self.many {
            many.clear();
        }
        self.few_len = 0;
        self.bytes = 0;
        self.filled = false;
        self.dirtied = 0;
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        self.unpin_pages();
    }
}

/// What is left to do with pinned memory and its description: to drop the value, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// In every context.
    FreedAnywhere,
    /// Where sleeping is allowed, at any time.
    FreedInTask,
    /// When [`PinnedBuffer::try_dirty_again`] has returned true, before the request is complete.
    DirtiedInTask,
}

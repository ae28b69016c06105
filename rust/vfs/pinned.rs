// SPDX-License-Identifier: GPL-2.0

//! The pages of a request's memory: whose they are, and how they are pinned.
//!
//! C headers: `include/linux/uio.h`, `include/linux/bvec.h`, `include/linux/mm.h`.

use super::{errno::from_ssize, iov_iter::IovIter};
use crate::{bindings, gauge::Gauge};
use core::{
    mem::{self, MaybeUninit},
    ptr, slice,
};
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

    /// Whether all of the memory can be pinned at this moment without a page fault. A moment later that may be
    /// different.
    pub(crate) fn is_present(&self) -> bool {
        const BATCH: usize = 16;
        if !self.is_user_backed() {
            return true;
        }
        // SAFETY: Plain data that refers to what the original refers to; not used after that.
        let mut iter = unsafe { ptr::read(self.raw) };
        let mut iter = IovIter::new(&mut iter);
        iter.raw.nofault = true;
        let mut bvecs = [const { MaybeUninit::<bindings::bio_vec>::uninit() }; BATCH];
        while !iter.is_empty() {
            let mut n = 0;
            // SAFETY: Room for `BATCH` elements, of which the function initialises the first `n`, and pins each
            // page of each of them once.
            let ret = unsafe {
                let left = iter.len();
                let room = bvecs.as_mut_ptr().cast();
                let ret = bindings::iov_iter_extract_bvecs(
                    iter.as_raw(),
                    room,
                    left,
                    &mut n,
                    BATCH as u16,
                    0,
                    0,
                );
                let pinned = slice::from_raw_parts(room, n.into());
                count_pinned(pinned);
                for bv in pinned {
                    unpin(bv);
                }
                ret
            };
            if ret <= 0 {
                return false;
            }
        }
        true
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

/// Counts the pages of `bvecs`, which have just been pinned. [`unpin`] counts them out.
fn count_pinned(bvecs: &[bindings::bio_vec]) {
    PINNED.add(bvecs.iter().map(pages_of).sum::<usize>() as i64);
}

/// Unpins the pages of `bv`.
///
/// # Safety
///
/// Each must have been pinned once for this.
unsafe fn unpin(bv: &bindings::bio_vec) {
    let pages = pages_of(bv);
    // SAFETY: By the caller's promise.
    unsafe { bindings::unpin_user_page_range_dirty_lock(bv.bv_page, pages, false) }
    PINNED.add(-(pages as i64));
}

/// Pages of a user's buffer, pinned until the value is dropped.
///
/// # Invariants
///
/// `bvecs` describes `bytes` bytes of pages, each pinned once for each page of each element.
pub(crate) struct PinnedBuffer {
    bvecs: KVVec<bindings::bio_vec>,
    bytes: usize,
}

impl PinnedBuffer {
    /// Elements to make room for at a time.
    const BATCH: usize = 256;

    /// Pins the next bytes of `from`, which moves on, for reading: `max` of them, or fewer if it ends
    /// or a page cannot be had. Faults pages in unless the iterator says otherwise. `flags` are for
    /// the memory of the description.
    ///
    /// The second value is why it stopped early, if it did: `EINVAL` if the memory is not a user's.
    pub(crate) fn pin(
        from: &mut IovIter<'_>,
        max: usize,
        align_mask: u32,
        flags: Flags,
    ) -> (Self, Result) {
        let mut this = PinnedBuffer {
            bvecs: KVVec::new(),
            bytes: 0,
        };
        if !from.is_user_backed() {
            // Nothing would be pinned, nor may it be unpinned.
            return (this, Err(EINVAL));
        }
        while this.bytes < max && !from.is_empty() {
            if let Err(e) = this.bvecs.reserve(Self::BATCH, flags) {
                return (this, Err(e.into()));
            }
            let mut n = 0;
            // SAFETY: There is room for `BATCH` elements after those in use; the function
            // initialises the first `n` of them.
            let ret = unsafe {
                let room = this.bvecs.spare_capacity_mut().as_mut_ptr().cast();
                bindings::iov_iter_extract_bvecs(
                    from.as_raw(),
                    room,
                    max - this.bytes,
                    &mut n,
                    Self::BATCH as u16,
                    align_mask,
                    0,
                )
            };
            // SAFETY: As above.
            unsafe { this.bvecs.inc_len(n.into()) };
            count_pinned(&this.bvecs[this.bvecs.len() - usize::from(n)..]);
            match from_ssize(ret) {
                Ok(0) => return (this, Err(EFAULT)),
                Ok(bytes) => this.bytes += bytes,
                Err(e) => return (this, Err(e)),
            }
        }
        (this, Ok(()))
    }

    /// Bytes pinned.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The owners of the pages, a run at a time.
    pub(crate) fn page_owners(&self) -> impl Iterator<Item = PageOwner> + '_ {
        // SAFETY: The pages are pinned.
        self.bvecs.iter().flat_map(|bv| unsafe { owners_of(bv) })
    }

    /// An iterator over the first `bytes`. It must not be used after the buffer is dropped.
    pub(super) fn iter(&self, bytes: usize) -> bindings::iov_iter {
        // SAFETY: Initialised next.
        let mut iter: bindings::iov_iter = unsafe { mem::zeroed() };
        // SAFETY: The array is valid for as long as the buffer is.
        unsafe {
            bindings::iov_iter_bvec(
                &mut iter,
                bindings::ITER_SOURCE,
                self.bvecs.as_ptr(),
                self.bvecs.len(),
                bytes.min(self.bytes),
            )
        };
        iter
    }
}

impl PinnedBuffer {
    /// Unpins the pages, in any context. Says where the memory that described them may be freed.
    pub(super) fn unpin(&mut self) -> Memory {
        for bv in &self.bvecs {
            // SAFETY: Pinned by `pin`, once for each page of the element, and not unpinned again.
            unsafe { unpin(bv) }
        }
        self.bvecs.clear();
        self.bytes = 0;
        // SAFETY: Looks at the address only.
        if unsafe { bindings::is_vmalloc_addr(self.bvecs.as_ptr().cast()) } {
            Memory::FreedInTask
        } else {
            Memory::FreedAnywhere
        }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        self.unpin();
    }
}

/// Where a piece of memory may be freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// In every context.
    FreedAnywhere,
    /// Where sleeping is allowed.
    FreedInTask,
}

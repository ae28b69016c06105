// SPDX-License-Identifier: GPL-2.0

//! The page cache of an inode: its `struct address_space`.
//!
//! C headers: `include/linux/pagemap.h`, `include/linux/iomap.h`.

use super::{
    errno::from_ssize,
    file::Kiocb,
    inode::Inode,
    inode_lock::LockedInode,
    iov_iter::IovIter,
    types::{CTables, Types},
};
use crate::bindings;
use core::{
    ops::{Deref, Range, RangeInclusive},
    ptr,
};
use kernel::{
    error::{to_result, Result},
    types::NotThreadSafe,
};

impl<T: Types> Inode<T> {
    /// Identifies the page cache of this inode, for comparison only.
    pub(crate) fn mapping(&self) -> *const () {
        self.raw_mapping().cast_const().cast()
    }

    /// Writes back and drops the pages with the bytes `pos..=last` from the cache; `EBUSY` if one is
    /// in use. Wraps `invalidate_inode_pages2_range()`.
    pub(crate) fn invalidate_pages(&self, pos: u64, last: u64) -> Result {
        let mapping = self.raw_mapping();
        // SAFETY: Valid mapping.
        unsafe {
            to_result(bindings::filemap_write_and_wait_range(
                mapping,
                pos as i64,
                last as i64,
            ))?;
        }
        self.drop_clean_pages(pos, last)
    }

    /// Drops the pages with the bytes `pos..=last` from the cache, all that are not dirty; `EBUSY` if some are.
    /// Wraps `invalidate_inode_pages2_range()`.
    pub(crate) fn drop_clean_pages(&self, pos: u64, last: u64) -> Result {
        // SAFETY: Valid mapping.
        to_result(unsafe {
            bindings::invalidate_inode_pages2_range(
                self.raw_mapping(),
                (pos >> bindings::PAGE_SHIFT) as usize,
                (last >> bindings::PAGE_SHIFT) as usize,
            )
        })
    }

    /// The pages of the folio in the cache that has page `index`, and how often somebody has pinned one of them: exact for a
    /// large one.
    pub(super) fn folio_at(&self, index: u64) -> Option<(RangeInclusive<u64>, usize)> {
        let (mut first, mut last, mut pins) = (0, 0, 0);
        // SAFETY: Valid mapping.
        let found = unsafe {
            bindings::vfs_mapping_folio_range(
                self.raw_mapping(),
                index as usize,
                &mut first,
                &mut last,
                &mut pins,
            )
        };
        found.then_some((first as u64..=last as u64, pins.max(0) as usize))
    }

    /// Whether the pages with the bytes `pos..=last` cannot leave the cache but with others of the same folio, of which somebody
    /// has pinned one, perhaps in order to store to it: what he stores then would be lost. `own` says how often the caller has
    /// pinned one of such pages.
    ///
    /// The caller keeps out who makes pages of the file dirty. What was pinned in order to store to it, was pinned before.
    pub(crate) fn is_pinned_beside(
        &self,
        pos: u64,
        last: u64,
        own: impl Fn(&RangeInclusive<u64>) -> usize,
    ) -> bool {
        let pages = pos >> bindings::PAGE_SHIFT..=last >> bindings::PAGE_SHIFT;
        let pinned_at = |index| self.pinned_beside(&pages, index, &own).is_some();
        pinned_at(*pages.start()) || pages.start() != pages.end() && pinned_at(*pages.end())
    }

    /// The pages of the folio with page `index`, if that is one for which [`Self::is_pinned_beside`].
    fn pinned_beside(
        &self,
        pages: &RangeInclusive<u64>,
        index: u64,
        own: impl Fn(&RangeInclusive<u64>) -> usize,
    ) -> Option<RangeInclusive<u64>> {
        let (folio, _) = self.folio_at(index)?;
        if pages.contains(folio.start()) && pages.contains(folio.end()) {
            return None;
        }
        // Those who can store to it without a fault, and so pin it for that, ask again when it has been written back. An error
        // is for him to see who writes it back.
        let _ = self.write_back(index << bindings::PAGE_SHIFT);
        let (folio, pins) = self.folio_at(index)?;
        (pins > own(&folio)).then_some(folio)
    }

    /// As [`Self::drop_clean_pages`], but leaves what cannot be dropped without pages beside those.
    pub(crate) fn drop_clean_folios(&self, pos: u64, last: u64) -> Result {
        let (mut first, mut end) = (
            pos >> bindings::PAGE_SHIFT,
            (last >> bindings::PAGE_SHIFT) + 1,
        );
        if let Some((folio, _)) = self.folio_at(first).filter(|(f, _)| *f.start() < first) {
            first = folio.end() + 1;
        }
        if let Some((folio, _)) = self.folio_at(end - 1).filter(|(f, _)| *f.end() >= end) {
            end = *folio.start();
        }
        if first >= end {
            return Ok(());
        }
        self.drop_clean_pages(
            first << bindings::PAGE_SHIFT,
            (end << bindings::PAGE_SHIFT) - 1,
        )
    }

    /// Writes back the page with byte `pos`, if it is dirty: zeroes what is in it behind the end of the file, and has stores
    /// through mappings ask again. Wraps `filemap_write_and_wait_range()`.
    pub(crate) fn write_back(&self, pos: u64) -> Result {
        let pos = pos as i64;
        // SAFETY: Valid mapping.
        to_result(unsafe { bindings::filemap_write_and_wait_range(self.raw_mapping(), pos, pos) })
    }

    /// Writes all dirty pages back and waits; those who store through mappings ask again then. Wraps
    /// `filemap_write_and_wait_range()`.
    pub(crate) fn write_back_all(&self) -> Result {
        // SAFETY: Valid mapping.
        to_result(unsafe {
            bindings::filemap_write_and_wait_range(self.raw_mapping(), 0, i64::MAX)
        })
    }

    /// Whether the cache has pages with some of the bytes `pos..=last`.
    pub(crate) fn has_pages(&self, pos: u64, last: u64) -> bool {
        // SAFETY: Valid mapping.
        unsafe { bindings::filemap_range_has_page(self.raw_mapping(), pos as i64, last as i64) }
    }
}

impl<T: CTables> LockedInode<T> {
    /// Zeroes the bytes `pos..end`, which are within the file, in the page cache.
    pub(crate) fn zero(&self, pos: u64, end: u64) -> Result {
        if pos >= end {
            return Ok(());
        }
        // SAFETY: Valid inode and tables.
        to_result(unsafe {
            bindings::iomap_zero_range(
                self.as_raw(),
                pos as i64,
                (end - pos) as i64,
                ptr::null_mut(),
                T::IOMAP_OPS,
                T::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }

    /// Zeroes the part of the block that contains `size` from there on, in the page cache; and what else the cache has behind
    /// that, if it is the end of the file.
    pub(crate) fn zero_tail(&self, size: u64) -> Result {
        if size == self.size() {
            // A folio that was pinned when the file became shorter: who has pinned it may have stored something there since.
            // SAFETY: Valid mapping.
            unsafe { bindings::vfs_zero_folio_from(self.raw_mapping(), size as i64) }
        }
        // SAFETY: Valid inode and tables.
        to_result(unsafe {
            bindings::iomap_truncate_page(
                self.as_raw(),
                size as i64,
                ptr::null_mut(),
                T::IOMAP_OPS,
                T::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }

    /// Copies `from` into the page cache at the position of `iocb`, which moves on.
    pub(crate) fn buffered_write(
        &self,
        iocb: &mut Kiocb<'_, T>,
        from: &mut IovIter<'_>,
    ) -> Result<usize> {
        iocb.check_inode(self)?;
        if from.is_empty() {
            return Ok(0);
        }
        // SAFETY: Valid request and tables.
        from_ssize(unsafe {
            bindings::iomap_file_buffered_write(
                iocb.as_raw(),
                from.as_raw(),
                T::IOMAP_OPS,
                T::WRITE_OPS,
                ptr::null_mut(),
            )
        })
    }
}

impl<T: Types> LockedInode<T> {
    /// Keeps additions to the page cache out, and waits for those under way.
    pub(crate) fn lock_invalidate(&self) -> InvalidateLock<'_, T> {
        // SAFETY: Valid mapping.
        unsafe { bindings::vfs_filemap_invalidate_lock(self.raw_mapping()) };
        // INVARIANT: Taken above.
        InvalidateLock(self, NotThreadSafe)
    }
}

/// `invalidate_lock` of an inode's page cache held exclusively, under its `i_rwsem`.
///
/// # Invariants
///
/// The value owns the hold.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct InvalidateLock<'a, T: Types>(&'a LockedInode<T>, NotThreadSafe);

impl<T: Types> InvalidateLock<'_, T> {
    /// Sets the size and drops the pages beyond it, but for those of a folio with pages before, too, of which somebody has
    /// pinned one: of those there are zeroes. Nobody can pin one in order to store to it until the lock is released.
    pub(crate) fn truncate_pages(&self, size: u64) {
        let first = size.div_ceil(1 << bindings::PAGE_SHIFT);
        let kept = self.pinned_beside(&(first..=u64::MAX), first, |_| 0);
        // SAFETY: Valid inode; both locks are held, by the type invariant.
        unsafe {
            match kept {
                Some(folio) => bindings::vfs_truncate_setsize_keeping(
                    self.as_raw(),
                    size as i64,
                    *folio.end() as usize,
                ),
                None => bindings::truncate_setsize(self.as_raw(), size as i64),
            }
        }
    }

    /// Those of the bytes `pos..end`, whole pages all, that can leave the cache without pages beside them of which somebody has
    /// pinned one. Nobody can do so in order to store to it until the lock is released.
    pub(crate) fn without_pinned(&self, pos: u64, end: u64) -> Range<u64> {
        let pages = pos >> bindings::PAGE_SHIFT..=(end - 1) >> bindings::PAGE_SHIFT;
        let (mut first, mut next) = (*pages.start(), pages.end() + 1);
        if let Some(folio) = self.pinned_beside(&pages, first, |_| 0) {
            first = folio.end() + 1;
        }
        if let Some(folio) = self.pinned_beside(&pages, next - 1, |_| 0) {
            next = *folio.start();
        }
        first << bindings::PAGE_SHIFT..next << bindings::PAGE_SHIFT
    }

    /// Writes the pages with the bytes `pos..end`, whole pages all, and drops them from the cache.
    pub(crate) fn drop_pages(&self, pos: u64, end: u64) -> Result {
        let last = end as i64 - 1;
        // SAFETY: Valid inode; both locks are held, by the type invariant.
        unsafe {
            to_result(bindings::filemap_write_and_wait_range(
                self.raw_mapping(),
                pos as i64,
                last,
            ))?;
            bindings::truncate_pagecache_range(self.as_raw(), pos as i64, last);
        }
        Ok(())
    }
}

impl<T: Types> Deref for InvalidateLock<'_, T> {
    type Target = LockedInode<T>;

    fn deref(&self) -> &LockedInode<T> {
        self.0
    }
}

impl<T: Types> Drop for InvalidateLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task, by the type invariant.
        unsafe { bindings::vfs_filemap_invalidate_unlock(self.raw_mapping()) }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `struct address_space_operations`.
//!
//! C header: `include/linux/fs.h`.

use super::writeback;
use crate::{
    bindings,
    vfs::{
        access::{reader_of, Reader},
        inode::Inode,
        lockdep::FolioLocked,
        operations::FileSystem,
        types::CTables,
    },
};
use core::{marker::PhantomData, mem, ops::RangeInclusive};

/// The table of the page caches of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const MAPPING_OPS: bindings::address_space_operations =
        bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            readahead: Some(Self::readahead),
            writepages: Some(Self::writepages),
            dirty_folio: Some(bindings::iomap_dirty_folio),
            invalidate_folio: Some(bindings::iomap_invalidate_folio),
            release_folio: Some(bindings::iomap_release_folio),
            migrate_folio: Self::MIGRATE_FOLIO,
            is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
            error_remove_folio: Some(bindings::generic_error_remove_folio),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    #[cfg(CONFIG_MIGRATION)]
    const MIGRATE_FOLIO: Option<
        unsafe extern "C" fn(
            *mut bindings::address_space,
            *mut bindings::folio,
            *mut bindings::folio,
            bindings::migrate_mode,
        ) -> i32,
    > = Some(bindings::filemap_migrate_folio);

    #[cfg(not(CONFIG_MIGRATION))]
    const MIGRATE_FOLIO: Option<
        unsafe extern "C" fn(
            *mut bindings::address_space,
            *mut bindings::folio,
            *mut bindings::folio,
            bindings::migrate_mode,
        ) -> i32,
    > = None;

    /// Who reads `pages`, whose folios are in the cache.
    fn reader(inode: &Inode<T>, pages: &RangeInclusive<u64>) -> Reader {
        match reader_of(inode.as_raw(), pages) {
            Reader::Waits(page) => {
                let folio = inode.folio_at(*page.start());
                Reader::Waits(folio.map_or(page, |(pages, _)| pages))
            }
            other => other,
        }
    }

    /// `->read_folio()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> i32 {
        let _locked = FolioLocked::found();
        // SAFETY: The folio is locked, not uptodate, and in the cache of an inode of `T`, which the caller keeps alive.
        unsafe {
            let inode = Inode::<T>::from_raw(bindings::vfs_folio_inode(folio));
            let (mut first, mut last) = (0, 0);
            bindings::vfs_folio_range(folio, &mut first, &mut last);
            let pages = first as u64..=last as u64;
            T::reads(inode, &pages, || Self::reader(inode, &pages));
            bindings::vfs_iomap_bio_read_folio(folio, T::IOMAP_OPS);
        }
        0
    }

    /// `->readahead()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn readahead(rac: *mut bindings::readahead_control) {
        let _locked = FolioLocked::found();
        // SAFETY: Valid for the call, on a mapping of an inode of `T`.
        unsafe {
            let inode = Inode::<T>::from_raw((*(*rac).mapping).host);
            let (first, pages) = ((*rac)._index as u64, u64::from((*rac)._nr_pages));
            let pages = first..=first + pages.max(1) - 1;
            T::reads(inode, &pages, || Self::reader(inode, &pages));
            bindings::vfs_iomap_bio_readahead(rac, T::IOMAP_OPS);
        }
    }

    /// `->writepages()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        wbc: *mut bindings::writeback_control,
    ) -> i32 {
        // SAFETY: All zeroes is an empty context.
        let mut wpc: bindings::iomap_writepage_ctx = unsafe { mem::zeroed() };
        // SAFETY: Valid mapping.
        wpc.inode = unsafe { (*mapping).host };
        wpc.wbc = wbc;
        wpc.ops = &writeback::Tables::<T>::WRITEBACK_OPS;
        // SAFETY: The context is complete.
        unsafe { bindings::iomap_writepages(&mut wpc) }
    }
}

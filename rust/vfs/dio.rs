// SPDX-License-Identifier: GPL-2.0

//! Direct I/O, and the pinned user pages that it works on.
//!
//! C headers: `include/linux/iomap.h`, `include/linux/uio.h`, `include/linux/bvec.h`.

use super::{
    file::{FileOps, IovIter, Kiocb},
    from_ssize,
    inode::{DirOps, Inode},
    mapping::MappingOps,
    super_block::{FileSystem, Tables},
};
use crate::bindings;
use core::{cell::UnsafeCell, marker::PhantomData, mem, ptr, slice};
use kernel::{alloc::Flags, error::Result, page::PAGE_SIZE, prelude::*};

/// Whom a run of pages of a buffer belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageOwner {
    /// Nobody's page cache: anonymous memory, or a driver's.
    Other,
    /// A page cache once, but no longer: truncated or invalidated.
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
                let n = bindings::vfs_bvecs_of_iter(self.0, &mut bvecs, &mut offset);
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
    /// The second value is why it stopped early, if it did.
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

    /// Writes the first `bytes` of the buffer at the position of `iocb`, which moves on, and waits.
    ///
    /// # Errors
    ///
    /// `ENOTBLK` if the page cache of the range could not be invalidated: nothing was written.
    pub(crate) fn write<T: FileSystem + DirOps + FileOps + MappingOps>(
        &self,
        iocb: &mut Kiocb<'_, T>,
        bytes: usize,
    ) -> Result<usize> {
        let mut iter = self.iter(bytes);
        direct_rw(iocb, &mut IovIter(&mut iter), DirectFlags::Wait)
    }

    /// As [`PinnedBuffer::write`], but may leave the write in flight: see [`direct_write_later`].
    pub(crate) fn write_later<T: FileSystem + DirOps + FileOps + MappingOps>(
        self,
        iocb: &mut Kiocb<'_, T>,
        bytes: usize,
    ) -> Result<usize> {
        // The array that the iterator points to does not move with the buffer.
        let mut iter = self.iter(bytes);
        direct_write_later(iocb, &mut IovIter(&mut iter), Some(self))
    }

    /// An iterator over the first `bytes`. It must not be used after the buffer is dropped.
    fn iter(&self, bytes: usize) -> bindings::iov_iter {
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

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        for bv in &self.bvecs {
            let pages = (bv.bv_offset as usize + bv.bv_len as usize).div_ceil(PAGE_SIZE);
            // SAFETY: Pinned by `pin`, once for each page of the element.
            unsafe {
                bindings::unpin_user_page_range_dirty_lock(bv.bv_page, pages, false);
            }
        }
    }
}

/// How [`direct_rw`] treats its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectFlags {
    /// As the request asks: an asynchronous one may be left in flight (`EIOCBQUEUED`).
    AsAsked,
    /// As the request asks, and as far as the memory can be pinned.
    Partial,
    /// Done when the call returns; durability is left to the caller.
    Wait,
}

/// Reads or writes past the page cache. Wraps `iomap_dio_rw()`.
///
/// Returns the number of bytes done; the position moves on by as much.
pub(crate) fn direct_rw<T: FileSystem + DirOps + FileOps + MappingOps>(
    iocb: &mut Kiocb<'_, T>,
    iter: &mut IovIter<'_>,
    flags: DirectFlags,
) -> Result<usize> {
    let ops = &Tables::<T>::IOMAP_OPS;
    if flags != DirectFlags::Wait {
        let flags = match flags {
            DirectFlags::Partial => bindings::IOMAP_DIO_PARTIAL,
            _ => 0,
        };
        // SAFETY: Valid request and tables.
        return from_ssize(unsafe {
            let (iocb, iter) = (iocb.as_raw(), iter.as_raw());
            bindings::iomap_dio_rw(iocb, iter, ops, ptr::null(), flags, ptr::null_mut(), 0)
        });
    }
    let mut part = iocb.sync_part();
    // SAFETY: Valid request and tables; the copy is not used after the call, which waits.
    let ret = from_ssize(unsafe {
        bindings::iomap_dio_rw(
            &mut part,
            iter.as_raw(),
            ops,
            ptr::null(),
            bindings::IOMAP_DIO_FORCE_WAIT,
            ptr::null_mut(),
            0,
        )
    });
    iocb.set_pos(part.ki_pos);
    ret
}

/// A direct write in flight: its own request, and that of the caller.
#[repr(C)]
struct InFlight<T> {
    part: UnsafeCell<bindings::kiocb>,
    original: *mut bindings::kiocb,
    buffer: Option<PinnedBuffer>,
    _fs: PhantomData<T>,
}

/// Writes past the page cache. `buffer`, if any, is what `from` is over, and is kept until the write
/// has ended.
///
/// # Errors
///
/// `EIOCBQUEUED` if the write is in flight: [`FileOps::direct_write_ended`] is called when it ends, and
/// `iocb` is completed then. With any other result it has ended, and that function is not called.
///
/// `fs/backing-file.c` wraps requests in the same way.
pub(crate) fn direct_write_later<T: FileSystem + DirOps + FileOps + MappingOps>(
    iocb: &mut Kiocb<'_, T>,
    from: &mut IovIter<'_>,
    buffer: Option<PinnedBuffer>,
) -> Result<usize> {
    let mut part = iocb.sync_part();
    part.ki_complete = Some(InFlight::<T>::end);
    let request = KBox::new(
        InFlight::<T> {
            part: UnsafeCell::new(part),
            original: iocb.as_raw(),
            buffer,
            _fs: PhantomData,
        },
        GFP_KERNEL,
    )?;
    let request = KBox::into_raw(request);
    // SAFETY: Valid request and tables. If the call returns EIOCBQUEUED, `end` frees the request, and
    // may have done so; until it returns, iomap keeps `end` from being called.
    let ret = unsafe {
        bindings::iomap_dio_rw(
            (*request).part.get(),
            from.as_raw(),
            &Tables::<T>::IOMAP_OPS,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
        )
    };
    let ret = from_ssize(ret);
    if ret != Err(EIOCBQUEUED) {
        // SAFETY: Not queued, so `end` is not called: the request is ours again.
        let mut request = unsafe { KBox::from_raw(request) };
        iocb.set_pos(request.part.get_mut().ki_pos);
    }
    ret
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> InFlight<T> {
    /// `kiocb->ki_complete()`.
    ///
    /// # Safety
    ///
    /// `part` must be that of a request of [`direct_write_later`] that was queued; called once.
    unsafe extern "C" fn end(part: *mut bindings::kiocb, ret: isize) {
        // SAFETY: The request was boxed and is given up here. The original request, and its file, stay
        // until its own completion is called.
        unsafe {
            let request = KBox::from_raw(part.cast::<InFlight<T>>());
            let original = request.original;
            (*original).ki_pos = (*part).ki_pos;
            T::direct_write_ended(Inode::from_raw(bindings::vfs_file_inode(
                (*original).ki_filp,
            )));
            drop(request);
            if let Some(complete) = (*original).ki_complete {
                complete(original, ret);
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Direct I/O.
//!
//! C headers: `include/linux/iomap.h`, `include/linux/fs.h`.

use super::{
    errno::{from_ssize, to_ssize},
    file::{file_inode, Kiocb},
    fs_type::FsStatics,
    inode::Inode,
    iov_iter::IovIter,
    pinned::{Memory, PinnedBuffer},
    types::{CTables, Types},
    work_queue::WorkQueue,
};
use crate::bindings;
use core::{cell::UnsafeCell, mem, ptr};
use kernel::{alloc::flags::GFP_NOWAIT, error::Result, prelude::*, time::Msecs, types::Opaque};

/// A page that somebody else has locked is tried again after so long, in milliseconds; twice as long each time.
const FIRST_DELAY_MS: Msecs = 2;
const LAST_DELAY_MS: Msecs = 100;

/// What a file system is told of its direct I/O.
pub(crate) trait DirectOps: Types {
    /// What travels with a direct request in flight. It is dropped, or given to [`DirectOps::direct_ended`], in any
    /// context, hard interrupts included, before the request completes; until then the inode is there.
    type InFlight<'a>: Send;

    /// The data of a write is on the device that went to unwritten blocks or beyond the end of the file: notes both. In a
    /// task, before the pages of the range are dropped from the page cache for the second time, so that what is read after
    /// that is read with the map and the size as they are then.
    fn direct_written(write: DirectWritten<'_, Self>) -> Result;

    /// A request that was left in flight has ended, well or not. Called in any context, hard interrupts included, before
    /// the request completes.
    fn direct_ended(state: Self::InFlight<'_>);
}

/// A direct write whose data is on the device.
pub(crate) struct DirectWritten<'a, T: Types> {
    inode: &'a Inode<T>,
    pos: u64,
    len: u64,
    unwritten: bool,
}

impl<'a, T: Types> DirectWritten<'a, T> {
    pub(super) fn new(inode: &'a Inode<T>, pos: u64, len: u64, unwritten: bool) -> Self {
        DirectWritten {
            inode,
            pos,
            len,
            unwritten,
        }
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// The first byte of the file that was written.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// How many bytes were written; not zero.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether some of the blocks were unwritten.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.unwritten
    }

    /// Whether the write ended behind the end of the file.
    pub(crate) fn is_extending(&self) -> bool {
        self.pos + self.len > self.inode.size()
    }

    /// Moves the end of the file to `end`, or that of the write if that comes first; never back.
    ///
    /// The file system keeps others that change the size out: its write is in flight, which [`LockedInode::dio_wait`] waits for.
    ///
    /// [`LockedInode::dio_wait`]: super::LockedInode::dio_wait
    pub(crate) fn extend(&self, end: u64) {
        let end = end.min(self.pos + self.len);
        // SAFETY: Valid inode. Where a size is written in two halves, `i_lock` keeps other such writes out.
        unsafe { bindings::vfs_i_size_extend(self.inode.as_raw(), end as i64) }
    }
}

fn dio_ops<T: CTables>(is_write: bool) -> *const bindings::iomap_dio_ops {
    if is_write {
        T::WRITE_DIO_OPS
    } else {
        ptr::null()
    }
}

/// Reads or writes past the page cache, and waits. Wraps `iomap_dio_rw()`.
///
/// A write is made durable only if it is to go `through` to the medium, and the request asks for that; otherwise that is left
/// to the caller. Returns the number of bytes done; the position moves on by as much.
///
/// # Errors
///
/// `ENOTBLK` if the page cache of the range could not be invalidated: nothing was written.
pub(crate) fn direct_rw<T: DirectOps + CTables>(
    iocb: &mut Kiocb<'_, T>,
    iter: &mut IovIter<'_>,
    through: bool,
) -> Result<usize> {
    let mut part = iocb.sync_part(through);
    // SAFETY: Valid request and tables; the copy is not used after the call, which waits.
    let ret = from_ssize(unsafe {
        bindings::iomap_dio_rw(
            &mut part,
            iter.as_raw(),
            T::IOMAP_OPS,
            dio_ops::<T>(iter.is_source()),
            bindings::IOMAP_DIO_FORCE_WAIT,
            ptr::null_mut(),
            0,
        )
    });
    iocb.set_pos(part.ki_pos);
    ret
}

/// A direct request in flight: its own request, and that of the caller.
///
/// `iomap_dio_ops->end_io()` would do without a request of our own. But it is called before iomap drops the
/// pages of the range for the second time, which `state` must still keep anybody from making dirty:
/// what cannot be dropped is reported as an error of the file. After that, nothing is called but
/// `ki_complete()`.
///
/// So some of our code returns after the caller was told that the request is complete, and may have closed
/// the file, unmounted, and begun to remove the module. [`Registration`](super::Registration) waits for it.
#[repr(C)]
struct InFlight<'a, T: DirectOps + 'a> {
    part: UnsafeCell<bindings::kiocb>,
    /// Initialised when there is something for it to do.
    work: Opaque<bindings::delayed_work>,
    /// After so many milliseconds the next try.
    delay: Msecs,
    original: *mut bindings::kiocb,
    buffer: PinnedBuffer,
    state: Option<T::InFlight<'a>>,
    /// Whether what was written is to be made durable before the caller's request completes.
    sync: bool,
    /// Of the caller's request, if that completes in `work`.
    ret: Option<isize>,
}

/// Memory for a request that may be left in flight.
pub(crate) enum DirectMemory<'m, 'i> {
    /// All of a buffer, which is taken, and unpinned when the request has ended, if that is left in flight.
    Pinned(&'m mut PinnedBuffer),
    /// Memory that stays where it is.
    Fixed(&'m mut IovIter<'i>),
}

/// As [`direct_rw`], of an asynchronous request. `state` travels with it.
///
/// # Errors
///
/// `EIOCBQUEUED` if the request is in flight: [`DirectOps::direct_ended`] is called when it ends, and `iocb` is completed
/// then, after it was made durable if it asks for that. With any other result it has ended, and `state` is dropped.
pub(crate) fn direct_rw_later<'a, T: DirectOps + CTables>(
    iocb: &mut Kiocb<'a, T>,
    memory: DirectMemory<'_, '_>,
    through: bool,
    state: T::InFlight<'a>,
) -> Result<usize> {
    if iocb.is_sync() {
        // Nobody would be told.
        return Err(EINVAL);
    }
    let mut part = iocb.sync_part(through);
    part.ki_complete = Some(InFlight::<T>::end);
    let flags = if iocb.is_nowait() {
        GFP_NOWAIT
    } else {
        GFP_KERNEL
    };
    // `fs/backing-file.c` wraps requests in the same way.
    let mut request = KBox::new(
        InFlight::<'a, T> {
            part: UnsafeCell::new(part),
            work: Opaque::uninit(),
            delay: 0,
            original: iocb.as_raw(),
            buffer: PinnedBuffer::new(),
            state: Some(state),
            sync: iocb.is_dsync() && !through,
            ret: None,
        },
        flags,
    )
    .map_err(|_| if flags == GFP_NOWAIT { EAGAIN } else { ENOMEM })?;
    let mut pinned;
    let (mut place, iter): (_, *mut bindings::iov_iter) = match memory {
        DirectMemory::Pinned(place) => {
            // The buffer does not move any more, until it is given back.
            mem::swap(&mut request.buffer, place);
            pinned = request.buffer.whole_iter();
            (Some(place), &mut pinned)
        }
        DirectMemory::Fixed(iter) => (None, iter.as_raw()),
    };
    // SAFETY: Valid iterator.
    let is_write = unsafe { (*iter).data_source };
    let dops = dio_ops::<T>(is_write);
    request.sync &= is_write;
    let request = KBox::into_raw(request);
    // SAFETY: Valid request and tables. If the call returns EIOCBQUEUED, `end` frees the request and
    // completes the caller's, and may have done so; until it returns, iomap keeps `end` from being called.
    let ret = unsafe {
        iocb.submit(|_| {
            let part = (*request).part.get();
            from_ssize(bindings::iomap_dio_rw(
                part,
                iter,
                T::IOMAP_OPS,
                dops,
                0,
                ptr::null_mut(),
                0,
            ))
        })
    };
    if ret != Err(EIOCBQUEUED) {
        // SAFETY: Not queued, so `end` is not called: the request is ours again.
        let mut request = unsafe { KBox::from_raw(request) };
        iocb.set_pos(request.part.get_mut().ki_pos);
        if let Some(place) = &mut place {
            mem::swap(&mut request.buffer, place);
        }
    }
    ret
}

/// Has what this task has submitted, and the block layer collects for it, sent to the device now.
pub(crate) fn flush_plug() {
    // SAFETY: Concerns this task alone.
    unsafe { bindings::vfs_flush_plug() }
}

impl<T: DirectOps + CTables> InFlight<'_, T> {
    /// `kiocb->ki_complete()`, in any context.
    ///
    /// # Safety
    ///
    /// `part` must be that of a request of [`direct_rw_later`] that was queued; called once.
    unsafe extern "C" fn end(part: *mut bindings::kiocb, ret: isize) {
        // SAFETY: The request was boxed, and is given up here. The original one, and with it the file, its
        // inode, to which `state` may refer, and the mount, stay until its own completion is called.
        unsafe {
            let this = part.cast::<InFlight<'_, T>>();
            let original = (*this).original;
            let inode = file_inode((*original).ki_filp);
            FsStatics::<T>::completes((*inode).i_sb);
            (*original).ki_pos = (*part).ki_pos;
            if let Some(state) = (*this).state.take() {
                T::direct_ended(state);
            }
            let memory = (*this).buffer.unpin();
            let work = (*this).work.get();
            if memory == Memory::DirtiedInTask {
                (*this).ret = Some(ret);
                // Not here, even if this is a task: others may wait for it to dispatch their requests, and one of those may
                // hold the lock of a page.
                bindings::vfs_init_delayed_work(work, Some(Self::dirty_again));
                Self::queue(inode).enqueue_later(work, 0);
                return;
            }
            let work = ptr::addr_of_mut!((*work).work);
            (*this).sync &= ret > 0;
            if (*this).sync {
                (*this).ret = Some(ret);
                // Where iomap does the same, before the caller is told. Not on the mount's own queue: what is waited for may
                // wait for that. iomap has made this one before it left the first request in flight.
                bindings::vfs_init_work(work, Some(Self::finish));
                bindings::vfs_queue_work((*(*inode).i_sb).s_dio_done_wq, work);
                return;
            }
            if memory == Memory::FreedInTask && bindings::vfs_bio_in_atomic() {
                bindings::vfs_init_work(work, Some(Self::finish));
                Self::queue(inode).enqueue(work);
            } else {
                drop(KBox::from_raw(this));
            }
            Self::complete(original, ret);
        }
    }

    /// The mount's own work queue.
    ///
    /// # Safety
    ///
    /// `inode` must be one of `T`, mounted for `'b`.
    unsafe fn queue<'b>(inode: *mut bindings::inode) -> &'b WorkQueue {
        // SAFETY: By the caller's promise.
        unsafe { Inode::<T>::from_raw(inode) }
            .super_block()
            .work_queue()
    }

    /// Marks what was read into dirty, and completes the request. Comes back later if that would have to wait: whoever has the
    /// lock of a page of the buffer, a server of FUSE for one, may keep it for as long as he likes, and others need the queue.
    ///
    /// # Safety
    ///
    /// To be called by the work queue, with the work of a read that `end` has left to it.
    unsafe extern "C" fn dirty_again(work: *mut bindings::work_struct) {
        let delayed = work.wrapping_byte_sub(mem::offset_of!(bindings::delayed_work, work));
        let this = delayed.wrapping_byte_sub(mem::offset_of!(InFlight<'_, T>, work));
        // SAFETY: Boxed, and left to us by `end`; queued once at a time. The caller's request is in flight until it is completed,
        // and keeps the mount, and with it the queue.
        unsafe {
            let this = this.cast::<InFlight<'_, T>>();
            if !(*this).buffer.try_dirty_again() {
                (*this).delay = ((*this).delay * 2).clamp(FIRST_DELAY_MS, LAST_DELAY_MS);
                let inode = file_inode((*(*this).original).ki_filp);
                Self::queue(inode).enqueue_later(delayed.cast(), (*this).delay);
                return;
            }
            Self::finish(work);
        }
    }

    /// Completes the caller's request.
    ///
    /// # Safety
    ///
    /// `original` must be a request that was left in flight; called once.
    unsafe fn complete(original: *mut bindings::kiocb, ret: isize) {
        // SAFETY: By the caller's promise.
        unsafe {
            if let Some(complete) = (*original).ki_complete {
                complete(original, ret);
            }
        }
    }

    /// Does what the end of a request has left: makes durable what was written, completes the request; or frees what described
    /// it.
    ///
    /// # Safety
    ///
    /// To be called by the work queue, with the work of such a request.
    unsafe extern "C" fn finish(work: *mut bindings::work_struct) {
        let this = work
            .wrapping_byte_sub(mem::offset_of!(bindings::delayed_work, work))
            .wrapping_byte_sub(mem::offset_of!(InFlight<'_, T>, work));
        // SAFETY: Boxed, and left to us by `end`. If there is something to complete, the caller's request is still in
        // flight.
        unsafe {
            let this = KBox::from_raw(this.cast::<InFlight<'_, T>>());
            let (original, ret, sync) = (this.original, this.ret, this.sync);
            drop(this);
            if let Some(mut ret) = ret {
                if sync {
                    ret = to_ssize(from_ssize(bindings::vfs_generic_write_sync(original, ret)));
                }
                Self::complete(original, ret);
            }
        }
    }
}

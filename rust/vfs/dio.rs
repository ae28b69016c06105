// SPDX-License-Identifier: GPL-2.0

//! Direct I/O.
//!
//! C headers: `include/linux/iomap.h`, `include/linux/fs.h`.

use super::{
    errno::from_ssize,
    file::Kiocb,
    fs_type::FsStatics,
    inode::Inode,
    iov_iter::IovIter,
    pinned::{Memory, PinnedBuffer},
    types::{CTables, Types},
};
use crate::bindings;
use core::{cell::UnsafeCell, mem, ptr};
use kernel::{alloc::flags::GFP_NOWAIT, error::Result, prelude::*, types::Opaque};

/// What a file system is told of its direct I/O.
pub(crate) trait DirectOps: Types {
    /// What travels with a direct write in flight. It is dropped, or given to
    /// [`DirectOps::direct_write_ended`], in any context, hard interrupts included, before the request
    /// completes; until then the inode is there.
    type InFlight<'a>: Send;

    /// A write that [`PinnedBuffer::write_later`] or [`direct_write_later`] left in flight has ended, well or
    /// not. Called in any context, hard interrupts included, before the request completes.
    fn direct_write_ended(state: Self::InFlight<'_>);

    /// A direct read that [`direct_rw`] was asked for has ended, well or not: called once for each call, in any
    /// context, before the request completes.
    fn direct_read_ended(inode: &Inode<Self>);
}

impl PinnedBuffer {
    /// Writes the first `bytes` of the buffer at the position of `iocb`, which moves on, and waits.
    ///
    /// # Errors
    ///
    /// `ENOTBLK` if the page cache of the range could not be invalidated: nothing was written.
    pub(crate) fn write<T: DirectOps + CTables>(
        &self,
        iocb: &mut Kiocb<'_, T>,
        bytes: usize,
    ) -> Result<usize> {
        let mut iter = self.iter(bytes);
        direct_rw(iocb, &mut IovIter::new(&mut iter), DirectFlags::Wait)
    }

    /// As [`PinnedBuffer::write`], but may leave the write in flight: see [`direct_write_later`].
    pub(crate) fn write_later<'a, T: DirectOps + CTables>(
        self,
        iocb: &mut Kiocb<'a, T>,
        bytes: usize,
        state: T::InFlight<'a>,
    ) -> Result<usize> {
        // The array that the iterator points to does not move with the buffer.
        let mut iter = self.iter(bytes);
        write_later(iocb, &mut IovIter::new(&mut iter), Some(self), state)
    }
}

/// How [`direct_rw`] treats its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectFlags {
    /// A read, as the request asks: an asynchronous one may be left in flight (`EIOCBQUEUED`).
    /// [`DirectOps::direct_read_ended`] is called when it has ended.
    AsAsked,
    /// Done when the call returns; durability is left to the caller.
    Wait,
}

/// Reads or writes past the page cache. Wraps `iomap_dio_rw()`.
///
/// Returns the number of bytes done; the position moves on by as much.
pub(crate) fn direct_rw<T: DirectOps + CTables>(
    iocb: &mut Kiocb<'_, T>,
    iter: &mut IovIter<'_>,
    flags: DirectFlags,
) -> Result<usize> {
    let ops = T::IOMAP_OPS;
    if flags != DirectFlags::Wait {
        let inode = iocb.inode();
        // `end_read` is called if, and only if, iomap comes to ask for the map.
        let mut begun = false;
        // SAFETY: Valid request and tables; iomap says whether the request is in flight. The map is not asked
        // for any more when the call returns.
        let ret = unsafe {
            let (iter, dops) = (iter.as_raw(), T::READ_DIO_OPS);
            let begun = (&raw mut begun).cast();
            iocb.submit(|iocb| {
                from_ssize(bindings::iomap_dio_rw(iocb, iter, ops, dops, 0, begun, 0))
            })
        };
        if !begun {
            T::direct_read_ended(inode);
        }
        return ret;
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
    work: Opaque<bindings::work_struct>,
    original: *mut bindings::kiocb,
    buffer: Option<PinnedBuffer>,
    state: Option<T::InFlight<'a>>,
}

/// Writes past the page cache from memory that stays where it is. `state` travels with the write.
///
/// # Errors
///
/// `EIOCBQUEUED` if the write is in flight: [`DirectOps::direct_write_ended`] is called when it ends, and
/// `iocb` is completed then. With any other result it has ended, and `state` is dropped.
pub(crate) fn direct_write_later<'a, T: DirectOps + CTables>(
    iocb: &mut Kiocb<'a, T>,
    from: &mut IovIter<'_>,
    state: T::InFlight<'a>,
) -> Result<usize> {
    write_later(iocb, from, None, state)
}

/// `buffer`, if any, is what `from` is over, and is kept until the write has ended.
///
/// `fs/backing-file.c` wraps requests in the same way.
fn write_later<'a, T: DirectOps + CTables>(
    iocb: &mut Kiocb<'a, T>,
    from: &mut IovIter<'_>,
    buffer: Option<PinnedBuffer>,
    state: T::InFlight<'a>,
) -> Result<usize> {
    if !iocb.may_complete_later() {
        // Whoever made the request waits for it, or somebody has to make it durable.
        return direct_rw(iocb, from, DirectFlags::Wait);
    }
    let mut part = iocb.sync_part();
    part.ki_complete = Some(InFlight::<T>::end);
    let flags = if iocb.is_nowait() {
        GFP_NOWAIT
    } else {
        GFP_KERNEL
    };
    let request = KBox::new(
        InFlight::<'a, T> {
            part: UnsafeCell::new(part),
            work: Opaque::uninit(),
            original: iocb.as_raw(),
            buffer,
            state: Some(state),
        },
        flags,
    )
    .map_err(|_| if flags == GFP_NOWAIT { EAGAIN } else { ENOMEM })?;
    let request = KBox::into_raw(request);
    // SAFETY: The work stays where it is until it is run, if ever.
    unsafe { bindings::vfs_init_work((*request).work.get(), Some(InFlight::<T>::free)) };
    let ops = T::IOMAP_OPS;
    let from = from.as_raw();
    // SAFETY: Valid request and tables. If the call returns EIOCBQUEUED, `end` frees the request and
    // completes the caller's, and may have done so; until it returns, iomap keeps `end` from being called.
    let ret = unsafe {
        iocb.submit(|_| {
            let (part, no) = ((*request).part.get(), (ptr::null(), ptr::null_mut()));
            from_ssize(bindings::iomap_dio_rw(part, from, ops, no.0, 0, no.1, 0))
        })
    };
    if ret != Err(EIOCBQUEUED) {
        // SAFETY: Not queued, so `end` is not called: the request is ours again.
        let mut request = unsafe { KBox::from_raw(request) };
        iocb.set_pos(request.part.get_mut().ki_pos);
    }
    ret
}

impl<T: DirectOps + CTables> InFlight<'_, T> {
    /// `kiocb->ki_complete()`, in any context.
    ///
    /// # Safety
    ///
    /// `part` must be that of a request of [`direct_write_later`] that was queued; called once.
    unsafe extern "C" fn end(part: *mut bindings::kiocb, ret: isize) {
        // SAFETY: The request was boxed, and is given up here. The original one, and with it the file, its
        // inode, to which `state` may refer, and the mount, stay until its own completion is called.
        unsafe {
            let this = part.cast::<InFlight<'_, T>>();
            let original = (*this).original;
            let inode = bindings::vfs_file_inode((*original).ki_filp);
            FsStatics::<T>::completes((*inode).i_sb);
            (*original).ki_pos = (*part).ki_pos;
            if let Some(state) = (*this).state.take() {
                T::direct_write_ended(state);
            }
            let memory = match (*this).buffer.as_mut() {
                Some(buffer) => buffer.unpin(),
                None => Memory::FreedAnywhere,
            };
            if memory == Memory::FreedInTask && bindings::vfs_bio_in_atomic() {
                let inode = Inode::<T>::from_raw(inode);
                inode.super_block().work_queue().enqueue((*this).work.get());
            } else {
                drop(KBox::from_raw(this));
            }
            if let Some(complete) = (*original).ki_complete {
                complete(original, ret);
            }
        }
    }

    /// Frees a request that has ended.
    ///
    /// # Safety
    ///
    /// To be called by the work queue, with the work of such a request.
    unsafe extern "C" fn free(work: *mut bindings::work_struct) {
        let this = work.wrapping_byte_sub(mem::offset_of!(InFlight<'_, T>, work));
        // SAFETY: Boxed, and left to us by `end`.
        drop(unsafe { KBox::from_raw(this.cast::<InFlight<'_, T>>()) });
    }
}

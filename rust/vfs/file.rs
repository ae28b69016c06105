// SPDX-License-Identifier: GPL-2.0

//! Open regular files: read, write, fsync, mmap and page faults.
//!
//! C headers: `include/linux/fs.h`, `include/linux/mm.h`, `include/linux/uio.h`.

use super::{
    from_ssize,
    inode::{DirOps, Inode},
    mapping::MappingOps,
    super_block::{FileSystem, Tables},
    to_int, to_ssize,
};
use crate::bindings;
use core::{marker::PhantomData, mem};
use kernel::{
    error::{to_result, Result},
    prelude::*,
};

/// Operations on open regular files.
pub(crate) trait FileOps: FileSystem {
    /// `read(2)` and its relatives. Returns the number of bytes read.
    fn read(iocb: &mut Kiocb<'_, Self>, to: &mut IovIter<'_>) -> Result<usize>;

    /// `write(2)` and its relatives. Returns the number of bytes written, and has made them durable
    /// if the request asks for it.
    fn write(iocb: &mut Kiocb<'_, Self>, from: &mut IovIter<'_>) -> Result<usize>;

    /// `fallocate(2)`, of `len` bytes, at least one. The caller holds `i_rwsem` exclusively, has updated
    /// the times, and has checked that the file may become as long as `op` makes it.
    fn fallocate(inode: &Inode<Self>, op: Fallocate, pos: u64, len: u64) -> Result;

    /// Makes the metadata durable that the file's data, already written, needs.
    fn fsync(inode: &Inode<Self>, datasync: bool) -> Result;

    /// A write that [`PinnedBuffer::write_later`](super::PinnedBuffer::write_later) or
    /// [`direct_write_later`](super::direct_write_later) left in flight has ended, well or not. Called
    /// in any context, hard interrupts included, before the request completes.
    fn direct_write_ended(inode: &Inode<Self>);

    /// A page fault on page `index` of the file. Process context; locks of the memory map are held.
    ///
    /// The answer is all: serving a fault may drop those locks, and with them go VMA, file and inode.
    fn fault(inode: &Inode<Self>, index: u64) -> FaultAnswer;

    /// A page of a shared mapping is about to become writable. To be answered by
    /// [`PageMkwrite::serve`], or with [`FaultResult::RETRY_FAULT`].
    fn page_mkwrite(inode: &Inode<Self>, fault: PageMkwrite<'_, Self>) -> FaultResult;
}

/// What `fallocate(2)` is to do with a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallocate {
    /// Gives it blocks.
    Allocate {
        /// Even if the range ends behind the file, that does not become longer.
        keep_size: bool,
    },
    /// Gives it blocks, and makes it read as zeroes.
    Zero {
        /// As above.
        keep_size: bool,
    },
    /// Takes its blocks away: it reads as zeroes.
    Punch,
}

impl Fallocate {
    fn from_mode(mode: i32) -> Option<Self> {
        const PUNCH: u32 = bindings::FALLOC_FL_PUNCH_HOLE | bindings::FALLOC_FL_KEEP_SIZE;
        let keep_size = mode as u32 & bindings::FALLOC_FL_KEEP_SIZE != 0;
        match mode as u32 & !bindings::FALLOC_FL_KEEP_SIZE {
            0 => Some(Fallocate::Allocate { keep_size }),
            bindings::FALLOC_FL_ZERO_RANGE => Some(Fallocate::Zero { keep_size }),
            _ if mode as u32 == PUNCH => Some(Fallocate::Punch),
            _ => None,
        }
    }

    /// Whether the file becomes longer if the range ends behind it.
    pub(crate) fn grows(self) -> bool {
        match self {
            Fallocate::Allocate { keep_size } | Fallocate::Zero { keep_size } => !keep_size,
            Fallocate::Punch => false,
        }
    }
}

/// An I/O request on an open file of `T`: a `struct kiocb`.
pub(crate) struct Kiocb<'a, T: FileSystem>(&'a mut bindings::kiocb, PhantomData<&'a T>);

impl<'a, T: FileSystem> Kiocb<'a, T> {
    pub(super) fn as_raw(&mut self) -> *mut bindings::kiocb {
        self.0
    }

    /// The file's inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        // SAFETY: The file of the request is one of `T`, and open until the request completes.
        unsafe { Inode::from_raw(bindings::vfs_file_inode(self.0.ki_filp)) }
    }

    /// The position in the file, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        self.0.ki_pos as u64
    }

    fn has(&self, flag: i32) -> bool {
        self.0.ki_flags & flag != 0
    }

    /// Past the page cache (`O_DIRECT`).
    pub(crate) fn is_direct(&self) -> bool {
        self.has(bindings::VFS_IOCB_DIRECT)
    }

    /// At the end of the file (`O_APPEND`).
    pub(crate) fn is_append(&self) -> bool {
        self.has(bindings::VFS_IOCB_APPEND)
    }

    /// Without sleeping (`RWF_NOWAIT`, or a first attempt of io_uring's): what would have to returns
    /// `EAGAIN`.
    pub(crate) fn is_nowait(&self) -> bool {
        self.has(bindings::VFS_IOCB_NOWAIT)
    }

    /// Whether whoever made the request waits for it in the call.
    pub(crate) fn is_sync(&self) -> bool {
        self.0.ki_complete.is_none()
    }

    /// Whether the request may be completed after the call that made it returned, and without making
    /// anything durable.
    pub(crate) fn may_complete_later(&self) -> bool {
        // SAFETY: Valid request.
        !self.is_sync() && !unsafe { bindings::vfs_iocb_is_dsync(self.0) }
    }

    /// Checks limits and permissions of a write, finds the position of an append, and shortens
    /// `from` to what may be written: its length is the result.
    ///
    /// Wraps `generic_write_checks()`; the caller holds `i_rwsem`.
    pub(crate) fn write_checks(&mut self, from: &mut IovIter<'_>) -> Result<usize> {
        // SAFETY: Valid request.
        from_ssize(unsafe { bindings::generic_write_checks(self.0, from.0) })
    }

    /// Removes privileges and updates the times before a write. The caller holds `i_rwsem`,
    /// exclusively unless [`Inode::is_nosec`].
    pub(crate) fn modified(&mut self) -> Result {
        // SAFETY: Valid request.
        to_result(unsafe { bindings::kiocb_modified(self.0) })
    }

    /// Updates the access time.
    pub(crate) fn accessed(&mut self) {
        // SAFETY: Valid request.
        unsafe { bindings::vfs_file_accessed(self.0.ki_filp) }
    }

    /// Makes the `count` bytes that were written before the position durable, if the request asks
    /// for that (`O_DSYNC`, `RWF_SYNC` and so on). Returns `count`.
    pub(crate) fn write_sync(&mut self, count: usize) -> Result<usize> {
        // SAFETY: Valid request.
        from_ssize(unsafe { bindings::vfs_generic_write_sync(self.0, count as isize) })
    }

    /// Reads through the page cache. Wraps `filemap_read()`.
    pub(crate) fn buffered_read(&mut self, to: &mut IovIter<'_>) -> Result<usize> {
        // SAFETY: Valid request.
        from_ssize(unsafe { bindings::filemap_read(self.0, to.0, 0) })
    }

    /// Ends a direct write whose last part, `buffered`, went through the page cache: writes that
    /// back and drops it from the cache.
    ///
    /// Wraps `direct_write_fallback()`; consumes the result of the buffered part.
    pub(crate) fn direct_fallback(
        &mut self,
        from: &mut IovIter<'_>,
        direct: usize,
        buffered: Result<usize>,
    ) -> Result<usize> {
        // SAFETY: Valid request, whose position is after the buffered part.
        from_ssize(unsafe {
            bindings::direct_write_fallback(self.0, from.0, direct as isize, to_ssize(buffered))
        })
    }

    /// A copy for a part of the request that is done, and waited for, by the caller: synchronous, and
    /// not itself responsible for durability.
    pub(super) fn sync_part(&self) -> bindings::kiocb {
        let mut part = *self.0;
        part.ki_complete = None;
        part.private = core::ptr::null_mut();
        part.ki_flags &=
            !(bindings::VFS_IOCB_DSYNC | bindings::VFS_IOCB_SYNC | bindings::VFS_IOCB_HIPRI);
        part
    }

    pub(super) fn set_pos(&mut self, pos: i64) {
        self.0.ki_pos = pos;
    }
}

/// The memory of an I/O request: a `struct iov_iter`.
pub(crate) struct IovIter<'a>(pub(super) &'a mut bindings::iov_iter);

/// A remembered state of an [`IovIter`].
pub(crate) struct IterState(bindings::iov_iter);

impl IovIter<'_> {
    pub(super) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        self.0
    }

    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_iov_iter_count(self.0) }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the memory is a user's, so that touching it may fault.
    pub(crate) fn is_user_backed(&self) -> bool {
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_user_backed_iter(self.0) }
    }

    /// Runs `f` with page faults on the memory refused: what is not there when it is pinned ends the
    /// iterator early.
    pub(crate) fn without_faults<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = mem::replace(&mut self.0.nofault, true);
        let ret = f(self);
        self.0.nofault = before;
        ret
    }

    /// Whether the memory is an array of pages (`ITER_BVEC`).
    pub(crate) fn is_bvec(&self) -> bool {
        // SAFETY: Valid iterator.
        unsafe { bindings::vfs_iov_iter_is_bvec(self.0) }
    }

    /// Remembers where the iterator is.
    pub(crate) fn save(&self) -> IterState {
        // SAFETY: Plain data; the copy is only ever assigned back.
        IterState(unsafe { core::ptr::read(self.0) })
    }

    /// Returns to where the iterator was.
    ///
    /// The state must be one of this iterator.
    pub(crate) fn restore(&mut self, state: &IterState) {
        // SAFETY: As above.
        *self.0 = unsafe { core::ptr::read(&state.0) };
    }

    /// Moves on by `bytes`, at most to the end.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len());
        // SAFETY: Valid iterator, and not beyond its end.
        unsafe { bindings::iov_iter_advance(self.0, bytes) }
    }

    /// Runs `f` on no more than the next `max` bytes.
    pub(crate) fn limited<R>(&mut self, max: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let len = self.len();
        let hidden = len.saturating_sub(max);
        // SAFETY: Valid iterator; what is hidden is shown again, the count never exceeds the memory.
        unsafe { bindings::vfs_iov_iter_truncate(self.0, (len - hidden) as u64) };
        let ret = f(self);
        let left = self.len();
        // SAFETY: As above.
        unsafe { bindings::vfs_iov_iter_reexpand(self.0, left + hidden) };
        ret
    }
}

/// What a fault handler returns.
pub(crate) struct FaultResult(bindings::vm_fault_t);

impl FaultResult {
    /// Nothing was done: the access is tried again, unless the task has been killed.
    pub(crate) const RETRY_FAULT: FaultResult =
        FaultResult(bindings::vm_fault_reason_VM_FAULT_NOPAGE);
}

/// What to do about a page fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultAnswer {
    /// Bring the page in, as `filemap_fault()` does.
    Serve,
    /// SIGBUS for an access of the task's own, `EFAULT` for one of the kernel.
    Refuse,
}

/// A page is about to become writable (`->page_mkwrite()`).
pub(crate) struct PageMkwrite<'a, T: FileSystem>(&'a mut bindings::vm_fault, PhantomData<&'a T>);

impl<T: FileSystem + DirOps + FileOps + MappingOps> PageMkwrite<'_, T> {
    /// Updates the file's times; freezing is kept out and truncation excluded while `f` runs.
    pub(crate) fn serialised(self, f: impl FnOnce(Self) -> FaultResult) -> FaultResult {
        // SAFETY: Valid fault, whose file stays open for the call.
        unsafe {
            let file = bindings::vfs_vmf_file(self.0);
            let inode = bindings::vfs_file_inode(file);
            let (sb, mapping) = ((*inode).i_sb, (*inode).i_mapping);
            bindings::vfs_sb_start_pagefault(sb);
            bindings::file_update_time(file);
            bindings::vfs_filemap_invalidate_lock_shared(mapping);
            let ret = f(self);
            bindings::vfs_filemap_invalidate_unlock_shared(mapping);
            bindings::vfs_sb_end_pagefault(sb);
            ret
        }
    }

    /// Makes blocks for the page and marks it dirty. Wraps `iomap_page_mkwrite()`.
    pub(crate) fn serve(self) -> FaultResult {
        // SAFETY: Valid fault and tables.
        FaultResult(unsafe {
            bindings::iomap_page_mkwrite(self.0, &Self::OPS, core::ptr::null_mut())
        })
    }

    const OPS: bindings::iomap_ops = Tables::<T>::IOMAP_OPS;
}

/// Whether a fatal signal is pending for this task.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Looks at the current task only.
    unsafe { bindings::vfs_fatal_signal_pending() }
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> Tables<T> {
    pub(super) const FILE_OPS: bindings::file_operations = bindings::file_operations {
        fop_flags: bindings::VFS_FOP_DIO_PARALLEL_WRITE,
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        mmap_prepare: Some(Self::mmap_prepare),
        open: Some(Self::open),
        fsync: Some(Self::fsync),
        fallocate: Some(Self::fallocate),
        splice_read: Some(Self::splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    const VM_OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        map_pages: Some(bindings::filemap_map_pages),
        page_mkwrite: Some(Self::page_mkwrite),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->llseek()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: i32) -> i64 {
        const SEEK_DATA: i32 = bindings::SEEK_DATA as i32;
        const SEEK_HOLE: i32 = bindings::SEEK_HOLE as i32;
        // SAFETY: Valid file of a regular file of `T`.
        unsafe {
            let inode = bindings::vfs_file_inode(file);
            let found = match whence {
                SEEK_DATA | SEEK_HOLE => {
                    let ret = bindings::vfs_inode_lock_shared_killable(inode);
                    if ret != 0 {
                        return ret.into();
                    }
                    let found = if whence == SEEK_DATA {
                        bindings::iomap_seek_data(inode, offset, &Self::IOMAP_OPS)
                    } else {
                        bindings::iomap_seek_hole(inode, offset, &Self::IOMAP_OPS)
                    };
                    bindings::vfs_inode_unlock_shared(inode);
                    found
                }
                _ => return bindings::generic_file_llseek(file, offset, whence),
            };
            if found < 0 {
                return found;
            }
            bindings::vfs_setpos(file, found, (*(*inode).i_sb).s_maxbytes)
        }
    }

    /// `->read_iter()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The VFS passes valid objects that are this call's alone.
        unsafe {
            to_ssize(T::read(
                &mut Kiocb(&mut *iocb, PhantomData),
                &mut IovIter(&mut *iter),
            ))
        }
    }

    /// `->write_iter()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The VFS passes valid objects that are this call's alone.
        unsafe {
            to_ssize(T::write(
                &mut Kiocb(&mut *iocb, PhantomData),
                &mut IovIter(&mut *iter),
            ))
        }
    }

    /// `->open()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            (*file).f_mode |=
                (bindings::VFS_FMODE_CAN_ODIRECT | bindings::VFS_FMODE_NOWAIT) as bindings::fmode_t;
            bindings::generic_file_open(inode, file)
        }
    }

    /// `->mmap_prepare()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> i32 {
        // SAFETY: The VFS passes a valid description, ours to fill in.
        unsafe {
            bindings::vfs_file_accessed((*desc).file);
            (*desc).vm_ops = &Self::VM_OPS;
        }
        0
    }

    /// `->fsync()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: i64,
        end: i64,
        datasync: i32,
    ) -> i32 {
        let sync = || -> Result {
            // SAFETY: Valid file of a regular file of `T`.
            unsafe {
                to_result(bindings::file_write_and_wait_range(file, start, end))?;
                T::fsync(
                    Inode::from_raw(bindings::vfs_file_inode(file)),
                    datasync != 0,
                )
            }
        };
        to_int(sync())
    }

    /// `->fallocate()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: i32,
        offset: i64,
        len: i64,
    ) -> isize {
        // SAFETY: Valid file of a regular file of `T`.
        let inode = unsafe { Inode::<T>::from_raw(bindings::vfs_file_inode(file)) };
        let allocate = || -> Result {
            let op = Fallocate::from_mode(mode).ok_or(EOPNOTSUPP)?;
            let _lock = inode.lock()?;
            // SAFETY: Valid file and inode; `i_rwsem` is held. The VFS has checked the sum.
            unsafe {
                if op.grows() && (offset + len) as u64 > inode.size() {
                    to_result(bindings::inode_newsize_ok(inode.as_raw(), offset + len))?;
                }
                to_result(bindings::file_modified(file))?;
            }
            T::fallocate(inode, op, offset as u64, len as u64)
        };
        let done = allocate().and_then(|()| {
            // SAFETY: Valid file.
            unsafe {
                if (*file).f_flags & bindings::VFS_O_DSYNC == 0 {
                    return Ok(());
                }
                to_result(bindings::vfs_fsync(file, 0))
            }
        });
        to_int(done) as isize
    }

    /// `->splice_read()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        pos: *mut i64,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: u32,
    ) -> isize {
        // SAFETY: Passed through; the file is open.
        unsafe { bindings::filemap_splice_read(file, pos, pipe, len, flags) }
    }

    /// `->fault()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The VMA's file is one of `T`, and open while the locks are held. `filemap_fault()` may
        // drop them, and is the last thing done.
        unsafe {
            let inode = Inode::from_raw(bindings::vfs_file_inode(bindings::vfs_vmf_file(vmf)));
            let index = (*vmf).__bindgen_anon_1.pgoff as u64;
            match T::fault(inode, index) {
                FaultAnswer::Serve => bindings::filemap_fault(vmf),
                FaultAnswer::Refuse => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
            }
        }
    }

    /// `->page_mkwrite()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The VMA's file is one of `T` and stays open for the call.
        unsafe {
            let inode = Inode::from_raw(bindings::vfs_file_inode(bindings::vfs_vmf_file(vmf)));
            T::page_mkwrite(inode, PageMkwrite(&mut *vmf, PhantomData)).0
        }
    }
}

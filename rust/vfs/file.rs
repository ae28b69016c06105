// SPDX-License-Identifier: GPL-2.0

//! Open files, and the requests on them.
//!
//! C headers: `include/linux/fs.h`, `include/linux/falloc.h`, `include/linux/pagemap.h`.

use super::{
    access::{announced, At, Position},
    errno::{from_ssize, to_ssize},
    inode::Inode,
    inode_lock::{InodeLockShared, LockedInode},
    iov_iter::IovIter,
    types::Types,
};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{to_result, Result},
    prelude::*,
};

/// The inode of an open file. `file_inode()`.
///
/// # Safety
///
/// `file` must be valid, and opened.
#[inline]
pub(super) unsafe fn file_inode(file: *const bindings::file) -> *mut bindings::inode {
    // SAFETY: By the contract of this function. It stays the same.
    unsafe { (*file).f_inode }
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
    pub(super) fn from_mode(mode: i32) -> Option<Self> {
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
///
/// (`kernel::fs::Kiocb` is one on a file of a misc device: position and private data. It has neither flags nor a
/// completion.)
///
/// A request that was left in flight belongs to its completion. From then on the value is that of another
/// one, synchronous and for nobody, and whatever the operation returns, the caller is told that the
/// request is in flight.
pub(crate) struct Kiocb<'a, T: Types> {
    raw: *mut bindings::kiocb,
    /// What is left if it is in flight.
    rest: Option<bindings::kiocb>,
    _request: PhantomData<&'a mut T>,
}

impl<'a, T: Types> Kiocb<'a, T> {
    /// # Safety
    ///
    /// `raw` must be a request on an open file of `T`, nobody else's for `'a`, unless it is left in flight; the
    /// file must stay open for `'a`.
    pub(super) unsafe fn from_raw(raw: *mut bindings::kiocb) -> Self {
        Kiocb {
            raw,
            rest: None,
            _request: PhantomData,
        }
    }

    fn get(&self) -> &bindings::kiocb {
        match &self.rest {
            Some(rest) => rest,
            // SAFETY: Not in flight, so it is ours.
            None => unsafe { &*self.raw },
        }
    }

    pub(super) fn as_raw(&mut self) -> *mut bindings::kiocb {
        match &mut self.rest {
            Some(rest) => rest,
            None => self.raw,
        }
    }

    /// Runs `submit` on the request, which is no longer ours if the result is `EIOCBQUEUED`.
    ///
    /// # Safety
    ///
    /// `submit` must return that if and only if it has left the request that it is given in flight.
    pub(super) unsafe fn submit(
        &mut self,
        submit: impl FnOnce(*mut bindings::kiocb) -> Result<usize>,
    ) -> Result<usize> {
        let rest = self.sync_part(false);
        let ret = submit(self.as_raw());
        if ret == Err(EIOCBQUEUED) && self.rest.is_none() {
            self.rest = Some(rest);
        }
        ret
    }

    /// What `->read_iter()` and `->write_iter()` return for a request of `len` bytes, after the operation
    /// returned `ret`.
    pub(super) fn end(self, len: usize, ret: Result<usize>) -> isize {
        if self.rest.is_some() {
            return EIOCBQUEUED.to_errno() as isize;
        }
        match ret {
            // Nobody would complete it.
            Err(EIOCBQUEUED) => to_ssize(Err(EIO)),
            Err(e) => to_ssize(Err(e)),
            Ok(count) => to_ssize(Ok(count.min(len))),
        }
    }

    /// The file's inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        // SAFETY: The file is one of `T`, and open for `'a`: who makes a request keeps the file until the
        // operation has returned, even if the request was completed before.
        unsafe { Inode::from_raw(file_inode(self.get().ki_filp)) }
    }

    /// The position in the file, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        self.get().ki_pos as u64
    }

    /// `EIO` if the request is not one on `inode`.
    pub(super) fn check_inode(&self, inode: &Inode<T>) -> Result {
        if core::ptr::eq(self.inode(), inode) {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    fn has(&self, flag: i32) -> bool {
        self.get().ki_flags & flag != 0
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
        self.get().ki_complete.is_none()
    }

    /// Whether what it writes is to be durable when it completes (`O_DSYNC`, `RWF_DSYNC` and so on).
    pub(crate) fn is_dsync(&self) -> bool {
        // SAFETY: Valid request.
        unsafe { bindings::vfs_iocb_is_dsync(self.get()) }
    }

    /// Whether that goes for all metadata, times included (`O_SYNC`, `RWF_SYNC`).
    pub(crate) fn is_sync_all(&self) -> bool {
        self.has(bindings::VFS_IOCB_SYNC)
    }

    /// Updates the access time.
    pub(crate) fn accessed(&mut self) {
        // SAFETY: Valid request.
        unsafe { bindings::vfs_file_accessed(self.get().ki_filp) }
    }

    /// Makes the `count` bytes that were written before the position durable, if the request asks
    /// for that (`O_DSYNC`, `RWF_SYNC` and so on). Returns `count`.
    pub(crate) fn write_sync(&mut self, count: usize) -> Result<usize> {
        // SAFETY: Valid request.
        from_ssize(unsafe { bindings::vfs_generic_write_sync(self.as_raw(), count as isize) })
    }

    /// Reads through the page cache. If `known`, [`MappingOps::reads`](super::MappingOps::reads) knows for whom.
    ///
    /// Wraps `filemap_read()`.
    pub(crate) fn buffered_read(&mut self, to: &mut IovIter<'_>, known: bool) -> Result<usize> {
        let inode = self.inode();
        let nowait = self.is_nowait();
        let raw = self.as_raw();
        // SAFETY: Valid request.
        let mut read = || from_ssize(unsafe { bindings::filemap_read(raw, to.raw, 0) });
        if !known {
            return read();
        }
        let at = if nowait {
            At::Nowhere
        } else {
            // SAFETY: Valid request, which this call alone moves on.
            At::Position(unsafe { Position::new(ptr::addr_of!((*raw).ki_pos)) })
        };
        announced(inode.as_raw(), at, read)
    }

    /// Ends a part of a direct write that went through the page cache, with the result `buffered`: writes that
    /// back and drops it from the cache.
    ///
    /// Wraps `direct_write_fallback()`.
    pub(crate) fn direct_fallback(
        &mut self,
        from: &mut IovIter<'_>,
        buffered: Result<usize>,
    ) -> Result<usize> {
        // SAFETY: Valid request, whose position is after the buffered part.
        from_ssize(unsafe {
            bindings::direct_write_fallback(self.as_raw(), from.raw, 0, to_ssize(buffered))
        })
    }

    /// A copy for a part of the request that is done, and waited for, by the caller: synchronous, and
    /// not itself responsible for durability, unless what it writes goes `through` to the medium.
    pub(super) fn sync_part(&self, through: bool) -> bindings::kiocb {
        let mut part = *self.get();
        part.ki_complete = None;
        part.private = core::ptr::null_mut();
        part.ki_flags &= !bindings::VFS_IOCB_HIPRI;
        if !through {
            part.ki_flags &= !(bindings::VFS_IOCB_DSYNC | bindings::VFS_IOCB_SYNC);
        }
        part
    }

    pub(super) fn set_pos(&mut self, pos: i64) {
        // SAFETY: Ours: not in flight, or a copy.
        unsafe { (*self.as_raw()).ki_pos = pos }
    }
}

/// An inode whose `i_rwsem` is held, in whichever way.
///
/// All methods return `EIO`, and do nothing, for a request on another inode.
pub(crate) trait InodeHeld<T: Types> {
    /// The inode.
    fn held(&self) -> &Inode<T>;

    /// Whether it is held exclusively.
    const EXCLUSIVE: bool;

    /// Checks limits and permissions of a write to this inode, finds the position of an append, and
    /// shortens `from` to what may be written: its length is the result.
    ///
    /// Wraps `generic_write_checks()`.
    fn write_checks(&self, iocb: &mut Kiocb<'_, T>, from: &mut IovIter<'_>) -> Result<usize> {
        iocb.check_inode(self.held())?;
        // SAFETY: Valid request; `i_rwsem` of its inode is held.
        from_ssize(unsafe { bindings::generic_write_checks(iocb.as_raw(), from.raw) })
    }

    /// Removes privileges and updates the times before a write. Wraps `kiocb_modified()`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if that needs waiting that the request does not allow, or exclusive `i_rwsem` which is held shared: see
    /// [`Inode::is_nosec`].
    fn modified(&self, iocb: &mut Kiocb<'_, T>) -> Result {
        iocb.check_inode(self.held())?;
        if !Self::EXCLUSIVE && !self.held().is_nosec() {
            return Err(EAGAIN);
        }
        // SAFETY: Valid request; `i_rwsem` of its inode is held, exclusively if there are privileges to remove: while it is
        // held shared, none can be added.
        to_result(unsafe { bindings::kiocb_modified(iocb.as_raw()) })
    }
}

impl<T: Types> InodeHeld<T> for LockedInode<T> {
    const EXCLUSIVE: bool = true;

    fn held(&self) -> &Inode<T> {
        self
    }
}

impl<T: Types> InodeHeld<T> for InodeLockShared<'_, T> {
    const EXCLUSIVE: bool = false;

    fn held(&self) -> &Inode<T> {
        self.inode()
    }
}

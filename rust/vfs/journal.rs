// SPDX-License-Identifier: GPL-2.0

//! A journal on the device of a file system: jbd2.
//!
//! A file system changes its metadata by way of a [`Handle`]. What all handles of a *transaction* have changed reaches the
//! device as one: a power cut leaves all of it or nothing. jbd2 decides when a transaction is committed, five seconds after it
//! began at the latest, and writes the blocks to their places afterwards. So:
//!
//! - A handle is for one change that leaves the file system consistent, and short: the commit waits until nobody has a handle. While a task
//!   has one, it must not wait for anything that another task may hold when it asks for one, and memory that it allocates does
//!   not enter file system reclaim.
//! - There is no way back. What fails after something has been changed must be made good within the handle, or the journal
//!   aborted ([`Journal::abort`]): then nothing of the transaction is ever seen again.
//! - A block that has held metadata, and is freed, is revoked ([`Handle::revoke`]), or a replay would write what it held over what
//!   it holds later. A freed block may be given away when the transaction that freed it has been committed:
//!   [`BlockDevice::read_bitmap`] tells.
//!
//! C header: `include/linux/jbd2.h`.

use super::{
    block_device::{BlockDevice, Buffer, BLOCK_SIZE},
    super_block::PendingSuper,
    types::Types,
};
use crate::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    error::{from_err_ptr, to_result, Result},
    prelude::*,
    sync::atomic::{Acquire, Atomic, Release},
    types::NotThreadSafe,
};

/// The features that a journal has: records of revoked blocks, block numbers of 64 bits, checksums.
const FEATURES: usize = (bindings::JBD2_FEATURE_INCOMPAT_REVOKE
    | bindings::JBD2_FEATURE_INCOMPAT_64BIT
    | bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3) as usize;

/// The number of a transaction. They are in the order in which transactions are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tid(u32);

impl Tid {
    /// Before all others, for who has no journal.
    pub(crate) const NONE: Self = Self(0);

    /// The later one of two, which are no more than half of all numbers apart.
    pub(crate) fn later(self, other: Self) -> Self {
        if (other.0.wrapping_sub(self.0) as i32) > 0 {
            other
        } else {
            self
        }
    }
}

/// A [`Tid`] that several tasks use.
pub(crate) struct AtomicTid(Atomic<u32>);

impl AtomicTid {
    /// With that value.
    pub(crate) fn new(tid: Tid) -> Self {
        Self(Atomic::new(tid.0))
    }

    /// Sets it. Whoever sees it sees what was done before.
    pub(crate) fn store(&self, tid: Tid) {
        self.0.store(tid.0, Release);
    }

    /// Returns it.
    pub(crate) fn load(&self) -> Tid {
        Tid(self.0.load(Acquire))
    }
}

/// A journal that has been found.
///
/// # Invariants
///
/// Owns the `journal_t`. `device` is the one it is on, which is open.
pub(crate) struct FoundJournal {
    raw: NonNull<bindings::journal_t>,
    device: NonNull<BlockDevice>,
}

impl Drop for FoundJournal {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. It was not loaded, or failed to.
        unsafe { bindings::jbd2_journal_destroy(self.raw.as_ptr()) };
    }
}

impl FoundJournal {
    /// Finds the journal in the `len` blocks from `start` on of a device that is being mounted.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `EIO`, `EBADMSG` if there is none that can be used; the kernel has printed why. `EINVAL` if it has features that
    /// are not in [`FEATURES`].
    pub(crate) fn open<T: Types>(sb: &PendingSuper<'_, T>, start: u64, len: u64) -> Result<Self> {
        let len = i32::try_from(len).map_err(|_| EINVAL)?;
        let device = sb.device().as_raw();
        // SAFETY: The device is open, and has blocks of this size.
        let journal = unsafe {
            from_err_ptr(bindings::jbd2_journal_init_dev(
                device,
                device,
                start,
                len,
                BLOCK_SIZE as i32,
            ))?
        };
        // SAFETY: It is ours, and no block of it but the superblock has been looked at.
        unsafe { bindings::vfs_journal_map_from_start(journal) };
        // INVARIANT: It is ours. Whoever has it drops it before the device is closed, see `kill_sb()`.
        let this = Self {
            raw: NonNull::new(journal).ok_or(ENOMEM)?,
            device: NonNull::from(sb.device()),
        };
        // SAFETY: By the type invariant; the superblock has been read.
        if !unsafe { bindings::vfs_journal_has_no_more(journal, FEATURES as u32) } {
            // The tools would not know what to do with it.
            return Err(EINVAL);
        }
        Ok(this)
    }

    /// Whether nothing is in it that [`Self::load`] would have to write to its place.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: By the type invariant; the superblock has been read.
        unsafe { bindings::vfs_journal_is_empty(self.raw.as_ptr()) }
    }

    /// Writes what is in the journal to its places, and starts to use it. What has been read of the device before may not be so
    /// any more.
    ///
    /// Wraps `jbd2_journal_load()`.
    ///
    /// # Errors
    ///
    /// `EUCLEAN`, `EBADMSG`, `EIO`, ...: the kernel has printed why.
    pub(crate) fn load(self) -> Result<Journal> {
        let raw = self.raw.as_ptr();
        // SAFETY: By the type invariant; nobody uses it yet.
        unsafe {
            if bindings::jbd2_journal_set_features(raw, 0, 0, FEATURES) == 0 {
                return Err(EINVAL);
            }
            to_result(bindings::jbd2_journal_load(raw))?;
            bindings::vfs_journal_use_barriers(raw);
        }
        let this = ManuallyDrop::new(self);
        // INVARIANT: As here.
        Ok(Journal {
            raw: this.raw,
            device: this.device,
        })
    }
}

/// A journal in use. It ends, with everything written to its place, when this is dropped.
///
/// # Invariants
///
/// Owns the `journal_t`, which is loaded. `device` is the one it is on, which is open.
pub(crate) struct Journal {
    raw: NonNull<bindings::journal_t>,
    device: NonNull<BlockDevice>,
}

// SAFETY: jbd2 has locks of its own.
unsafe impl Send for Journal {}
// SAFETY: As above.
unsafe impl Sync for Journal {}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Handles borrow it, so there are none.
        unsafe { bindings::jbd2_journal_destroy(self.as_raw()) };
    }
}

impl Journal {
    fn as_raw(&self) -> *mut bindings::journal_t {
        self.raw.as_ptr()
    }

    fn device(&self) -> &BlockDevice {
        // SAFETY: By the type invariant.
        unsafe { self.device.as_ref() }
    }

    /// Begins a change of at most `blocks` blocks, which revokes at most `revokes`. Waits for space in the journal, and while it is
    /// being flushed ([`Self::quiesce`]).
    ///
    /// Wraps `jbd2__journal_start()`.
    ///
    /// # Errors
    ///
    /// `EROFS` for a journal that was aborted, `ENOMEM`; `EDEADLK`, and a warning, if the task has a handle already.
    pub(crate) fn start(&self, blocks: u32, revokes: u32) -> Result<Handle<'_>> {
        // SAFETY: Looks at the current task only.
        if unsafe { bindings::vfs_has_handle() } {
            // There is one count of credits for each task.
            kernel::warn_on!(true);
            return Err(EDEADLK);
        }
        // SAFETY: By the type invariant.
        let raw = unsafe {
            from_err_ptr(bindings::jbd2__journal_start(
                self.as_raw(),
                blocks as i32,
                0,
                revokes as i32,
                bindings::VFS_GFP_NOFS,
                0,
                0,
            ))?
        };
        Ok(Handle {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            journal: self,
            thread: NotThreadSafe,
        })
    }

    /// The transaction that was begun last.
    pub(crate) fn latest(&self) -> Tid {
        // SAFETY: By the type invariant.
        Tid(unsafe { bindings::vfs_journal_latest(self.as_raw()) })
    }

    /// Whether a transaction has been committed: it survives a power cut.
    pub(crate) fn is_committed(&self, tid: Tid) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::vfs_journal_is_committed(self.as_raw(), tid.0) }
    }

    /// Commits a transaction, if that has not been done, and makes durable what the device had acknowledged before the call.
    ///
    /// # Errors
    ///
    /// `EIO` if the journal was aborted or cannot be written, or the device cannot be flushed.
    pub(crate) fn commit(&self, tid: Tid) -> Result {
        // SAFETY: By the type invariant.
        let (flushes, done) = unsafe {
            (
                bindings::jbd2_trans_will_send_data_barrier(self.as_raw(), tid.0) != 0,
                bindings::jbd2_complete_transaction(self.as_raw(), tid.0),
            )
        };
        to_result(done).map_err(|_| EIO)?;
        if self.is_aborted() {
            return Err(EIO);
        }
        if flushes {
            return Ok(());
        }
        self.device().flush().map_err(|_| EIO)
    }

    /// Has everything committed that was begun, without waiting for it.
    pub(crate) fn start_commit(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_start_commit(self.as_raw(), core::ptr::null_mut()) };
    }

    /// Commits everything, and writes it to its places: the journal is empty then. New handles wait meanwhile.
    ///
    /// # Errors
    ///
    /// `EIO`, as [`Self::commit`].
    pub(crate) fn quiesce(&self) -> Result {
        // SAFETY: By the type invariant.
        let done = unsafe {
            bindings::jbd2_journal_lock_updates(self.as_raw());
            let done = bindings::jbd2_journal_flush(self.as_raw(), 0);
            bindings::jbd2_journal_unlock_updates(self.as_raw());
            done
        };
        to_result(done).map_err(|_| EIO)
    }

    /// Ends the use of the journal because of an error: nothing that has not been committed ever reaches the device, and the
    /// next mount finds [`Self::had_error`].
    pub(crate) fn abort(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_abort(self.as_raw(), EIO.to_errno()) }
    }

    /// Ends the use of the journal, as [`Self::abort`] does, but without an error: the next mount replays what was committed,
    /// and that is all.
    pub(crate) fn shut_down(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_abort(self.as_raw(), ESHUTDOWN.to_errno()) }
    }

    /// Whether that has happened; jbd2 does it itself when it cannot write.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::vfs_journal_is_aborted(self.as_raw()) }
    }

    /// Whether the journal was aborted in an earlier mount. No handle is to be had before [`Self::acknowledge_error`].
    pub(crate) fn had_error(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_errno(self.as_raw()) != 0 }
    }

    /// Lets the journal be used all the same.
    pub(crate) fn acknowledge_error(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_ack_err(self.as_raw()) };
    }

    /// Forgets about the error, on disk too: the caller has noted it elsewhere.
    pub(crate) fn clear_error(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::jbd2_journal_clear_err(self.as_raw()) };
    }
}

/// A change of metadata that is being made by the current task. It is part of a transaction; it has ended when this is dropped.
///
/// # Invariants
///
/// Owns the handle, which is the current task's.
#[must_use = "the change has ended when this is dropped"]
pub(crate) struct Handle<'a> {
    raw: NonNull<bindings::handle_t>,
    journal: &'a Journal,
    thread: NotThreadSafe,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. If that fails the journal was aborted, which all who come next are told.
        unsafe { bindings::jbd2_journal_stop(self.as_raw()) };
    }
}

impl Handle<'_> {
    fn as_raw(&self) -> *mut bindings::handle_t {
        self.raw.as_ptr()
    }

    /// The transaction that this is a part of.
    pub(crate) fn tid(&self) -> Tid {
        // SAFETY: By the type invariant.
        Tid(unsafe { bindings::vfs_handle_tid(self.as_raw()) })
    }

    /// The transaction is to be committed at the end of this, which waits for it.
    pub(crate) fn sync(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::vfs_handle_sync(self.as_raw()) }
    }

    /// Ends the change.
    ///
    /// # Errors
    ///
    /// `EIO` if the journal was aborted, or the transaction had to be committed and cannot be.
    pub(crate) fn stop(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::jbd2_journal_stop(this.as_raw()) }).map_err(|_| EIO)
    }

    fn dirty(&self, buffer: &Buffer) -> Result {
        // SAFETY: Write access was granted for this handle.
        to_result(unsafe { bindings::jbd2_journal_dirty_metadata(self.as_raw(), buffer.as_raw()) })
    }

    /// Copies `data` to byte `offset` of `block`.
    ///
    /// Who reads the block meanwhile may find a part of it; callers have locks of their own.
    ///
    /// # Errors
    ///
    /// `EIO` for a block or range that is not on the device, and if the rest of the block cannot be read; `EROFS` for a
    /// journal that was aborted; `ENOSPC`, and a warning, if the handle was begun for fewer blocks.
    pub(crate) fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        let buffer = self.journal.device().buffer(block, offset, data.len())?;
        let whole = <&[u8; BLOCK_SIZE]>::try_from(data).ok();
        match whole {
            // Nothing that is in the journal is not in memory.
            Some(data) if !buffer.is_uptodate() => buffer.fill(data),
            _ => buffer.read()?,
        }
        // SAFETY: The handle is valid, and the buffer is uptodate.
        to_result(unsafe {
            bindings::jbd2_journal_get_write_access(self.as_raw(), buffer.as_raw())
        })?;
        buffer.copy_in(offset, data);
        self.dirty(&buffer)
    }

    /// Copies `data` to byte `offset` of `block`, which is a bitmap. Until the transaction has been committed,
    /// [`BlockDevice::read_bitmap`] shows what was set before.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub(crate) fn write_bitmap(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        let buffer = self.journal.device().buffer(block, offset, data.len())?;
        buffer.read()?;
        // SAFETY: The handle is valid, and the buffer is uptodate.
        to_result(unsafe {
            bindings::jbd2_journal_get_undo_access(self.as_raw(), buffer.as_raw())
        })?;
        buffer.copy_in(offset, data);
        buffer.note_magic();
        self.dirty(&buffer)
    }

    /// Notes that `block`, which has been written with a handle, is being freed: what was written does not matter any more.
    ///
    /// Not to be called twice without a write in between.
    ///
    /// # Errors
    ///
    /// `EIO`, `ENOMEM`, and a warning if the handle was begun for fewer.
    pub(crate) fn revoke(&self, block: u64) -> Result {
        let buffer = ManuallyDrop::new(self.journal.device().buffer(block, 0, BLOCK_SIZE)?);
        // SAFETY: The handle is valid. The reference to the buffer is given up.
        to_result(unsafe { bindings::jbd2_journal_revoke(self.as_raw(), block, buffer.as_raw()) })
    }
}

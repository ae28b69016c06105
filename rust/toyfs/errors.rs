// SPDX-License-Identifier: GPL-2.0

//! Changes of metadata, and what happens after an error of one.
//!
//! All of a [`Change`] reaches the device, or nothing: it is a part of a transaction of the journal. An error in the middle of one that cannot be
//! taken back, and metadata that cannot be read or understood, make the file system read-only for the rest of the mount: the
//! journal is aborted, what was not committed is lost, and what was is consistent. The next mount marks the file system as one that has had an error.
//!
//! Not through `SB_RDONLY`: setting that behind the back of `s_umount` confuses freezing, and sync(2) and
//! syncfs(2) take a read-only file system for one that has nothing to report.

use super::{block::BlockIo, extent::REMOVED_AT_ONCE, options::OnError, SuperBlock};
use crate::vfs::{self, AtomicTid, BlockDevice, ErrorCursor, Handle, Journal, RateLimit, Tid};
use core::{cell::Cell, convert::Infallible, fmt};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

/// There was an error.
const FAILED: u32 = 1;
/// The file system was shut down.
const DOWN: u32 = 2;

/// Whether a mount has had an error, and what to do about one.
#[pin_data]
pub(super) struct Health {
    /// [`FAILED`] or [`DOWN`], or both. They only come.
    state: Atomic<u32>,
    /// [`OnError`]; a remount may change it.
    on_error: Atomic<u32>,
    /// Errors of writes to the device before this point are none of this mount's.
    since: ErrorCursor,
    /// The last transaction that has freed something.
    freed: AtomicTid,
    #[pin]
    messages: RateLimit,
}

impl Health {
    /// Without errors so far.
    pub(super) fn new(
        since: ErrorCursor,
        on_error: OnError,
        latest: Tid,
    ) -> impl PinInit<Self, Infallible> {
        pin_init!(Self {
            state: Atomic::new(0),
            on_error: Atomic::new(on_error as u32),
            since,
            freed: AtomicTid::new(latest),
            messages <- RateLimit::new(),
        })
    }

    /// What an error does.
    pub(super) fn on_error(&self) -> OnError {
        OnError::from_raw(self.on_error.load(Relaxed))
    }

    /// Changes that.
    pub(super) fn set_on_error(&self, on_error: OnError) {
        self.on_error.store(on_error as u32, Relaxed);
    }
}

impl SuperBlock {
    fn health(&self) -> &Health {
        &self.data().health
    }

    /// Prints a message about this mount, unless there were too many.
    pub(super) fn complain(&self, what: fmt::Arguments<'_>) {
        if self.health().messages.allows(c"toyfs") {
            let id = self.id();
            pr_err!("{id}: {what}\n");
        }
    }

    /// Whether there was an error, or the file system was shut down.
    pub(super) fn has_failed(&self) -> bool {
        self.health().state.load(Relaxed) != 0
    }

    /// Whether the file system was shut down.
    pub(super) fn is_shut_down(&self) -> bool {
        self.health().state.load(Relaxed) & DOWN != 0
    }

    /// Why nothing can be changed any more, for who tries.
    fn refusal(&self) -> Error {
        if self.is_shut_down() {
            EIO
        } else {
            EROFS
        }
    }

    /// `EIO` if the file system was shut down.
    pub(super) fn check_up(&self) -> Result {
        if self.is_shut_down() {
            return Err(EIO);
        }
        Ok(())
    }

    /// As [`Self::check_lost`], for who wants to change something: `EROFS` after an error, as if it were mounted read-only.
    pub(super) fn check_changeable(&self) -> Result {
        self.check_lost().map_err(|_| self.refusal())
    }

    /// Stops the file system. Nothing is committed any more. That is no error: the journal knows of none then, unless there
    /// was one before.
    pub(super) fn shut_down(&self) {
        let mut state = self.health().state.load(Relaxed);
        // Before the journal is aborted: who finds it so must not take that for an error.
        while let Err(other) = self.health().state.cmpxchg(state, state | DOWN, Full) {
            state = other;
        }
        if state != 0 {
            return;
        }
        let id = self.id();
        pr_alert!("{id}: shut down\n");
        if let Some(journal) = &self.data().journal {
            journal.shut_down();
        }
    }

    /// Makes the file system read-only because of an error.
    pub(super) fn fail(&self, why: fmt::Arguments<'_>) {
        // The order does not matter: who has not seen it yet might as well have come before. If it was shut down, that is why.
        if self.health().state.cmpxchg(0, FAILED, Full).is_err() {
            return;
        }
        let id = self.id();
        pr_crit!("{id}: {why}\n");
        if let Some(journal) = &self.data().journal {
            journal.abort();
        }
        if self.health().on_error() == OnError::Panic {
            vfs::panic(c"toyfs: panic forced after error");
        }
        pr_crit!("{id}: read-only from now on; unmount it and run fsck.toyfs\n");
    }

    /// Whether metadata that was written has reached the journal, and its place, as far as is known. If some has not, that is
    /// an error, of which nobody else may have heard.
    pub(super) fn check_lost(&self) -> Result {
        if self
            .data()
            .journal
            .as_ref()
            .is_some_and(Journal::is_aborted)
            || self.device().check_errors(&self.health().since).is_err()
        {
            self.fail(format_args!("metadata could not be written"));
        }
        if self.has_failed() {
            return Err(EIO);
        }
        Ok(())
    }

    /// The journal. `EROFS` for a mount that does without.
    pub(super) fn journal(&self) -> Result<&Journal> {
        self.data().journal.as_ref().ok_or(EROFS)
    }

    /// Begins a change of metadata. `EROFS` after an error.
    pub(super) fn change(&self, credits: Credits) -> Result<Change<'_>> {
        self.check_changeable()?;
        Ok(Change {
            sb: self,
            handle: self
                .journal()?
                .start(credits.blocks, credits.revokes)
                .map_err(|e| if e == EROFS { self.refusal() } else { e })?,
            started: Cell::new(false),
        })
    }

    /// Begins a change that nobody can be told of the failure of but by an error of his data, so it is tried again without memory:
    /// that small allocations fail is a matter of tests.
    pub(super) fn change_at_end(&self, credits: Credits) -> Result<Change<'_>> {
        for _ in 0..20 {
            match self.change(credits) {
                Err(ENOMEM) => vfs::cond_resched(),
                // What is on the device now could not be found there after an error.
                begun => return begun.map_err(|_| EIO),
            }
        }
        Err(EIO)
    }

    /// Has `f` make a change, and once more if there was no space but a commit gives some back: what was freed cannot be had before.
    pub(super) fn with_space<R>(&self, mut f: impl FnMut() -> Result<R>) -> Result<R> {
        // Others may be faster, and free something in their turn.
        for _ in 0..3 {
            // Before: a commit may end meanwhile.
            let before = self.health().freed.load();
            let all = self.journal()?.is_committed(before);
            match f() {
                Err(ENOSPC) => {}
                done => return done,
            }
            let freed = self.health().freed.load();
            if all && freed == before {
                return Err(ENOSPC);
            }
            self.commit(freed)?;
        }
        f()
    }

    /// For looking at metadata.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader(self)
    }

    /// Makes a transaction durable, and what the device has acknowledged. `EIO` if something was lost, now or before.
    pub(super) fn commit(&self, tid: Tid) -> Result {
        self.check_lost()?;
        let Ok(journal) = self.journal() else {
            // Nothing was changed.
            return Ok(());
        };
        let committed = journal.commit(tid);
        // If it was aborted, others are told as well.
        self.check_lost()?;
        committed.inspect_err(|e| self.fail(format_args!("the device could not be flushed: {e:?}")))
    }

    /// Makes all that was changed durable. `EIO` if something was lost, now or before.
    pub(super) fn commit_all(&self) -> Result {
        let latest = self.journal().map_or(Tid::NONE, Journal::latest);
        self.commit(latest)
    }
}

/// How much a change may change.
#[derive(Clone, Copy)]
pub(super) struct Credits {
    /// Blocks that are written.
    blocks: u32,
    /// Blocks of metadata that are freed.
    revokes: u32,
}

impl Credits {
    const fn new(blocks: u32, revokes: u32) -> Self {
        Self { blocks, revokes }
    }

    /// An inode, or the super block, or that an inode becomes an orphan, and nothing else.
    pub(super) const ONE: Self = Self::new(1, 0);

    /// One extent of a file comes, or becomes another or three: the blocks of the chain (5), the bitmap for its data, for a block of
    /// the chain and for those that are merged (6), the inode, the orphan bitmap.
    pub(super) const MAP: Self = Self::new(14, 8);

    /// As many extents as [`ExtentMap::remove_some`](super::extent::ExtentMap::remove_some) takes away, and the inode with
    /// them, and its attributes. As many blocks of a directory, or of the chain, are freed and revoked.
    pub(super) const FREE: Self = Self::new(
        Self::MAP.blocks + 2 * REMOVED_AT_ONCE as u32 + 3,
        Self::MAP.revokes + REMOVED_AT_ONCE as u32 + 1,
    );

    /// Extended attributes: the block, the bitmap for it, the inode.
    pub(super) const XATTR: Self = Self::new(Self::MAP.blocks + 2, Self::MAP.revokes + 1);

    /// A change of names. Two directories, one of which may get another block, of an entry each (14 + 3); two inodes that have had
    /// these names, and one that is new, with the bitmap of inodes and its ACLs (6), or one that is new with a block for its
    /// target (4).
    pub(super) const NAMES: Self = Self::new(Self::MAP.blocks + 12, Self::MAP.revokes + 1);
}

/// Metadata of a mount, to be read.
pub(super) struct Reader<'a>(&'a SuperBlock);

impl BlockIo for Reader<'_> {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        self.0.check_up()?;
        let since = &self.0.health().since;
        BlockDevice::read(self.0.device(), block, offset, buf, since)
    }

    fn read_bitmap(&self, block: u64, bits: &mut [u8]) -> Result {
        let since = &self.0.health().since;
        let bits = bits.try_into().map_err(|_| EINVAL)?;
        self.0.device().read_bitmap(block, bits, since)
    }

    fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        self.0.complain(what);
        EUCLEAN
    }

    fn may_go_on(&self) -> Result {
        go_on_unless_killed()
    }
}

/// Lets others run, and ends a loop of a task that is to die.
fn go_on_unless_killed() -> Result {
    vfs::cond_resched();
    if vfs::fatal_signal_pending() {
        return Err(EINTR);
    }
    Ok(())
}

/// A change of a mount's metadata, all of which survives a power cut or nothing. What it cannot read, write or understand is an
/// error of the file system.
///
/// While a task has one it waits for nobody's data: no folio is locked, and no lock taken but the map of an inode and the
/// allocator. Nor is a reference to an inode given up, which might be the last.
#[must_use = "the change has ended when this is dropped"]
pub(super) struct Change<'a> {
    sb: &'a SuperBlock,
    handle: Handle<'a>,
    /// Something has been written: the rest must follow.
    started: Cell<bool>,
}

impl Change<'_> {
    /// The transaction that this is a part of.
    pub(super) fn tid(&self) -> Tid {
        self.handle.tid()
    }

    /// Ends the change; on disk when this returns if it is to be `sync`.
    pub(super) fn finish(self, sync: bool) -> Result {
        let Self { sb, handle, .. } = self;
        if sync {
            handle.sync();
        }
        handle.stop().or_else(|_| sb.check_lost())
    }

    fn check(&self, done: Result, verb: &str, block: u64) -> Result {
        match done {
            Ok(()) => Ok(()),
            // Nothing was read or written, and the caller knows how to go back.
            Err(ENOMEM) => Err(ENOMEM),
            Err(e) => {
                self.sb.fail(format_args!(
                    "metadata block {block} cannot be {verb}: {e:?}"
                ));
                Err(EIO)
            }
        }
    }
}

impl BlockIo for Change<'_> {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        self.check(self.sb.reader().read(block, offset, buf), "read", block)
    }

    fn read_bitmap(&self, block: u64, bits: &mut [u8]) -> Result {
        self.check(self.sb.reader().read_bitmap(block, bits), "read", block)
    }

    fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        let done = self.handle.write(block, offset, data);
        self.started.set(true);
        self.check(done, "written", block)
    }

    fn write_bitmap(&self, block: u64, offset: usize, data: &[u8], clears: bool) -> Result {
        if clears {
            self.sb.health().freed.store(self.handle.tid());
        }
        let done = self.handle.write_bitmap(block, offset, data);
        self.started.set(true);
        self.check(done, "written", block)
    }

    fn revoke(&self, block: u64) -> Result {
        self.check(self.handle.revoke(block), "freed", block)
    }

    fn freed(&self, start: u64, len: u64) {
        self.sb.note_freed(self.handle.tid(), start, len);
    }

    fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        self.sb.complain(what);
        self.sb.fail(format_args!("corrupt metadata"));
        EUCLEAN
    }

    fn half_done(&self, what: &'static str, error: Error) {
        self.sb.fail(format_args!("{what}: {error:?}"));
    }

    fn may_go_on(&self) -> Result {
        if self.started.get() {
            vfs::cond_resched();
            return Ok(());
        }
        go_on_unless_killed()
    }
}

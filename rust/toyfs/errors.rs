// SPDX-License-Identifier: GPL-2.0

//! What happens after an error of metadata.
//!
//! There is no journal: metadata that could not be written, or a change of it that ended half done, leaves
//! the device behind what is in memory, and nothing will bring it up to date. So the first error makes
//! the file system read-only for the rest of the mount, and it stays marked as not unmounted cleanly.
//!
//! Not through `SB_RDONLY`: setting that behind the back of `s_umount` confuses freezing, and sync(2) and
//! syncfs(2) take a read-only file system for one that has nothing to report.

use super::{block::BlockIo, options::OnError, SuperBlock};
use crate::vfs::{self, BlockDevice, ErrorCursor, RateLimit};
use core::{cell::Cell, convert::Infallible, fmt};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

/// Whether a mount has had an error, and what to do about one.
#[pin_data]
pub(super) struct Health {
    failed: Atomic<u32>,
    /// [`OnError`]; a remount may change it.
    on_error: Atomic<u32>,
    /// Errors of writes to the device before this point are none of this mount's.
    since: ErrorCursor,
    #[pin]
    messages: RateLimit,
}

impl Health {
    /// Without errors so far.
    pub(super) fn new(since: ErrorCursor, on_error: OnError) -> impl PinInit<Self, Infallible> {
        pin_init!(Self {
            failed: Atomic::new(0),
            on_error: Atomic::new(on_error as u32),
            since,
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

    /// Whether there was an error.
    pub(super) fn has_failed(&self) -> bool {
        self.health().failed.load(Relaxed) != 0
    }

    /// Makes the file system read-only because of an error.
    pub(super) fn fail(&self, why: fmt::Arguments<'_>) {
        // The order does not matter: who has not seen it yet might as well have come before.
        if self.health().failed.xchg(1, Full) != 0 {
            return;
        }
        let id = self.id();
        pr_crit!("{id}: {why}\n");
        if self.health().on_error() == OnError::Panic {
            vfs::panic(c"toyfs: panic forced after error");
        }
        pr_crit!("{id}: read-only from now on; unmount it and run fsck.toyfs\n");
    }

    /// Whether metadata that was written has reached the device as far as is known. If some has not, that is
    /// an error, of which nobody else may have heard.
    pub(super) fn check_lost(&self) -> Result {
        if self.device().check_errors(&self.health().since).is_err() {
            self.fail(format_args!("metadata could not be written"));
        }
        if self.has_failed() {
            return Err(EIO);
        }
        Ok(())
    }

    /// Begins a change of metadata. `EROFS` after an error.
    pub(super) fn change(&self) -> Result<Change<'_>> {
        self.check_lost().map_err(|_| EROFS)?;
        Ok(Change {
            sb: self,
            started: Cell::new(false),
        })
    }

    /// For looking at metadata.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader(self)
    }

    /// Writes all dirty metadata, and makes it durable. `EIO` if some was lost, now or before.
    pub(super) fn sync_device(&self) -> Result {
        let device = self.device();
        if let Err(e) = device.sync() {
            self.fail(format_args!("metadata could not be written: {e:?}"));
        }
        self.check_lost()?;
        device.flush().map_err(|e| {
            self.fail(format_args!("the device could not be flushed: {e:?}"));
            EIO
        })
    }
}

/// Metadata of a mount, to be read.
pub(super) struct Reader<'a>(&'a SuperBlock);

impl BlockIo for Reader<'_> {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        let since = &self.0.health().since;
        BlockDevice::read(self.0.device(), block, offset, buf, since)
    }

    fn write(&self, _block: u64, _offset: usize, _data: &[u8]) -> Result {
        Err(EROFS)
    }

    fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        self.0.complain(what);
        EUCLEAN
    }

    fn half_done(&self, _what: &'static str, _error: Error) {}

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

/// A change of a mount's metadata. What it cannot read, write or understand is an error of the file
/// system.
pub(super) struct Change<'a> {
    sb: &'a SuperBlock,
    /// Something has been written: the rest must follow.
    started: Cell<bool>,
}

impl Change<'_> {
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

    fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        let since = &self.sb.health().since;
        let done = BlockDevice::write(self.sb.device(), block, offset, data, since);
        self.started.set(true);
        self.check(done, "written", block)
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

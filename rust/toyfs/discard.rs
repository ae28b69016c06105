// SPDX-License-Identifier: GPL-2.0

//! Telling the device what is not in use: for `fstrim(8)`, and with the mount option `discard` by itself.
//!
//! With the option, what is freed is noted, and the device told once the transaction that has freed it is committed: until then a
//! power cut would bring it back. What has been allocated again meanwhile is not free, and left alone; what is free cannot
//! be allocated while the device is told, since the allocator is held.
//!
//! It is no promise: what there was no memory to note, or is too much at once, and what is noted when the power is cut, is left to
//! `fstrim(8)`.

use super::{block::BlockIo, LockedSuper, SuperBlock};
use crate::vfs::{NofsScope, Tid};
use core::mem;
use kernel::{
    alloc::flags::GFP_NOWAIT,
    prelude::*,
    sync::atomic::Relaxed,
    time::{Delta, Instant, Monotonic, Msecs},
};
use toyfs_format::BLOCK_SIZE;

/// How long after something was freed the device is told first.
const DELAY_MS: Msecs = 1000;

/// For so long a mount that ends, or is to be read-only, tells of the rest.
const LAST: Delta = Delta::from_secs(10);

/// So many runs are noted at once, and wait at once: a megabyte of them.
const MOST: usize = 1 << 16;

/// Blocks that were freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
}

/// What was freed, and the device has not been told of.
pub(super) struct Freed {
    /// The last of them by transaction `latest`.
    new: KVVec<Run>,
    latest: Tid,
    /// The last of them by transaction `until`, which is being waited for.
    waiting: KVVec<Run>,
    until: Tid,
}

impl Freed {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            new: KVVec::new(),
            latest: Tid::NONE,
            waiting: KVVec::new(),
            until: Tid::NONE,
        }
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.waiting.is_empty()
    }

    /// Notes that transaction `tid`, which is no earlier than those before, has freed `len` blocks from `start` on.
    fn note(&mut self, tid: Tid, start: u64, len: u64) {
        let end = start.saturating_add(len);
        self.latest = tid;
        // Files are freed from either end.
        let room = self.new.len() < MOST;
        match self.new.last_mut() {
            Some(last) if last.end == start => last.end = end,
            Some(last) if last.start == end => last.start = start,
            _ if room => {
                let _ = self.new.push(Run { start, end }, GFP_KERNEL);
            }
            _ => {}
        }
    }

    /// Takes what was freed by transactions that are committed, as far as that is known; the rest will be taken later.
    fn take(&mut self, is_committed: impl Fn(Tid) -> bool) -> KVVec<Run> {
        let ripe = if is_committed(self.until) {
            mem::replace(&mut self.waiting, KVVec::new())
        } else {
            KVVec::new()
        };
        if self.waiting.is_empty() {
            self.waiting = mem::replace(&mut self.new, KVVec::new());
            self.until = self.latest;
        }
        ripe
    }

    /// Gives some of that back, because of which less is taken the next time.
    fn put_back(&mut self, runs: &[Run]) {
        for run in runs {
            if self.waiting.len() < MOST {
                let _ = self.waiting.push(*run, GFP_NOWAIT);
            }
        }
    }
}

impl SuperBlock {
    /// Notes what transaction `tid` has freed, if the device is to be told.
    pub(super) fn note_freed(&self, tid: Tid, start: u64, len: u64) {
        if self.data().discards() && self.device().discard_granularity().is_some() {
            self.data().freed.lock().note(tid, start, len);
            self.defer(DELAY_MS);
        }
    }

    /// Tells the device what of the blocks `from..end` is free, in runs of `least` blocks. `may_go_on` is asked before each of them.
    /// Returns how many it was told of, and up to where.
    pub(super) fn discard_free<U>(
        &self,
        from: u64,
        end: u64,
        least: u64,
        may_go_on: impl Fn() -> Option<U>,
    ) -> Result<(u64, u64)> {
        let granularity = self.device().discard_granularity().ok_or(EOPNOTSUPP)?;
        let least = least.max(u64::from(granularity).div_ceil(BLOCK_SIZE as u64));
        let io = &self.reader();
        let mut told = 0;
        let mut next = from;
        while next < end {
            io.may_go_on()?;
            self.check_changeable()?;
            let Some(_going_on) = may_go_on() else {
                break;
            };
            let _nofs = NofsScope::enter();
            // Held so that nobody gets the run meanwhile. What was freed, but might be found in use after a power cut, is not
            // among what is found.
            let mut allocator = self.data().allocator.lock();
            let (run, more) = allocator.free_run(io, next, end, least)?;
            // What an aborted journal had not committed is free here, and not on disk.
            self.check_changeable()?;
            if let Some((start, len)) = run {
                self.device().discard(start, len)?;
                told += len;
            }
            next = more;
        }
        Ok((told, next))
    }

    /// Tells the device of runs, and what is free around them in its own units, as long as `may_go_on` says so. Returns those that
    /// it has not been told of, or not of all of.
    fn discard_runs<'a, U>(&self, runs: &'a [Run], may_go_on: impl Fn() -> Option<U>) -> &'a [Run] {
        let granularity = self.device().discard_granularity().unwrap_or(1);
        let unit = u64::from(granularity).div_ceil(BLOCK_SIZE as u64).max(1);
        let mut told = Run { start: 0, end: 0 };
        for (i, run) in runs.iter().enumerate() {
            let (start, end) = (run.start / unit * unit, run.end.next_multiple_of(unit));
            if told.start <= start && end <= told.end {
                // All of these runs were free, so that was told, too.
                continue;
            }
            match self.discard_free(start, end, 1, &may_go_on) {
                Ok((_, next)) if next < end => return runs.get(i..).unwrap_or(&[]),
                Ok(_) => told = Run { start, end },
                Err(e) => {
                    if !self.has_failed() {
                        self.complain(format_args!("free blocks could not be discarded: {e:?}"));
                    }
                    break;
                }
            }
        }
        &[]
    }

    /// Tells the device of what is free for good. Returns whether there is more, which is not committed, or has to wait because the
    /// mount is being frozen.
    pub(super) fn discard_freed(&self) -> bool {
        let Ok(journal) = self.journal() else {
            return false;
        };
        // When it can be written to again, something asks again.
        let is_over = || self.has_failed() || self.is_read_only() || !self.data().discards();
        if is_over() {
            return false;
        }
        let waits = || self.data().discards_wait.load(Relaxed);
        let may_go_on = || (!is_over() && !waits()).then(|| self.unfrozen()).flatten();
        self.discard_ripe(|tid| journal.is_committed(tid), may_go_on);
        !self.data().freed.lock().is_empty()
    }

    /// Tells the device of what transactions have freed that are committed, as long as `may_go_on` says so.
    fn discard_ripe<U>(
        &self,
        is_committed: impl Fn(Tid) -> bool,
        may_go_on: impl Fn() -> Option<U>,
    ) {
        let runs = self.data().freed.lock().take(is_committed);
        let rest = self.discard_runs(&runs, may_go_on);
        self.data().freed.lock().put_back(rest);
    }

    /// As [`Self::discard_freed`], when everything is committed and nobody changes anything. What would take too long is left.
    pub(super) fn discard_all_freed(&self) {
        let begin = Instant::<Monotonic>::now();
        // What was freed last, and before.
        for _ in 0..2 {
            self.discard_ripe(|_| true, || (begin.elapsed() < LAST).then_some(()));
        }
    }
}

impl LockedSuper {
    /// From now on the device is told of nothing, until somebody frees something, or asks for it.
    pub(super) fn interrupt_discards(&self) {
        let wait = &self.data().discards_wait;
        wait.store(true, Relaxed);
        self.undefer();
        wait.store(false, Relaxed);
    }

    /// Whether the device is to be told, from now on.
    pub(super) fn set_discards(&self, discards: bool) {
        self.data().discard.store(discards, Relaxed);
        if discards {
            // Of what was left when the mount became read-only.
            self.defer(DELAY_MS);
        } else {
            self.undefer();
            *self.data().freed.lock() = Freed::new();
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(toyfs_discard)]
mod tests {
    use super::*;

    fn runs(freed: &mut Freed, is_committed: bool) -> KVVec<Run> {
        freed.take(|_| is_committed)
    }

    #[test]
    fn runs_are_put_together() {
        let mut freed = Freed::new();
        for (start, len) in [(100, 10), (110, 5), (90, 10), (200, 1), (202, 1), (201, 1)] {
            freed.note(Tid::NONE, start, len);
        }
        assert!(runs(&mut freed, true).is_empty());
        let all = runs(&mut freed, true);
        let mut all = all.iter().map(|run| (run.start, run.end));
        assert!(all.by_ref().eq([(90, 115), (200, 201), (201, 203)]));
        assert!(freed.is_empty());
    }

    #[test]
    fn what_is_not_committed_waits() {
        let mut freed = Freed::new();
        freed.note(Tid::NONE, 1, 1);
        assert!(runs(&mut freed, false).is_empty());
        freed.note(Tid::NONE, 2, 1);
        assert!(runs(&mut freed, false).is_empty());
        assert!(!freed.is_empty());
        assert_eq!(runs(&mut freed, true).len(), 1);
        assert!(runs(&mut freed, false).is_empty());
        let last = runs(&mut freed, true);
        assert_eq!(last.first().copied(), Some(Run { start: 2, end: 3 }));
        freed.put_back(&last);
        assert!(!freed.is_empty());
        assert_eq!(runs(&mut freed, true).len(), 1);
        assert!(freed.is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_noted() {
        let mut freed = Freed::new();
        for i in 0..MOST as u64 + 100 {
            freed.note(Tid::NONE, i * 2, 1);
        }
        assert!(runs(&mut freed, true).is_empty());
        assert_eq!(runs(&mut freed, true).len(), MOST);
    }
}

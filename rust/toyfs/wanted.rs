// SPDX-License-Identifier: GPL-2.0

//! Pages that somebody wants, and that direct writes take away from him again and again.
//!
//! A direct write drops the pages of its range from the cache, twice. Whoever faults on such a page, or reads it, brings it in
//! from the device, and may find it gone before he has come to use it; who stores to it waits for `Add` with the page in his
//! hand, and will find it gone if one of those he has waited for was a write of that page. He starts over. Where one direct
//! write of a page follows the other without pause, he might do so for ever.
//!
//! So his losses are counted, and after some of them direct writes of that page leave it in the cache for a while: they go
//! through the cache ([`End::Busy`](super::dio)), as they do where a page cannot be dropped. Each loss doubles the while, so
//! it comes to be longer than the device takes for a read. The while ends when he has got his page, or by itself.
//!
//! A loss is not seen as such. What is seen is that a task reads the page for which it waits into the cache once more, and has
//! not come to the end of its access since ([`Wanted::got`]). Who does come to it has lost nothing, however often he comes; nor
//! has who waits for none of what he has read in.
//!
//! Of an access that has begun before the file was written directly it is not known for which page it waits ([`Reader::Unknown`]).
//! It may read in what it waits for together with what comes behind, in several runs. So each run that it reads in again is taken
//! for lost.

use crate::vfs::Reader;
use core::ops::RangeInclusive;
use kernel::{
    current, new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SpinLock,
    },
    time::{Delta, Instant, Monotonic},
};

/// So much is kept in mind.
const PLACES: usize = 32;

/// So much of it of one task.
const OWN: usize = 4;

/// As often a reader may find his page gone.
const LOSSES: u32 = 3;

/// For so long is a page left in the cache after the last of these losses.
const WHILE: Delta = Delta::from_millis(10);

/// It is doubled so often at most.
const DOUBLED: u32 = 7;

/// After so long, a loss is a first one again, in milliseconds.
pub(super) const FORGOTTEN_MS: u32 = 10 << (DOUBLED + 1);
const FORGOTTEN: Delta = Delta::from_millis(FORGOTTEN_MS as i64);

/// What a task is about to get from a file.
#[derive(Clone, Copy)]
struct Place {
    /// The task.
    pid: i32,
    ino: u64,
    /// The pages that it has read in each time.
    first: u64,
    last: u64,
    losses: u32,
    at: Instant<Monotonic>,
}

impl Place {
    fn is_fresh(&self) -> bool {
        self.at.elapsed().as_nanos() < FORGOTTEN.as_nanos()
    }

    /// Whether the pages are to be left in the cache.
    fn is_spared(&self) -> bool {
        let doubled = self.losses.checked_sub(LOSSES).map(|n| n.min(DOUBLED));
        doubled.is_some_and(|n| self.at.elapsed().as_nanos() < WHILE.as_nanos() << n)
    }
}

/// The pages of a mount that somebody loses.
#[pin_data]
pub(super) struct Wanted {
    /// Whether there may be any.
    any: Atomic<bool>,
    #[pin]
    places: SpinLock<[Option<Place>; PLACES]>,
}

impl Wanted {
    /// None.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            any: Atomic::new(false),
            places <- new_spinlock!([None; PLACES], "toyfs_wanted"),
        })
    }

    /// The current task brings in `pages` of file `ino`, which has been written directly not long ago. What it waits for may be a
    /// page of its own that was taken away.
    pub(super) fn missed(&self, ino: u64, pages: &RangeInclusive<u64>, reader: Reader) {
        match reader {
            Reader::Waits(folio) => self.note(ino, &folio, 1, true),
            Reader::Ahead => {}
            Reader::Unknown => self.note(ino, pages, 1, false),
        }
    }

    /// The folio of `pages` was taken away from the current task, which was about to store to one of them.
    pub(super) fn lost(&self, ino: u64, pages: &RangeInclusive<u64>) {
        self.note(ino, pages, LOSSES, true);
    }

    /// The current task has got from file `ino` what it wanted. In any context that is a task's own.
    #[inline]
    pub(super) fn got(&self, ino: u64) {
        if self.any.load(Relaxed) {
            self.forget(ino);
        }
    }

    #[cold]
    fn forget(&self, ino: u64) {
        let pid = current!().pid();
        let mut places = self.places.lock();
        for place in places.iter_mut() {
            if place.is_some_and(|p| p.pid == pid && p.ino == ino) {
                *place = None;
            }
        }
        if places.iter().all(Option::is_none) {
            self.any.store(false, Relaxed);
        }
    }

    /// The current task has lost what it has brought in of `pages`, if it has brought it in before. With `only` it waits for
    /// nothing else of the file: it has got what it waited for before.
    fn note(&self, ino: u64, pages: &RangeInclusive<u64>, losses: u32, only: bool) {
        let pid = current!().pid();
        let (first, last) = (*pages.start(), *pages.end());
        let mut new = Place {
            pid,
            ino,
            first,
            last,
            losses,
            at: Instant::now(),
        };
        let mut places = self.places.lock();
        let is_same = |p: &Place| {
            p.pid == pid && p.ino == ino && p.first <= last && first <= p.last && p.is_fresh()
        };
        let mut own = 0;
        for place in places.iter_mut() {
            match place {
                Some(p) if p.pid != pid || is_same(p) => {}
                // One that has gone on to other pages has not lost those before.
                Some(p) if only && p.ino == ino => *place = None,
                Some(_) => own += 1,
                None => {}
            }
        }
        // Its own, or a free one, or the oldest of those that have not lost much: who has is not put off by others. One that has
        // several already puts off itself.
        let age = |p: &Place| -p.at.elapsed().as_nanos();
        let rank = |p: &Option<Place>| match p {
            Some(p) if is_same(p) => (0, 0),
            Some(p) if own >= OWN && p.pid == pid => (1, age(p)),
            None => (2, 0),
            Some(p) if !p.is_spared() => (3, age(p)),
            Some(_) => (4, 0),
        };
        let Some(slot) = places.iter_mut().min_by_key(|p| rank(p)) else {
            return;
        };
        match slot {
            Some(p) if is_same(p) => {
                new.losses = new.losses.saturating_add(p.losses);
                if !only {
                    // What is read ahead with it is not wanted.
                    new.first = first.max(p.first);
                    new.last = last.min(p.last);
                }
            }
            Some(p) if p.pid != pid && p.is_spared() => return,
            _ => {}
        }
        *slot = Some(new);
        self.any.store(true, Relaxed);
    }

    /// Whether a direct write of `pages` must leave them in the cache.
    #[inline]
    pub(super) fn spares(&self, ino: u64, pages: &RangeInclusive<u64>) -> bool {
        self.any.load(Relaxed) && self.looks(ino, pages)
    }

    fn looks(&self, ino: u64, pages: &RangeInclusive<u64>) -> bool {
        let places = self.places.lock();
        let (mut any, mut spared) = (false, false);
        for place in places.iter().flatten() {
            any |= place.is_fresh();
            spared |= place.ino == ino
                && place.first <= *pages.end()
                && place.last >= *pages.start()
                && place.is_spared();
        }
        if !any {
            self.any.store(false, Relaxed);
        }
        spared
    }
}

#[kunit_tests(toyfs_wanted)]
mod tests {
    use super::*;

    const INO: u64 = 7;

    fn wanted() -> Result<Pin<KBox<Wanted>>> {
        KBox::pin_init(Wanted::new(), GFP_KERNEL)
    }

    #[test]
    fn who_loses_a_page_again_and_again_wants_it() -> Result {
        let wanted = wanted()?;
        for _ in 0..LOSSES {
            assert!(!wanted.spares(INO, &(0..=99)));
            wanted.missed(INO, &(8..=15), Reader::Waits(10..=10));
        }
        assert!(wanted.spares(INO, &(10..=10)));
        // What was read in with it, and other files, are nobody's.
        assert!(!wanted.spares(INO, &(0..=9)));
        assert!(!wanted.spares(INO, &(11..=99)));
        assert!(!wanted.spares(INO + 1, &(10..=10)));
        wanted.got(INO);
        assert!(!wanted.spares(INO, &(10..=10)));
        Ok(())
    }

    #[test]
    fn all_of_the_folio_counts() -> Result {
        let wanted = wanted()?;
        for n in 0..u64::from(LOSSES) {
            // It need not be the same one each time.
            wanted.missed(INO, &(0..=63), Reader::Waits(8..=9 + 2 * n));
        }
        assert!(wanted.spares(INO, &(13..=13)));
        assert!(wanted.spares(INO, &(0..=8)));
        assert!(!wanted.spares(INO, &(14..=20)));
        assert!(!wanted.spares(INO, &(0..=7)));
        Ok(())
    }

    #[test]
    fn who_waits_for_nothing_wants_nothing() -> Result {
        let wanted = wanted()?;
        for _ in 0..4 * LOSSES {
            wanted.missed(INO, &(8..=15), Reader::Ahead);
        }
        assert!(!wanted.spares(INO, &(0..=99)));
        Ok(())
    }

    #[test]
    fn what_is_read_in_with_it_does_not_count() -> Result {
        let wanted = wanted()?;
        for _ in 0..LOSSES {
            wanted.missed(INO, &(10..=10), Reader::Waits(10..=10));
            wanted.missed(INO, &(12..=15), Reader::Ahead);
        }
        assert!(wanted.spares(INO, &(10..=10)));
        assert!(!wanted.spares(INO, &(12..=15)));
        // The read goes on to where that begins: it has got the first one.
        wanted.missed(INO, &(12..=15), Reader::Waits(12..=12));
        assert!(!wanted.spares(INO, &(0..=99)));
        Ok(())
    }

    #[test]
    fn of_who_is_not_known_all_counts() -> Result {
        let wanted = wanted()?;
        for _ in 0..LOSSES {
            wanted.missed(INO, &(10..=10), Reader::Unknown);
            wanted.missed(INO, &(12..=15), Reader::Unknown);
        }
        assert!(wanted.spares(INO, &(10..=10)));
        assert!(!wanted.spares(INO, &(11..=11)));
        Ok(())
    }

    #[test]
    fn files_in_turns() -> Result {
        let wanted = wanted()?;
        for _ in 0..LOSSES {
            for ino in [INO, INO + 1] {
                wanted.missed(ino, &(10..=10), Reader::Waits(10..=10));
            }
        }
        assert!(wanted.spares(INO, &(10..=10)));
        wanted.got(INO);
        assert!(!wanted.spares(INO, &(10..=10)));
        assert!(wanted.spares(INO + 1, &(10..=10)));
        Ok(())
    }

    #[test]
    fn one_task_does_not_take_all_places() -> Result {
        let wanted = wanted()?;
        for n in 0..2 * PLACES as u64 {
            wanted.missed(INO, &(2 * n..=2 * n), Reader::Unknown);
        }
        let places = wanted.places.lock();
        assert_eq!(places.iter().flatten().count(), OWN);
        Ok(())
    }
}

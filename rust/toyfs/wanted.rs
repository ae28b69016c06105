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
//! A loss is not seen as such. What is seen is that a task reads pages into the cache once more which it has read in before, and
//! has not come to the end of its access since ([`Wanted::got`]). Who does come to it has lost nothing, however often he comes.

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

/// As many tasks are kept in mind.
const PLACES: usize = 32;

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

    /// The current task brings in pages of file `ino`, which has been written directly not long ago. It may be a page of its
    /// own that was taken away.
    pub(super) fn missed(&self, ino: u64, pages: RangeInclusive<u64>) {
        self.note(ino, pages, 1);
    }

    /// Page `index` was taken away from the current task, which was about to store to it.
    pub(super) fn lost(&self, ino: u64, index: u64) {
        self.note(ino, index..=index, LOSSES);
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

    fn note(&self, ino: u64, pages: RangeInclusive<u64>, losses: u32) {
        let pid = current!().pid();
        let (first, last) = pages.into_inner();
        let mut new = Place {
            pid,
            ino,
            first,
            last,
            losses,
            at: Instant::now(),
        };
        let mut places = self.places.lock();
        // Its own, or a free one, or the oldest of those that have not lost much: who has is not put off by others.
        let rank = |p: &Option<Place>| match p {
            Some(p) if p.pid == pid => (0, 0),
            None => (1, 0),
            Some(p) if !p.is_spared() => (2, -p.at.elapsed().as_nanos()),
            Some(_) => (3, 0),
        };
        let Some(slot) = places.iter_mut().min_by_key(|p| rank(p)) else {
            return;
        };
        match slot {
            Some(p) if p.pid == pid => {
                // One that has gone on to other pages has not lost those before.
                if p.ino == ino && p.first <= last && first <= p.last && p.is_fresh() {
                    new.losses = new.losses.saturating_add(p.losses);
                    // What is read ahead with it is not wanted.
                    new.first = first.max(p.first);
                    new.last = last.min(p.last);
                }
            }
            Some(p) if p.is_spared() => return,
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

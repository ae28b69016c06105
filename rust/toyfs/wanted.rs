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
//! it comes to be longer than the device takes for a read. It need not be asked for back: it ends.

use core::ops::RangeInclusive;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SpinLock,
    },
    time::{Delta, Instant, Monotonic},
};

/// As many places are kept in mind; the one that was not lost for the longest time is forgotten for another one.
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

/// Pages of a file that were lost.
#[derive(Clone, Copy)]
struct Place {
    ino: u64,
    first: u64,
    last: u64,
    losses: u32,
    at: Instant<Monotonic>,
}

impl Place {
    /// Whether the pages are to be left in the cache.
    fn is_spared(&self) -> bool {
        let doubled = self.losses.checked_sub(LOSSES).map(|n| n.min(DOUBLED));
        doubled.is_some_and(|n| self.at.elapsed().as_nanos() < WHILE.as_nanos() << n)
    }
}

/// The pages of a mount that somebody loses.
#[pin_data]
pub(super) struct Wanted {
    /// Whether there may be pages to be left in the cache.
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

    /// A reader brings in pages of file `ino`, which has been written directly not long ago. It may be a page of his that was
    /// taken away.
    pub(super) fn missed(&self, ino: u64, pages: RangeInclusive<u64>) {
        self.note(ino, pages, 1);
    }

    /// Page `index` was taken away from somebody who was about to store to it.
    pub(super) fn lost(&self, ino: u64, index: u64) {
        self.note(ino, index..=index, LOSSES);
    }

    fn note(&self, ino: u64, pages: RangeInclusive<u64>, losses: u32) {
        let (first, last) = pages.into_inner();
        let mut places = self.places.lock();
        let known = places
            .iter_mut()
            .flatten()
            .find(|p| p.ino == ino && p.first == first);
        if let Some(place) = known {
            let fresh = place.at.elapsed().as_nanos() < FORGOTTEN.as_nanos();
            place.losses = if fresh { place.losses } else { 0 }.saturating_add(losses);
            place.last = last;
            place.at = Instant::now();
        } else {
            let age = |p: &Option<Place>| p.map_or(i64::MAX, |p| p.at.elapsed().as_nanos());
            if let Some(oldest) = places.iter_mut().max_by_key(|p| age(p)) {
                *oldest = Some(Place {
                    ino,
                    first,
                    last,
                    losses,
                    at: Instant::now(),
                });
            }
        }
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
            any |= place.at.elapsed().as_nanos() < FORGOTTEN.as_nanos();
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

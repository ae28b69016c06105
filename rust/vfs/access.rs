// SPDX-License-Identifier: GPL-2.0

//! Which page of a file a task waits for.
//!
//! Who loads or reads a page has more of them read into the cache, and there are those who have pages read in and wait for none.
//! By the time that they are read, the kernel no longer says who waits for what. So the access says it before, and what reads
//! pages in asks.
//!
//! Nothing of the task's is free for that, so there is a table. A task looks only at what it has put there itself.

use crate::bindings;
use core::{ops::RangeInclusive, ptr};
use kernel::{
    current,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
};

/// Who reads pages into the cache.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    /// One that waits for one of these pages: those of a folio, which leave the cache together.
    Waits(RangeInclusive<u64>),
    /// One that waits for none of them.
    Ahead,
    /// An access that has not said for what it waits.
    Unknown,
}

/// The page that an access waits for.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// This one.
    Page(u64),
    /// The one with this position in the file.
    Position(Position),
    /// None.
    Nowhere,
}

/// A position in a file, which moves on.
///
/// # Invariants
///
/// It can be read while the access is going on in which it is used, by the task whose that is.
#[derive(Clone, Copy)]
pub(super) struct Position(*const i64);

impl Position {
    /// # Safety
    ///
    /// `pos` must be valid for reading during each access that it is used in, and nobody but the task of the access may change it
    /// then.
    pub(super) unsafe fn new(pos: *const i64) -> Self {
        // INVARIANT: The caller's promise.
        Position(pos)
    }
}

/// An access of a task, on its stack.
struct Access {
    inode: *const bindings::inode,
    at: At,
    /// That in which it has come about: a page fault on the buffer of a read.
    outer: *const Access,
}

/// A place in the table. A cache line, for no two tasks have a place in common.
#[repr(align(64))]
struct Place {
    /// The task, or 0.
    pid: Atomic<i32>,
    /// Its innermost access; only for the task.
    access: Atomic<*const Access>,
}

const PLACES: usize = 256;

/// A task's place is one of so many, beginning with that of its number.
const NEAR: usize = 8;

static TABLE: [Place; PLACES] = [const {
    Place {
        pid: Atomic::new(0),
        access: Atomic::new(ptr::null()),
    }
}; PLACES];

fn places_of(pid: i32) -> impl Iterator<Item = &'static Place> {
    (0..NEAR).map(move |i| &TABLE[(pid as usize).wrapping_add(i) % PLACES])
}

fn place_of(pid: i32) -> Option<&'static Place> {
    places_of(pid).find(|p| p.pid.load(Relaxed) == pid)
}

/// Runs `f`, an access of the current task to the file of `inode`, which waits for the page `at`. Where there is no place for it
/// in the table, nobody will know.
pub(super) fn announced<R>(inode: *const bindings::inode, at: At, f: impl FnOnce() -> R) -> R {
    let pid = current!().pid();
    let (place, outer) = match place_of(pid) {
        Some(place) => (Some(place), place.access.load(Relaxed)),
        None => (
            places_of(pid).find(|p| p.pid.cmpxchg(0, pid, Acquire).is_ok()),
            ptr::null(),
        ),
    };
    let Some(place) = place else {
        return f();
    };
    let access = Access { inode, at, outer };
    place.access.store(&access, Relaxed);
    let ret = f();
    place.access.store(access.outer, Relaxed);
    if access.outer.is_null() {
        place.pid.store(0, Release);
    }
    ret
}

/// Who reads `pages` of the file of `inode`: the current task. That it waits for one of them says nothing of folios.
pub(super) fn reader_of(inode: *const bindings::inode, pages: &RangeInclusive<u64>) -> Reader {
    let Some(place) = place_of(current!().pid()) else {
        return Reader::Unknown;
    };
    // SAFETY: The task's own, put there by a call of `announced` that is not over, or there would be no such place.
    let access = unsafe { &*place.access.load(Relaxed) };
    if !ptr::eq(access.inode, inode) {
        // Of one that it has come about in, perhaps.
        return Reader::Unknown;
    }
    let index = match access.at {
        At::Page(index) => index,
        // SAFETY: By the type invariant: the access is going on.
        At::Position(Position(pos)) => unsafe { *pos as u64 >> bindings::PAGE_SHIFT },
        At::Nowhere => return Reader::Ahead,
    };
    if pages.contains(&index) {
        Reader::Waits(index..=index)
    } else {
        Reader::Ahead
    }
}

#[kunit_tests(toyfs_access)]
mod tests {
    use super::*;

    /// Only compared with.
    fn inode(n: usize) -> *const bindings::inode {
        ptr::null::<bindings::inode>().wrapping_byte_add(64 * n)
    }

    #[test]
    fn who_reads() {
        assert!(reader_of(inode(1), &(0..=9)) == Reader::Unknown);
        announced(inode(1), At::Page(4), || {
            assert!(reader_of(inode(1), &(0..=9)) == Reader::Waits(4..=4));
            assert!(reader_of(inode(1), &(5..=9)) == Reader::Ahead);
            assert!(reader_of(inode(2), &(0..=9)) == Reader::Unknown);
        });
        announced(inode(1), At::Nowhere, || {
            assert!(reader_of(inode(1), &(0..=9)) == Reader::Ahead);
        });
        assert!(reader_of(inode(1), &(0..=9)) == Reader::Unknown);
    }

    #[test]
    fn one_within_the_other() {
        announced(inode(1), At::Page(4), || {
            announced(inode(2), At::Page(5), || {
                assert!(reader_of(inode(2), &(0..=9)) == Reader::Waits(5..=5));
            });
            assert!(reader_of(inode(1), &(0..=9)) == Reader::Waits(4..=4));
        });
        assert!(reader_of(inode(1), &(0..=9)) == Reader::Unknown);
    }

    #[test]
    fn a_position_moves_on() {
        let mut pos = 0;
        let at = &raw mut pos;
        // SAFETY: It outlives the access, and is this task's.
        let position = unsafe { Position::new(at) };
        announced(inode(1), At::Position(position), || {
            assert!(reader_of(inode(1), &(0..=0)) == Reader::Waits(0..=0));
            // SAFETY: Ours.
            unsafe { *at = 3 << bindings::PAGE_SHIFT };
            assert!(reader_of(inode(1), &(0..=0)) == Reader::Ahead);
            assert!(reader_of(inode(1), &(2..=4)) == Reader::Waits(3..=3));
        });
    }
}

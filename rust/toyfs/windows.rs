// SPDX-License-Identifier: GPL-2.0

//! Where files that grow in turns are about to go on.
//!
//! Each allocation looks for the first free block behind the last one of the file. Of two files that are written in turns each
//! would find the block of the other there, and have an extent for each block. So who finds it taken gets a window: the
//! blocks behind what it gets instead are left to it by others, as those in a reservation of ext3 were.
//!
//! That is a hint, in memory only. Nothing is allocated, nor counted, and where somebody finds no other block the windows shrink. A
//! file that nobody gets in the way of has none: files that are written one after the other lie one behind the other.

use kernel::prelude::*;

/// So many files have one at a time: those that have got blocks last.
const PLACES: usize = 64;

/// A window has as many blocks as its file, within these bounds.
const LEAST: u64 = 16;
const MOST: u64 = 2048;

/// Blocks that a file is about to need.
#[derive(Clone, Copy)]
struct Window {
    /// The number of the file's inode.
    owner: u64,
    start: u64,
    end: u64,
}

/// The windows of a mount, the one used last in front.
///
/// # Invariants
///
/// - There is room for [`PLACES`] of them, and there are no more.
/// - No two have the same owner.
pub(super) struct Windows(KVVec<Window>);

impl Windows {
    /// None.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(KVVec::with_capacity(PLACES, GFP_KERNEL)?))
    }

    /// Start and end of the windows that `owner`, or who is no file (0), leaves to others.
    pub(super) fn of_others(&self, owner: u64) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
        let others = self.0.iter();
        let others = others.filter(move |w| w.owner != owner && w.start < w.end);
        others.map(|w| (w.start, w.end))
    }

    /// A file that has `blocks` got those before `next`, and may get `room` more there; `missed` if there were others that would
    /// have come behind its last ones. Its window lasts until it is used up: one that moved along would push away who comes
    /// behind it, again and again.
    pub(super) fn follow(&mut self, owner: u64, missed: bool, next: u64, blocks: u64, room: u64) {
        let old = self.close(owner);
        let end = match old {
            Some(old) if (old.start..old.end).contains(&next) => old.end,
            None if !missed => return,
            _ => {
                let behind = self.of_others(owner).filter(|&(_, end)| end > next);
                let first = behind.map(|(start, _)| start).min().unwrap_or(u64::MAX);
                let len = blocks.clamp(LEAST, MOST).min(room);
                next.saturating_add(len).min(first)
            }
        };
        if end <= next {
            return;
        }
        self.0.truncate(PLACES - 1);
        let new = Window {
            owner,
            start: next,
            end,
        };
        // There is room.
        let _ = self.0.insert_within_capacity(0, new);
    }

    /// Makes those of others half as long, down to nothing.
    pub(super) fn shrink(&mut self, owner: u64) {
        for w in self.0.iter_mut().filter(|w| w.owner != owner) {
            w.end = w.start + (w.end - w.start) / 2;
        }
    }

    /// The file needs none any more. Returns the one that it had.
    fn close(&mut self, owner: u64) -> Option<Window> {
        let own = self.0.iter().position(|w| w.owner == owner)?;
        self.0.remove(own).ok()
    }

    /// The file is no more.
    pub(super) fn forget(&mut self, owner: u64) {
        self.close(owner);
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(toyfs_windows)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_way_of_nobody_has_none() -> Result {
        let mut windows = Windows::new()?;
        windows.follow(2, false, 100, 1, u64::MAX);
        assert!(windows.of_others(0).next().is_none());
        windows.follow(2, true, 200, 1, u64::MAX);
        assert!(windows.of_others(0).eq([(200, 200 + LEAST)]));
        assert!(windows.of_others(2).next().is_none());
        // It is used up, and then comes the next one.
        windows.follow(2, false, 203, 4, u64::MAX);
        assert!(windows.of_others(3).eq([(203, 200 + LEAST)]));
        windows.follow(2, false, 200 + LEAST, 100, u64::MAX);
        assert!(windows.of_others(3).eq([(200 + LEAST, 300 + LEAST)]));
        // Elsewhere.
        windows.follow(2, true, 5000, 1 << 40, u64::MAX);
        assert!(windows.of_others(3).eq([(5000, 5000 + MOST)]));
        windows.follow(2, true, 300, 100, 5);
        assert!(windows.of_others(3).eq([(300, 305)]));
        windows.follow(2, true, 900, 100, 0);
        assert!(windows.of_others(3).next().is_none());
        Ok(())
    }

    #[test]
    fn they_do_not_overlap() -> Result {
        let mut windows = Windows::new()?;
        windows.follow(2, true, 200, 1, u64::MAX);
        windows.follow(3, true, 190, 1, u64::MAX);
        assert!(windows.of_others(2).eq([(190, 200)]));
        windows.follow(4, true, 205, 1, u64::MAX);
        assert_eq!(windows.of_others(0).count(), 2);
        windows.follow(3, true, 200 + LEAST, 1, u64::MAX);
        assert!(windows.of_others(2).eq([(200 + LEAST, 200 + 2 * LEAST)]));
        Ok(())
    }

    #[test]
    fn they_shrink_for_others() -> Result {
        let mut windows = Windows::new()?;
        windows.follow(2, true, 200, 25, u64::MAX);
        windows.follow(3, true, 300, 1, u64::MAX);
        windows.shrink(3);
        assert!(windows.of_others(3).eq([(200, 212)]));
        assert!(windows.of_others(2).eq([(300, 300 + LEAST)]));
        for _ in 0..5 {
            windows.shrink(0);
        }
        assert!(windows.of_others(0).next().is_none());
        windows.follow(2, false, 201, 25, u64::MAX);
        assert!(windows.of_others(0).eq([(201, 226)]));
        Ok(())
    }

    #[test]
    fn those_used_last_are_kept() -> Result {
        let mut windows = Windows::new()?;
        for owner in 1..=PLACES as u64 + 10 {
            windows.follow(owner, true, owner * 1000, 1, u64::MAX);
            windows.follow(1, true, 1000, 1, u64::MAX);
        }
        assert_eq!(windows.of_others(0).count(), PLACES);
        assert!(windows.close(1).is_some() && windows.close(1).is_none());
        assert!(windows.close(11).is_none() && windows.close(12).is_some());
        assert_eq!(windows.of_others(0).count(), PLACES - 2);
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What is known of the blocks of a large directory, so that few of them have to be looked at.
//!
//! A name is in some block of its directory, whichever had room. So each block that has been read is summed up: which names it may
//! have, and how long a name it has room for. The others are passed over, and what is left to do for each is to look at
//! its summary: of a block in some hundred, one is looked at for nothing.
//!
//! That is in memory only, and goes with the inode. Without memory for it the blocks are looked at.

use core::ops::Range;
use kernel::prelude::*;
use toyfs_format::{crc32c, dir};

/// A directory of fewer blocks has none: to look at them is as fast.
const LARGE: u64 = 8;

/// Number of bits of a filter. With what else there is, a summary has 256 bytes.
const BITS: u64 = 8 * 254;

/// So many of them are set for a name. A block has some hundred names.
const SET: u32 = 4;

/// The bits of a name.
#[derive(Clone, Copy)]
pub(super) struct Key(u32);

impl Key {
    /// That of a name.
    pub(super) fn new(name: &[u8]) -> Self {
        Self(crc32c(name))
    }

    /// Where its bits are: in which byte, and there.
    fn bits(self) -> impl Iterator<Item = (usize, u8)> {
        let step = self.0.wrapping_mul(0x9e37_79b1) | 1;
        (0..SET).map(move |i| {
            let at = u64::from(self.0.wrapping_add(step.wrapping_mul(i)));
            let bit = (at * BITS) >> 32;
            ((bit / 8) as usize, 1 << (bit % 8))
        })
    }
}

/// What somebody looks for in a directory.
#[derive(Clone, Copy)]
pub(super) enum Seek {
    /// A name.
    Name(Key),
    /// Room for a name of so many bytes.
    Room(usize),
    /// Any name.
    Any,
}

/// What is known of a block.
struct Summary {
    /// The length of the longest name that there is room for, or 0.
    room: u16,
    /// The bits of all its names are set. Those of others may be.
    names: [u8; BITS as usize / 8],
}

impl Summary {
    fn of(block: &[u8]) -> Result<Self> {
        let fail = |_| EUCLEAN;
        let mut names = [0; BITS as usize / 8];
        dir::iterate(block, 0, |e| {
            for (byte, bit) in Key::new(e.name).bits() {
                if let Some(byte) = names.get_mut(byte) {
                    *byte |= bit;
                }
            }
            true
        })
        .map_err(fail)?;
        Ok(Self {
            room: dir::room(block).map_err(fail)? as u16,
            names,
        })
    }

    /// Whether what is looked for may be in the block.
    fn may_have(&self, seek: Seek) -> bool {
        match seek {
            Seek::Name(key) => key
                .bits()
                .all(|(byte, bit)| self.names.get(byte).is_none_or(|&b| b & bit != 0)),
            Seek::Room(len) => usize::from(self.room) >= len,
            Seek::Any => self.names.iter().any(|&b| b != 0),
        }
    }
}

/// What is known of the blocks of a directory.
///
/// # Invariants
///
/// Number `i` is about block `i` as it is now.
pub(super) struct Summaries(KVVec<Summary>);

impl Summaries {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Block `index` of a directory of `count` blocks was read, or is now `block`.
    pub(super) fn note(&mut self, index: u64, block: &[u8], count: u64) {
        let known = self.0.len() as u64;
        if index > known || count < LARGE {
            return;
        }
        let summary = Summary::of(block);
        match (summary, self.0.get_mut(index as usize)) {
            // INVARIANT: The caller says so.
            (Ok(summary), Some(slot)) => *slot = summary,
            (Ok(summary), None) => {
                // INVARIANT: It is the next one. If there is no memory for it, nothing is known of it and of what follows.
                let _ = self.0.push(summary, GFP_KERNEL | __GFP_NOWARN);
            }
            // Whoever looks at it will say so.
            (Err(_), _) => self.0.truncate(index as usize),
        }
    }

    /// Whether block `index` would be news.
    pub(super) fn lacks(&self, index: u64) -> bool {
        self.0.len() as u64 == index
    }

    /// The first of the blocks `blocks` that may have what is looked for, or the end of them.
    pub(super) fn next(&self, blocks: Range<u64>, seek: Seek) -> u64 {
        let known = self.0.get(blocks.start as usize..).unwrap_or(&[]);
        let skipped = known.iter().take_while(|s| !s.may_have(seek)).count();
        (blocks.start + skipped as u64).min(blocks.end)
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(toyfs_summary)]
mod tests {
    use super::*;
    use toyfs_format::{dir::FileType, BLOCK_SIZE};

    const SEED: u32 = 5;

    /// Gives `f` each name of block `block`.
    fn names(block: u8, mut f: impl FnMut(&[u8])) {
        for n in 0..100 {
            f(&[b'a' + block, b'0' + n / 10, b'0' + n % 10]);
        }
    }

    fn make(block: u8, buf: &mut [u8]) {
        dir::init_block(buf, 7, SEED);
        names(block, |name| {
            assert!(dir::insert(buf, name, 9, FileType::Reg, SEED) == Ok(true));
        });
    }

    fn seek(name: &[u8]) -> Seek {
        Seek::Name(Key::new(name))
    }

    #[test]
    fn names_are_found_and_others_hardly_ever() -> Result {
        let mut buf = KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?;
        let mut summaries = Summaries::new();
        for block in 0..20 {
            make(block, &mut buf);
            summaries.note(block.into(), &buf, 20);
        }
        let mut wrong = 0;
        for block in 0..20 {
            names(block, |name| {
                let mut at = 0;
                loop {
                    at = summaries.next(at..20, seek(name));
                    assert!(at <= block.into());
                    if at == block.into() {
                        break;
                    }
                    wrong += 1;
                    at += 1;
                }
            });
        }
        // Of 19,000.
        assert!(wrong < 400);
        assert_eq!(summaries.next(3..20, Seek::Any), 3);
        assert_eq!(summaries.next(20..20, Seek::Any), 20);
        Ok(())
    }

    #[test]
    fn room_is_what_insert_finds() -> Result {
        let mut buf = KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?;
        let mut summaries = Summaries::new();
        dir::init_block(&mut buf, 7, SEED);
        for n in 0..=255 {
            summaries.note(0, &buf, LARGE);
            let name = [b'a' + n % 26; 255];
            let len = 1 + usize::from(n) * 7 % 60;
            let name = &name[..len];
            let there = summaries.next(0..1, Seek::Room(len)) == 0;
            let mut copy = KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?;
            copy.copy_from_slice(&buf);
            let inserted = dir::insert(&mut copy, name, 9, FileType::Reg, SEED) == Ok(true);
            assert_eq!(there, inserted);
            if inserted {
                buf.copy_from_slice(&copy);
            }
            if n % 5 == 4 {
                let gone = dir::remove(&mut buf, name, SEED);
                assert!(gone.is_ok());
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_looked_at() -> Result {
        let mut buf = KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?;
        let mut summaries = Summaries::new();
        dir::init_block(&mut buf, 7, SEED);
        // A small one is not summed up.
        summaries.note(0, &buf, LARGE - 1);
        assert_eq!(summaries.next(0..7, seek(b"a")), 0);
        // Nor is one before which there is one that is not.
        summaries.note(1, &buf, LARGE);
        assert_eq!(summaries.next(0..8, seek(b"a")), 0);
        summaries.note(0, &buf, LARGE);
        assert_eq!(summaries.next(0..8, seek(b"a")), 1);
        assert_eq!(summaries.next(0..8, Seek::Any), 1);
        assert_eq!(summaries.next(0..8, Seek::Room(255)), 0);
        // One that changes.
        assert!(dir::insert(&mut buf, b"a", 9, FileType::Reg, SEED) == Ok(true));
        summaries.note(0, &buf, LARGE);
        assert_eq!(summaries.next(0..8, seek(b"a")), 0);
        assert_eq!(summaries.next(0..8, Seek::Any), 0);
        // One that cannot be understood.
        buf.fill(0xff);
        summaries.note(0, &buf, LARGE);
        assert_eq!(summaries.next(0..8, seek(b"b")), 0);
        Ok(())
    }
}

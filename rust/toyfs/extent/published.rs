// SPDX-License-Identifier: GPL-2.0

//! The extents for those who only look: a copy that is read without a lock.
//!
//! A direct request looks at the map twice, and finds what it finds there nearly always: blocks that are mapped, and have
//! been written. So whoever looks takes no lock, and writes to no memory that others use. He reads the copy, and reads
//! it again if it was changed meanwhile, as with the kernel's `seqcount_t`.
//!
//! It is a copy, rather than what the holder of the map's mutex works on, so that nobody sees a change half done: what is
//! published has its blocks on disk, and nothing of the old use of those blocks left in the page cache of the device. To
//! publish is to copy what lies behind the first extent that has changed, which costs what moving it in the array did. No
//! I/O is done meanwhile, and no memory is allocated.
//!
//! The memory of the copy grows with the map, and is kept until the inode leaves memory: so no reader can hold on to
//! what was freed, and it takes neither references nor grace periods. The few extents that the inode has room for on disk
//! have room here. More of them are in an array, and if that is too small in another one of twice the size: 24 bytes for
//! each extent, four times that at worst.

use super::piece::{mapping_of, Mapping};
use core::array;
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{Atomic, Relaxed, Release},
        barrier::{smp_mb, Read, Write},
        SetOnce,
    },
};
use toyfs_format::{Extent, INLINE_EXTENTS, MAX_EXTENTS};

/// Slots in the first array; each further one has twice as many as the one before.
pub(super) const SLOTS: usize = 32;

/// Enough arrays for every map.
pub(super) const ARRAYS: usize = (MAX_EXTENTS as usize / SLOTS).ilog2() as usize + 1;

/// How often a reader tries, before he goes and waits for who changes the map. As long as it takes to publish some hundred
/// extents.
const ATTEMPTS: u32 = 100;

/// The count of a map that is not here.
const ABSENT: u32 = u32::MAX;

/// Set in [`Slot::len`] for blocks that are unwritten.
const UNWRITTEN: u64 = 1 << 32;

/// An [`Extent`].
struct Slot {
    file_block: Atomic<u64>,
    disk_block: Atomic<u64>,
    len: Atomic<u64>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            file_block: Atomic::new(0),
            disk_block: Atomic::new(0),
            len: Atomic::new(0),
        }
    }

    fn set(&self, e: &Extent) {
        let flag = if e.unwritten { UNWRITTEN } else { 0 };
        self.file_block.store(e.file_block, Relaxed);
        self.disk_block.store(e.disk_block, Relaxed);
        self.len.store(u64::from(e.len) | flag, Relaxed);
    }

    fn get(&self) -> Extent {
        let len = self.len.load(Relaxed);
        Extent {
            file_block: self.file_block.load(Relaxed),
            disk_block: self.disk_block.load(Relaxed),
            len: len as u32,
            unwritten: len & UNWRITTEN != 0,
        }
    }
}

/// The arrays, each of which is there once it has been needed.
struct Arrays([SetOnce<KVVec<Slot>>; ARRAYS]);

/// Where `count` extents find room: 0 in the inode, otherwise in the array before that number.
pub(super) fn level_for(count: usize) -> usize {
    if count <= INLINE_EXTENTS {
        return 0;
    }
    count.div_ceil(SLOTS).next_power_of_two().trailing_zeros() as usize + 1
}

/// The extents of a map as its holder has last left them.
///
/// Cache lines of its own: those who write to the file write to its locks all the time, and the extents are for all to
/// read.
#[repr(align(64))]
pub(crate) struct Published {
    /// Odd while the extents are being exchanged.
    sequence: Atomic<u64>,
    /// How many there are, or [`ABSENT`].
    count: Atomic<u32>,
    /// Where they are, as [`level_for`] says. It only grows.
    level: Atomic<u32>,
    first: [Slot; INLINE_EXTENTS],
    rest: SetOnce<KBox<Arrays>>,
}

impl Published {
    /// Nothing: until something is published, who wants to know must take the mutex.
    pub(crate) fn new() -> Self {
        Self {
            sequence: Atomic::new(0),
            count: Atomic::new(ABSENT),
            level: Atomic::new(0),
            first: [const { Slot::new() }; INLINE_EXTENTS],
            rest: SetOnce::new(),
        }
    }

    /// The slots of a level, if they are there.
    fn slots(&self, level: usize) -> Option<&[Slot]> {
        match level.checked_sub(1) {
            None => Some(&self.first),
            Some(array) => Some(self.rest.as_ref()?.0.get(array)?.as_ref()?),
        }
    }

    /// The slots of a level, made if they are not there. Only who publishes does that.
    fn make_slots(&self, level: usize) -> Result<&[Slot]> {
        if self.slots(level).is_none() {
            if self.rest.as_ref().is_none() {
                let arrays = Arrays(array::from_fn(|_| SetOnce::new()));
                self.rest.populate(KBox::new(arrays, GFP_KERNEL)?);
            }
            let size = SLOTS << level.saturating_sub(1);
            let mut slots = KVVec::with_capacity(size, GFP_KERNEL)?;
            for _ in 0..size {
                slots.push_within_capacity(Slot::new())?;
            }
            let arrays = self.rest.as_ref().ok_or(EINVAL)?;
            let array = arrays.0.get(level.wrapping_sub(1)).ok_or(EINVAL)?;
            array.populate(slots);
        }
        self.slots(level).ok_or(EINVAL)
    }

    /// Lets those who look find `extents`, of which the ones before index `from` are as they were published last. Returns
    /// whether they do: without memory they find nothing, and take the mutex.
    ///
    /// If that was so before and they are the `same` as then, nothing changes: whoever took the mutex has seen them, and would
    /// have to look again for nothing, for as long as there is no memory.
    ///
    /// Only for [`ExtentMap::publish`](super::ExtentMap::publish), under the mutex of the map: there is one at a time.
    pub(super) fn publish(&self, extents: &[Extent], from: usize, same: bool) -> bool {
        let old = self.level.load(Relaxed) as usize;
        let level = old.max(level_for(extents.len()));
        let slots = self.make_slots(level);
        if slots.is_err() && same {
            return false;
        }
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        // Whoever sees some of what follows sees the odd number when he looks again.
        smp_mb(Write);
        let count = match &slots {
            Ok(slots) => {
                // Nothing was published in other slots.
                let from = if level == old { from } else { 0 };
                for (slot, e) in slots.iter().zip(extents).skip(from) {
                    slot.set(e);
                }
                self.level.store(level as u32, Relaxed);
                extents.len() as u32
            }
            Err(_) => ABSENT,
        };
        self.count.store(count, Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Release);
        slots.is_ok()
    }

    /// Changes with everything that is published, and is the number that [`Self::lookup`] returned if nothing was since.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Relaxed)
    }

    /// What `file_block` and the blocks after it map to, and the [`Self::sequence`] with which they did.
    ///
    /// `None` if it cannot be told without the mutex of the map.
    ///
    /// What is found was so at some moment of the call, as with the mutex, and may be different when it returns. It
    /// includes what was published by whoever made the caller come here, say by ending a writeback.
    pub(crate) fn lookup(&self, file_block: u64) -> Option<(Mapping, u64)> {
        for _ in 0..ATTEMPTS {
            let sequence = self.sequence.load(Relaxed);
            if sequence % 2 == 0 {
                // Not `Acquire` above, which is a full barrier where an architecture has nothing for it.
                smp_mb(Read);
                let found = self.find(file_block);
                smp_mb(Read);
                if self.sequence.load(Relaxed) == sequence {
                    let extent = found?;
                    return Some((mapping_of(extent.as_ref(), file_block), sequence));
                }
            }
            cpu_relax();
        }
        None
    }

    /// The first extent that ends after `file_block`; `None` if the map is not here. Some nonsense if it is being exchanged.
    fn find(&self, file_block: u64) -> Option<Option<Extent>> {
        let slots = self.slots(self.level.load(Relaxed) as usize)?;
        // None of `ABSENT`: there are never so many slots.
        let slots = slots.get(..self.count.load(Relaxed) as usize)?;
        let starts_later = |slot: &Slot| slot.file_block.load(Relaxed) > file_block;
        // Few files have many.
        let after = if slots.len() <= INLINE_EXTENTS {
            let later = slots.iter().position(starts_later);
            later.unwrap_or(slots.len())
        } else {
            slots.partition_point(|slot| !starts_later(slot))
        };
        let before = after.checked_sub(1).and_then(|i| slots.get(i));
        match before.map(Slot::get) {
            Some(e) if e.end() > file_block => Some(Some(e)),
            _ => Some(slots.get(after).map(Slot::get)),
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The map from the blocks of a file to blocks on disk.
//!
//! While an inode is in memory, so are all of its extents, sorted. The blocks for storing those
//! that do not fit into the inode, its extent chain (`chain.rs`), are allocated at the moment an
//! extent is added. So writing an inode back, which nobody could report the failure of, needs no
//! space, and a full filesystem shows up where it can be told to the user.
//!
//! Who only wants to know where blocks are finds them in a copy (`published.rs`), without a lock.

mod chain;
mod piece;
mod published;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

use super::{
    bitmap::Allocator,
    block::{corrupt, BlockIo},
};
use chain::Chain;
use core::ops::Range;
use kernel::prelude::*;
use piece::{adjacent, clip, joined, mapping_of};
use toyfs_format::{
    Corrupt, Extent, Inode, Superblock, BITS_PER_BLOCK, INLINE_EXTENTS, MAX_EXTENTS,
    MAX_FILE_BLOCKS,
};

pub(crate) use piece::Mapping;
pub(crate) use published::Published;

/// How many blocks of the bitmap [`ExtentMap::remove_some`] changes, for data, at most.
pub(crate) const REMOVED_AT_ONCE: u64 = 16;

/// The extents of one inode.
///
/// # Invariants
///
/// - `extents` is sorted by file block and disjoint; each satisfies the invariants of [`Extent`].
/// - `blocks` is the sum of their lengths.
/// - `chain` says in which block of it each extent is, from number [`INLINE_EXTENTS`] on. Between calls no block of it is empty.
pub(crate) struct ExtentMap {
    ino: u64,
    extents: KVVec<Extent>,
    blocks: u64,
    chain: Chain,
    /// The block of the inode's extended attributes, or 0: it counts as one of the inode's.
    pub(crate) xattr_block: u64,
    /// The extents before this index are as they were published, and if it is `usize::MAX` all are.
    unpublished_from: usize,
    /// Nothing has changed since they could not be published.
    withheld: bool,
    /// File blocks that [`Self::allocate`] was told to note, by start and end. Some may be gone.
    noted: KVVec<(u64, u64)>,
}

impl ExtentMap {
    /// The map of a new, empty inode.
    pub(crate) const fn new(ino: u64) -> Self {
        Self {
            ino,
            extents: KVVec::new(),
            blocks: 0,
            chain: Chain::new(),
            xattr_block: 0,
            unpublished_from: 0,
            withheld: false,
            noted: KVVec::new(),
        }
    }

    /// Reads the extents of an inode that [`Inode::parse`] accepted. `EUCLEAN`, and a message, if
    /// they break a rule of the format.
    pub(crate) fn load(io: &impl BlockIo, sb: &Superblock, inode: &Inode) -> Result<Self> {
        let ino = inode.ino;
        let fail = |why| corrupt(io, "inode", ino)(Corrupt(why));
        let mut map = Self::new(ino);
        // So all that follows is bounded by the size of the device.
        if inode.blocks > sb.data.len || u64::from(inode.extent_count) > inode.blocks {
            return Err(fail("more blocks or extents than there can be"));
        }
        for e in inode.inline_extents() {
            map.append(io, sb, *e)?;
        }
        map.xattr_block = inode.xattr_block;
        map.chain = Chain::load(io, sb, inode, |e| map.append(io, sb, e))?;
        if map.extents.len() != inode.extent_count as usize {
            return Err(fail("number of extents does not match the extent chain"));
        }
        if map.total_blocks() != inode.blocks {
            return Err(fail("number of blocks does not match the extents"));
        }
        Ok(map)
    }

    /// Adds an extent read from disk at the end.
    fn append(&mut self, io: &impl BlockIo, sb: &Superblock, e: Extent) -> Result {
        if !sb.is_data(e.disk_block, e.len.into()) {
            return Err(corrupt(io, "inode", self.ino)(Corrupt(
                "extent outside the data region",
            )));
        }
        if self
            .extents
            .last()
            .is_some_and(|last| e.file_block < last.end())
        {
            return Err(corrupt(io, "inode", self.ino)(Corrupt(
                "extents overlap or are out of order",
            )));
        }
        self.extents.push(e, GFP_KERNEL)?;
        self.blocks += u64::from(e.len);
        Ok(())
    }

    /// Writes the chain blocks that changed, and puts into `inode` everything about extents and
    /// blocks that it stores. The caller writes the inode.
    ///
    /// Allocates neither memory nor space. After an error the next call does it all again.
    pub(crate) fn store(
        &mut self,
        io: &impl BlockIo,
        sb: &Superblock,
        inode: &mut Inode,
    ) -> Result {
        inode.extent_count = self.extents.len() as u32;
        inode.blocks = self.total_blocks();
        inode.chain_len = self.chain.len() as u32;
        inode.chain_head = self.chain.head();
        inode.xattr_block = self.xattr_block;
        inode.inline = [Extent::default(); INLINE_EXTENTS];
        for (slot, e) in inode.inline.iter_mut().zip(&self.extents) {
            *slot = *e;
        }
        let rest = self.extents.get(INLINE_EXTENTS..).unwrap_or(&[]);
        self.chain.store(io, sb, self.ino, rest)
    }

    /// Number of data blocks.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Number of blocks that belong to the inode, those of the chain and of the attributes included, as in `st_blocks`.
    pub(crate) fn total_blocks(&self) -> u64 {
        self.blocks + self.chain.len() as u64 + u64::from(self.xattr_block != 0)
    }

    /// The extents in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Extent> + '_ {
        self.extents.iter()
    }

    /// Index of the first extent that ends after `file_block`.
    fn position(&self, file_block: u64) -> usize {
        self.extents.partition_point(|e| e.end() <= file_block)
    }

    /// What `file_block` and the blocks after it map to.
    pub(crate) fn lookup(&self, file_block: u64) -> Mapping {
        mapping_of(self.extents.get(self.position(file_block)), file_block)
    }

    /// Whether something has changed since [`Self::publish`].
    pub(crate) fn is_unpublished(&self) -> bool {
        self.unpublished_from != usize::MAX
    }

    /// Lets those who look at `published`, which is for this map alone, find it as it is now.
    pub(crate) fn publish(&mut self, published: &Published) {
        if !self.is_unpublished() {
            return;
        }
        self.withheld = !published.publish(&self.extents, self.unpublished_from, self.withheld);
        if !self.withheld {
            self.unpublished_from = usize::MAX;
        }
    }

    /// Allocates up to `max` blocks for `file_block` and following, if that is a hole, and returns
    /// what it maps to then.
    ///
    /// The new blocks hold whatever was on the disk. `unwritten` makes them read as zeroes until
    /// [`Self::mark_written`]; otherwise the caller overwrites them before anybody can read them.
    ///
    /// Those from `end` on, where the file ends, are noted, for [`Self::remove_noted`].
    ///
    /// `ENOSPC`, `ENOMEM`, `EFBIG` leave everything as it was.
    pub(crate) fn allocate(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        file_block: u64,
        max: u64,
        unwritten: bool,
        end: u64,
    ) -> Result<Mapping> {
        let hole = match self.lookup(file_block) {
            Mapping::Hole { len } => len,
            mapped => return Ok(mapped),
        };
        let room = MAX_FILE_BLOCKS.saturating_sub(file_block);
        let want = hole.min(max).min(room).min(u32::MAX.into());
        if want == 0 {
            return Err(EFBIG);
        }
        let at = self.position(file_block);
        let before = at.checked_sub(1).and_then(|i| self.extents.get(i)).copied();
        let after = self.extents.get(at).copied();
        // What was noted for an operation that has come to its end now lies within the file.
        if self.noted.iter().all(|&(_, last)| last <= end) {
            self.noted.truncate(0);
        }
        self.noted.reserve(1, GFP_KERNEL)?;
        // A block of the chain must come from what is available, too.
        let chained = u64::from(self.lacks_leaf(at));
        let want = want.min(alloc.available_block_count().saturating_sub(chained));
        let goal = before.map_or(0, |e| e.disk_end());
        let goes_on = before.is_some_and(|e| e.end() == file_block);
        let (disk, len) = alloc.alloc_for(io, self.ino, goal, want)?;
        let new = Extent {
            file_block,
            disk_block: disk,
            len: len as u32,
            unwritten,
        };
        let (before, after) = (
            before.filter(|e| adjacent(e, &new)),
            after.filter(|e| adjacent(&new, e)),
        );
        let stored = match (before, after) {
            (Some(e), _) => {
                self.set(at.saturating_sub(1), joined(&e, &new));
                self.coalesce(at.saturating_sub(1), 2);
                Ok(())
            }
            (None, Some(e)) => {
                self.set(at, joined(&new, &e));
                Ok(())
            }
            (None, None) => self
                .make_room(io, alloc, at, 1, false)
                .and_then(|()| self.insert(at, new)),
        };
        if let Err(e) = stored {
            // If that fails, it has been reported where it did, and the error is what came first.
            let _ = alloc.free_blocks(io, disk, len);
            return Err(e);
        }
        self.blocks += len;
        if goes_on {
            let (missed, next) = (disk != goal, disk + len);
            let windows = &mut alloc.windows;
            windows.follow(self.ino, missed, next, self.blocks, hole - len);
        }
        if file_block + len > end {
            match self.noted.last_mut() {
                Some((_, last)) if *last == file_block => *last += len,
                _ => self
                    .noted
                    .push_within_capacity((file_block, file_block + len))?,
            }
        }
        // A merge may have made a chain block superfluous. Should freeing it fail, that has been
        // reported, but the mapping is good, and that is what the caller asked for.
        let _ = self.trim(io, alloc);
        Ok(Mapping::Mapped {
            disk,
            len,
            unwritten,
        })
    }

    /// Makes the unwritten blocks in `from..to` ordinary ones. All or, if it fails, none.
    pub(crate) fn mark_written(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        from: u64,
        to: u64,
    ) -> Result {
        if from >= to {
            return Ok(());
        }
        let mut at = self.position(from);
        let last = self.extents.partition_point(|e| e.file_block < to);
        // Only the extents at both ends of the range can be split.
        let splits = |i: usize, beyond: fn(&Extent, u64, u64) -> bool| {
            let e = self.extents.get(i);
            usize::from(i < last && e.is_some_and(|e| e.unwritten && beyond(e, from, to)))
        };
        let extra = splits(at, |e, from, _| e.file_block < from)
            + splits(last.saturating_sub(1), |e, _, to| e.end() > to);
        self.make_room(io, alloc, at + 1, extra, true)?;
        self.make_room(io, alloc, last, extra, true)?;
        while let Some(e) = self.extents.get(at).copied() {
            let Some(mut middle) = clip(&e, from, to) else {
                break;
            };
            if !e.unwritten {
                at += 1;
                continue;
            }
            let head = clip(&e, 0, middle.file_block);
            let tail = clip(&e, middle.end(), u64::MAX);
            middle.unwritten = false;
            let resume = middle.end();
            self.replace(at, 1, [head, Some(middle), tail])?;
            self.coalesce(at.saturating_sub(1), 5);
            at = self.position(resume);
        }
        // Merging may have made chain blocks superfluous. Should freeing them fail, that has been
        // reported, but what the caller asked for is done.
        let _ = self.trim(io, alloc);
        Ok(())
    }

    /// The first unwritten blocks in `from..to` that are of one extent, if there are any there.
    pub(crate) fn unwritten(&self, from: u64, to: u64) -> Option<Range<u64>> {
        let rest = self.extents.get(self.position(from)..)?;
        let mut parts = rest.iter().map_while(|e| clip(e, from, to));
        let part = parts.find(|part| part.unwritten)?;
        Some(part.file_block..part.end())
    }

    /// Removes the last of the file blocks `from..to`, as [`Self::remove`] does, so many that [`REMOVED_AT_ONCE`] blocks of the bitmap
    /// are changed at most. Returns whether some are left.
    pub(crate) fn remove_some(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        from: u64,
        to: u64,
    ) -> Result<bool> {
        let last = self.extents.partition_point(|e| e.file_block < to);
        let (mut left, mut start) = (REMOVED_AT_ONCE, to);
        for e in self.extents.get(..last).unwrap_or(&[]).iter().rev() {
            let Some(part) = clip(e, from, to) else {
                break;
            };
            let first = part.disk_block / BITS_PER_BLOCK;
            let last = (part.disk_end() - 1) / BITS_PER_BLOCK;
            if last - first >= left {
                // As many bitmap blocks from the end of it.
                if left > 0 {
                    let disk = (last + 1 - left) * BITS_PER_BLOCK;
                    start = part.file_block + (disk - part.disk_block);
                }
                break;
            }
            left -= last - first + 1;
            start = part.file_block;
        }
        self.remove(io, alloc, start, to)?;
        let rest = self.extents.get(self.position(from));
        Ok(rest.is_some_and(|e| e.file_block < start))
    }

    /// Removes the file blocks `from..to` and frees what they map to. With `to` = `u64::MAX` this
    /// truncates, otherwise it punches a hole.
    ///
    /// Truncating needs neither memory nor space, so it always leaves the map without the range.
    /// An error then says that some blocks could not be freed and are lost until a check.
    pub(crate) fn remove(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        from: u64,
        to: u64,
    ) -> Result {
        if from >= to {
            return Ok(());
        }
        let first = self.position(from);
        let last = self.extents.partition_point(|e| e.file_block < to);
        let (Some(head), Some(tail)) = (
            self.extents.get(first),
            last.checked_sub(1).and_then(|i| self.extents.get(i)),
        ) else {
            return Ok(());
        };
        if first >= last {
            return Ok(());
        }
        let head = clip(head, 0, from);
        let tail = clip(tail, to, u64::MAX);
        if last - first == 1 && head.is_some() && tail.is_some() {
            self.make_room(io, alloc, last, 1, true)?;
        }
        let mut result = Ok(());
        let mut freed = 0;
        for e in self.extents.get(first..last).unwrap_or(&[]) {
            if let Some(part) = clip(e, from, to) {
                if freed > 0 {
                    // Something has been changed, so this goes on.
                    let _ = io.may_go_on();
                }
                freed += u64::from(part.len);
                let done = alloc.free_blocks(io, part.disk_block, part.len.into());
                result = result.and(done);
            }
        }
        self.replace(first, last - first, [head, None, tail])?;
        self.blocks = self.blocks.saturating_sub(freed);
        result.and(self.trim(io, alloc))
    }

    /// Frees the blocks that were noted, as far as they lie at or after `from`, as [`Self::remove_some`] does, and forgets about them. So an
    /// operation that does not reach its end frees what it has allocated itself, and nothing else. Returns whether some are
    /// left.
    pub(crate) fn remove_noted(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        from: u64,
    ) -> Result<bool> {
        let Some((start, end)) = self.noted.last().copied() else {
            return Ok(false);
        };
        if !self.remove_some(io, alloc, start.max(from), end)? {
            let rest = self.noted.len() - 1;
            self.noted.truncate(rest);
        }
        Ok(!self.noted.is_empty())
    }

    /// Forgets what was noted: the blocks belong to the file from now on.
    pub(crate) fn keep_noted(&mut self) {
        self.noted.truncate(0);
    }

    /// Replaces `count` extents from index `at` on by `pieces`. The caller has made room.
    fn replace(&mut self, at: usize, count: usize, pieces: [Option<Extent>; 3]) -> Result {
        let mut at = at;
        let mut left = count;
        for piece in pieces.into_iter().flatten() {
            if left > 0 {
                self.set(at, piece);
                left -= 1;
            } else {
                self.insert(at, piece)?;
            }
            at += 1;
        }
        self.take_out(at, left);
        Ok(())
    }

    /// Replaces the extent at index `at`.
    fn set(&mut self, at: usize, e: Extent) {
        if let Some(slot) = self.extents.get_mut(at) {
            *slot = e;
        }
        if at >= INLINE_EXTENTS {
            self.chain.touch(at - INLINE_EXTENTS);
        }
        self.unpublish(at);
    }

    /// Inserts an extent at index `at`. The caller has made room.
    fn insert(&mut self, at: usize, e: Extent) -> Result {
        self.extents.insert_within_capacity(at, e)?;
        if self.extents.len() > INLINE_EXTENTS {
            // It goes there, or pushes the last one of the inode.
            self.chain.insert(at.saturating_sub(INLINE_EXTENTS))?;
        }
        self.unpublish(at);
        Ok(())
    }

    /// Takes `count` extents out, from index `at` on.
    fn take_out(&mut self, at: usize, count: usize) {
        let len = self.extents.len();
        if count == 0 || at + count > len {
            return;
        }
        self.extents.copy_within(at + count.., at);
        self.extents.truncate(len - count);
        let chained = |len: usize| len.saturating_sub(INLINE_EXTENTS);
        let gone = chained(len) - chained(len - count);
        self.chain.remove(at.saturating_sub(INLINE_EXTENTS), gone);
        self.unpublish(at);
    }

    /// Joins extents among the `count` from index `at` on where possible.
    fn coalesce(&mut self, mut at: usize, count: usize) {
        for _ in 1..count {
            let (Some(a), Some(b)) = (
                self.extents.get(at).copied(),
                self.extents.get(at + 1).copied(),
            ) else {
                return;
            };
            if adjacent(&a, &b) {
                self.take_out(at + 1, 1);
                self.set(at, joined(&a, &b));
            } else {
                at += 1;
            }
        }
    }

    /// Notes that the extents from index `at` on change.
    fn unpublish(&mut self, at: usize) {
        self.unpublished_from = self.unpublished_from.min(at);
        self.withheld = false;
    }

    /// Whether one more extent at index `at` takes another block of the chain.
    fn lacks_leaf(&self, at: usize) -> bool {
        let place = at.saturating_sub(INLINE_EXTENTS);
        self.extents.len() >= INLINE_EXTENTS && self.chain.lacks(place, 1).is_some()
    }

    /// Makes sure that `extra` more extents, two at most, can be added to the map from index `at` on, and stored; from the
    /// reserve if they were `promised`. Changes nothing that matters if it fails.
    fn make_room(
        &mut self,
        io: &impl BlockIo,
        alloc: &mut Allocator,
        at: usize,
        extra: usize,
        promised: bool,
    ) -> Result {
        let count = self.extents.len() + extra;
        if count > MAX_EXTENTS as usize {
            return Err(EFBIG);
        }
        self.extents.reserve(extra, GFP_KERNEL)?;
        if extra == 0 || count <= INLINE_EXTENTS {
            return Ok(());
        }
        let place = at.saturating_sub(INLINE_EXTENTS);
        let grown = self.chain.make_room(io, alloc, place, extra, promised);
        if grown.is_err() {
            // What fails here has been reported.
            let _ = self.trim(io, alloc);
        }
        grown
    }

    /// Frees the chain blocks that the extents do not need.
    fn trim(&mut self, io: &impl BlockIo, alloc: &mut Allocator) -> Result {
        self.chain.trim(io, alloc)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Allocation of blocks and inodes.
//!
//! The bitmaps live on disk and are changed through [`BlockIo`]; in memory there is only the number of free bits of each bitmap
//! block, so that full ones are skipped without looking.
//!
//! Bits are searched by hand, as the tools do it: `kernel::bitmap` has maps of its own in words of the machine, these are
//! bytes of a block.

use super::{block::BlockIo, windows::Windows};
use core::iter;
use kernel::prelude::*;
use toyfs_format::{bits, Region, Superblock, BITS_PER_BLOCK, BLOCK_SIZE, CHAIN_EXTENTS};

/// One bitmap: bit `i` says whether object `i` is in use.
///
/// # Invariants
///
/// - `free[i]` is the number of clear bits in block `i` of the bitmap, and `total_free` their sum.
/// - `buf` is [`BLOCK_SIZE`] bytes long.
struct Bitmap {
    /// Where the bitmap is.
    region: Region,
    /// Objects that may be allocated and freed: all others are in use for ever.
    first: u64,
    /// One more than the last such object.
    end: u64,
    free: KVVec<u32>,
    total_free: u64,
    buf: KVVec<u8>,
    /// The end of the last run allocated.
    cursor: u64,
    /// For messages.
    name: &'static str,
}

/// The bits of one block of a bitmap that belong to a range of objects.
struct Span {
    /// Which block of the bitmap.
    index: usize,
    /// First bit.
    from: usize,
    /// Number of bits.
    len: usize,
}

impl Span {
    /// The part of `start..end` in the bitmap block that `start` belongs to.
    fn new(start: u64, end: u64) -> Self {
        let from = start % BITS_PER_BLOCK;
        let len = end.saturating_sub(start).min(BITS_PER_BLOCK - from);
        Self {
            index: (start / BITS_PER_BLOCK) as usize,
            from: from as usize,
            len: len as usize,
        }
    }

    /// First byte touched and number of bytes touched.
    fn bytes(&self) -> (usize, usize) {
        let first = self.from / 8;
        (first, (self.from + self.len).div_ceil(8) - first)
    }
}

impl Bitmap {
    /// Reads the bitmap and counts. Of its objects `first..end` are ours to hand out; the rest, and the bits after the last
    /// object, must be set on disk.
    fn load(
        io: &impl BlockIo,
        name: &'static str,
        region: Region,
        first: u64,
        end: u64,
    ) -> Result<Self> {
        let mut bitmap = Self {
            region,
            first,
            end,
            free: KVVec::with_capacity(region.len.try_into()?, GFP_KERNEL)?,
            total_free: 0,
            buf: KVVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?,
            cursor: first,
            name,
        };
        for index in 0..region.len {
            io.may_go_on()?;
            bitmap.fetch(io, index as usize)?;
            let base = index * BITS_PER_BLOCK;
            // The bits of this block that may be clear.
            let lo = first.saturating_sub(base).min(BITS_PER_BLOCK) as usize;
            let hi = end.saturating_sub(base).min(BITS_PER_BLOCK) as usize;
            let all = BITS_PER_BLOCK as usize;
            if bits::next(&bitmap.buf, 0, lo, false) < lo
                || bits::next(&bitmap.buf, hi, all, false) < all
            {
                return Err(io.corrupt(format_args!(
                    "{name} bitmap: reserved {name} {base}.. marked free"
                )));
            }
            let free = bitmap.count();
            bitmap.free.push(free, GFP_KERNEL)?;
            bitmap.total_free += u64::from(free);
        }
        Ok(bitmap)
    }

    /// Reads block `index` of the bitmap into `buf`.
    fn fetch(&mut self, io: &impl BlockIo, index: usize) -> Result {
        io.read(self.region.start + index as u64, 0, &mut self.buf)
    }

    /// Sets or clears the bits of `span`, which all have the opposite value, on disk. Changes nothing on disk or in the counts if
    /// it fails.
    fn apply(&mut self, io: &impl BlockIo, span: &Span, used: bool) -> Result {
        let block = self.region.start + span.index as u64;
        let (first, n) = span.bytes();
        let bytes = self.buf.get_mut(first..first + n).ok_or(EINVAL)?;
        // What is in `buf` may be what can be handed out.
        io.read(block, first, bytes)?;
        bits::assign(bytes, span.from % 8, span.len, used);
        io.write_bitmap(block, first, bytes, !used)?;
        let len = span.len as u64;
        // INVARIANT: So many bits were flipped. Before, they were part of the counts.
        if let Some(free) = self.free.get_mut(span.index) {
            if used {
                *free = free.saturating_sub(span.len as u32);
                self.total_free = self.total_free.saturating_sub(len);
            } else {
                *free = free.saturating_add(span.len as u32);
                self.total_free = self.total_free.saturating_add(len);
            }
        }
        Ok(())
    }

    /// Takes a run of at most `max` free objects: the first one at or after `goal`, else the first one at all. Runs do not cross a
    /// bitmap block. `ENOSPC` also if what is free must not be handed out yet.
    fn alloc(&mut self, io: &impl BlockIo, goal: u64, max: u64) -> Result<(u64, u64)> {
        if max == 0 {
            return Err(ENOSPC);
        }
        if let Some(run) = self.search(io, goal, max, iter::empty())? {
            return Ok(run);
        }
        for index in 0..self.free.len() {
            let Some(free) = self.free.get(index).copied().filter(|&free| free > 0) else {
                continue;
            };
            self.fetch(io, index)?;
            if self.count() != free {
                return Err(self.changed(io));
            }
        }
        Err(ENOSPC)
    }

    /// Takes a run as [`Self::alloc`] does, but nothing of the ranges `avoided`.
    fn search(
        &mut self,
        io: &impl BlockIo,
        goal: u64,
        max: u64,
        avoided: impl Iterator<Item = (u64, u64)> + Clone,
    ) -> Result<Option<(u64, u64)>> {
        if self.total_free == 0 || max == 0 {
            return Ok(None);
        }
        let fits = (self.first..self.end).contains(&goal);
        let goal = if fits { goal } else { self.first };
        let blocks = self.region.len as usize;
        let start = (goal / BITS_PER_BLOCK) as usize;
        // The first block a second time at the end: the part before `goal`.
        for (round, index) in Iterator::chain(start..blocks, 0..=start).enumerate() {
            if self.free.get(index).is_none_or(|&n| n == 0) {
                continue;
            }
            io.read_bitmap(self.region.start + index as u64, &mut self.buf)?;
            let base = index as u64 * BITS_PER_BLOCK;
            for (start, end) in avoided.clone() {
                let from = start.max(base);
                if let Some(len) = end.min(base + BITS_PER_BLOCK).checked_sub(from) {
                    bits::assign(&mut self.buf, (from - base) as usize, len as usize, true);
                }
            }
            let from = if round == 0 { goal % BITS_PER_BLOCK } else { 0 };
            let bits = BITS_PER_BLOCK as usize;
            let bit = bits::next(&self.buf, from as usize, bits, false);
            if bit == bits {
                continue;
            }
            let limit = max.min((bits - bit) as u64) as usize;
            let run = bits::next(&self.buf, bit, bit + limit, true) - bit;
            let span = Span {
                index,
                from: bit,
                len: run,
            };
            let object = base + bit as u64;
            // The count said so at mount, but the device may have been written to behind us.
            if object < self.first || object + run as u64 > self.end {
                return Err(self.changed(io));
            }
            self.apply(io, &span, true)?;
            self.cursor = object + run as u64;
            return Ok(Some((object, run as u64)));
        }
        Ok(None)
    }

    /// The first run of at least `min` objects in `from..end` that may be handed out, as start and length, and where to look
    /// for the next one. It looks at one block of the bitmap: runs do not cross that.
    fn run(
        &mut self,
        io: &impl BlockIo,
        from: u64,
        end: u64,
        min: u64,
    ) -> Result<(Option<(u64, u64)>, u64)> {
        let (from, end) = (from.max(self.first), end.min(self.end));
        if from >= end {
            return Ok((None, u64::MAX));
        }
        let span = Span::new(from, end);
        let base = from - span.from as u64;
        let limit = span.from + span.len;
        let free = self.free.get(span.index).copied().unwrap_or(0);
        if free > 0 && u64::from(free) >= min {
            io.read_bitmap(self.region.start + span.index as u64, &mut self.buf)?;
            let mut bit = span.from;
            while bit < limit {
                let start = bits::next(&self.buf, bit, limit, false);
                bit = bits::next(&self.buf, start, limit, true);
                let len = (bit - start) as u64;
                if len > 0 && len >= min {
                    return Ok((Some((base + start as u64, len)), base + bit as u64));
                }
            }
        }
        Ok((None, base + limit as u64))
    }

    fn changed(&self, io: &impl BlockIo) -> Error {
        let name = self.name;
        io.corrupt(format_args!("{name} bitmap: changed on disk while in use"))
    }

    /// Number of clear bits in `buf`.
    fn count(&self) -> u32 {
        self.buf.iter().map(|b| b.count_zeros()).sum()
    }

    /// Gives `len` objects from `start` back, which must all be in use.
    fn free(&mut self, io: &impl BlockIo, start: u64, len: u64) -> Result {
        let end = start.saturating_add(len);
        if start < self.first || end > self.end {
            let name = self.name;
            return Err(io.corrupt(format_args!(
                "{name} {start}+{len} freed, which is out of range"
            )));
        }
        let mut at = start;
        while at < end {
            let span = Span::new(at, end);
            self.fetch(io, span.index)?;
            let limit = span.from + span.len;
            if bits::next(&self.buf, span.from, limit, false) < limit {
                let (name, len) = (self.name, span.len);
                return Err(io.corrupt(format_args!("{name} {at}+{len} freed, but not in use")));
            }
            self.apply(io, &span, false)?;
            at += span.len as u64;
        }
        Ok(())
    }

    /// Whether an object is in use. Objects that do not exist are not.
    fn in_use(&mut self, io: &impl BlockIo, object: u64) -> Result<bool> {
        if object >= self.end {
            return Ok(false);
        }
        let span = Span::new(object, object + 1);
        let mut byte = [0];
        io.read(
            self.region.start + span.index as u64,
            span.from / 8,
            &mut byte,
        )?;
        Ok(bits::get(&byte, span.from % 8) == Some(true))
    }
}

/// Allocates blocks and inodes.
///
/// The methods change the bitmaps through [`BlockIo`]. When one fails it has changed nothing, except that freeing a range
/// that spans several bitmap blocks may have freed a part of it.
///
/// # The reserve
///
/// Nobody can be told that there is no room to note that his blocks are written, which splits extents and so may take blocks of
/// a chain: with write(2) and fallocate(2) he was promised it. Of `D` blocks of data let `C` be in chains, `A` be allocated
/// otherwise, and `R` be the reserve. Only [`Self::alloc_for`] makes `A` more, and leaves `A + C + R <= D`. So `A + R <= D`
/// always holds, and the promise is kept as long as `C <= R`.
///
/// A chain has more than [`CHAIN_EXTENTS`] / 3 = 56 extents in a block on average, but for one block of it. As an extent has a block
/// at least, `C <= A / 56 + F`, where `F` is the number of files with a chain. `R` is `D / 56 + 32`, hence `C <= R` if `F` is at most
/// `32 + R / 56`, two less while a change is under way.
///
/// With more files it depends. A block that is split is left half full, so what is written in order has 84 extents in a block,
/// and it takes `D / 168` files of five blocks or more, every other one of them written, on a full device, to use up the reserve.
pub(crate) struct Allocator {
    blocks: Bitmap,
    inodes: Bitmap,
    /// Where the orphan bitmap is, and how many bits it has.
    orphans: Region,
    inode_count: u64,
    /// So many blocks are kept for [`Self::alloc_promised`].
    reserve: u64,
    /// Where files go on: others leave that to them.
    pub(super) windows: Windows,
}

impl Allocator {
    /// Reads the bitmaps of a filesystem. `EUCLEAN` if they mark metadata as free.
    pub(crate) fn load(io: &impl BlockIo, sb: &Superblock) -> Result<Self> {
        Ok(Self {
            blocks: Bitmap::load(io, "block", sb.block_bitmap, sb.data.start, sb.data.end())?,
            orphans: sb.orphans,
            inode_count: sb.inode_count,
            reserve: (sb.data.len.div_ceil(CHAIN_EXTENTS as u64 / 3) + 32).min(sb.data.len / 8),
            windows: Windows::new()?,
            // Inode 0 does not exist, and the root is never freed.
            inodes: Bitmap::load(
                io,
                "inode",
                sb.inode_bitmap,
                sb.root_ino + 1,
                sb.inode_count,
            )?,
        })
    }

    /// Allocates a contiguous run of 1 to `max` blocks, at or soon after block `goal` if possible (0: after the run allocated last).
    /// Returns its start and length. `ENOSPC` if there is none beyond the reserve. None, if possible, of a window.
    pub(crate) fn alloc_blocks(
        &mut self,
        io: &impl BlockIo,
        goal: u64,
        max: u64,
    ) -> Result<(u64, u64)> {
        self.alloc_for(io, 0, goal, max)
    }

    /// As [`Self::alloc_blocks`], for file `owner`: none, if possible, of a window of others.
    pub(crate) fn alloc_for(
        &mut self,
        io: &impl BlockIo,
        owner: u64,
        goal: u64,
        max: u64,
    ) -> Result<(u64, u64)> {
        let max = max.min(self.available_block_count());
        self.alloc_beside(io, owner, goal, max)
    }

    /// Takes blocks that are in no window of others. While there are none the windows are too long.
    fn alloc_beside(
        &mut self,
        io: &impl BlockIo,
        owner: u64,
        goal: u64,
        max: u64,
    ) -> Result<(u64, u64)> {
        let goal = if goal == 0 { self.blocks.cursor } else { goal };
        while max > 0 && self.windows.of_others(owner).next().is_some() {
            let avoided = self.windows.of_others(owner);
            if let Some(run) = self.blocks.search(io, goal, max, avoided)? {
                return Ok(run);
            }
            self.windows.shrink(owner);
        }
        self.blocks.alloc(io, goal, max)
    }

    /// The first run of at least `min` blocks in `from..end` that could be allocated, as start and length, and where to look for
    /// the next one. Looks at a piece of the bitmap only, so there may be none, and more later.
    pub(crate) fn free_run(
        &mut self,
        io: &impl BlockIo,
        from: u64,
        end: u64,
        min: u64,
    ) -> Result<(Option<(u64, u64)>, u64)> {
        self.blocks.run(io, from, end, min)
    }

    /// Allocates one block for an extent chain, from the reserve if need be: for what can no longer fail for lack of space.
    pub(crate) fn alloc_promised(&mut self, io: &impl BlockIo, goal: u64) -> Result<u64> {
        Ok(self.alloc_beside(io, 0, goal, 1)?.0)
    }

    /// Frees blocks. `EUCLEAN`, and a message, if one of them is free or is no data block.
    ///
    /// An error is a change that ended half done: the blocks are lost until a check.
    pub(crate) fn free_blocks(&mut self, io: &impl BlockIo, start: u64, len: u64) -> Result {
        let freed = self.blocks.free(io, start, len);
        freed.inspect_err(|&e| io.half_done("blocks cannot be freed", e))?;
        io.freed(start, len);
        Ok(())
    }

    /// Frees a block that held metadata, as [`Self::free_blocks`] does.
    pub(crate) fn free_chain_block(&mut self, io: &impl BlockIo, block: u64) -> Result {
        self.free_blocks(io, block, 1)?;
        io.revoke(block)
    }

    /// Notes on disk whether an inode is an orphan: something of it is to be freed at the next mount, unless it was before.
    pub(crate) fn set_orphan(&mut self, io: &impl BlockIo, ino: u64, orphan: bool) -> Result {
        let span = Span::new(ino, ino + 1);
        let block = self.orphans.start + span.index as u64;
        let mut byte = [0];
        io.read(block, span.from / 8, &mut byte)?;
        if bits::get(&byte, span.from % 8) == Some(orphan) {
            return Ok(());
        }
        bits::assign(&mut byte, span.from % 8, 1, orphan);
        io.write(block, span.from / 8, &byte)
    }

    /// The first orphan that is at least `ino`.
    pub(crate) fn next_orphan(&mut self, io: &impl BlockIo, ino: u64) -> Result<Option<u64>> {
        let mut at = ino;
        while at < self.inode_count {
            let span = Span::new(at, self.inode_count);
            let end = span.from + span.len;
            io.may_go_on()?;
            let buf = &mut self.inodes.buf;
            io.read(self.orphans.start + span.index as u64, 0, buf)?;
            let bit = bits::next(buf, span.from, end, true);
            if bit < end {
                return Ok(Some(at - span.from as u64 + bit as u64));
            }
            at += span.len as u64;
        }
        Ok(None)
    }

    /// Allocates an inode number, near `goal` if possible. `ENOSPC` if there is none.
    pub(crate) fn alloc_inode(&mut self, io: &impl BlockIo, goal: u64) -> Result<u64> {
        Ok(self.inodes.alloc(io, goal, 1)?.0)
    }

    /// Frees an inode number. `EUCLEAN`, and a message, if it is free or does not exist.
    pub(crate) fn free_inode(&mut self, io: &impl BlockIo, ino: u64) -> Result {
        self.windows.forget(ino);
        let freed = self.inodes.free(io, ino, 1);
        freed.inspect_err(|&e| io.half_done("an inode cannot be freed", e))
    }

    /// Whether inode number `ino` is allocated. To be asked before the inode table is believed:
    /// what it holds in a free slot is old.
    pub(crate) fn inode_in_use(&mut self, io: &impl BlockIo, ino: u64) -> Result<bool> {
        self.inodes.in_use(io, ino)
    }

    /// Number of free blocks, the reserve included.
    pub(crate) fn free_block_count(&self) -> u64 {
        self.blocks.total_free
    }

    /// Number of free blocks that data may have.
    pub(crate) fn available_block_count(&self) -> u64 {
        self.blocks.total_free.saturating_sub(self.reserve)
    }

    /// Number of free inodes.
    pub(crate) fn free_inode_count(&self) -> u64 {
        self.inodes.total_free
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(toyfs_bitmap)]
mod tests {
    use super::{super::block::memory::Memory, *};

    #[test]
    fn runs() -> Result {
        // Two bitmap blocks.
        let (io, sb) = Memory::new(33_000)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        assert_eq!(alloc.free_block_count(), sb.data.len);
        let first = sb.data.start;
        assert_eq!(alloc.alloc_blocks(&io, 0, 10)?, (first, 10));
        assert_eq!(alloc.alloc_blocks(&io, first, 5)?, (first + 10, 5));
        alloc.free_blocks(&io, first + 2, 3)?;
        assert_eq!(alloc.alloc_blocks(&io, first, 9)?, (first + 2, 3));
        // A run ends with its bitmap block; freeing may go across.
        assert_eq!(alloc.alloc_blocks(&io, 32_760, 99)?, (32_760, 8));
        assert_eq!(alloc.alloc_blocks(&io, 32_768, 9)?, (32_768, 9));
        alloc.free_blocks(&io, 32_760, 17)?;
        // The search goes round.
        let last = sb.data.end() - 1;
        assert_eq!(alloc.alloc_blocks(&io, last, 7)?, (last, 1));
        assert_eq!(alloc.alloc_blocks(&io, last, 1)?, (first + 15, 1));
        let again = Allocator::load(&io, &sb)?;
        assert_eq!(again.free_block_count(), alloc.free_block_count());
        Ok(())
    }

    #[test]
    fn free_runs() -> Result {
        let (io, sb) = Memory::new(33_000)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let (first, end) = (sb.data.start, sb.data.end());
        alloc.alloc_blocks(&io, first + 10, 5)?;
        alloc.alloc_blocks(&io, first + 18, 1)?;
        let mut next = 0;
        let mut step = |min| {
            let (run, more) = alloc.free_run(&io, next, u64::MAX, min)?;
            next = more;
            Ok::<_, Error>(run)
        };
        assert_eq!(step(1)?, Some((first, 10)));
        assert_eq!(step(1)?, Some((first + 15, 3)));
        assert_eq!(step(1)?, Some((first + 19, 32_768 - first - 19)));
        assert_eq!(step(1)?, Some((32_768, end - 32_768)));
        assert_eq!(step(1)?, None);
        assert_eq!(next, u64::MAX);
        assert_eq!(
            alloc.free_run(&io, 0, end, 11)?.0,
            Some((first + 19, 32_768 - first - 19))
        );
        assert_eq!(
            alloc.free_run(&io, first + 2, first + 8, 1)?.0,
            Some((first + 2, 6))
        );
        assert_eq!(alloc.free_run(&io, first, end, 32_769)?, (None, 32_768));
        Ok(())
    }

    #[test]
    fn wrong_frees() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let (start, len) = alloc.alloc_blocks(&io, 0, 8)?;
        let free = alloc.free_block_count();
        for (start, len) in [
            (0, 1),
            (start, len + 1),
            (start + len, 1),
            (sb.data.end(), 1),
            (u64::MAX, 1),
            (1, u64::MAX),
        ] {
            assert_eq!(alloc.free_blocks(&io, start, len).err(), Some(EUCLEAN));
        }
        assert_eq!(alloc.free_inode(&io, sb.root_ino).err(), Some(EUCLEAN));
        assert_eq!(alloc.free_inode(&io, 5).err(), Some(EUCLEAN));
        assert_eq!(alloc.free_block_count(), free);
        Ok(())
    }

    #[test]
    fn full() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        while alloc.alloc_blocks(&io, 0, 100).is_ok() {}
        assert_eq!(alloc.available_block_count(), 0);
        assert!(alloc.free_block_count() > 0);
        while alloc.alloc_promised(&io, 0).is_ok() {}
        assert_eq!(alloc.free_block_count(), 0);
        for _ in 2..sb.inode_count {
            let ino = alloc.alloc_inode(&io, 0)?;
            assert!(alloc.inode_in_use(&io, ino)?);
        }
        assert_eq!(alloc.alloc_inode(&io, 0).err(), Some(ENOSPC));
        alloc.free_inode(&io, 9)?;
        assert!(!alloc.inode_in_use(&io, 9)?);
        assert_eq!(alloc.alloc_inode(&io, 20)?, 9);
        Ok(())
    }

    #[test]
    fn errors_change_nothing() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let (start, len) = alloc.alloc_blocks(&io, 0, 8)?;
        let free = alloc.free_block_count();
        io.broken.set(true);
        assert_eq!(alloc.alloc_blocks(&io, 0, 8).err(), Some(EIO));
        assert_eq!(alloc.free_blocks(&io, start, len).err(), Some(EIO));
        assert_eq!(alloc.alloc_inode(&io, 0).err(), Some(EIO));
        io.broken.set(false);
        assert_eq!(alloc.free_block_count(), free);
        alloc.free_blocks(&io, start, len)
    }
}

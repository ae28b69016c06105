// SPDX-License-Identifier: GPL-2.0

//! Tests of extent maps, bitmaps and directory blocks against simple models, with allocation
//! failures and I/O errors. Compiled with `--test`; see `run.sh`.

#![allow(dead_code)]

#[path = "../../rust/toyfs/bitmap.rs"]
mod bitmap;
#[path = "../../rust/toyfs/block.rs"]
mod block;
#[path = "../../rust/toyfs/extent/mod.rs"]
mod extent;
#[path = "../../rust/toyfs/windows.rs"]
mod windows;

use bitmap::Allocator;
use block::BlockIo;
use extent::{ExtentMap, Mapping, Published};
use kernel::prelude::*;
use random::Random;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};
use toyfs_format::*;

/// A device in memory whose I/O fails on demand.
struct Memory {
    blocks: RefCell<Vec<u8>>,
    countdown: Cell<Option<u32>>,
    /// The blocks that were written.
    written: RefCell<BTreeSet<u64>>,
    /// Those of them that have not been revoked since.
    live: RefCell<BTreeSet<u64>>,
}

impl Memory {
    /// A device with the bitmaps of a new filesystem.
    fn new(sb: &Superblock) -> Self {
        let mut blocks = vec![0; sb.total_blocks as usize * BLOCK_SIZE];
        let mut fill = |at: Region, used: &dyn Fn(u64) -> bool| {
            for bit in (0..at.len * BITS_PER_BLOCK).filter(|&b| used(b)) {
                blocks[at.start as usize * BLOCK_SIZE + bit as usize / 8] |= 1 << (bit % 8);
            }
        };
        fill(sb.inode_bitmap, &|i| i <= ROOT_INO || i >= sb.inode_count);
        fill(sb.block_bitmap, &|b| {
            b < sb.data.start || b >= sb.data.end()
        });
        Self {
            blocks: RefCell::new(blocks),
            countdown: Cell::new(None),
            written: RefCell::default(),
            live: RefCell::default(),
        }
    }

    fn step(&self) -> Result {
        match self.countdown.get() {
            Some(0) => Err(EIO),
            Some(n) => {
                self.countdown.set(Some(n - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self, sb: &Superblock) -> BTreeSet<u64> {
        let blocks = self.blocks.borrow();
        let base = sb.block_bitmap.start as usize * BLOCK_SIZE;
        (sb.data.start..sb.data.end())
            .filter(|b| blocks[base + *b as usize / 8] & (1 << (b % 8)) != 0)
            .collect()
    }
}

impl BlockIo for Memory {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        self.step()?;
        assert!(offset + buf.len() <= BLOCK_SIZE);
        let at = block as usize * BLOCK_SIZE + offset;
        buf.copy_from_slice(&self.blocks.borrow()[at..at + buf.len()]);
        Ok(())
    }

    fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        self.step()?;
        assert!(offset + data.len() <= BLOCK_SIZE);
        let at = block as usize * BLOCK_SIZE + offset;
        self.blocks.borrow_mut()[at..at + data.len()].copy_from_slice(data);
        self.written.borrow_mut().insert(block);
        self.live.borrow_mut().insert(block);
        Ok(())
    }

    fn revoke(&self, block: u64) -> Result {
        self.step()?;
        // The journal takes no second one without a write in between.
        assert!(self.live.borrow_mut().remove(&block), "revoked unwritten");
        Ok(())
    }

    fn corrupt(&self, what: std::fmt::Arguments<'_>) -> Error {
        kernel::log(format_args!("{what}\n"));
        EUCLEAN
    }

    fn may_go_on(&self) -> Result {
        Ok(())
    }
}

/// What an extent map should contain: disk block and unwritten state of each file block.
type Model = BTreeMap<u64, (u64, bool)>;

fn contents(map: &ExtentMap) -> Model {
    let mut model = Model::new();
    let mut last: Option<Extent> = None;
    for e in map.iter() {
        assert!(e.len > 0);
        if let Some(l) = last {
            assert!(l.end() <= e.file_block, "sorted and disjoint");
            let joined = l.end() == e.file_block
                && l.disk_end() == e.disk_block
                && l.unwritten == e.unwritten;
            assert!(!joined, "neighbours are merged");
        }
        last = Some(*e);
        for i in 0..u64::from(e.len) {
            model.insert(e.file_block + i, (e.disk_block + i, e.unwritten));
        }
    }
    assert_eq!(model.len() as u64, map.blocks());
    model
}

/// Compares `lookup` with the model around each of the blocks.
fn check_lookup(map: &ExtentMap, model: &Model, block: u64) {
    match map.lookup(block) {
        Mapping::Mapped {
            disk,
            len,
            unwritten,
        } => {
            assert!(len > 0);
            for i in 0..len {
                assert_eq!(model.get(&(block + i)), Some(&(disk + i, unwritten)));
            }
        }
        Mapping::Hole { len } => {
            assert!(len > 0);
            assert_eq!(model.range(block..block + len.min(1 << 40)).next(), None);
            if len < 1 << 40 {
                assert!(model.contains_key(&(block + len)));
            }
        }
    }
}

/// How operations are made to fail.
#[derive(Clone, Copy, PartialEq)]
enum Faults {
    None,
    Memory,
    Io,
}

/// Random operations on some files of a filesystem.
fn torture(seed: u64, rounds: u64, total: u64, faults: Faults) {
    const FILES: usize = 3;
    const SPAN: u64 = 1500;

    let mut r = Random(seed);
    let sb = Superblock::layout(total, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    let mut maps: Vec<_> = (0..FILES).map(|i| ExtentMap::new(i as u64 + 2)).collect();
    let copies: Vec<_> = (0..FILES).map(|_| Published::new()).collect();
    let mut models = vec![Model::new(); FILES];
    let mut deepest = 0;
    for _ in 0..rounds {
        let f = r.below(FILES as u64) as usize;
        let (map, model) = (&mut maps[f], &mut models[f]);
        let from = r.below(SPAN);
        let to = match r.below(4) {
            0 => u64::MAX,
            1 => from + r.below(300),
            _ => from + r.below(4),
        };
        match faults {
            Faults::Memory if r.one_in(3) => {
                kernel::fail_alloc_after(Some(r.below(4) as u32));
            }
            Faults::Io if r.one_in(3) => io.countdown.set(Some(r.below(8) as u32)),
            _ => {}
        }
        let before = model.clone();
        let failed = match r.below(16) {
            0..=8 => {
                let unwritten = r.one_in(2);
                let max = if r.one_in(4) { 1 + r.below(20) } else { 1 };
                let done = map.allocate(&io, &mut alloc, from, max, unwritten, u64::MAX);
                match done {
                    Ok(Mapping::Mapped {
                        disk,
                        len,
                        unwritten,
                    }) => {
                        for i in 0..len {
                            let new = (disk + i, unwritten);
                            if let Some(old) = model.insert(from + i, new) {
                                assert_eq!(old, new);
                                assert!(before.contains_key(&from));
                            }
                        }
                    }
                    Ok(Mapping::Hole { .. }) => panic!("a hole was allocated"),
                    // The last one is for the chain.
                    Err(ENOSPC) => assert!(alloc.available_block_count() <= 1),
                    Err(_) => {}
                }
                done.is_err()
            }
            9..=11 => {
                let done = map.mark_written(&io, &mut alloc, from, to);
                if done.is_ok() {
                    for (_, state) in model.range_mut(from..to) {
                        state.1 = false;
                    }
                }
                done.is_err()
            }
            12..=14 => {
                let to = if r.one_in(40) { to } else { to.min(from + 20) };
                let done = map.remove(&io, &mut alloc, from, to);
                // I/O errors are reported, but what was removed is removed.
                if done.is_ok() || to == u64::MAX || contents(map).len() < before.len() {
                    model.retain(|b, _| !(from..to).contains(b));
                }
                done.is_err()
            }
            _ => {
                let mut inode = Inode {
                    ino: f as u64 + 2,
                    mode: S_IFREG,
                    ..Inode::default()
                };
                let stored = map.store(&io, &sb, &mut inode);
                let raw = inode.encode(sb.seed());
                let loaded = stored.and_then(|()| {
                    let inode = Inode::parse(&raw, inode.ino, sb.seed()).unwrap();
                    ExtentMap::load(&io, &sb, &inode)
                });
                match &loaded {
                    Ok(copy) => {
                        assert_eq!(contents(copy), *model);
                        assert_eq!(copy.total_blocks(), map.total_blocks());
                        // Go on with what was on the disk.
                        *map = loaded.unwrap();
                        false
                    }
                    Err(_) => true,
                }
            }
        };
        if failed && faults != Faults::Io {
            let oom = faults == Faults::Memory;
            assert!(oom || alloc.available_block_count() <= 1);
        }
        // Without memory nothing is found, rather than something old.
        map.publish(&copies[f]);
        kernel::fail_alloc_after(None);
        io.countdown.set(None);
        deepest = deepest.max(map.total_blocks() - map.blocks());

        assert_eq!(contents(&maps[f]), models[f]);
        for _ in 0..4 {
            let block = r.below(SPAN + 10);
            check_lookup(&maps[f], &models[f], block);
            match copies[f].lookup(block) {
                Some((found, _)) => assert_eq!(found, maps[f].lookup(block)),
                None => assert!(maps[f].is_unpublished()),
            }
        }
        if !failed && !r.one_in(16) {
            continue;
        }
        // Every block belongs to one file, and the bitmap says so.
        let used = io.used(&sb);
        assert_eq!(sb.data.len - used.len() as u64, alloc.free_block_count());
        let mut mine = BTreeSet::new();
        for b in models.iter().flat_map(|m| m.values()).map(|v| v.0) {
            assert!(mine.insert(b), "block {b} is used twice");
        }
        assert!(mine.is_subset(&used));
        let chains: u64 = maps.iter().map(|m| m.total_blocks() - m.blocks()).sum();
        let expected = mine.len() as u64 + chains;
        if faults == Faults::Io {
            assert!(used.len() as u64 >= expected, "only leaks are allowed");
        } else {
            assert_eq!(used.len() as u64, expected, "nothing leaks");
        }
    }
    for map in &mut maps {
        map.remove(&io, &mut alloc, 0, u64::MAX).unwrap();
        assert_eq!(map.total_blocks(), 0);
    }
    if faults != Faults::Io {
        assert_eq!(alloc.free_block_count(), sb.data.len);
    }
    assert!(deepest >= 2, "chains were too short to test anything");
}

/// An operation that ends early frees what it has allocated behind the end of the file, but nothing that
/// was there before.
#[test]
fn noted() {
    let sb = Superblock::layout(2048, 64, 0).unwrap();
    for seed in 1..200 {
        let io = Memory::new(&sb);
        let mut alloc = Allocator::load(&io, &sb).unwrap();
        let mut map = ExtentMap::new(2);
        let mut r = Random(seed * 7919);
        let end = r.below(30);
        // The file, and blocks that were made behind its end on purpose.
        for _ in 0..r.below(8) {
            let at = r.below(100);
            let _ = map.allocate(&io, &mut alloc, at, 1 + r.below(9), true, end);
        }
        map.keep_noted();
        let before = contents(&map);
        let (mut at, to) = (r.below(100), 60 + r.below(60));
        while at < to {
            match map.allocate(&io, &mut alloc, at, 1 + r.below(to - at), true, end) {
                Ok(Mapping::Mapped { len, .. }) => at += len,
                other => panic!("{other:?}"),
            }
        }
        // It came so far.
        let end = end.max(r.below(to));
        while map.remove_noted(&io, &mut alloc, end).unwrap() {}
        let after = contents(&map);
        assert!(before.keys().all(|b| after.contains_key(b)));
        let more = after
            .keys()
            .filter(|&b| *b >= end && !before.contains_key(b));
        assert_eq!(more.count(), 0);
    }
}

#[test]
fn extents() {
    torture(1, 20_000, 4096, Faults::None);
}

#[test]
fn extents_nearly_full() {
    torture(2, 20_000, 900, Faults::None);
}

#[test]
fn extents_without_memory() {
    torture(3, 20_000, 2048, Faults::Memory);
}

#[test]
fn extents_with_io_errors() {
    torture(4, 10_000, 65536, Faults::Io);
}

/// A device that was given to some files as a whole: whichever of its blocks are written, in any order, nothing fails.
#[test]
fn promised() {
    let sb = Superblock::layout(32_768, 64, 0).unwrap();
    for seed in 1..=6 {
        let io = Memory::new(&sb);
        let mut alloc = Allocator::load(&io, &sb).unwrap();
        let reserve = alloc.free_block_count() - alloc.available_block_count();
        assert_eq!(reserve, sb.data.len.div_ceil(56) + 32);
        let mut r = Random(seed);
        let mut maps: Vec<_> = (2..2 + 5 * seed).map(ExtentMap::new).collect();
        let mut blocks = Vec::new();
        let mut at = 0;
        'full: loop {
            for (f, map) in maps.iter_mut().enumerate() {
                let max = if seed % 2 == 0 { 1 } else { 1 + r.below(100) };
                match map.allocate(&io, &mut alloc, at, max, true, 0) {
                    Ok(Mapping::Mapped { len, .. }) => {
                        blocks.extend((at..at + len).map(|b| (f, b)));
                    }
                    Err(ENOSPC) => break 'full,
                    other => panic!("{other:?}"),
                }
            }
            at += 1 + r.below(3) * 50;
        }
        assert!(alloc.available_block_count() <= 1 && alloc.free_block_count() >= reserve);
        if seed > 3 {
            for i in 1..blocks.len() {
                blocks.swap(i, r.below(i as u64 + 1) as usize);
            }
        }
        for half in 0..2 {
            for &(f, b) in blocks.iter().filter(|&&(_, b)| b % 2 == half) {
                maps[f].mark_written(&io, &mut alloc, b, b + 1).unwrap();
            }
        }
        assert!(maps.iter().flat_map(ExtentMap::iter).all(|e| !e.unwritten));
    }
}

/// Files that grow in turns, by one block each time, have long extents; and what is spared for them others get in the end.
#[test]
fn in_turns() {
    let sb = Superblock::layout(100_000, 64, 0).unwrap();
    for files in [2, 3, 8, 60] {
        let io = Memory::new(&sb);
        let mut alloc = Allocator::load(&io, &sb).unwrap();
        let mut r = Random(files);
        let mut maps: Vec<_> = (2..2 + files).map(ExtentMap::new).collect();
        let blocks = (sb.data.len * 3 / 4) / files;
        for at in 0..blocks {
            // In any order.
            let first = r.below(files);
            for i in 0..files {
                let map = &mut maps[((first + i) % files) as usize];
                let got = map.allocate(&io, &mut alloc, at, 1, true, at);
                assert!(matches!(got, Ok(Mapping::Mapped { len: 1, .. })));
            }
            if at % 1000 == 0 {
                // Metadata does not lie in between.
                alloc.alloc_blocks(&io, 0, 1).unwrap();
            }
        }
        // One each time that the window doubles, and then one for each that is full.
        let most = maps.iter().map(|map| map.iter().count()).max().unwrap();
        let expected = 12 + blocks / 1000;
        assert!(most as u64 <= expected, "{files}: {most} > {expected}");
        let mut other = ExtentMap::new(999);
        let mut at = 0;
        let failed = loop {
            match other.allocate(&io, &mut alloc, at, 1 << 20, true, 0) {
                Ok(Mapping::Mapped { len, .. }) => at += len,
                other => break other,
            }
        };
        assert_eq!(failed, Err(ENOSPC));
        assert!(alloc.available_block_count() <= 1);
        for map in &mut maps {
            map.remove(&io, &mut alloc, blocks - 5, u64::MAX).unwrap();
            let got = map.allocate(&io, &mut alloc, blocks - 5, 5, true, 0);
            assert!(got.is_ok());
        }
    }
}

/// Files that are written one after the other lie one behind the other, whatever is written to each at a time.
#[test]
fn one_after_the_other() {
    let sb = Superblock::layout(20_000, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    let mut next = sb.data.start;
    for ino in 2..50 {
        let mut map = ExtentMap::new(ino);
        for at in 0..ino * 3 {
            map.allocate(&io, &mut alloc, at, 1, true, at).unwrap();
        }
        assert!(map.iter().map(|e| e.disk_block).eq([next]));
        next += map.blocks();
    }
}

/// Whichever allocation of memory fails, the operation does, and nothing has changed.
#[test]
fn each_allocation_fails() {
    let sb = Superblock::layout(4096, 64, 0).unwrap();
    for full in [
        INLINE_EXTENTS as u64,
        (INLINE_EXTENTS + CHAIN_EXTENTS) as u64,
    ] {
        for operation in 0..3 {
            let mut failures = 0;
            loop {
                let io = Memory::new(&sb);
                let mut alloc = Allocator::load(&io, &sb).unwrap();
                let mut map = ExtentMap::new(2);
                for i in 0..full {
                    map.allocate(&io, &mut alloc, i * 10, 5, true, u64::MAX)
                        .unwrap();
                }
                let before = (contents(&map), alloc.free_block_count(), io.used(&sb));
                // One more extent, hence a new chain block.
                kernel::fail_alloc_after(Some(failures));
                let done = match operation {
                    0 => map.allocate(&io, &mut alloc, 7, 1, true, u64::MAX).err(),
                    1 => map.mark_written(&io, &mut alloc, 0, 2).err(),
                    _ => map.remove(&io, &mut alloc, 1, 2).err(),
                };
                kernel::fail_alloc_after(None);
                let Some(e) = done else {
                    let chained = full as usize + 1 - INLINE_EXTENTS;
                    assert_eq!(
                        map.total_blocks() - map.blocks(),
                        chained.div_ceil(CHAIN_EXTENTS) as u64
                    );
                    break;
                };
                assert_eq!(e, ENOMEM);
                let after = (contents(&map), alloc.free_block_count(), io.used(&sb));
                assert!(before == after);
                failures += 1;
            }
            // The vectors of extents and of chain blocks, and at first the buffer.
            assert!(failures >= 2);
        }
    }
}

/// A chain that grows and shrinks at its end, as files do, is right on disk after each step.
#[test]
fn chain_ends() {
    let sb = Superblock::layout(4096, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    let mut map = ExtentMap::new(2);
    let mut r = Random(9);
    let boundary = (INLINE_EXTENTS + CHAIN_EXTENTS) as u64;
    let mut count = 0;
    while count < 2 * boundary {
        // One step back for every few forward, and around the boundaries often.
        let near = count.abs_diff(boundary) < 8 || count < 12;
        if r.one_in(if near { 2 } else { 4 }) {
            count -= r.below(if near { 3 } else { 4 }).min(count);
            map.remove(&io, &mut alloc, count * 2, u64::MAX).unwrap();
        } else {
            map.allocate(&io, &mut alloc, count * 2, 1, false, u64::MAX)
                .unwrap();
            count += 1;
        }
        let mut inode = Inode {
            ino: 2,
            mode: S_IFREG,
            ..Inode::default()
        };
        map.store(&io, &sb, &mut inode).unwrap();
        let raw = inode.encode(sb.seed());
        let inode = Inode::parse(&raw, 2, sb.seed()).unwrap();
        let copy = ExtentMap::load(&io, &sb, &inode).unwrap();
        assert_eq!(contents(&copy), contents(&map));
        assert_eq!(copy.blocks(), count);
    }
}

/// However many extents a file has, to add or take away one changes few blocks, and they stay well filled.
#[test]
fn few_blocks_change() {
    let sb = Superblock::layout(65536, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    let mut map = ExtentMap::new(2);
    let mut r = Random(17);
    let mut there = BTreeSet::new();
    let (mut worst, mut most) = (0, 0);
    for round in 0..30_000 {
        let block = 2 * r.below(8000);
        io.written.borrow_mut().clear();
        // It grows, and then it shrinks.
        if r.one_in(if round < 15_000 { 4 } else { 2 }) && round >= 100 {
            let Some(&at) = there.range(block..).next() else {
                continue;
            };
            map.remove(&io, &mut alloc, at, at + 1).unwrap();
            there.remove(&at);
        } else if round < 20_000 {
            map.allocate(&io, &mut alloc, block, 1, r.one_in(2), u64::MAX)
                .unwrap();
            there.insert(block);
        } else {
            map.mark_written(&io, &mut alloc, block, block + 1).unwrap();
        }
        let mut inode = Inode {
            ino: 2,
            mode: S_IFREG,
            ..Inode::default()
        };
        map.store(&io, &sb, &mut inode).unwrap();
        worst = worst.max(io.written.borrow().len());
        most = most.max(inode.chain_len);
        let extents = inode.extent_count as usize;
        assert!(inode.chain_len as usize <= 2 + extents.div_ceil(CHAIN_EXTENTS / 3));
        if round % 1000 == 0 {
            let copy = ExtentMap::load(&io, &sb, &inode).unwrap();
            assert_eq!(contents(&copy), contents(&map));
        }
    }
    assert!(
        most >= 30,
        "the chain was too short to test anything: {most}"
    );
    // Two blocks of the bitmap, a block of the chain that is split or joined, its other half, and the one before.
    assert!(worst <= 5, "{worst} blocks");
}

/// Stored chains with one defect each are refused.
#[test]
fn bad_chains() {
    let sb = Superblock::layout(4096, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    let mut map = ExtentMap::new(2);
    for i in 0..400 {
        map.allocate(&io, &mut alloc, i * 2, 1, false, u64::MAX)
            .unwrap();
    }
    let mut inode = Inode {
        ino: 2,
        mode: S_IFREG,
        ..Inode::default()
    };
    map.store(&io, &sb, &mut inode).unwrap();
    assert_eq!(inode.chain_len, 3);
    assert!(ExtentMap::load(&io, &sb, &inode).is_ok());
    let head = inode.chain_head;
    let mut good = vec![0; BLOCK_SIZE];
    io.read(head, 0, &mut good).unwrap();
    kernel::messages();

    let try_inode = |change: &dyn Fn(&mut Inode)| {
        let mut bad = inode;
        change(&mut bad);
        assert_eq!(ExtentMap::load(&io, &sb, &bad).err(), Some(EUCLEAN));
        assert_eq!(kernel::messages(), 1);
    };
    try_inode(&|i| i.chain_head = 0);
    try_inode(&|i| i.chain_head = sb.total_blocks);
    try_inode(&|i| i.chain_head += 1);
    try_inode(&|i| i.chain_len = 2);
    try_inode(&|i| i.extent_count -= 1);
    try_inode(&|i| i.blocks += 1);
    try_inode(&|i| i.ino = 3);
    try_inode(&|i| i.inline[0].disk_block = 1);
    try_inode(&|i| i.inline[3].file_block = 0);

    let try_block = |change: &dyn Fn(&mut [u8]), fix: bool| {
        let mut block = good.clone();
        change(&mut block);
        if fix {
            let crc = checksum(sb.seed(), &block, 4);
            put32(&mut block, 4, crc);
        }
        io.write(head, 0, &block).unwrap();
        assert_eq!(ExtentMap::load(&io, &sb, &inode).err(), Some(EUCLEAN));
        assert_eq!(kernel::messages(), 1);
    };
    for i in 0..BLOCK_SIZE {
        try_block(&|b| b[i] ^= 0x10, false);
    }
    try_block(&|b| put32(b, 0, 0), true);
    try_block(&|b| put64(b, 8, 9), true);
    try_block(&|b| put64(b, 16, head), true); // A loop.
    try_block(&|b| put64(b, 16, 0), true);
    try_block(&|b| put64(b, 16, u64::MAX), true);
    try_block(&|b| put32(b, 24, 0), true);
    try_block(&|b| put32(b, 24, 168), true);
    try_block(&|b| put32(b, 24, u32::MAX), true);
    try_block(&|b| put64(b, 32, 0), true);
    try_block(&|b| put64(b, 40, 0), true);
    try_block(&|b| put64(b, 40, u64::MAX), true);
    try_block(&|b| put32(b, 48, 0), true);
    try_block(&|b| put32(b, 48, u32::MAX), true);
    try_block(&|b| put32(b, 52, 2), true);
}

#[test]
fn allocator() {
    // Two bitmap blocks, of which the second is partly used.
    let sb = Superblock::layout(40_000, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    assert_eq!(alloc.free_block_count(), sb.data.len);
    let (a, n) = alloc.alloc_blocks(&io, 0, 10).unwrap();
    assert_eq!((a, n), (sb.data.start, 10));
    let (b, n) = alloc.alloc_blocks(&io, a, 5).unwrap();
    assert_eq!((b, n), (a + 10, 5));
    // Runs end where the bitmap block ends, or at a used block.
    assert_eq!(alloc.alloc_blocks(&io, 32_760, 100).unwrap(), (32_760, 8));
    alloc.free_blocks(&io, a + 2, 3).unwrap();
    assert_eq!(alloc.alloc_blocks(&io, a, 100).unwrap(), (a + 2, 3));
    // The search goes round.
    let (c, n) = alloc.alloc_blocks(&io, sb.data.end() - 1, 10).unwrap();
    assert_eq!((c, n), (sb.data.end() - 1, 1));
    assert_eq!(
        alloc.alloc_blocks(&io, sb.data.end() - 1, 1).unwrap().0,
        b + 5
    );
    kernel::messages();
    let free = alloc.free_block_count();
    for (start, len) in [
        (0, 1),
        (sb.data.start - 1, 2),
        (sb.data.end(), 1),
        (sb.data.end() - 1, 2),
        (a + 100, 1),
        (a, 1000),
        (u64::MAX, 1),
        (1, u64::MAX),
    ] {
        assert_eq!(alloc.free_blocks(&io, start, len), Err(EUCLEAN));
    }
    assert_eq!(alloc.free_block_count(), free);
    assert_eq!(kernel::messages(), 8);

    // All of it, and then not one more; the reserve is for chains.
    while alloc.alloc_blocks(&io, 0, 1 << 20).is_ok() {}
    assert_eq!(alloc.available_block_count(), 0);
    let mut reserve = alloc.free_block_count();
    assert!(reserve >= 32);
    while alloc.alloc_promised(&io, 0).is_ok() {
        reserve -= 1;
    }
    assert_eq!((reserve, alloc.free_block_count()), (0, 0));

    let mut all = BTreeSet::new();
    while let Ok(ino) = alloc.alloc_inode(&io, 0) {
        assert!(all.insert(ino) && ino > ROOT_INO && ino < sb.inode_count);
        assert!(alloc.inode_in_use(&io, ino).unwrap());
    }
    assert_eq!(all.len() as u64, sb.inode_count - 2);
    alloc.free_inode(&io, 7).unwrap();
    assert!(!alloc.inode_in_use(&io, 7).unwrap());
    for ino in [0, ROOT_INO, 7, sb.inode_count, u64::MAX] {
        assert_eq!(alloc.free_inode(&io, ino), Err(EUCLEAN));
    }
    assert!(!alloc.inode_in_use(&io, sb.inode_count).unwrap());
    assert!(!alloc.inode_in_use(&io, u64::MAX).unwrap());
    // The counts are those of the disk.
    let again = Allocator::load(&io, &sb).unwrap();
    assert_eq!(again.free_block_count(), 0);
    assert_eq!(again.free_inode_count(), 1);
}

/// Bitmaps that call metadata free are refused.
#[test]
fn bad_bitmaps() {
    let sb = Superblock::layout(40_000, 64, 0).unwrap();
    for (region, bit) in [
        (sb.block_bitmap, 0),
        (sb.block_bitmap, sb.data.start - 1),
        (sb.block_bitmap, sb.backup),
        (sb.block_bitmap, sb.total_blocks),
        (sb.block_bitmap, 2 * BITS_PER_BLOCK - 1),
        (sb.inode_bitmap, 0),
        (sb.inode_bitmap, ROOT_INO),
        (sb.inode_bitmap, sb.inode_count),
    ] {
        let io = Memory::new(&sb);
        assert!(Allocator::load(&io, &sb).is_ok());
        let at = region.start as usize * BLOCK_SIZE + bit as usize / 8;
        io.blocks.borrow_mut()[at] &= !(1 << (bit % 8));
        assert_eq!(Allocator::load(&io, &sb).err(), Some(EUCLEAN));
    }
}

/// A bitmap that somebody else filled is noticed, without a loop.
#[test]
fn bitmap_changed_behind() {
    let sb = Superblock::layout(4096, 64, 0).unwrap();
    let io = Memory::new(&sb);
    let mut alloc = Allocator::load(&io, &sb).unwrap();
    io.write(sb.block_bitmap.start, 0, &[0xff; BLOCK_SIZE])
        .unwrap();
    assert_eq!(alloc.alloc_blocks(&io, 0, 1), Err(EUCLEAN));
    io.write(sb.block_bitmap.start, 0, &[0; BLOCK_SIZE])
        .unwrap();
    let got = alloc.alloc_blocks(&io, 0, 1);
    assert!(got.is_ok_and(|(b, _)| sb.is_data(b, 1)) || got == Err(EUCLEAN));
}

/// Random insertions and removals in one directory block.
#[test]
fn directory_block() {
    let mut r = Random(5);
    let mut block = vec![0; BLOCK_SIZE];
    dir::init_block(&mut block, 7, 99);
    let mut model: BTreeMap<Vec<u8>, (u64, dir::FileType)> = BTreeMap::new();
    let mut full = 0;
    for _ in 0..10_000 {
        let len = if r.one_in(20) { 255 } else { 1 + r.below(30) };
        let mut name = vec![b'a' + r.below(3) as u8; len as usize];
        name[0] = b'x' + r.below(3) as u8;
        let kind = KINDS[r.below(7) as usize].1;
        let ino = 1 + r.below(1 << 40);
        match r.below(8) {
            0..=4 => {
                if !model.contains_key(&name) {
                    if dir::insert(&mut block, &name, ino, kind, 99).unwrap() {
                        model.insert(name.clone(), (ino, kind));
                    } else {
                        full += 1;
                    }
                }
            }
            5 => {
                let old = dir::replace(&mut block, &name, ino, kind, 99).unwrap();
                assert_eq!(old, model.get(&name).map(|v| v.0));
                if old.is_some() {
                    model.insert(name.clone(), (ino, kind));
                }
            }
            _ => {
                let old = dir::remove(&mut block, &name, 99).unwrap();
                assert_eq!(old, model.remove(&name).map(|v| v.0));
            }
        }
        dir::validate(&block, 7, 99).unwrap();
        let found = dir::find(&block, &name).unwrap();
        assert_eq!(found.map(|e| (e.ino, e.kind)), model.get(&name).copied());
        assert_eq!(dir::is_empty(&block).unwrap(), model.is_empty());
        let mut seen = BTreeMap::new();
        // With a stop at each entry.
        let mut at = 0;
        while at < BLOCK_SIZE {
            let mut first = true;
            at = dir::iterate(&block, at, |e| {
                if first {
                    let new = seen.insert(e.name.to_vec(), (e.ino, e.kind));
                    assert!(new.is_none());
                }
                std::mem::take(&mut first)
            })
            .unwrap();
        }
        assert_eq!(seen, model);
    }
    assert!(full > 100);
}

/// Each type of an inode, and what directories say of it.
const KINDS: [(u32, dir::FileType); 7] = [
    (S_IFIFO, dir::FileType::Fifo),
    (S_IFCHR, dir::FileType::Chr),
    (S_IFDIR, dir::FileType::Dir),
    (S_IFBLK, dir::FileType::Blk),
    (S_IFREG, dir::FileType::Reg),
    (S_IFLNK, dir::FileType::Lnk),
    (S_IFSOCK, dir::FileType::Sock),
];

/// There are no others, in inodes and in directories.
#[test]
fn file_types() {
    for mode in (0..16).map(|i| i << 12) {
        let known = KINDS.iter().find(|&&(m, _)| m == mode);
        assert_eq!(dir::FileType::from_mode(mode | 0o7777), known.map(|k| k.1));
        let mut inode = Inode {
            ino: 2,
            mode: mode | 0o7777,
            ..Inode::default()
        };
        if mode == S_IFDIR {
            inode.parent = 1;
        }
        if mode == S_IFLNK {
            inode.size = 1;
            inode.target = Inode::inline_target(b"a");
        }
        let parsed = Inode::parse(&inode.encode(5), 2, 5);
        match known {
            Some(_) => assert_eq!(parsed, Ok(inode)),
            None => assert_eq!(parsed, Err(Corrupt("bad file type"))),
        }
    }
    for kind in 0..=255 {
        let mut block = vec![0; BLOCK_SIZE];
        dir::init_block(&mut block, 7, 99);
        assert!(dir::insert(&mut block, b"a", 2, dir::FileType::Reg, 99).unwrap());
        block[dir::HEADER + 11] = kind;
        let known = KINDS.iter().any(|&(_, k)| k as u8 == kind);
        assert_eq!(dir::find(&block, b"a").is_ok(), known, "type {kind}");
    }
}

/// A position stays good while entries around it come and go: whatever was there all the time is
/// seen exactly once.
#[test]
fn directory_positions() {
    let mut r = Random(6);
    for _ in 0..300 {
        let mut block = vec![0; BLOCK_SIZE];
        dir::init_block(&mut block, 7, 99);
        let name = |i: u64| format!("{i:0width$}", width = 3 + i as usize % 9).into_bytes();
        for i in 0..100 {
            assert!(dir::insert(&mut block, &name(i), i + 1, dir::FileType::Reg, 99).unwrap());
        }
        let mut seen = BTreeMap::new();
        let mut at = 0;
        while at < BLOCK_SIZE {
            let mut n = r.below(4);
            let next = dir::iterate(&block, at, |e| {
                if n == 0 {
                    return false;
                }
                n -= 1;
                *seen.entry(e.ino).or_insert(0) += 1;
                true
            });
            at = next.unwrap();
            // Odd ones come and go.
            for _ in 0..6 {
                let i = r.below(50) * 2 + 1;
                if dir::remove(&mut block, &name(i), 99).unwrap().is_none() {
                    dir::insert(&mut block, &name(i), i + 1, dir::FileType::Reg, 99).unwrap();
                }
            }
        }
        for i in (0..100).step_by(2) {
            assert_eq!(seen.get(&(i + 1)), Some(&1));
        }
    }
}

#[test]
fn directory_names() {
    let mut block = vec![0; BLOCK_SIZE];
    dir::init_block(&mut block, 7, 99);
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
        assert!(dir::insert(&mut block, bad, 1, dir::FileType::Reg, 99).is_err());
    }
    assert!(dir::insert(&mut block, b"x", 0, dir::FileType::Reg, 99).is_err());
    for good in [&b"..."[..], b".x", b"..x", b"\xff", &[b'x'; 255]] {
        assert!(dir::insert(&mut block, good, 1, dir::FileType::Reg, 99).unwrap());
    }
}

/// Garbage gives errors, not panics or loops.
#[test]
fn directory_garbage() {
    let mut r = Random(7);
    let mut good = vec![0; BLOCK_SIZE];
    dir::init_block(&mut good, 7, 99);
    for i in 0..60u64 {
        let name = format!("name{i}");
        assert!(dir::insert(&mut good, name.as_bytes(), i + 1, dir::FileType::Dir, 99).unwrap());
    }
    for i in 0..BLOCK_SIZE {
        let mut bad = good.clone();
        bad[i] ^= 1 << r.below(8);
        assert!(dir::validate(&bad, 7, 99).is_err());
    }
    assert!(dir::validate(&good, 8, 99).is_err());
    assert!(dir::validate(&good, 7, 98).is_err());
    for round in 0..20_000 {
        let mut block = good.clone();
        for _ in 0..1 + r.below(8) {
            let i = r.below(BLOCK_SIZE as u64) as usize;
            block[i] = [r.next() as u8, 0, 0xff, 1][r.below(4) as usize];
        }
        if round % 10 == 0 {
            block.truncate(r.below(BLOCK_SIZE as u64) as usize);
        }
        let crc = checksum(99, &block, 4);
        put32(&mut block, 4, crc);
        let _ = dir::validate(&block, 7, 99);
        let _ = dir::find(&block, b"name7");
        let _ = dir::is_empty(&block);
        let _ = dir::iterate(&block, r.below(5000) as usize, |_| true);
        let _ = dir::insert(&mut block, b"new", 3, dir::FileType::Reg, 99);
        let _ = dir::replace(&mut block, b"name3", 3, dir::FileType::Reg, 99);
        let _ = dir::remove(&mut block, b"name5", 99);
    }
}

/// Attributes against a model, until the block is full and beyond.
#[test]
fn attributes() {
    use xattr::Prefix;
    let mut r = Random(15);
    let prefixes = [Prefix::User, Prefix::Trusted, Prefix::Security];
    let mut refused = 0;
    for _ in 0..40 {
        let mut model: BTreeMap<(u8, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut block = [0xff; BLOCK_SIZE];
        xattr::init_block(&mut block, 9);
        let largest = [20, 300, 5000][r.below(3) as usize];
        for _ in 0..400 {
            let prefix = prefixes[r.below(3) as usize];
            let name = vec![b'a' + r.below(3) as u8; 1 + r.below(30) as usize];
            let key = (prefix as u8, name.clone());
            let value = vec![r.next() as u8; r.below(largest) as usize];
            let value = (!r.one_in(4)).then_some(value);
            let before = block;
            let fits = xattr::set(&mut block, prefix, &name, value.as_deref()).unwrap();
            let others = model.iter().filter(|(k, _)| **k != key);
            let used: usize = others.map(|((_, n), v)| 4 + n.len() + v.len()).sum();
            let added = value.as_ref().map_or(0, |v| 4 + name.len() + v.len());
            assert_eq!(fits, xattr::HEADER + used + added <= BLOCK_SIZE);
            if !fits {
                assert!(block == before);
                refused += 1;
                continue;
            }
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
            xattr::seal(&mut block, 5);
            let valid = xattr::validate(&block, 9, 5);
            assert_eq!(valid.is_ok(), !model.is_empty());
            assert_eq!(xattr::is_empty(&block), model.is_empty());
            let stored: BTreeMap<_, _> = xattr::entries(&block)
                .map(|e| e.unwrap())
                .map(|e| ((e.prefix as u8, e.name.to_vec()), e.value.to_vec()))
                .collect();
            assert_eq!(stored, model);
            let end = xattr::HEADER + get32(&block, 16) as usize;
            assert!(block[end..].iter().all(|&b| b == 0));
        }
        for ((prefix, name), value) in &model {
            let prefix = prefixes.into_iter().find(|&p| p as u8 == *prefix).unwrap();
            assert_eq!(xattr::find(&block, prefix, name), Ok(Some(&value[..])));
        }
        assert_eq!(xattr::find(&block, Prefix::User, b"none"), Ok(None));
    }
    assert!(refused > 100);
    let mut block = [0; BLOCK_SIZE];
    xattr::init_block(&mut block, 9);
    let value = [1; xattr::VALUE_MAX + 1];
    assert_eq!(
        xattr::set(&mut block, Prefix::User, b"x", Some(&value)),
        Ok(false)
    );
    assert_eq!(
        xattr::set(&mut block, Prefix::User, b"x", Some(&value[1..])),
        Ok(true)
    );
    for (prefix, name) in [
        (Prefix::User, &b""[..]),
        (Prefix::User, &[b'x'; 256]),
        (Prefix::User, b"a\0b"),
        (Prefix::AclAccess, b"x"),
    ] {
        assert!(xattr::set(&mut block, prefix, name, None).is_err());
    }
}

#[test]
fn attribute_garbage() {
    let mut r = Random(16);
    let mut good = [0; BLOCK_SIZE];
    xattr::init_block(&mut good, 9);
    for i in 0..20u8 {
        assert_eq!(
            xattr::set(&mut good, xattr::Prefix::User, &[b'a' + i], Some(&[i; 50])),
            Ok(true)
        );
    }
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut block = good;
        for _ in 0..1 + r.below(3) {
            let span = if r.one_in(2) { 20 } else { 1200 };
            let at = 16 + r.below(span) as usize;
            block[at] = r.next() as u8;
        }
        xattr::seal(&mut block, 5);
        let valid = xattr::validate(&block, 9, 5).is_ok();
        assert_eq!(valid, valid && xattr::entries(&block).all(|e| e.is_ok()));
        accepted += u32::from(valid);
        // Whatever it is, this ends, and what it leaves is as good as it was.
        let name = [b'a' + r.below(20) as u8];
        let value = [7; 60];
        let value = r.one_in(2).then_some(&value[..]);
        let set = xattr::set(&mut block, xattr::Prefix::User, &name, value);
        xattr::seal(&mut block, 5);
        if valid && set.is_ok() {
            assert_eq!(xattr::validate(&block, 9, 5), Ok(()));
        }
        let _ = xattr::find(&block, xattr::Prefix::User, &name);
    }
    assert!(accepted > 1000);
    xattr::seal(&mut good, 5);
    assert!(xattr::validate(&good, 9, 6).is_err());
    assert!(xattr::validate(&good, 8, 5).is_err());
    assert!(xattr::validate(&good[1..], 9, 5).is_err());
}

#[test]
fn acls() {
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut value = vec![2, 0, 0, 0];
        for (tag, perm, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(perm.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    };
    let least = [(1, 7, !0), (4, 5, !0), (32, 0, !0)];
    let most = [
        (1, 7, !0),
        (2, 7, 4),
        (2, 0, 3),
        (4, 5, !0),
        (8, 1, 0),
        (8, 1, 1),
        (16, 7, !0),
        (32, 0, !0),
    ];
    assert!(xattr::acl_ok(&acl(&least)));
    assert!(xattr::acl_ok(&acl(&most)));
    // A mask is needed exactly if somebody is named; it may be there without.
    assert!(xattr::acl_ok(&acl(&[
        (1, 7, !0),
        (4, 5, !0),
        (16, 5, !0),
        (32, 0, !0)
    ])));
    for i in 0..most.len() {
        let mut without = most.to_vec();
        let (tag, _, _) = without.remove(i);
        assert_eq!(
            xattr::acl_ok(&acl(&without)),
            matches!(tag, 2 | 8),
            "without {i}"
        );
        let mut twice = most.to_vec();
        twice.insert(i, most[i]);
        assert_eq!(
            xattr::acl_ok(&acl(&twice)),
            matches!(tag, 2 | 8),
            "{i} twice"
        );
        let mut more = most;
        more[i].1 = 8;
        assert!(!xattr::acl_ok(&acl(&more)));
        more = most;
        more[i].0 = 3;
        assert!(!xattr::acl_ok(&acl(&more)));
        if i > 0 && most[i].0 != most[i - 1].0 {
            let mut swapped = most;
            swapped.swap(i, i - 1);
            assert!(!xattr::acl_ok(&acl(&swapped)), "{i} before its time");
        }
    }
    for bad in [&b""[..], &[2, 0, 0], &[2, 0, 0, 0], &acl(&least)[..27]] {
        assert!(!xattr::acl_ok(bad));
    }
    let mut other = acl(&least);
    other[0] = 1;
    assert!(!xattr::acl_ok(&other));
}

#[test]
fn checksums() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
    let data: Vec<u8> = (0..200).collect();
    for split in 0..data.len() {
        let (a, b) = data.split_at(split);
        let whole = !crc32c_update(crc32c_update(!0, a), b);
        assert_eq!(whole, crc32c(&data));
    }
    let mut holed = data.clone();
    holed[20..24].fill(0);
    assert_eq!(checksum(!0, &data, 20), crc32c(&holed));
}

#[test]
fn layouts() {
    let mut found = 0;
    for total in 0..4000 {
        for inodes in [1, 16, 17, 100, 40_000] {
            let Some(sb) = Superblock::layout(total, inodes, 1024) else {
                continue;
            };
            let mut raw = [0; SUPER_SIZE];
            sb.encode(&mut raw);
            assert_eq!(Superblock::parse(&raw), Ok(sb));
            assert!(sb.inode_count >= inodes);
            assert_eq!(sb.orphans.len, sb.inode_bitmap.len);
            assert_eq!(sb.journal.len, 1024);
            assert!(sb.writable().is_ok());
            found += 1;
        }
    }
    assert!(found > 1000);
    let layout = |total, inodes| Superblock::layout(total, inodes, 1024);
    assert!(layout(MAX_BLOCKS, 1 << 20).is_some());
    assert!(layout(MAX_BLOCKS + 1, 1 << 20).is_none());
    assert!(layout(u64::MAX, u64::MAX).is_none());
    assert!(layout(1 << 30, MAX_INODES + 1).is_none());
    assert!(layout(1 << 30, 0).is_none());
}

/// A journal is neither too short nor too long, and as long as the size demands.
#[test]
fn journal_lengths() {
    let mut raw = [0; SUPER_SIZE];
    for (len, good) in [
        (1024, true),
        (1023, false),
        (262_144, true),
        (262_145, false),
    ] {
        assert_eq!(Superblock::layout(1 << 20, 64, len).is_some(), good);
        let mut sb = Superblock::layout(1 << 20, 64, 262_144).unwrap();
        sb.journal.len = len;
        sb.data.start = sb.journal.start + len;
        sb.data.len = 1000;
        sb.encode(&mut raw);
        assert_eq!(Superblock::parse(&raw).is_ok(), good, "{len}");
    }
    Superblock::layout(4096, 64, 0).unwrap().encode(&mut raw);
    assert!(matches!(
        Superblock::parse(&raw),
        Err(SuperError::Corrupt(_))
    ));
    let sizes = [
        (2048, 1024),
        (32 << 10, 4096),
        (256 << 10, 8192),
        (512 << 10, 16384),
        (4096 << 10, 32768),
        (8192 << 10, 65536),
        (16384 << 10, 131_072),
        (32768 << 10, 262_144),
    ];
    let mut before = None;
    for (total, len) in sizes {
        assert_eq!(Superblock::journal_blocks(total - 1), before);
        assert_eq!(Superblock::journal_blocks(total), Some(len));
        before = Some(len);
    }
    assert_eq!(Superblock::journal_blocks(MAX_BLOCKS), before);
}

/// The state changes, and nothing else does.
#[test]
fn superblock_state() {
    let mut raw = [0; SUPER_SIZE];
    let mut sb = Superblock::layout(4096, 64, 1024).unwrap();
    sb.compat = 5;
    sb.encode(&mut raw);
    raw[900] = 77; // Something that a later version keeps there.
    for (word, state) in [(1, State::Clean), (2, State::Dirty), (3, State::Errors)] {
        Superblock::set_state(&mut raw, state);
        sb.state = state;
        assert_eq!(Superblock::parse(&raw), Ok(sb));
        assert_eq!(raw[900], 77);
        assert_eq!(get32(&raw, 160), word);
    }
    for word in [0, 4, u32::MAX] {
        put32(&mut raw, 160, word);
        let crc = checksum(!0, &raw, 1020);
        put32(&mut raw, 1020, crc);
        assert!(Superblock::parse_torn(&raw).is_err());
    }
}

/// Of a change of state that was torn, either sector may be the older one.
#[test]
fn superblock_torn() {
    let states = [State::Clean, State::Dirty, State::Errors];
    let mut sb = Superblock::layout(4096, 64, 1024).unwrap();
    for word in states {
        for sealed in states {
            let (mut raw, mut with) = ([0; SUPER_SIZE], [0; SUPER_SIZE]);
            sb.state = sealed;
            sb.encode(&mut raw);
            sb.state = word;
            sb.encode(&mut with);
            raw[..512].copy_from_slice(&with[..512]);
            let errors = word == State::Errors || sealed == State::Errors;
            if word != sealed {
                sb.state = if errors { State::Errors } else { State::Dirty };
            }
            assert_eq!(Superblock::parse_torn(&raw), Ok((sb, word != sealed)));
            raw[300] = 1;
            assert!(Superblock::parse_torn(&raw).is_err());
        }
    }
    let mut raw = [0; SUPER_SIZE];
    sb.encode(&mut raw);
    sb.state = State::Dirty;
    assert_eq!(Superblock::parse_copy(&raw, sb.backup), Some(sb));
    assert_eq!(Superblock::parse_copy(&raw, sb.backup - 1), None);
}

/// The journal's superblock, byte by byte, as `journal_check_superblock()` in the kernel wants it.
#[test]
fn journal_superblock() {
    let mut block = [7; BLOCK_SIZE];
    journal::encode_super(&mut block, 0x1234, b"0123456789abcdef");
    let mut expected = [0; BLOCK_SIZE];
    let words = [
        (0x00, 0xc03b_3998),
        (0x04, 4),
        (0x0c, 4096),
        (0x10, 0x1234),
        (0x14, 1),
        (0x18, 1),
        (0x28, 0x13),
        (0x40, 1),
    ];
    for (at, word) in words {
        expected[at..at + 4].copy_from_slice(&u32::to_be_bytes(word));
    }
    expected[0x30..0x40].copy_from_slice(b"0123456789abcdef");
    expected[0x50] = 4;
    let crc = crc32c_update(!0, &expected[..1024]).to_be_bytes();
    expected[0xfc..0x100].copy_from_slice(&crc);
    assert_eq!(block, expected);
}

#[test]
fn superblock_features() {
    let mut raw = [0; SUPER_SIZE];
    let mut sb = Superblock::layout(4096, 64, 1024).unwrap();
    sb.ro_compat = 1 << 63;
    sb.encode(&mut raw);
    let parsed = Superblock::parse(&raw).unwrap();
    assert!(matches!(parsed.writable(), Err(SuperError::Unsupported(_))));
    sb.incompat = 1;
    sb.encode(&mut raw);
    assert!(matches!(
        Superblock::parse(&raw),
        Err(SuperError::Unsupported(_))
    ));
    raw[8] = 2;
    assert!(matches!(
        Superblock::parse(&raw),
        Err(SuperError::Unsupported(_))
    ));
    raw[0] = 0;
    assert_eq!(Superblock::parse(&raw), Err(SuperError::Foreign));
}

/// Geometry that does not fit together is refused, and no value makes the checks overflow.
#[test]
fn superblock_geometry() {
    let sb = Superblock::layout(40_000, 64, 1024).unwrap();
    let mut raw = [0; SUPER_SIZE];
    sb.encode(&mut raw);
    let values = [
        0,
        1,
        2,
        3,
        39_999,
        40_000,
        40_001,
        1 << 32,
        1 << 36,
        u64::MAX - 1,
        u64::MAX,
    ];
    for field in (40..152).chain(216..232).step_by(8) {
        for value in values {
            let mut bad = raw;
            put64(&mut bad, field, value);
            Superblock::set_state(&mut bad, State::Clean);
            let Ok(parsed) = Superblock::parse(&bad) else {
                continue;
            };
            // Accepted only where it still makes sense.
            assert!(parsed.data.end() <= parsed.total_blocks);
            assert!(parsed.inode_bitmap.end() <= parsed.orphans.start);
            assert!(parsed.orphans.end() <= parsed.block_bitmap.start);
            assert!(parsed.inode_table.end() <= parsed.journal.start);
            assert!(parsed.journal.end() <= parsed.data.start);
            assert!(!parsed.is_data(parsed.backup, 1));
        }
    }
}

/// What is encoded is decoded, and each bit matters.
#[test]
fn inodes() {
    let mut r = Random(8);
    for _ in 0..200 {
        let mut inode = Inode {
            ino: 1 + r.below(1000),
            mode: S_IFREG | r.below(0o10000) as u32,
            uid: r.next() as u32,
            gid: r.next() as u32,
            nlink: r.below(5) as u32,
            flags: r.next() as u32 & flags::ALL,
            generation: r.next() as u32,
            size: r.below(MAX_FILE_SIZE + 1),
            blocks: r.below(MAX_BLOCKS),
            atime: Time {
                sec: r.next() as i64,
                nsec: r.below(1_000_000_000) as u32,
            },
            mtime: Time {
                sec: -(r.next() as i64),
                nsec: 999_999_999,
            },
            extent_count: r.below(5) as u32,
            xattr_block: r.next(),
            ..Inode::default()
        };
        let mut at = 0;
        for e in inode.inline.iter_mut().take(inode.extent_count as usize) {
            at += r.below(10);
            *e = Extent {
                file_block: at,
                disk_block: r.below(1 << 40),
                len: 1 + r.below(100) as u32,
                unwritten: r.one_in(2),
            };
            at = e.end();
        }
        let raw = inode.encode(5);
        assert_eq!(Inode::parse(&raw, inode.ino, 5), Ok(inode));
        assert!(Inode::parse(&raw, inode.ino + 1, 5).is_err());
        assert!(Inode::parse(&raw, inode.ino, 6).is_err());
        assert!(Inode::parse(&raw[..255], inode.ino, 5).is_err());
        let mut bad = raw;
        let bit = r.below(256 * 8) as usize;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Inode::parse(&bad, inode.ino, 5).is_err());
        // With a good checksum it is decoded or refused; both without a panic.
        let crc = checksum(5, &bad, 4);
        put32(&mut bad, 4, crc);
        let _ = Inode::parse(&bad, inode.ino, 5);
        let flag = 1 << r.below(32);
        inode.flags = flag;
        let known = Inode::parse(&inode.encode(5), inode.ino, 5).is_ok();
        assert_eq!(known, flag & flags::ALL != 0);
    }
}

/// Inline extents that overlap or are out of order are refused with the inode already.
#[test]
fn inode_extents() {
    let extent = |file_block, len| Extent {
        file_block,
        disk_block: 1000,
        len,
        unwritten: false,
    };
    let parse = |extents: [Extent; 2]| {
        let mut inode = Inode {
            ino: 2,
            mode: S_IFREG,
            extent_count: 2,
            ..Inode::default()
        };
        inode.inline[..2].copy_from_slice(&extents);
        Inode::parse(&inode.encode(5), 2, 5)
    };
    assert!(parse([extent(0, 2), extent(2, 1)]).is_ok());
    assert!(parse([extent(0, 2), extent(1, 1)]).is_err());
    assert!(parse([extent(5, 2), extent(2, 1)]).is_err());
    assert!(parse([extent(0, 0), extent(2, 1)]).is_err());
    assert!(parse([extent(0, 1), extent(MAX_FILE_BLOCKS - 1, 1)]).is_ok());
    assert!(parse([extent(0, 1), extent(MAX_FILE_BLOCKS - 1, 2)]).is_err());
    assert!(parse([extent(0, 1), extent(u64::MAX, 1)]).is_err());
}

/// Device numbers are for devices, and what is no file has no contents.
#[test]
fn special_files() {
    let parse = |inode: Inode| {
        let inode = Inode { ino: 2, ..inode };
        let parsed = Inode::parse(&inode.encode(5), 2, 5);
        parsed.inspect(|p| assert_eq!(*p, inode)).map(drop)
    };
    for (mode, _) in KINDS {
        let bare = Inode {
            mode,
            parent: u64::from(mode == S_IFDIR),
            size: u64::from(mode == S_IFLNK),
            target: (mode == S_IFLNK).then(|| Inode::inline_target(b"x").unwrap()),
            ..Inode::default()
        };
        assert_eq!(parse(bare), Ok(()));
        let device = parse(Inode { rdev: !0, ..bare });
        let special = matches!(mode, S_IFIFO | S_IFSOCK | S_IFCHR | S_IFBLK);
        assert_eq!(device.is_ok(), matches!(mode, S_IFCHR | S_IFBLK));
        let size = parse(Inode { size: 4096, ..bare });
        assert_eq!(size.is_ok(), !special && mode != S_IFLNK, "{mode:o}");
        let mut filled = Inode {
            extent_count: 1,
            blocks: 1,
            ..bare
        };
        filled.inline[0].len = 1;
        assert_eq!(parse(filled).is_ok(), !special && mode != S_IFLNK);
        if mode != S_IFLNK {
            let target = Inode::inline_target(b"x");
            let why = Corrupt("target, but no symbolic link");
            assert_eq!(parse(Inode { target, ..bare }), Err(why));
        }
    }
}

/// A target is where its length says, is as long as the inode says, and has no zero in it.
#[test]
fn symlinks() {
    let link = |size, target, extents: u32| {
        let mut inode = Inode {
            ino: 2,
            mode: S_IFLNK | 0o777,
            nlink: 1,
            size,
            target,
            extent_count: extents,
            blocks: extents.into(),
            ..Inode::default()
        };
        for (i, e) in inode.inline.iter_mut().enumerate().take(extents as usize) {
            e.file_block = i as u64;
            e.disk_block = 100;
            e.len = 1;
        }
        inode
    };
    let parse = |inode: Inode| Inode::parse(&inode.encode(5), 2, 5).map(|p| assert_eq!(p, inode));
    let long = vec![b'x'; symlink::MAX_TARGET + 1];
    for len in 1..=INLINE_TARGET {
        let target = Inode::inline_target(&long[..len]);
        assert_eq!(parse(link(len as u64, target, 0)), Ok(()));
        assert!(parse(link(len as u64 - 1, target, 0)).is_err());
        assert!(parse(link(len as u64 + 1, target, 0)).is_err());
        assert!(parse(link(len as u64, target, 1)).is_err());
        assert!(parse(link(len as u64, None, 1)).is_err());
        let mut zero = target.unwrap();
        zero[0] = 0;
        assert!(parse(link(len as u64, Some(zero), 0)).is_err());
    }
    assert_eq!(Inode::inline_target(&long[..INLINE_TARGET + 1]), None);
    for len in [0, INLINE_TARGET, INLINE_TARGET + 1, 4079, 4080, 1 << 40] {
        let good = len == INLINE_TARGET + 1 || len == symlink::MAX_TARGET;
        assert_eq!(parse(link(len as u64, None, 1)).is_ok(), good, "{len}");
        assert!(parse(link(len as u64, None, 0)).is_err());
        assert!(parse(link(len as u64, None, 2)).is_err());
    }
    // One that came to nothing, before or after it got a block.
    for (extents, size) in [(0, 0), (1, 0), (0, 100)] {
        let unlinked = Inode {
            nlink: 0,
            ..link(size, None, extents)
        };
        assert_eq!(parse(unlinked).is_ok(), size == 0);
    }
    for wrong in [
        Extent {
            file_block: 1,
            ..link(100, None, 1).inline[0]
        },
        Extent {
            len: 2,
            ..link(100, None, 1).inline[0]
        },
        Extent {
            unwritten: true,
            ..link(100, None, 1).inline[0]
        },
    ] {
        let mut inode = link(100, None, 1);
        inode.inline[0] = wrong;
        let why = Corrupt("symbolic link without a block for its target");
        assert_eq!(parse(inode), Err(why));
    }

    let mut r = Random(11);
    let mut block = vec![0; BLOCK_SIZE];
    for len in (1..=symlink::MAX_TARGET)
        .step_by(31)
        .chain([symlink::MAX_TARGET])
    {
        let target = &long[..len];
        symlink::encode(&mut block, 7, target, 99);
        let size = len as u64;
        assert_eq!(symlink::parse(&block, 7, size, 99), Ok(target));
        assert!(symlink::parse(&block, 8, size, 99).is_err());
        assert!(symlink::parse(&block, 7, size, 98).is_err());
        assert!(symlink::parse(&block, 7, size - 1, 99).is_err());
        assert!(symlink::parse(&block, 7, size + 1, 99).is_err());
        assert!(symlink::parse(&block[1..], 7, size, 99).is_err());
        let mut bad = block.clone();
        let bit = r.below(BLOCK_SIZE as u64 * 8) as usize;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(symlink::parse(&bad, 7, size, 99).is_err());
        // With a good checksum: a zero in the target, or something behind it.
        for (at, byte) in [(16 + r.below(size) as usize, 0), (4095, 1)] {
            let mut bad = block.clone();
            bad[at] = byte;
            let crc = checksum(99, &bad, 4);
            put32(&mut bad, 4, crc);
            assert!(symlink::parse(&bad, 7, size, 99).is_err());
        }
    }
    // As long as there is room, without a zero at the end.
    block[16..].fill(b'x');
    let crc = checksum(99, &block, 4);
    put32(&mut block, 4, crc);
    assert!(symlink::parse(&block, 7, 4080, 99).is_err());
}

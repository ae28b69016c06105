// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the map.

use kernel::prelude::kunit_tests;

#[kunit_tests(toyfs_extent)]
mod suite {
    use super::super::{
        super::{bitmap::Allocator, block::corrupt, block::memory::Memory},
        published::{level_for, ARRAYS, SLOTS},
        ExtentMap, Mapping, Published,
    };
    use crate::vfs::with_threads;
    use kernel::{
        prelude::*,
        sync::atomic::{Atomic, Relaxed},
        time::{delay::fsleep, Delta, Instant, Monotonic},
    };
    use toyfs_format::{
        Extent, Inode, Superblock, CHAIN_EXTENTS, INLINE_EXTENTS, MAX_EXTENTS, MAX_FILE_BLOCKS,
        S_IFREG,
    };

    fn mapped(disk: u64, len: u64, unwritten: bool) -> Mapping {
        Mapping::Mapped {
            disk,
            len,
            unwritten,
        }
    }

    /// Whether the map has exactly these extents, up to where they are on disk.
    fn is(map: &ExtentMap, expected: &[(u64, u32, bool)]) -> bool {
        let got = map.iter().map(|e| (e.file_block, e.len, e.unwritten));
        got.eq(expected.iter().copied())
    }

    #[test]
    fn merging() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        let first = sb.data.start;
        assert_eq!(map.lookup(7), Mapping::Hole { len: u64::MAX - 7 });
        assert_eq!(
            map.allocate(&io, a, 10, 4, false, u64::MAX)?,
            mapped(first, 4, false)
        );
        assert_eq!(
            map.allocate(&io, a, 14, 4, false, u64::MAX)?,
            mapped(first + 4, 4, false)
        );
        assert!(is(&map, &[(10, 8, false)]));
        // What is there stays as it is; holes are filled up to the next extent.
        assert_eq!(
            map.allocate(&io, a, 12, 9, true, u64::MAX)?,
            mapped(first + 2, 6, false)
        );
        assert_eq!(
            map.allocate(&io, a, 8, 9, true, u64::MAX)?,
            mapped(first + 8, 2, true)
        );
        assert!(is(&map, &[(8, 2, true), (10, 8, false)]));
        assert_eq!(map.lookup(3), Mapping::Hole { len: 5 });
        assert_eq!(map.lookup(17), mapped(first + 7, 1, false));
        assert_eq!(map.blocks(), 10);
        assert_eq!(
            map.allocate(&io, a, MAX_FILE_BLOCKS, 1, false, u64::MAX)
                .err(),
            Some(EFBIG)
        );
        Ok(())
    }

    #[test]
    fn unwritten() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        map.allocate(&io, a, 0, 10, true, u64::MAX)?;
        map.mark_written(&io, a, 3, 5)?;
        assert!(is(&map, &[(0, 3, true), (3, 2, false), (5, 5, true)]));
        map.mark_written(&io, a, 5, 6)?;
        assert!(is(&map, &[(0, 3, true), (3, 3, false), (6, 4, true)]));
        map.mark_written(&io, a, 2, 7)?;
        assert!(is(&map, &[(0, 2, true), (2, 5, false), (7, 3, true)]));
        map.mark_written(&io, a, 4, 4)?;
        map.mark_written(&io, a, 0, u64::MAX)?;
        assert!(is(&map, &[(0, 10, false)]));
        Ok(())
    }

    #[test]
    fn removing() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        map.allocate(&io, a, 0, 20, false, u64::MAX)?;
        map.remove(&io, a, 5, 7)?;
        assert!(is(&map, &[(0, 5, false), (7, 13, false)]));
        map.remove(&io, a, 6, 7)?;
        map.remove(&io, a, 8, 8)?;
        assert!(is(&map, &[(0, 5, false), (7, 13, false)]));
        map.remove(&io, a, 3, 9)?;
        assert!(is(&map, &[(0, 3, false), (9, 11, false)]));
        map.remove(&io, a, 12, u64::MAX)?;
        assert!(is(&map, &[(0, 3, false), (9, 3, false)]));
        assert_eq!(a.free_block_count(), sb.data.len - 6);
        map.remove(&io, a, 0, u64::MAX)?;
        assert!(is(&map, &[]));
        assert_eq!(a.free_block_count(), sb.data.len);
        Ok(())
    }

    /// Stores the map, reads it back and compares.
    fn survives(io: &Memory, sb: &Superblock, map: &mut ExtentMap) -> Result<bool> {
        let mut inode = Inode {
            ino: map.ino,
            mode: S_IFREG,
            ..Inode::default()
        };
        map.store(io, sb, &mut inode)?;
        let raw = inode.encode(sb.seed());
        let inode =
            Inode::parse(&raw, map.ino, sb.seed()).map_err(corrupt(io, "inode", map.ino))?;
        let copy = ExtentMap::load(io, sb, &inode)?;
        Ok(copy.iter().eq(map.iter()) && copy.total_blocks() == map.total_blocks())
    }

    #[test]
    fn chain() -> Result {
        let (io, sb) = Memory::new(4096)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        let most = INLINE_EXTENTS + 2 * CHAIN_EXTENTS + 1;
        for i in 0..most {
            map.allocate(&io, a, i as u64 * 2, 1, false, u64::MAX)?;
            if i % 50 == 0 || i > most - 3 {
                assert!(survives(&io, &sb, &mut map)?);
            }
        }
        assert_eq!(map.total_blocks() - map.blocks(), 3);
        assert_eq!(a.free_block_count(), sb.data.len - map.total_blocks());
        // To exactly two full blocks, and then to the smallest change within the second.
        for end in [most - 1, most - 2, INLINE_EXTENTS + 1, INLINE_EXTENTS, 0] {
            map.remove(&io, a, end as u64 * 2, u64::MAX)?;
            assert_eq!(map.blocks(), end as u64);
            assert!(survives(&io, &sb, &mut map)?);
        }
        assert_eq!(a.free_block_count(), sb.data.len);
        Ok(())
    }

    #[test]
    fn full() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        map.allocate(&io, a, 0, 500, true, u64::MAX)?;
        let mut next = 1000;
        while map.allocate(&io, a, next, 1, false, u64::MAX).is_ok() {
            next += 2;
        }
        assert_eq!(a.available_block_count(), 0);
        let before = map.blocks();
        // Writing is possible all the same, in the worst order.
        for i in 0..250 {
            map.mark_written(&io, a, i * 2, i * 2 + 1)?;
        }
        assert_eq!(map.blocks(), before);
        assert!(survives(&io, &sb, &mut map)?);
        map.remove(&io, a, 0, u64::MAX)?;
        assert_eq!(a.free_block_count(), sb.data.len);
        Ok(())
    }

    /// Whatever is written of a device that was given away as a whole, finds its space.
    #[test]
    fn promised() -> Result {
        let (io, sb) = Memory::new(4096)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let reserve = a.free_block_count() - a.available_block_count();
        let (mut map, mut other) = (ExtentMap::new(2), ExtentMap::new(3));
        map.allocate(&io, a, 0, 2500, true, u64::MAX)?;
        other.allocate(&io, a, 0, 1000, true, u64::MAX)?;
        // Blocks of a chain that nobody has written anything for yet are none of what is kept.
        for i in 0.. {
            if map.allocate(&io, a, 3000 + 2 * i, 1, true, 0).is_err() {
                break;
            }
        }
        assert!(a.available_block_count() <= 1 && a.free_block_count() >= reserve);
        for map in [&mut map, &mut other] {
            let end = map.iter().last().map_or(0, Extent::end);
            for i in (0..end).step_by(2) {
                map.mark_written(&io, a, i, i + 1)?;
            }
            assert!(survives(&io, &sb, map)?);
        }
        assert!(a.free_block_count() < reserve);
        for map in [&mut map, &mut other] {
            map.mark_written(&io, a, 0, u64::MAX)?;
            assert!(survives(&io, &sb, map)?);
        }
        map.remove(&io, a, 0, u64::MAX)?;
        other.remove(&io, a, 0, u64::MAX)?;
        assert_eq!(a.free_block_count(), sb.data.len);
        Ok(())
    }

    /// Two files that grow by a block in turns have long extents.
    #[test]
    fn in_turns() -> Result {
        let (io, sb) = Memory::new(4096)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let (mut map, mut other) = (ExtentMap::new(2), ExtentMap::new(3));
        for i in 0..1000 {
            map.allocate(&io, a, i, 1, false, i)?;
            other.allocate(&io, a, i, 1, false, i)?;
        }
        assert!(map.iter().count() < 12 && other.iter().count() < 12);
        // Nobody gets less of the device for that.
        let free = a.available_block_count();
        let mut got = 0;
        while let Ok(Mapping::Mapped { len, .. }) = other.allocate(&io, a, 2000 + got, 99, false, 0)
        {
            got += len;
        }
        assert!(free - got <= 1);
        Ok(())
    }

    #[test]
    fn errors_change_nothing() -> Result {
        let (io, sb) = Memory::new(1024)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let mut map = ExtentMap::new(2);
        for i in 0..INLINE_EXTENTS as u64 {
            map.allocate(&io, a, i * 10, 5, true, u64::MAX)?;
        }
        let free = a.free_block_count();
        io.broken.set(true);
        assert_eq!(map.allocate(&io, a, 7, 1, false, u64::MAX).err(), Some(EIO));
        // This one needs a chain block.
        assert_eq!(map.mark_written(&io, a, 1, 2).err(), Some(EIO));
        assert_eq!(map.remove(&io, a, 1, 2).err(), Some(EIO));
        assert_eq!(map.blocks(), 5 * INLINE_EXTENTS as u64);
        assert_eq!(map.lookup(0), mapped(sb.data.start, 5, true));
        io.broken.set(false);
        assert_eq!(a.free_block_count(), free);
        map.remove(&io, a, 0, u64::MAX)
    }
    /// Whether who looks without the lock finds `map` as it is, about every block that is not behind `end`.
    fn is_published(published: &Published, map: &ExtentMap, end: u64) -> bool {
        let sequence = published.sequence();
        let same = |block| published.lookup(block) == Some((map.lookup(block), sequence));
        (0..=end).all(same) && same(MAX_FILE_BLOCKS) && same(u64::MAX)
    }

    #[test]
    fn published() -> Result {
        let (io, sb) = Memory::new(4096)?;
        let mut alloc = Allocator::load(&io, &sb)?;
        let a = &mut alloc;
        let published = KBox::new(Published::new(), GFP_KERNEL)?;
        let mut map = ExtentMap::new(2);
        assert_eq!(published.lookup(0), None);
        map.publish(&published);
        assert!(is_published(&published, &map, 10));
        // As many extents as need several arrays, each a change of its own.
        let most = 3 * SLOTS + 5;
        let end = most as u64 * 4;
        for i in 0..most as u64 {
            map.allocate(&io, a, i * 4, 3, i % 3 == 0, u64::MAX)?;
            let before = published.sequence();
            assert!(map.is_unpublished());
            map.publish(&published);
            assert!(!map.is_unpublished() && published.sequence() != before);
            assert!(i % 10 != 0 || is_published(&published, &map, end));
        }
        // Nothing to publish: who looked before need not look again.
        let before = published.sequence();
        map.mark_written(&io, a, 4, 5)?;
        map.publish(&published);
        assert_eq!(published.sequence(), before);
        // All that splits, joins, moves and removes extents, here and there.
        let mut random = 1_u64;
        for i in 0..200 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            let (from, len) = (random >> 33, 1 + (random >> 20) % 9);
            let from = from % end;
            match i % 5 {
                0 | 1 => {
                    let unwritten = random % 2 == 0;
                    let _ = map.allocate(&io, a, from, len, unwritten, u64::MAX)?;
                }
                2 | 3 => map.mark_written(&io, a, from, from + len)?,
                _ => map.remove(&io, a, from, from + len)?,
            }
            map.publish(&published);
            assert!(is_published(&published, &map, end));
        }
        for end in [end / 2, 20, 0] {
            map.remove(&io, a, end, u64::MAX)?;
            map.publish(&published);
            assert!(is_published(&published, &map, end + 20));
        }
        Ok(())
    }

    /// Where extents are there is room for them, in the least that has; the last array is for the largest map.
    #[test]
    fn levels() {
        for count in 0..=INLINE_EXTENTS {
            assert_eq!(level_for(count), 0);
        }
        for level in 1..=ARRAYS {
            let most = SLOTS << (level - 1);
            assert_eq!(level_for(most), level);
            assert_eq!(level_for(most + 1), level + 1);
        }
        assert_eq!(level_for(INLINE_EXTENTS + 1), 1);
        assert_eq!(level_for(MAX_EXTENTS as usize), ARRAYS);
    }

    /// Extents of map number `n`, none of which is in another map.
    fn numbered(n: u64) -> impl Iterator<Item = Extent> {
        (0..30 + n * 7 % 50).map(move |i| Extent {
            file_block: i * 8 + n % 4,
            disk_block: n * 1000 + i * 10,
            len: 1 + ((n + i) % 4) as u32,
            unwritten: (n + i) % 2 == 0,
        })
    }

    /// What `block` maps to in that map.
    fn expected(n: u64, block: u64) -> Mapping {
        match numbered(n).find(|e| e.end() > block) {
            None => Mapping::Hole {
                len: u64::MAX - block,
            },
            Some(e) if e.file_block > block => Mapping::Hole {
                len: e.file_block - block,
            },
            Some(e) => mapped(
                e.disk_block + block - e.file_block,
                e.end() - block,
                e.unwritten,
            ),
        }
    }

    /// Who looks while the map is changed finds one map or the other, never some of both, and knows which.
    #[test]
    fn concurrent() -> Result {
        const READERS: usize = 2;
        const ENOUGH: u32 = 1000;
        let published = KBox::new(Published::new(), GFP_KERNEL)?;
        let (stop, wrong) = (Atomic::new(false), Atomic::new(0_u32));
        // How often each reader found another map than the last time.
        let seen = [const { Atomic::new(0_u32) }; READERS];
        let read = |reader: usize| {
            let mut random = reader as u64 + 1;
            let mut last = 0;
            while !stop.load(Relaxed) {
                for _ in 0..200 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let block = (random >> 33) % 700;
                    let Some((mapping, sequence)) = published.lookup(block) else {
                        continue;
                    };
                    if mapping != expected(sequence / 2, block) {
                        wrong.add(1, Relaxed);
                    }
                    if sequence != last {
                        last = sequence;
                        seen[reader].add(1, Relaxed);
                    }
                }
                // User-mode Linux does not preempt who is busy in the kernel.
                fsleep(Delta::from_micros(100));
            }
        };
        let mut extents = KVec::new();
        let mut change = || -> Result {
            let start = Instant::<Monotonic>::now();
            let mut n = 0;
            while seen.iter().any(|seen| seen.load(Relaxed) < ENOUGH)
                && wrong.load(Relaxed) == 0
                && start.elapsed() < Delta::from_secs(20)
            {
                for _ in 0..50 {
                    n += 1;
                    extents.clear();
                    for e in numbered(n) {
                        extents.push(e, GFP_KERNEL)?;
                    }
                    published.publish(&extents, 0, false);
                }
                fsleep(Delta::from_micros(100));
            }
            Ok(())
        };
        with_threads(READERS, &read, || {
            let changed = change();
            stop.store(true, Relaxed);
            changed
        })??;
        assert_eq!(wrong.load(Relaxed), 0);
        assert!(seen.iter().all(|seen| seen.load(Relaxed) >= ENOUGH));
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the map.

use kernel::prelude::kunit_tests;

#[kunit_tests(toyfs_extent)]
mod suite {
    use super::super::{
        super::{bitmap::Allocator, block::corrupt, block::memory::Memory},
        ExtentMap, Mapping,
    };
    use kernel::prelude::*;
    use toyfs_format::{
        Inode, Superblock, CHAIN_EXTENTS, INLINE_EXTENTS, MAX_FILE_BLOCKS, S_IFREG,
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
            ino: 2,
            mode: S_IFREG,
            ..Inode::default()
        };
        map.store(io, sb, &mut inode)?;
        let raw = inode.encode(sb.seed());
        let inode = Inode::parse(&raw, 2, sb.seed()).map_err(corrupt(io, "inode", 2))?;
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
}

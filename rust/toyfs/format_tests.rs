// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of the format. The crate of the format knows no kernel, so they are here, and see what
//! the file system sees. More of it is tested on the host, see `tests/format`.

use kernel::prelude::kunit_tests;

#[kunit_tests(toyfs_format)]
mod structures {
    use kernel::prelude::*;
    use toyfs_format::{
        checksum, crc32c, put32, put64, Extent, Inode, State, SuperError, Superblock, Time,
        SUPER_SIZE, S_IFDIR,
    };

    /// Where a superblock has its state.
    const SB_STATE: usize = 160;
    const STATE_CLEAN: u32 = 1;
    const STATE_DIRTY: u32 = 2;
    /// Where an inode has its checksum.
    const CRC_OFFSET: usize = 4;

    #[test]
    fn checksums() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        let data = *b"0123456789abcdef----0123456789";
        let mut zeroed = data;
        zeroed[16..20].fill(0);
        assert_eq!(checksum(!0, &data, 16), crc32c(&zeroed));
    }

    #[test]
    fn superblock() -> Result {
        let mut sb = Superblock::layout(40_000, 100, 1024).ok_or(EINVAL)?;
        let mut raw = [0; SUPER_SIZE];
        sb.encode(&mut raw);
        assert!(Superblock::parse(&raw) == Ok(sb));
        Superblock::set_state(&mut raw, State::Dirty);
        sb.state = State::Dirty;
        assert!(Superblock::parse(&raw) == Ok(sb));
        for (at, value) in [(40, 1), (48, 1), (56, 0), (80, 9), (120, 2), (128, 50_000)] {
            let mut bad = raw;
            put64(&mut bad, at, value);
            assert!(matches!(
                Superblock::parse(&bad),
                Err(SuperError::Corrupt("bad superblock checksum"))
            ));
            Superblock::set_state(&mut bad, State::Clean);
            assert!(matches!(
                Superblock::parse(&bad),
                Err(SuperError::Corrupt(_))
            ));
        }
        // Either sector with the state of the other time.
        for state in [State::Clean, State::Dirty] {
            let mut torn = raw;
            Superblock::set_state(&mut torn, state);
            let word = if state == State::Clean {
                STATE_DIRTY
            } else {
                STATE_CLEAN
            };
            put32(&mut torn, SB_STATE, word);
            assert!(Superblock::parse(&torn).is_err());
            assert!(Superblock::parse_torn(&torn) == Ok((sb, true)));
            put32(&mut torn, 300, 1);
            assert!(Superblock::parse_torn(&torn).is_err());
        }
        assert!(Superblock::parse_torn(&raw) == Ok((sb, false)));
        assert!(Superblock::parse_copy(&raw, sb.backup) == Some(sb));
        assert!(Superblock::parse_copy(&raw, sb.backup - 1).is_none());
        put64(&mut raw, 32, 1);
        Superblock::set_state(&mut raw, State::Clean);
        assert!(matches!(
            Superblock::parse(&raw),
            Err(SuperError::Unsupported(_))
        ));
        raw[0] = 0;
        assert!(Superblock::parse(&raw) == Err(SuperError::Foreign));
        Ok(())
    }

    #[test]
    fn inode() {
        let mut inode = Inode {
            ino: 77,
            mode: S_IFDIR | 0o755,
            nlink: 2,
            parent: 1,
            size: 8192,
            mtime: Time { sec: -5, nsec: 6 },
            extent_count: 2,
            ..Inode::default()
        };
        for (i, e) in inode.inline.iter_mut().take(2).enumerate() {
            *e = Extent {
                file_block: i as u64,
                disk_block: 100 - i as u64,
                len: 1,
                unwritten: i == 1,
            };
        }
        let raw = inode.encode(3);
        assert!(Inode::parse(&raw, 77, 3) == Ok(inode));
        assert!(Inode::parse(&raw, 78, 3).is_err());
        assert!(Inode::parse(&raw, 77, 4).is_err());
        // Type, flags, time, parent, size, number of extents, order of extents.
        for at in [17, 32, 91, 128, 40, 110, 184] {
            let mut bad = raw;
            bad[at] = if at == 128 || at == 184 { 0 } else { 0xff };
            assert!(Inode::parse(&bad, 77, 3).is_err());
            let crc = checksum(3, &bad, CRC_OFFSET);
            put32(&mut bad, CRC_OFFSET, crc);
            assert!(Inode::parse(&bad, 77, 3).is_err());
        }
    }
}

#[kunit_tests(toyfs_dir)]
mod directories {
    use kernel::prelude::*;
    use toyfs_format::{checksum, dir::*, put32, BLOCK_SIZE};

    const SEED: u32 = 7;

    fn seal(block: &mut [u8]) {
        let crc = checksum(SEED, block, 4);
        put32(block, 4, crc);
    }

    fn new_block() -> Result<KVVec<u8>> {
        let mut block = KVVec::from_elem(0xff, BLOCK_SIZE, GFP_KERNEL)?;
        init_block(&mut block, 5, SEED);
        Ok(block)
    }

    #[test]
    fn entries() -> Result {
        let mut block = new_block()?;
        assert_eq!(is_empty(&block), Ok(true));
        assert_eq!(find(&block, b"a"), Ok(None));
        assert_eq!(insert(&mut block, b"a", 10, FileType::Reg, SEED), Ok(true));
        assert_eq!(insert(&mut block, b"bb", 11, FileType::Dir, SEED), Ok(true));
        assert_eq!(validate(&block, 5, SEED), Ok(()));
        assert_eq!(is_empty(&block), Ok(false));
        let found = find(&block, b"bb").map(|e| e.map(|e| (e.ino, e.kind)));
        assert_eq!(found, Ok(Some((11, FileType::Dir))));
        assert_eq!(
            replace(&mut block, b"bb", 12, FileType::Reg, SEED),
            Ok(Some(11))
        );
        assert_eq!(remove(&mut block, b"a", SEED), Ok(Some(10)));
        assert_eq!(remove(&mut block, b"a", SEED), Ok(None));
        assert_eq!(remove(&mut block, b"bb", SEED), Ok(Some(12)));
        assert_eq!(is_empty(&block), Ok(true));
        assert_eq!(validate(&block, 5, SEED), Ok(()));
        Ok(())
    }

    #[test]
    fn capacity() -> Result {
        let mut block = new_block()?;
        // The longest names, and then short ones into what is left.
        let mut name = [b'x'; NAME_MAX];
        let mut count = 0;
        while insert(&mut block, &name, 1, FileType::Reg, SEED) == Ok(true) {
            name[0] += 1;
            count += 1;
        }
        assert_eq!(count, (BLOCK_SIZE - HEADER) / 268);
        assert_eq!(insert(&mut block, b"s", 1, FileType::Reg, SEED), Ok(true));
        // What one removal frees is enough for the next.
        name[0] = b'x' + 3;
        assert_eq!(remove(&mut block, &name, SEED), Ok(Some(1)));
        assert_eq!(insert(&mut block, &name, 2, FileType::Reg, SEED), Ok(true));
        assert_eq!(validate(&block, 5, SEED), Ok(()));
        Ok(())
    }

    #[test]
    fn positions() -> Result {
        let mut block = new_block()?;
        for name in [b"1", b"2", b"3", b"4"] {
            assert_eq!(
                insert(&mut block, name, name[0].into(), FileType::Reg, SEED),
                Ok(true)
            );
        }
        // Stops at the third; meanwhile the one before goes, and with it the record boundary.
        let stop = iterate(&block, 0, |e| e.name != b"3").map_err(|_| EINVAL)?;
        assert_eq!(remove(&mut block, b"2", SEED), Ok(Some(b'2'.into())));
        let mut seen = 0;
        let end = iterate(&block, stop, |e| {
            seen = seen * 100 + e.ino;
            true
        });
        assert_eq!(end, Ok(BLOCK_SIZE));
        assert_eq!(seen, 5152);
        assert_eq!(remove(&mut block, b"3", SEED), Ok(Some(b'3'.into())));
        let mut seen = 0;
        let _ = iterate(&block, stop, |e| {
            seen = e.ino;
            false
        });
        assert_eq!(seen, u64::from(b'4'));
        Ok(())
    }

    #[test]
    fn damage() -> Result {
        let mut block = new_block()?;
        assert!(insert(&mut block, b"name", 9, FileType::Reg, SEED).is_ok());
        assert!(validate(&block, 6, SEED).is_err());
        assert!(validate(&block, 5, SEED + 1).is_err());
        // Under a good checksum: record length, name length, type, name.
        for (at, value) in [
            (24, 0),
            (24, 17),
            (25, 0xff),
            (26, 200),
            (27, 0),
            (28, b'/'),
        ] {
            let mut bad = KVVec::new();
            bad.extend_from_slice(&block, GFP_KERNEL)?;
            bad[at] = value;
            assert!(validate(&bad, 5, SEED).is_err());
            seal(&mut bad);
            assert!(validate(&bad, 5, SEED).is_err());
        }
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert!(insert(&mut block, name, 9, FileType::Reg, SEED).is_err());
        }
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Tests of what `fsck.toyfs` repairs: a part of it when that is compiled with `--test`; see `run.sh`.
//!
//! After each repair the check must find nothing any more, and what was not damaged must be as it was.

use super::*;
use crate::{
    check::tests::{cases, Image, BIG, DEEP, DIR, LAST, TOTAL},
    exit_status,
};
use random::Random;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic,
};
use toyfs_format::{
    crc32c_update,
    dir::{self, FileType},
    get32, get64, journal, put32, put64, ChainHeader, Extent, Inode, SuperError, ROOT_INO, S_IFDIR,
    S_IFREG,
};

/// An image that can be written to.
struct Store {
    image: RefCell<Image>,
    /// So many writes go well.
    left: Cell<u64>,
    written: Cell<u64>,
}

impl Disk for Store {
    fn blocks(&self) -> u64 {
        self.image.borrow().blocks()
    }

    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()> {
        self.image.borrow().read(block, buf)
    }
}

impl Storage for Store {
    fn write(&self, block: u64, data: &[u8]) -> io::Result<()> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        self.left.set(left);
        self.written.set(self.written.get() + 1);
        // An image has no block that is nothing but zeroes.
        let mut image = self.image.borrow_mut();
        if data.iter().any(|&byte| byte != 0) || image.blocks.contains_key(&block) {
            image.block(block).copy_from_slice(data);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is said, and answers in turn.
#[derive(Default)]
struct Talk {
    lines: Vec<String>,
    yes: bool,
    /// But not to this.
    no: Option<&'static str>,
    /// Answers at random.
    dice: Option<Random>,
    asked: u64,
}

impl Dialogue for Talk {
    fn say(&mut self, line: &str) {
        self.lines.push(line.to_string());
    }

    fn ask(&mut self, question: &str) -> bool {
        self.asked += 1;
        self.lines.push(format!("{question}?"));
        if let Some(dice) = &mut self.dice {
            return dice.below(3) > 0;
        }
        self.yes && !self.no.is_some_and(|no| question.contains(no))
    }
}

impl Talk {
    #[track_caller]
    fn expect(&self, what: &str) {
        let found = self.lines.iter().any(|line| line.contains(what));
        assert!(found, "expected '{what}', got {:#?}", self.lines);
    }
}

/// What a run came to.
struct Ran {
    status: u8,
    talk: Talk,
    written: u64,
}

fn run_with(image: &mut Image, wish: Wish, yes: bool, writes: u64) -> Ran {
    let talk = Talk {
        yes,
        ..Talk::default()
    };
    run_talking(image, wish, talk, writes)
}

/// Yes to everything but this.
fn ask_but(image: &mut Image, no: &'static str) -> Ran {
    let wish = Wish {
        mode: Mode::Ask,
        ..Wish::default()
    };
    let talk = Talk {
        yes: true,
        no: Some(no),
        ..Talk::default()
    };
    run_talking(image, wish, talk, u64::MAX)
}

fn run_talking(image: &mut Image, wish: Wish, mut talk: Talk, writes: u64) -> Ran {
    let store = Store {
        image: RefCell::new(image.clone()),
        left: Cell::new(writes),
        written: Cell::new(0),
    };
    let status = match run(&store, wish, &mut talk) {
        Ok(verdict) => exit_status(&verdict),
        Err(Failure::Damaged(why)) => {
            talk.say(&why);
            4
        }
        Err(Failure::Unusable(why)) => {
            talk.say(&why);
            8
        }
    };
    *image = store.image.into_inner();
    Ran {
        status,
        talk,
        written: store.written.get(),
    }
}

fn fsck(image: &mut Image, mode: Mode) -> Ran {
    let wish = Wish {
        mode,
        force: true,
        quiet: false,
    };
    run_with(image, wish, true, u64::MAX)
}

/// Repairs an image, after which there must be nothing to find, nor to write.
#[track_caller]
fn repaired(image: &mut Image) -> Talk {
    let ran = fsck(image, Mode::All);
    assert_eq!(ran.status, 1, "{:#?}", ran.talk.lines);
    sound(image);
    ran.talk
}

/// Nothing is found, and nothing is written.
#[track_caller]
fn sound(image: &mut Image) {
    for mode in [Mode::Nothing, Mode::Safe, Mode::All] {
        let ran = fsck(image, mode);
        assert_eq!(ran.status, 0, "{:#?}", ran.talk.lines);
        assert_eq!(ran.written, 0, "{mode:?}");
    }
    assert_eq!(state(image), 1);
}

fn state(image: &mut Image) -> u32 {
    get32(image.block(0), SUPER_OFFSET + 160)
}

fn inode(image: &mut Image, ino: u64) -> Option<Inode> {
    let used = image.block(image.sb.inode_bitmap.start)[ino as usize / 8] >> (ino % 8) & 1;
    let seed = image.sb.seed();
    (used == 1).then(|| Inode::parse(image.raw_inode(ino), ino, seed).unwrap())
}

/// The extents of an inode that is sound.
fn extents(image: &mut Image, ino: u64) -> Vec<Extent> {
    let inode = inode(image, ino).unwrap();
    let seed = image.sb.seed();
    let mut extents = inode.inline_extents().to_vec();
    let mut next = inode.chain_head;
    while next != 0 {
        let block = image.block(next);
        let header = ChainHeader::parse(block, ino, seed).unwrap();
        extents.extend(header.extents(block).map(Result::unwrap));
        next = header.next;
    }
    extents
}

/// The entries of a directory.
fn list(image: &mut Image, ino: u64) -> BTreeMap<String, (u64, FileType)> {
    let mut found = BTreeMap::new();
    for e in extents(image, ino) {
        for block in e.disk_block..e.disk_end() {
            dir::iterate(image.block(block), 0, |e| {
                let name = e.name.escape_ascii().to_string();
                assert!(found.insert(name, (e.ino, e.kind)).is_none());
                true
            })
            .unwrap();
        }
    }
    found
}

/// All paths and their inodes.
fn paths(image: &mut Image) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut todo = vec![(String::new(), ROOT_INO)];
    while let Some((path, ino)) = todo.pop() {
        for (name, (ino, kind)) in list(image, ino) {
            let path = format!("{path}/{name}");
            if kind == FileType::Dir {
                todo.push((path.clone(), ino));
            }
            found.insert(path, ino);
        }
    }
    found
}

#[track_caller]
fn expect_paths(image: &mut Image, expected: &[(&str, u64)]) {
    let expected = expected.iter().map(|&(path, ino)| (path.to_string(), ino));
    assert_eq!(paths(image), expected.collect());
}

const ALL: [(&str, u64); 10] = [
    ("/big", BIG),
    ("/dir", DIR),
    ("/dir/deep", DEEP),
    ("/dir/link", 2),
    ("/dir/short", 7),
    ("/dir/long", 8),
    ("/dir/fifo", 9),
    ("/dir/disk", 10),
    ("/empty", 2),
    ("/small", 3),
];

/// All but these.
fn without(gone: &[&str]) -> Vec<(&'static str, u64)> {
    let mut left = ALL.to_vec();
    left.retain(|(path, _)| !gone.contains(path));
    left
}

/// Each defect that the check knows is repaired, and only if that is wanted.
#[test]
fn defects() {
    for (expected, damage) in cases() {
        let mut damaged = Image::new();
        damage(&mut damaged);
        damaged.seal();
        let mut image = damaged.clone();
        let ran = fsck(&mut image, Mode::Nothing);
        assert_eq!((ran.status, ran.written), (4, 0), "{expected}");
        // Without loss, or not at all.
        let ran = fsck(&mut image, Mode::Safe);
        match ran.status {
            1 => sound(&mut image),
            4 => {
                image.block(0).copy_from_slice(damaged.block(0));
                assert!(image.blocks == damaged.blocks, "{expected}");
            }
            _ => panic!("{expected}: {}", ran.status),
        }
        let mut image = damaged.clone();
        repaired(&mut image).expect(expected);
        // Asked, with one answer and with the other.
        let mut asked = damaged.clone();
        let wish = Wish {
            mode: Mode::Ask,
            ..Wish::default()
        };
        let ran = run_with(&mut asked, wish, true, u64::MAX);
        assert_eq!((ran.status, ran.talk.asked > 0), (1, true), "{expected}");
        let mut asked = damaged.clone();
        let ran = run_with(&mut asked, wish, false, u64::MAX);
        assert_eq!(ran.status, 4, "{expected}");
        asked.block(0).copy_from_slice(damaged.block(0));
        assert!(asked.blocks == damaged.blocks, "{expected}");
    }
}

#[test]
fn clean() {
    let mut image = Image::new();
    sound(&mut image);
    expect_paths(&mut image, &ALL);
    // What is marked clean is not looked at with -p, unless that is wanted.
    let wish = Wish {
        mode: Mode::Safe,
        ..Wish::default()
    };
    image.set_bit(image.sb.block_bitmap, 1700, true);
    assert_eq!(run_with(&mut image, wish, true, 0).status, 0);
    assert_eq!(run_with(&mut image, Wish::default(), true, 0).status, 4);
    for state in [2, 3] {
        let mut image = image.clone();
        put32(image.block(0), SUPER_OFFSET + 160, state);
        image.seal();
        let ran = run_with(&mut image, wish, true, u64::MAX);
        assert_eq!(ran.status, 1);
        sound(&mut image);
    }
    // No error, but the state.
    for (state, word) in [(State::Dirty, 2), (State::Errors, 3)] {
        let mut image = Image::new();
        put32(image.block(0), SUPER_OFFSET + 160, word);
        image.seal();
        let ran = fsck(&mut image, Mode::Nothing);
        assert_eq!((ran.status, ran.written), (0, 0));
        let ran = fsck(&mut image, Mode::Safe);
        assert_eq!((ran.status, ran.written), (0, 1), "{state:?}");
        sound(&mut image);
    }
}

/// Makes an inode an orphan.
fn orphan(image: &mut Image, ino: u64) {
    image.set_bit(image.sb.orphans, ino, true);
}

/// Takes an entry out of a directory block.
fn unlink(image: &mut Image, block: u64, name: &[u8]) {
    let seed = image.sb.seed();
    assert!(dir::remove(image.block(block), name, seed)
        .unwrap()
        .is_some());
}

/// Orphans are no errors, and are dealt with in any way of repair.
#[test]
fn orphans() {
    let mut start = Image::new();
    let root = start.dirs[0];
    unlink(&mut start, root, b"big");
    put32(start.raw_inode(BIG), 28, 0);
    orphan(&mut start, BIG);
    // A file with a block behind its end, and one that is half behind it, which stays.
    put64(start.raw_inode(3), 40, 4096 + 5);
    orphan(&mut start, 3);
    // One with nothing to do.
    orphan(&mut start, 2);
    // A directory without links.
    let first = start.dirs[1];
    unlink(&mut start, first, b"deep");
    put32(start.raw_inode(DEEP), 28, 0);
    orphan(&mut start, DEEP);
    put32(start.raw_inode(DIR), 28, 2);
    start.seal();
    for mode in [Mode::Safe, Mode::All] {
        let mut image = start.clone();
        let ran = fsck(&mut image, Mode::Nothing);
        assert_eq!((ran.status, ran.written), (0, 0), "{:#?}", ran.talk.lines);
        let ran = fsck(&mut image, mode);
        assert_eq!(ran.status, 0, "{:#?}", ran.talk.lines);
        sound(&mut image);
        assert_eq!(inode(&mut image, BIG), None);
        assert_eq!(inode(&mut image, DEEP), None);
        let small = extents(&mut image, 3);
        assert_eq!((small.len(), small[0].len), (1, 2));
        assert_eq!(inode(&mut image, 3).unwrap().blocks, 2);
        expect_paths(&mut image, &without(&["/big", "/dir/deep"]));
        let ran = fsck(&mut image, Mode::Nothing);
        assert!(!ran.talk.lines.iter().any(|l| l.contains("orphan")));
    }
    // A symbolic link that came to nothing has a block, or not.
    let mut image = start.clone();
    let second = image.dirs[2];
    unlink(&mut image, second, b"long");
    put32(image.raw_inode(8), 28, 0);
    put64(image.raw_inode(8), 40, 0);
    orphan(&mut image, 8);
    image.seal();
    let ran = fsck(&mut image, Mode::Safe);
    assert_eq!(ran.status, 0, "{:#?}", ran.talk.lines);
    sound(&mut image);
    assert_eq!(inode(&mut image, 8), None);
    // Without the bit, only by force.
    let mut image = start;
    image.set_bit(image.sb.orphans, BIG, false);
    assert_eq!(fsck(&mut image, Mode::Nothing).status, 4);
    assert_eq!(fsck(&mut image.clone(), Mode::Safe).status, 4);
    repaired(&mut image);
    assert_eq!(inode(&mut image, BIG), None);
}

/// What is marked free and yet in a directory is there: the bitmap has no checksum, and inodes have.
#[test]
fn marked_free() {
    let good = Image::new();
    for bits in [
        vec![2],
        vec![DIR],
        vec![1],
        vec![DIR, DEEP, 7, 8, 9],
        (1..=LAST).collect(),
    ] {
        let mut image = good.clone();
        for &ino in &bits {
            image.set_bit(image.sb.inode_bitmap, ino, false);
        }
        repaired(&mut image);
        assert!(image.blocks == good.blocks, "{bits:?}");
    }
    // But not what was deleted, is something else, or was never there.
    let damages: [fn(&mut Image); 3] = [
        |i| put32(i.raw_inode(2), 28, 0),
        |i| put32(i.raw_inode(2), 16, 0o10644),
        |i| i.raw_inode(2).fill(0),
    ];
    for damage in damages {
        let mut image = good.clone();
        image.set_bit(image.sb.inode_bitmap, 2, false);
        damage(&mut image);
        image.seal();
        repaired(&mut image).expect("entry 'empty' refers to inode 2, which is free");
        expect_paths(&mut image, &without(&["/empty", "/dir/link"]));
    }
    // What others use by now is theirs.
    let mut image = good.clone();
    image.set_bit(image.sb.inode_bitmap, 3, false);
    let disk = get64(image.raw_inode(3), 168);
    put64(image.raw_inode(BIG), 168, disk);
    image.seal();
    let big = extents(&mut image, BIG);
    repaired(&mut image).expect("inode 3: marked free, but in a directory: keep it");
    assert_eq!(extents(&mut image, BIG), big);
    assert_eq!(inode(&mut image, 3).unwrap().blocks, 4);
}

/// What was deleted, and has come back because its bit in the inode bitmap has, takes nothing from the living.
#[test]
fn deleted_claims_last() {
    let good = Image::new();
    let mut image = good.clone();
    let root = image.dirs[0];
    // `small` had the blocks that `big` and `dir` have now.
    unlink(&mut image, root, b"small");
    let (big, dir) = (
        get64(image.raw_inode(BIG), 168),
        get64(image.raw_inode(DIR), 168),
    );
    let raw = image.raw_inode(3);
    put32(raw, 28, 0);
    put64(raw, 168, big);
    put32(raw, 176, 1);
    put64(raw, 168 + 24, dir);
    put64(raw, 48, 3);
    image.seal();
    let before = extents(&mut image, BIG);
    repaired(&mut image);
    assert_eq!(extents(&mut image, BIG), before);
    expect_paths(&mut image, &without(&["/small"]));
    assert_eq!(inode(&mut image, 3), None);
}

/// A block that says that it is the metadata of somebody who uses it is no data of somebody else's.
#[test]
fn metadata_first() {
    let good = Image::new();
    let blocks = [
        good.chains.clone(),
        good.dirs.clone(),
        good.links.clone(),
        good.attributes[1..].to_vec(),
    ];
    for block in blocks.concat() {
        let mut image = good.clone();
        // `small` comes before all of them but the root.
        put64(image.raw_inode(3), 168 + 24, block);
        put32(image.raw_inode(3), 176 + 24, 1);
        put64(image.raw_inode(3), 48, 4);
        image.seal();
        repaired(&mut image);
        expect_paths(&mut image, &ALL);
        let small = extents(&mut image, 3);
        assert_eq!((small.len(), small[0].len), (1, 3), "block {block}");
        for ino in [BIG, DIR, 8] {
            assert_eq!(
                inode(&mut image, ino),
                inode(&mut good.clone(), ino),
                "block {block}"
            );
        }
        assert_eq!(extents(&mut image, BIG), extents(&mut good.clone(), BIG));
        // It is not what it seems to be: then it goes to the first.
        let mut image = good.clone();
        put64(image.raw_inode(3), 168 + 24, block);
        put32(image.raw_inode(3), 176 + 24, 1);
        put64(image.raw_inode(3), 48, 4);
        image.seal();
        if block != good.dirs[0] {
            image.block(block)[4] ^= 1;
            repaired(&mut image);
            assert_eq!(extents(&mut image, 3).len(), 2, "block {block}");
        }
    }
}

/// A directory of a million extents that all claim everything does not take a million times as long.
#[test]
fn claims_are_bounded() {
    let mut image = Image::new();
    let raw = image.raw_inode(BIG);
    put32(raw, 16, S_IFDIR);
    put32(raw, 28, 2);
    put64(raw, 128, ROOT_INO);
    put64(raw, 40, 0);
    for chain in image.chains.clone() {
        let (start, len) = (image.sb.data.start, image.sb.data.len as u32);
        let block = image.block(chain);
        for i in 0..get32(block, 24) as usize {
            put64(
                block,
                32 + i * 24 + 8,
                if i % 2 == 0 { start } else { 1 << 40 },
            );
            put32(
                block,
                32 + i * 24 + 16,
                if i % 2 == 0 { len } else { u32::MAX },
            );
        }
    }
    image.seal();
    repaired(&mut image);
}

/// Blocks that two use stay with the first, and the other one keeps the rest.
#[test]
fn shared_blocks() {
    let mut image = Image::new();
    let disk = get64(image.raw_inode(3), 168);
    // Three extents of one block in the middle of `small`, in a file that has its own around them.
    let chain = image.chains[0];
    put64(image.block(chain), 32 + 8, disk + 1);
    image.seal();
    let before = extents(&mut image, BIG);
    repaired(&mut image);
    assert_eq!(extents(&mut image, 3)[0].disk_block, disk);
    let after = extents(&mut image, BIG);
    assert_eq!(after.len(), 199);
    let lost: Vec<_> = before.iter().filter(|e| !after.contains(e)).collect();
    assert_eq!((lost.len(), lost[0].disk_block), (1, disk + 1));
    expect_paths(&mut image, &ALL);

    // A long extent, of which an earlier inode uses something in the middle.
    let mut image = Image::new();
    let disk = get64(image.raw_inode(3), 168);
    // `small` keeps the middle one of its first three blocks, and `big` gets all.
    let raw = image.raw_inode(3);
    put64(raw, 160, 1);
    put64(raw, 168, disk + 1);
    put32(raw, 176, 1);
    put64(raw, 48, 3);
    let raw = image.raw_inode(BIG);
    put64(raw, 160 + 72, 1000);
    put64(raw, 168 + 72, disk);
    put32(raw, 176 + 72, 3);
    put32(raw, 108, 4);
    put64(raw, 112, 0);
    put32(raw, 120, 0);
    image.seal();
    repaired(&mut image);
    assert_eq!(extents(&mut image, 3)[0].disk_block, disk + 1);
    let big = extents(&mut image, BIG);
    let parts: Vec<_> = big[3..]
        .iter()
        .map(|e| (e.file_block, e.disk_block))
        .collect();
    assert_eq!(parts, [(1000, disk), (1002, disk + 2)]);
    // Five extents need a chain.
    assert_eq!(inode(&mut image, BIG).unwrap().chain_len, 1);
}

/// Extended attributes stay, or their inode has none; nothing else is lost with them.
#[test]
fn attributes() {
    let good = Image::new();
    let used = |image: &mut Image, block: u64| {
        image.block(image.sb.block_bitmap.start)[block as usize / 8] >> (block % 8) & 1 == 1
    };
    let of = |image: &mut Image, ino: u64| {
        let inode = inode(image, ino).unwrap();
        (inode.xattr_block, inode.blocks)
    };
    let [own, of_dir] = good.attributes[..] else {
        panic!("other attributes");
    };

    // A block that another inode has as its attributes, and does not lose.
    let mut image = good.clone();
    put64(image.raw_inode(3), 136, own);
    put64(image.raw_inode(3), 48, 6);
    image.seal();
    repaired(&mut image).expect("inode 3: attribute block");
    assert_eq!(of(&mut image, 2), (own, 1));
    assert_eq!(of(&mut image, 3), (0, 5));
    assert!(image.blocks == good.blocks);

    // A block of the data of an inode that comes later: it stays in use, and what it was before is free.
    let mut image = good.clone();
    let data = get64(image.raw_inode(3), 168);
    put64(image.raw_inode(2), 136, data);
    image.seal();
    repaired(&mut image);
    assert_eq!(of(&mut image, 2), (0, 0));
    assert_eq!(of(&mut image, 3), (0, 5));
    assert_eq!(extents(&mut image, 3)[0].disk_block, data);
    assert!(used(&mut image, data) && !used(&mut image, own));
    expect_paths(&mut image, &ALL);

    // The block of an inode's own attributes is none of its data.
    let mut image = good.clone();
    put64(image.raw_inode(DIR), 168, of_dir - 1);
    image.seal();
    repaired(&mut image);
    assert_eq!(of(&mut image, DIR).0, of_dir);
    assert!(extents(&mut image, DIR)
        .iter()
        .all(|e| e.disk_end() <= of_dir));

    // Data of an inode that comes earlier are.
    let mut image = good.clone();
    put64(image.raw_inode(3), 168, of_dir);
    put32(image.raw_inode(3), 176, 1);
    put64(image.raw_inode(3), 48, 3);
    image.seal();
    image.block(of_dir)[0] ^= 1;
    repaired(&mut image).expect("inode 5: attribute block");
    assert_eq!(of(&mut image, DIR), (0, 2));
    assert_eq!(extents(&mut image, 3)[0].disk_block, of_dir);
    assert!(used(&mut image, of_dir));
    expect_paths(&mut image, &ALL);

    // An orphan's are freed with it, but not a block that is only called so.
    for block in [own, data] {
        let mut image = good.clone();
        let (root, second) = (image.dirs[0], image.dirs[2]);
        unlink(&mut image, root, b"empty");
        unlink(&mut image, second, b"link");
        put32(image.raw_inode(2), 28, 0);
        put64(image.raw_inode(2), 136, block);
        orphan(&mut image, 2);
        image.seal();
        let damaged = image.clone();
        let ran = fsck(&mut image, Mode::Safe);
        if block == own {
            assert_eq!(ran.status, 0);
            sound(&mut image);
        } else {
            assert_eq!(ran.status, 4);
            image.block(0).copy_from_slice(damaged.clone().block(0));
            assert!(image.blocks == damaged.blocks);
            repaired(&mut image);
        }
        assert_eq!(inode(&mut image, 2), None);
        assert_eq!(of(&mut image, 3), (0, 5));
        assert!(used(&mut image, data) && !used(&mut image, own));
    }

    // A label that is not that of the copy is none of fsck's business.
    let mut image = good.clone();
    image.block(0)[SUPER_OFFSET + 184] = b'x';
    image.seal();
    sound(&mut image);
    assert_eq!(image.block(0)[SUPER_OFFSET + 184], b'x');
}

/// Of a chain that breaks off, what comes before is kept.
#[test]
fn broken_chain() {
    let mut image = Image::new();
    let last = image.chains[1];
    image.block(last).fill(0);
    let before = extents_up_to(&mut image, 4 + 160);
    image.seal();
    image.block(last).fill(0);
    repaired(&mut image);
    assert_eq!(extents(&mut image, BIG), before);
    let inode = inode(&mut image, BIG).unwrap();
    assert_eq!((inode.chain_len, inode.blocks), (1, 165));

    // The inode says less than there is: nothing is lost.
    let mut image = Image::new();
    let before = extents(&mut image, BIG);
    let raw = image.raw_inode(BIG);
    put32(raw, 120, 1);
    put32(raw, 108, 4 + 160);
    image.seal();
    repaired(&mut image);
    assert_eq!(extents(&mut image, BIG), before);
}

/// The first extents of `big`, whose second chain block cannot be read.
fn extents_up_to(image: &mut Image, n: usize) -> Vec<Extent> {
    let (head, seed) = (image.chains[0], image.sb.seed());
    let mut extents: Vec<_> = Inode::parse(image.raw_inode(BIG), BIG, seed)
        .unwrap()
        .inline_extents()
        .to_vec();
    let block = image.block(head);
    let header = ChainHeader::parse(block, BIG, seed).unwrap();
    extents.extend(header.extents(block).map(Result::unwrap));
    extents.truncate(n);
    extents
}

/// A directory block that is damaged takes the names in it along, but not the files.
#[test]
fn lost_and_found() {
    let mut image = Image::new();
    let root = image.dirs[0];
    image.block(root)[0] ^= 1;
    let talk = repaired(&mut image);
    talk.expect("is damaged: empty it");
    let found = 11;
    expect_paths(
        &mut image,
        &[
            ("/lost+found", found),
            ("/lost+found/#3", 3),
            ("/lost+found/#4", BIG),
            ("/lost+found/#5", DIR),
            ("/lost+found/#5/deep", DEEP),
            ("/lost+found/#5/link", 2),
            ("/lost+found/#5/short", 7),
            ("/lost+found/#5/long", 8),
            ("/lost+found/#5/fifo", 9),
            ("/lost+found/#5/disk", 10),
        ],
    );
    let dir = inode(&mut image, DIR).unwrap();
    assert_eq!((dir.parent, dir.nlink), (found, 3));
    assert_eq!(inode(&mut image, 2).unwrap().nlink, 1);
    let place = inode(&mut image, found).unwrap();
    assert_eq!(
        (place.nlink, place.parent, place.mode),
        (3, 1, S_IFDIR | 0o700)
    );
    // What is lost later comes to the same place, and has another name if its own is taken.
    let at = extents(&mut image, found)[0].disk_block;
    unlink(&mut image, at, b"#3");
    image.add(at, found, b"#3", 2, FileType::Reg);
    let small = inode(&mut image, 3).unwrap();
    assert_eq!(small.nlink, 1);
    repaired(&mut image);
    let names = list(&mut image, found);
    assert_eq!(names["#3"], (2, FileType::Reg));
    assert_eq!(names["#3-1"], (3, FileType::Reg));

    // A file has that name.
    let mut image = Image::new();
    let root = image.dirs[0];
    unlink(&mut image, root, b"small");
    image.add(root, 1, b"lost+found", 2, FileType::Reg);
    unlink(&mut image, root, b"empty");
    image.seal();
    repaired(&mut image);
    let root = list(&mut image, 1);
    assert_eq!(root["lost+found"], (2, FileType::Reg));
    let place = root["lost+found-1"].0;
    assert_eq!(list(&mut image, place)["#3"], (3, FileType::Reg));

    // No inode for it, or no block.
    let mut image = Image::new();
    let root = image.dirs[0];
    unlink(&mut image, root, b"small");
    let (region, count) = (image.sb.inode_bitmap, image.sb.inode_count);
    for ino in LAST + 1..count {
        image.set_bit(region, ino, true);
        let raw = Inode {
            ino,
            mode: S_IFREG,
            nlink: 1,
            ..Inode::default()
        };
        let raw = raw.encode(image.sb.seed());
        image.raw_inode(ino).copy_from_slice(&raw);
        image.add(root, 1, format!("f{ino}").as_bytes(), ino, FileType::Reg);
    }
    image.seal();
    repaired(&mut image);
    assert_eq!(list(&mut image, 1)["#3"], (3, FileType::Reg));
}

/// What is to stay as it is, though damaged, is neither added to nor written over.
#[test]
fn declined() {
    // The block of the root, which has the entry that is lost from `dir`.
    let mut image = Image::new();
    let (root, second) = (image.dirs[0], image.dirs[2]);
    unlink(&mut image, second, b"short");
    image.seal();
    image.block(root)[28] ^= 0x20;
    let before = *image.array(root);
    let ran = ask_but(&mut image, "is damaged");
    assert_eq!(ran.status, 5);
    assert!(*image.array(root) == before);
    fsck(&mut image.clone(), Mode::Nothing)
        .talk
        .expect("bad directory block checksum");
    repaired(&mut image);

    // An inode, of which nobody knows which blocks it has, where there are no others.
    let mut image = Image::new();
    let second = image.dirs[2];
    unlink(&mut image, second, b"short");
    let data = get64(image.raw_inode(3), 168);
    put32(image.raw_inode(3), 28, 1 << 31);
    for block in data + 5..image.sb.data.end() {
        image.set_bit(image.sb.block_bitmap, block, true);
    }
    image.seal();
    for block in data..data + 5 {
        image.array(block).fill(7);
    }
    ask_but(&mut image, "clear it");
    for block in data..data + 5 {
        assert_eq!(*image.array(block), [7; BLOCK_SIZE]);
    }
}

/// Where only the checksum of a directory block is wrong, most of the names are right.
#[test]
fn one_bit_of_a_directory() {
    let good = Image::new();
    let root = good.dirs[0];
    // Behind the last name; in the type of the first entry, in its inode, and in its name.
    let mut renamed = without(&["/empty"]);
    renamed.push(("/eMpty", 2));
    let cases = [
        (4000, 8, ALL.to_vec()),
        (16 + 11, 8 ^ 4, without(&["/empty"])),
        (16 + 1, 8, without(&["/empty"])),
        (16 + 13, 0x20, renamed),
    ];
    for (at, mask, expected) in cases {
        let mut image = good.clone();
        image.block(root)[at] ^= mask;
        repaired(&mut image).expect("is damaged: keep");
        expect_paths(&mut image, &expected);
    }
    // An inode that others have, too.
    let mut image = good.clone();
    image.block(root)[16] ^= 1;
    repaired(&mut image);
    assert_eq!(paths(&mut image)["/empty"], 3);
    assert_eq!(inode(&mut image, 3).unwrap().nlink, 2);
    assert_eq!(inode(&mut image, 2).unwrap().nlink, 1);
}

/// Directories that are in themselves, in several, or in none.
#[test]
fn tree() {
    // `dir` is in `deep`, and `deep` in `dir`.
    let mut image = Image::new();
    let root = image.dirs[0];
    unlink(&mut image, root, b"dir");
    put64(image.raw_inode(DIR), 128, DEEP);
    let seed = image.sb.seed();
    // `deep` has no block of its own: the second one of `dir` becomes it.
    let second = image.dirs[2];
    dir::init_block(image.block(second), DEEP, seed);
    image.add(second, DEEP, b"loop", DIR, FileType::Dir);
    let raw = image.raw_inode(DIR);
    put32(raw, 160 + 16, 1);
    put64(raw, 40, 4096);
    put64(raw, 48, 1);
    let raw = image.raw_inode(DEEP);
    put32(raw, 108, 1);
    put64(raw, 160, 0);
    put64(raw, 168, second);
    put32(raw, 176, 1);
    put64(raw, 40, 4096);
    put64(raw, 48, 1);
    image.seal();
    repaired(&mut image).expect("is in no directory");
    let found = paths(&mut image);
    let lost: Vec<_> = found
        .keys()
        .filter(|p| p.starts_with("/lost+found/#"))
        .collect();
    // With the other entries that the second block had.
    assert_eq!(lost.len(), 6, "{found:#?}");
    assert!(found.values().any(|&i| i == DIR) && found.values().any(|&i| i == DEEP));

    // In two directories: it stays in the one that it says.
    for parent in [1, DIR] {
        let mut image = Image::new();
        let root = image.dirs[0];
        image.add(root, 1, b"again", DEEP, FileType::Dir);
        put64(image.raw_inode(DEEP), 128, parent);
        image.seal();
        repaired(&mut image);
        let path = if parent == 1 { "/again" } else { "/dir/deep" };
        let found = paths(&mut image);
        assert_eq!(found[path], DEEP);
        assert_eq!(found.values().filter(|&&ino| ino == DEEP).count(), 1);
    }
}

/// Without a root there is a new one, and everything is found in it.
#[test]
fn root() {
    let mut image = Image::new();
    put32(image.raw_inode(1), 16, 0);
    image.seal();
    repaired(&mut image);
    let found = paths(&mut image);
    assert_eq!(found["/lost+found/#5/deep"], DEEP);
    assert_eq!(found["/lost+found/#4"], BIG);
    // Its bit is wrong: it is not.
    let mut image = Image::new();
    image.set_bit(image.sb.inode_bitmap, 1, false);
    assert_eq!(fsck(&mut image.clone(), Mode::Nothing).status, 4);
    repaired(&mut image);
}

/// The superblock comes back from its copy, unless something else is there.
#[test]
fn superblock() {
    let good = Image::new();
    let mut image = good.clone();
    image.block(0)[SUPER_OFFSET + 60] ^= 1;
    assert_eq!(fsck(&mut image.clone(), Mode::Safe).status, 4);
    repaired(&mut image);
    assert!(image.blocks == good.blocks);
    let mut image = good.clone();
    image.block(0).fill(0);
    repaired(&mut image);
    assert!(image.blocks == good.blocks);
    // When it was restored, its second sector has come back, and the first one not.
    let mut image = good.clone();
    for block in [0, TOTAL - 1] {
        image.block(block)[SUPER_OFFSET + 184..][..32].fill(b'x');
    }
    image.seal();
    let labelled = image.blocks.clone();
    put32(image.block(0), SUPER_OFFSET + 160, 3);
    image.seal();
    image.block(0)[..SUPER_OFFSET + 512].fill(0);
    repaired(&mut image);
    assert!(image.blocks == labelled);
    // Neither the magic number nor the UUID, but most of the rest.
    let mut image = good.clone();
    image.block(0)[SUPER_OFFSET] = 0;
    image.block(0)[SUPER_OFFSET + 168] ^= 1;
    repaired(&mut image);
    // Another file system, which has not come as far as the copy: whatever the journal is now.
    let start = good.sb.journal.start;
    for journal in [good.blocks[&start], [0x77; BLOCK_SIZE]] {
        let mut image = good.clone();
        image.block(0).fill(0x77);
        *image.array(start) = journal;
        let before = image.blocks.clone();
        let ran = fsck(&mut image, Mode::All);
        ran.talk.expect("something else is in its place");
        assert_eq!((ran.status, ran.written), (4, 0));
        assert!(image.blocks == before);
    }
    // Nor one that has nothing there, but something before it.
    let mut image = good.clone();
    image.block(0).fill(0);
    image.block(0)[..6].copy_from_slice(b"LUKS\xba\xbe");
    let ran = fsck(&mut image, Mode::All);
    ran.talk.expect("something else is in its place");
    assert_eq!((ran.status, ran.written), (4, 0));
    // Who does not know a read-only feature may only look: not even the state changes.
    let mut image = good.clone();
    image.set_bit(image.sb.block_bitmap, 1700, true);
    for block in [0, TOTAL - 1] {
        put64(image.block(block), SUPER_OFFSET + 24, 1 << 63);
        put32(image.block(block), SUPER_OFFSET + 160, 2);
    }
    image.seal();
    for mode in [Mode::Safe, Mode::All] {
        let ran = fsck(&mut image, mode);
        ran.talk.expect("unknown read-only feature");
        assert_eq!((ran.status, ran.written), (4, 0));
    }
    // Torn when its state changed.
    let mut image = good.clone();
    put32(image.block(0), SUPER_OFFSET + 160, 2);
    let ran = fsck(&mut image, Mode::Safe);
    assert_eq!(ran.status, 0);
    assert!(image.blocks == good.blocks);
    // Neither.
    let mut image = good.clone();
    image.block(0).fill(0);
    image.block(TOTAL - 1).fill(0);
    let ran = fsck(&mut image, Mode::All);
    assert_eq!((ran.status, ran.written), (8, 0));
    let mut image = good;
    image.total = 500;
    let ran = fsck(&mut image, Mode::All);
    assert_eq!((ran.status, ran.written), (4, 0));
}

/// Puts a transaction into the journal that writes these blocks.
fn log(image: &mut Image, blocks: &[(u64, [u8; BLOCK_SIZE])]) {
    transaction(image, 1, 1, blocks);
    let start = image.sb.journal.start;
    put_be(image.block(start), 0x1c, 1);
    image.seal();
}

fn put_be(block: &mut [u8], at: usize, word: u32) {
    block[at..at + 4].copy_from_slice(&word.to_be_bytes());
}

/// Puts a transaction into block `at` of the journal, and those that follow.
fn transaction(image: &mut Image, at: u64, sequence: u32, blocks: &[(u64, [u8; BLOCK_SIZE])]) {
    let (start, seed) = (image.sb.journal.start + at, image.sb.seed());
    let header = |block: &mut [u8], kind| {
        block.fill(0);
        put_be(block, 0, journal::MAGIC);
        put_be(block, 4, kind);
        put_be(block, 8, sequence);
    };
    header(image.block(start), 1);
    for (i, (place, data)) in blocks.iter().enumerate() {
        let crc = crc32c_update(crc32c_update(seed, &sequence.to_be_bytes()), data);
        let descriptor = image.block(start);
        let last = if i + 1 == blocks.len() { 8 } else { 0 };
        // Each tag with an UUID is as good as one without.
        put_be(descriptor, 12 + i * 32, *place as u32);
        put_be(descriptor, 12 + i * 32 + 4, last);
        put_be(descriptor, 12 + i * 32 + 12, crc);
        image.block(start + 1 + i as u64).copy_from_slice(data);
    }
    let descriptor = image.block(start);
    let crc = crc32c_update(seed, descriptor);
    put_be(descriptor, 4092, crc);
    let commit = image.block(start + 1 + blocks.len() as u64);
    header(commit, 2);
    let crc = crc32c_update(seed, commit);
    put_be(commit, 16, crc);
}

/// A transaction that is in the journal only: that `small` was deleted.
fn pending() -> Image {
    let mut after = Image::new();
    let root = after.dirs[0];
    unlink(&mut after, root, b"small");
    after.set_bit(after.sb.inode_bitmap, 3, false);
    for e in extents_before(&mut after, 3) {
        for block in e.disk_block..e.disk_end() {
            after.set_bit(after.sb.block_bitmap, block, false);
        }
    }
    put32(after.raw_inode(3), 28, 0);
    after.seal();
    let mut image = Image::new();
    let sb = image.sb;
    let (table, _) = sb.inode_location(3).unwrap();
    let places = [root, sb.inode_bitmap.start, sb.block_bitmap.start, table];
    let blocks = places.map(|b| (b, *after.array(b)));
    log(&mut image, &blocks);
    Superblock::set_state(
        image.block(0)[SUPER_OFFSET..].first_chunk_mut().unwrap(),
        State::Dirty,
    );
    image
}

/// The extents of an inode that is marked free.
fn extents_before(image: &mut Image, ino: u64) -> Vec<Extent> {
    let seed = image.sb.seed();
    let inode = Inode::parse(image.raw_inode(ino), ino, seed).unwrap();
    inode.inline_extents().to_vec()
}

#[test]
fn journal_replay() {
    let mut image = pending();
    let ran = fsck(&mut image, Mode::Nothing);
    assert_eq!((ran.status, ran.written), (0, 0), "{:#?}", ran.talk.lines);
    ran.talk
        .expect("journal: replayed, 1 transactions, 4 blocks");
    for mode in [Mode::Safe, Mode::All] {
        let mut image = pending();
        let ran = fsck(&mut image, mode);
        assert_eq!(ran.status, 0, "{:#?}", ran.talk.lines);
        sound(&mut image);
        assert!(!paths(&mut image).contains_key("/small"));
    }
    // Half of the journal is older than half of the rest.
    let mut image = pending();
    image.set_bit(image.sb.inode_bitmap, 3, false);
    assert_eq!(fsck(&mut image, Mode::Safe).status, 0);
    sound(&mut image);
    // It was given up: there may be errors, and then there are none.
    let mut image = pending();
    let start = image.sb.journal.start;
    image.block(start)[0x20..0x24].copy_from_slice(&(-5i32).to_be_bytes());
    image.seal();
    fsck(&mut image, Mode::Nothing).talk.expect("was given up");
    let ran = fsck(&mut image, Mode::Safe);
    assert_eq!(ran.status, 0);
    ran.talk.expect("was given up");
    sound(&mut image);
    // Nothing else says so as long as the superblock is damaged.
    let mut image = pending();
    image.block(start)[0x20..0x24].copy_from_slice(&(-5i32).to_be_bytes());
    image.seal();
    image.block(0)[SUPER_OFFSET + 60] ^= 1;
    for _ in 0..2 {
        let ran = fsck(&mut image, Mode::Safe);
        assert_eq!(ran.status, 4);
        ran.talk.expect("was given up");
    }
    repaired(&mut image).expect("was given up");
    // With a clean state it is looked at all the same.
    let mut image = Image::new();
    image.block(start)[0x20..0x24].copy_from_slice(&(-5i32).to_be_bytes());
    image.seal();
    let wish = Wish {
        mode: Mode::Safe,
        ..Wish::default()
    };
    let ran = run_with(&mut image, wish, true, u64::MAX);
    ran.talk.expect("was given up");
    sound(&mut image);
}

/// A journal that cannot be replayed is given up by force only, and nothing is repaired before that.
#[test]
fn journal_damaged() {
    let mut image = pending();
    let start = image.sb.journal.start;
    image.block(start + 2)[8] ^= 1;
    let before = image.blocks.clone();
    let ran = fsck(&mut image, Mode::Nothing);
    assert_eq!((ran.status, ran.written), (4, 0));
    let ran = fsck(&mut image, Mode::Safe);
    assert_eq!((ran.status, ran.written), (4, 0));
    let wish = Wish {
        mode: Mode::Ask,
        ..Wish::default()
    };
    assert_eq!(run_with(&mut image, wish, false, u64::MAX).status, 4);
    assert!(image.blocks == before);
    repaired(&mut image).expect("give up what is in it");
    for block in start + 1..start + 1024 {
        assert!(image.block(block).iter().all(|&byte| byte == 0));
    }
    // What of it was sound is replayed.
    assert_eq!(inode(&mut image, 3), None);
}

/// What a journal that is being given up has left behind is not replayed once more, in part.
#[test]
fn giving_up_is_interrupted() {
    let mut damaged = Image::new();
    let place = get64(damaged.raw_inode(3), 168);
    let journal = damaged.sb.journal;
    // The last one is damaged; the second one begins where the ring does, and so goes first.
    for (at, sequence) in [(journal.len - 3, 1), (1, 2), (4, 3)] {
        transaction(
            &mut damaged,
            at,
            sequence,
            &[(place, [sequence as u8; BLOCK_SIZE])],
        );
    }
    damaged.block(journal.start + 5)[0] ^= 1;
    put_be(damaged.block(journal.start), 0x1c, journal.len as u32 - 3);
    damaged.seal();
    for n in 0..20 {
        let mut image = damaged.clone();
        let wish = Wish {
            mode: Mode::All,
            ..Wish::default()
        };
        assert_eq!(run_with(&mut image, wish, true, n).status, 8);
        repaired(&mut image).expect("give up what is in it");
        assert_eq!(*image.array(place), [2; BLOCK_SIZE], "write {n}");
    }
}

/// Wherever repairs end early, the next ones complete them, and what was sound is still there.
#[test]
fn interrupted() {
    for (expected, damage) in cases() {
        let mut damaged = Image::new();
        damage(&mut damaged);
        damaged.seal();
        let mut whole = damaged.clone();
        let Ran { written, .. } = fsck(&mut whole, Mode::All);
        let whole = paths(&mut whole);
        let writes: Vec<u64> = match written {
            // All but the zeroes of a journal.
            n if n > 1000 => (0..3).chain(n - 6..n).collect(),
            n => (0..n).collect(),
        };
        for n in writes {
            let mut image = damaged.clone();
            let wish = Wish {
                mode: Mode::All,
                ..Wish::default()
            };
            let ran = run_with(&mut image, wish, true, n);
            assert_eq!(ran.status, 8, "{expected}, write {n}");
            let ran = fsck(&mut image, Mode::All);
            assert!(
                ran.status < 2,
                "{expected}, write {n}: {:#?}",
                ran.talk.lines
            );
            sound(&mut image);
            let lost = |path: &&String| !paths(&mut image).contains_key(*path);
            let lost: Vec<_> = whole.keys().filter(lost).collect();
            assert!(lost.is_empty(), "{expected}, write {n}: {lost:?}");
        }
    }
}

/// An extent that moves from the chain into the inode is in one of them at any time.
#[test]
fn chain_is_not_written_over() {
    let mut damaged = Image::new();
    let disk = get64(damaged.raw_inode(3), 168);
    put64(damaged.raw_inode(BIG), 168, disk);
    damaged.seal();
    let Ran { written, .. } = fsck(&mut damaged.clone(), Mode::All);
    assert!(written > 3);
    for n in 0..written {
        let mut image = damaged.clone();
        let wish = Wish {
            mode: Mode::All,
            ..Wish::default()
        };
        run_with(&mut image, wish, true, n);
        fsck(&mut image, Mode::All);
        sound(&mut image);
        assert_eq!(extents(&mut image, BIG).len(), 199, "write {n}");
    }
}

/// Whether a superblock has not changed in a way that says where things are, or whose they are, or that forbids to write.
fn as_before(sb: &Superblock, good: &Superblock) -> bool {
    let places = |sb: &Superblock| {
        let regions = [sb.inode_bitmap, sb.orphans, sb.block_bitmap, sb.inode_table];
        (
            regions,
            sb.journal,
            sb.data,
            sb.total_blocks,
            sb.inode_count,
            sb.uuid,
        )
    };
    places(sb) == places(good) && sb.writable().is_ok()
}

/// Random damage of everything ends in a file system without errors.
#[test]
fn fuzz() {
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").map_or(4000, |v| v.parse().unwrap());
    let seed = std::env::var("FUZZ_SEED").map_or(31, |v| v.parse().unwrap());
    println!("seed {seed}");
    let good = Image::new();
    let mut r = Random(seed);
    let (mut repaired, mut hopeless) = (0, 0);
    for round in 0..rounds {
        let mut image = if r.below(4) == 0 {
            pending()
        } else {
            good.clone()
        };
        let least = [1, 1, 3, 20][r.below(4) as usize];
        image.damage(&mut r, least);
        if r.below(5) > 0 {
            image.seal();
        }
        let copy = Superblock::parse_copy(&image.block(TOTAL - 1)[SUPER_OFFSET..], TOTAL - 1);
        let super_ok = match Superblock::parse_torn(&image.block(0)[SUPER_OFFSET..]) {
            Ok((sb, _)) => as_before(&sb, &good.sb),
            Err(SuperError::Unsupported(_)) => false,
            Err(_) => copy.is_some_and(|sb| as_before(&sb, &good.sb)),
        };
        let result = panic::catch_unwind(|| {
            let ran = fsck(&mut image, Mode::All);
            let again = fsck(&mut image, Mode::Nothing);
            (ran, again, image)
        });
        let Ok((ran, again, mut image)) = result else {
            panic!("panic in round {round} of seed {seed}");
        };
        let what = format!(
            "round {round} of seed {seed}: {}, {:#?}, then {:#?}",
            ran.status, ran.talk.lines, again.talk.lines
        );
        if ran.status > 1 {
            // Only where there is no superblock to go by, or one that says something else.
            assert!(!super_ok, "{what}");
            hopeless += 1;
            continue;
        }
        assert_eq!((again.status, again.written), (0, 0), "{what}");
        repaired += u64::from(ran.status == 1);
        // And it can be walked through.
        if Superblock::parse(&image.block(0)[SUPER_OFFSET..]) == Ok(good.sb) {
            paths(&mut image);
        }
    }
    println!("{repaired} of {rounds} were repaired, {hopeless} cannot be");
    assert!(repaired > rounds / 2 && hopeless < rounds / 10);
}

/// Whatever is answered, no file system with errors is called clean, or looks so.
#[test]
fn fuzz_answers() {
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").map_or(1000, |v| v.parse().unwrap());
    let seed = std::env::var("FUZZ_SEED").map_or(32, |v| v.parse().unwrap());
    println!("seed {seed}");
    let mut r = Random(seed);
    for round in 0..rounds {
        let mut image = Image::new();
        let least = [1, 1, 3][r.below(3) as usize];
        image.damage(&mut r, least);
        if r.below(5) > 0 {
            image.seal();
        }
        let mode = [Mode::Safe, Mode::Ask][r.below(2) as usize];
        let before = image.clone();
        let wish = Wish {
            mode,
            force: true,
            quiet: false,
        };
        let talk = Talk {
            dice: Some(Random(r.next())),
            ..Talk::default()
        };
        let ran = run_talking(&mut image, wish, talk, u64::MAX);
        let again = fsck(&mut image, Mode::Nothing);
        let what = format!(
            "round {round} of seed {seed}: {mode:?} {}, {:#?}, then {:#?}",
            ran.status, ran.talk.lines, again.talk.lines
        );
        assert_eq!(again.status & 4, ran.status & 4, "{what}");
        if mode == Mode::Safe && ran.status == 4 {
            // The state, and the journal.
            for block in [0, image.sb.journal.start] {
                *image.array(block) = before.blocks[&block];
            }
            assert!(image.blocks == before.blocks, "{what}");
        }
        // No is not for ever.
        if ran.status < 8 && fsck(&mut image, Mode::All).status < 2 {
            sound(&mut image);
        }
    }
}

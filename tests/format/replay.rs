// SPDX-License-Identifier: GPL-2.0

//! Tests of the replay of the journal, against journals that are written here block by block. Compiled with `--test`;
//! see `run.sh`.

use random::Random;
use std::{collections::BTreeMap, panic};
use toyfs_format::{
    crc32c_update,
    journal::{self, encode_super},
    replay::{Block, Device, Error, Journal, Replayed},
    Superblock, BLOCK_SIZE,
};

const LEN: u32 = 1024;
const DATA: u64 = 2000;
const UUID: &[u8; 16] = b"0123456789abcdef";

/// A device, and what a replay keeps in mind.
#[derive(Clone)]
struct Disk {
    fs: Superblock,
    blocks: BTreeMap<u64, Block>,
    revoked: BTreeMap<u64, u32>,
    /// The blocks that were written, in this order; 0 is a flush.
    written: Vec<u64>,
    /// So many writes go well.
    writes: usize,
    /// What cannot be read.
    unreadable: Option<u64>,
    reads: u64,
}

impl Device for Disk {
    type Error = &'static str;

    fn read(&mut self, block: u64, buf: &mut Block) -> Result<(), Self::Error> {
        assert!(block < self.fs.total_blocks);
        self.reads += 1;
        if self.unreadable == Some(block) {
            return Err("unreadable");
        }
        *buf = self.get(block);
        Ok(())
    }

    fn write(&mut self, block: u64, data: &Block) -> Result<(), Self::Error> {
        assert!(block < self.fs.total_blocks);
        self.writes = self.writes.checked_sub(1).ok_or("no more writes")?;
        self.written.push(block);
        self.blocks.insert(block, *data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.written.push(0);
        Ok(())
    }

    fn revoke(&mut self, block: u64, sequence: u32) {
        self.revoked.insert(block, sequence);
    }

    fn revoked(&self, block: u64) -> Option<u32> {
        self.revoked.get(&block).copied()
    }
}

impl Disk {
    fn new() -> Self {
        let mut fs = Superblock::layout(4096, 64, LEN.into()).unwrap();
        fs.uuid = *UUID;
        let mut disk = Self {
            fs,
            blocks: BTreeMap::new(),
            revoked: BTreeMap::new(),
            written: Vec::new(),
            writes: usize::MAX,
            unreadable: None,
            reads: 0,
        };
        encode_super(disk.log(0), LEN, UUID);
        disk
    }

    fn get(&self, block: u64) -> Block {
        self.blocks.get(&block).copied().unwrap_or([0; BLOCK_SIZE])
    }

    /// A block of the journal.
    fn log(&mut self, block: u32) -> &mut Block {
        let at = self.fs.journal.start + u64::from(block);
        self.blocks.entry(at).or_insert([0; BLOCK_SIZE])
    }

    fn word(&mut self, block: u32, at: usize) -> u32 {
        u32::from_be_bytes(self.log(block)[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, block: u32, at: usize, word: u32) {
        self.log(block)[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }

    /// Renews the checksum at `at` of a block of the log, or of the superblock.
    fn seal(&mut self, block: u32, at: usize) {
        self.put(block, at, 0);
        let crc = match block {
            0 => crc32c_update(!0, &self.log(block)[..1024]),
            _ => crc32c_update(seed(), self.log(block)),
        };
        self.put(block, at, crc);
    }

    fn set_super(&mut self, at: usize, word: u32) {
        self.put(0, at, word);
        self.seal(0, 0xfc);
    }

    fn replay(&mut self) -> Result<Replayed, Error<&'static str>> {
        self.revoked.clear();
        self.written.clear();
        let fs = self.fs;
        Journal::open(self, &fs)?.replay(self)
    }
}

fn seed() -> u32 {
    crc32c_update(!0, UUID)
}

/// A block whose contents are recognised.
fn filled(value: u32) -> Block {
    let mut block = [value as u8; BLOCK_SIZE];
    block[..4].copy_from_slice(&value.to_le_bytes());
    block
}

/// Writes transactions, as jbd2 does.
struct Writer {
    next: u32,
    sequence: u32,
    time: u64,
}

/// Where a transaction has what.
#[derive(Default)]
struct Written {
    revokes: Vec<u32>,
    descriptors: Vec<u32>,
    data: Vec<u32>,
    commit: u32,
}

impl Writer {
    /// The log begins at block `start`, with transaction `sequence`.
    fn new(disk: &mut Disk, start: u32, sequence: u32) -> Self {
        disk.set_super(0x18, sequence);
        disk.set_super(0x1c, start);
        Self {
            next: start,
            sequence,
            time: 1000,
        }
    }

    fn block(&mut self) -> u32 {
        let block = self.next;
        self.next = if block + 1 == LEN { 1 } else { block + 1 };
        block
    }

    fn own(&mut self, disk: &mut Disk, kind: u32) -> u32 {
        let at = self.block();
        *disk.log(at) = [0; BLOCK_SIZE];
        disk.put(at, 0, journal::MAGIC);
        disk.put(at, 4, kind);
        disk.put(at, 8, self.sequence);
        at
    }

    fn revokes(&mut self, disk: &mut Disk, blocks: &[u64]) -> u32 {
        let at = self.own(disk, 5);
        disk.put(at, 12, 16 + blocks.len() as u32 * 8);
        for (i, block) in blocks.iter().enumerate() {
            disk.log(at)[16 + i * 8..][..8].copy_from_slice(&block.to_be_bytes());
        }
        disk.seal(at, 4092);
        at
    }

    /// A descriptor block, and the blocks that it describes.
    fn blocks(&mut self, disk: &mut Disk, blocks: &[(u64, Block)], written: &mut Written) {
        let descriptor = self.own(disk, 1);
        let mut at = 12;
        for (i, (block, data)) in blocks.iter().enumerate() {
            let place = self.block();
            let mut data = *data;
            let mut flags = 0;
            if data[..4] == journal::MAGIC.to_be_bytes() {
                data[..4].fill(0);
                flags |= 1;
            }
            if i > 0 {
                flags |= 2;
            }
            if i + 1 == blocks.len() {
                flags |= 8;
            }
            *disk.log(place) = data;
            let crc = crc32c_update(seed(), &self.sequence.to_be_bytes());
            let crc = crc32c_update(crc, &data);
            for (n, word) in [*block as u32, flags, (block >> 32) as u32, crc]
                .into_iter()
                .enumerate()
            {
                disk.put(descriptor, at + n * 4, word);
            }
            at += 16;
            if i == 0 {
                disk.log(descriptor)[at..at + 16].copy_from_slice(UUID);
                at += 16;
            }
            written.data.push(place);
        }
        assert!(at <= 4092);
        disk.seal(descriptor, 4092);
        written.descriptors.push(descriptor);
    }

    fn commit(&mut self, disk: &mut Disk) -> u32 {
        let at = self.own(disk, 2);
        disk.log(at)[48..56].copy_from_slice(&self.time.to_be_bytes());
        disk.seal(at, 16);
        self.time += 5;
        self.sequence = self.sequence.wrapping_add(1);
        at
    }

    /// All of a transaction but its end.
    fn open(&mut self, disk: &mut Disk, blocks: &[(u64, Block)], revokes: &[u64]) -> Written {
        let mut written = Written::default();
        for revokes in revokes.chunks(500) {
            written.revokes.push(self.revokes(disk, revokes));
        }
        for blocks in blocks.chunks(250) {
            self.blocks(disk, blocks, &mut written);
        }
        written
    }

    /// A transaction.
    fn write(&mut self, disk: &mut Disk, blocks: &[(u64, Block)], revokes: &[u64]) -> Written {
        let mut written = self.open(disk, blocks, revokes);
        written.commit = self.commit(disk);
        written
    }
}

/// Three transactions, each of which writes a block of its own and one that all do.
fn three(disk: &mut Disk, start: u32, sequence: u32) -> (Writer, Vec<Written>) {
    let mut writer = Writer::new(disk, start, sequence);
    let written = (0..3)
        .map(|i| {
            let blocks = [
                (DATA + u64::from(i), filled(10 + i)),
                (DATA + 9, filled(20 + i)),
            ];
            writer.write(disk, &blocks, &[])
        })
        .collect();
    (writer, written)
}

/// Which of the three have come to their place, and that all before have.
fn arrived(disk: &Disk) -> u32 {
    let n = (0..3)
        .take_while(|&i| disk.get(DATA + u64::from(i)) == filled(10 + i))
        .count() as u32;
    for i in n..3 {
        assert_eq!(disk.get(DATA + u64::from(i)), [0; BLOCK_SIZE]);
    }
    n
}

#[test]
fn empty() {
    let mut disk = Disk::new();
    let before = disk.blocks.clone();
    assert_eq!(disk.replay(), Ok(Replayed::default()));
    assert!(disk.blocks == before && disk.written.is_empty());
}

/// What is in the log comes to its place, wherever in the ring it is and however the numbers wrap, and the log is empty then.
#[test]
fn replays() {
    for start in [1, 2, 500, LEN - 11, LEN - 3, LEN - 2, LEN - 1] {
        for sequence in [1, 77, u32::MAX, u32::MAX - 1] {
            let mut disk = Disk::new();
            let (writer, _) = three(&mut disk, start, sequence);
            let done = disk.replay().unwrap();
            assert_eq!((done.transactions, done.written, done.revoked), (3, 6, 0));
            assert_eq!(arrived(&disk), 3);
            assert_eq!(disk.get(DATA + 9), filled(22));
            // All else is stable before the journal says so.
            let journal = disk.fs.journal.start;
            assert_eq!(disk.written[6..], [0, journal, 0]);
            assert_eq!(disk.word(0, 0x1c), 0);
            assert_eq!(disk.word(0, 0x18), sequence.wrapping_add(4));
            assert_eq!(disk.word(0, 0x58), writer.next);
            // And once more.
            let before = disk.blocks.clone();
            assert_eq!(disk.replay(), Ok(Replayed::default()));
            assert!(disk.blocks == before);
        }
    }
}

/// Transactions with several descriptor blocks, one of which is full.
#[test]
fn large() {
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 800, 5);
    let blocks: Vec<_> = (0..253)
        .map(|i| (DATA + i, filled(100 + i as u32)))
        .collect();
    writer.write(&mut disk, &blocks, &[]);
    writer.write(&mut disk, &blocks, &[]);
    assert_eq!(disk.replay().unwrap().written, 506);
    for (block, data) in blocks {
        assert_eq!(disk.get(block), data);
    }
    // As many tags as a descriptor block has room for, none of which says that it is the last one.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 1, 5);
    let blocks: Vec<_> = (0..254).map(|i| (DATA + i, filled(i as u32 + 1))).collect();
    let mut written = Written::default();
    writer.blocks(&mut disk, &blocks, &mut written);
    let (last, at) = (written.descriptors[0], 12 + 16 + 253 * 16);
    let flags = disk.word(last, at + 4);
    disk.put(last, at + 4, flags & !8);
    disk.seal(last, 4092);
    writer.commit(&mut disk);
    assert_eq!(disk.replay().unwrap().written, 254);
}

/// A block that looks like one of the journal's own.
#[test]
fn escaped() {
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 1, 1);
    let mut data = filled(7);
    data[..4].copy_from_slice(&journal::MAGIC.to_be_bytes());
    let written = writer.write(&mut disk, &[(DATA, data), (DATA + 1, filled(8))], &[]);
    assert_eq!(disk.log(written.data[0])[..4], [0; 4]);
    disk.replay().unwrap();
    assert_eq!(disk.get(DATA), data);
    assert_eq!(disk.get(DATA + 1), filled(8));
}

/// A transaction that revokes a block takes it out of itself and of all before, and of none behind.
#[test]
fn revoked() {
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, LEN - 4, u32::MAX - 1);
    let all = |n: u32| [0, 1, 2].map(|i| (DATA + i, filled(n + i as u32)));
    writer.write(&mut disk, &all(10), &[]);
    writer.write(&mut disk, &[], &[DATA, DATA + 1, DATA + 50]);
    writer.write(&mut disk, &all(20)[1..2], &[]);
    let done = disk.replay().unwrap();
    assert_eq!((done.transactions, done.written, done.revoked), (3, 2, 2));
    assert_eq!(disk.get(DATA), [0; BLOCK_SIZE]);
    assert_eq!(disk.get(DATA + 1), filled(21));
    assert_eq!(disk.get(DATA + 2), filled(12));
    // Twice, the second time in the transaction that writes it.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 1, 1);
    writer.write(&mut disk, &all(10), &[DATA]);
    writer.write(&mut disk, &all(20), &[DATA]);
    assert_eq!(disk.replay().unwrap().revoked, 2);
    assert_eq!(disk.get(DATA), [0; BLOCK_SIZE]);
    assert_eq!(disk.get(DATA + 1), filled(21));
    // More than fit into one block; and a revocation that was not committed.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 1, 1);
    writer.write(&mut disk, &all(10), &[]);
    let many: Vec<_> = (DATA + 1..DATA + 701).collect();
    writer.write(&mut disk, &[], &many);
    writer.open(&mut disk, &[], &[DATA]);
    assert_eq!(disk.replay().unwrap().revoked, 2);
    assert_eq!(disk.get(DATA), filled(10));
}

/// A log that ends early ends before the transaction that is not complete.
#[test]
fn torn() {
    type Damage = fn(&mut Disk, &Written);
    let cases: &[Damage] = &[
        |d, w| d.log(w.commit).fill(0),
        |d, w| d.log(w.descriptors[0]).fill(0),
        // What was there before: data, another transaction's, an unknown kind.
        |d, w| d.log(w.commit).fill(0x55),
        |d, w| d.put(w.commit, 8, 1),
        |d, w| d.put(w.commit, 8, 99),
        |d, w| d.put(w.commit, 4, 7),
        |d, w| d.put(w.commit, 4, 4),
        |d, w| d.put(w.commit, 0, 1),
        // What is stale has an older time, and the checksum of another file system.
        |d, w| {
            d.log(w.commit)[48..56].copy_from_slice(&900u64.to_be_bytes());
            d.put(w.commit, 16, 1);
        },
        |d, w| {
            d.log(w.commit)[48..56].copy_from_slice(&900u64.to_be_bytes());
            d.seal(w.commit, 16);
            d.put(w.descriptors[0], 4092, 1);
        },
    ];
    for (case, damage) in cases.iter().enumerate() {
        for n in 1..3 {
            let mut disk = Disk::new();
            let (_, written) = three(&mut disk, LEN - 6, 2);
            damage(&mut disk, &written[n as usize]);
            let done = disk.replay();
            assert_eq!(done.map(|d| d.transactions), Ok(n), "case {case}");
            assert_eq!(arrived(&disk), n);
            // The number of the transaction that was lost is not used again.
            assert_eq!(disk.word(0, 0x18), 2 + n + 1);
        }
    }
}

/// Of the last descriptor block only the first sector has reached the device, and what it says then
/// would go on for longer than the ring.
#[test]
fn torn_at_the_end_of_the_ring() {
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 7, 3);
    for _ in 0..290 {
        writer.write(&mut disk, &[(DATA, filled(1))], &[]);
    }
    let blocks: Vec<_> = (0..100).map(|i| (DATA + i, filled(2))).collect();
    let written = writer.open(&mut disk, &blocks, &[]);
    disk.log(written.descriptors[0])[512..].fill(0x22);
    assert_eq!(disk.replay().map(|done| done.transactions), Ok(290));
    assert_eq!(disk.get(DATA), filled(1));
}

/// Only the beginning of a commit block has reached the device, with the checksum of all of it.
#[test]
fn short_commit() {
    let mut disk = Disk::new();
    let (_, written) = three(&mut disk, 1, 2);
    disk.log(written[1].commit)[70..].fill(9);
    assert_eq!(disk.replay().unwrap().transactions, 3);
    // One with something behind its beginning, if that has the right checksum.
    let mut disk = Disk::new();
    let (_, written) = three(&mut disk, 1, 2);
    disk.log(written[1].commit)[70..].fill(9);
    disk.seal(written[1].commit, 16);
    assert_eq!(disk.replay().unwrap().transactions, 3);
}

/// What was committed and has a bad checksum is an error, and the log stays for who looks at it.
#[test]
fn bad_checksums() {
    type Damage = fn(&mut Disk, &Written);
    let cases: &[(&str, Damage)] = &[
        ("transaction has a bad checksum", |d, w| {
            d.put(w.commit, 16, 1);
        }),
        ("transaction has a bad checksum", |d, w| {
            d.put(w.descriptors[0], 4092, 1);
        }),
        ("transaction has a bad checksum", |d, w| {
            d.log(w.descriptors[0])[2000] ^= 1;
        }),
        ("block in the log has a bad", |d, w| {
            d.log(w.data[0])[2000] ^= 1;
        }),
    ];
    for (expected, damage) in cases {
        let mut disk = Disk::new();
        let (_, written) = three(&mut disk, LEN - 6, 2);
        damage(&mut disk, &written[1]);
        let start = disk.word(0, 0x1c);
        match disk.replay() {
            Err(Error::Corrupt(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("expected '{expected}', got {other:?}"),
        }
        assert_eq!(disk.word(0, 0x1c), start);
        // What comes before is replayed.
        assert_eq!(disk.get(DATA), filled(10));
        assert_eq!(disk.get(DATA + 1), [0; BLOCK_SIZE]);
    }
    // A revoke block.
    let mut disk = Disk::new();
    let (mut writer, _) = three(&mut disk, 1, 2);
    let written = writer.write(&mut disk, &[], &[DATA]);
    disk.put(written.revokes[0], 4092, 1);
    assert!(matches!(disk.replay(), Err(Error::Corrupt(_))));
    assert_eq!(arrived(&disk), 3);
    // Of a block with a bad checksum the others of its transaction, and those behind it, are replayed all the same.
    let mut disk = Disk::new();
    let (_, written) = three(&mut disk, 1, 2);
    disk.log(written[1].data[0])[5] ^= 1;
    assert!(disk.replay().is_err());
    assert_eq!(disk.get(DATA + 9), filled(22));
    assert_eq!(disk.get(DATA + 2), filled(12));
    // But if it is revoked, nobody looks at it.
    let mut disk = Disk::new();
    let (mut writer, written) = three(&mut disk, 1, 2);
    writer.write(&mut disk, &[], &[DATA + 1]);
    disk.log(written[1].data[0])[5] ^= 1;
    assert_eq!(disk.replay().unwrap().revoked, 1);
}

/// Nothing is written to where it does not belong, and nothing at all if the log says so anywhere.
#[test]
fn hostile_tags() {
    let fs = Disk::new().fs;
    let log = fs.journal;
    let bad = [
        fs.total_blocks,
        log.start,
        log.start + 5,
        log.end() - 1,
        1 << 32,
        u64::MAX,
    ];
    for block in bad {
        let mut disk = Disk::new();
        let (mut writer, _) = three(&mut disk, 1, 2);
        writer.write(&mut disk, &[(DATA, filled(1)), (block, filled(2))], &[]);
        let before = disk.blocks.clone();
        assert!(
            matches!(disk.replay(), Err(Error::Corrupt(why)) if why.contains("belongs outside"))
        );
        assert!(disk.blocks == before);
    }
    for block in [0, log.start - 1, log.end(), fs.total_blocks - 1] {
        let mut disk = Disk::new();
        Writer::new(&mut disk, 1, 2).write(&mut disk, &[(block, filled(2))], &[]);
        assert_eq!(disk.replay().unwrap().written, 1);
        assert_eq!(disk.get(block), filled(2));
    }
    // Revoke blocks with more than they can have.
    for bytes in [4093, 4096, 1 << 31, u32::MAX] {
        let mut disk = Disk::new();
        let (mut writer, _) = three(&mut disk, 1, 2);
        let written = writer.write(&mut disk, &[], &[DATA]);
        disk.put(written.revokes[0], 12, bytes);
        disk.seal(written.revokes[0], 4092);
        assert!(matches!(disk.replay(), Err(Error::Corrupt(_))));
    }
    for bytes in [0, 15, 17] {
        let mut disk = Disk::new();
        let (mut writer, _) = three(&mut disk, 1, 2);
        let written = writer.write(&mut disk, &[], &[DATA]);
        disk.put(written.revokes[0], 12, bytes);
        disk.seal(written.revokes[0], 4092);
        assert_eq!(disk.replay().unwrap().revoked, 0);
    }
}

/// A log that bites its tail.
#[test]
fn circles() {
    // All of the ring is one transaction without an end.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 7, 3);
    for _ in 1..LEN {
        writer.revokes(&mut disk, &[DATA]);
    }
    let failure = Error::Corrupt("the log is longer than its ring");
    assert_eq!(disk.replay(), Err(failure));
    assert!(disk.reads < 3 * u64::from(LEN));
    // Blocks that are described by what comes after them.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 7, 3);
    let blocks: Vec<_> = (0..250).map(|i| (DATA + i, filled(1))).collect();
    for _ in 0..4 {
        writer.open(&mut disk, &blocks, &[]);
    }
    let first = *disk.log(7);
    writer.open(&mut disk, &blocks, &[]);
    *disk.log(7) = first;
    assert_eq!(disk.replay(), Err(failure));
    // One that is full, and ends where it began.
    let mut disk = Disk::new();
    let mut writer = Writer::new(&mut disk, 7, 3);
    for _ in 0..(LEN - 1) / 3 {
        writer.write(&mut disk, &[(DATA, filled(1))], &[]);
    }
    assert_eq!((LEN - 1) % 3, 0);
    assert_eq!(disk.replay().unwrap().transactions, 341);
}

/// The journal's superblock.
#[test]
fn superblocks() {
    let cases = [
        (0x00, 1, "no superblock"),
        (0x04, 3, "no superblock"),
        (0x0c, 1024, "block size"),
        (0x10, LEN + 1, "longer than its region"),
        (0x10, LEN - 1, "too short"),
        (0x10, 0, "too short"),
        (0x14, 0, "too short"),
        (0x14, 2, "too short"),
        (0x14, u32::MAX, "too short"),
        (0x1c, LEN, "begins outside"),
        (0x1c, u32::MAX, "begins outside"),
        // Checksums of the first version; asynchronous commits; those of the second, and both; fast commits; none.
        (0x24, 1, "other features"),
        (0x28, 0x17, "other features"),
        (0x28, 0x0b, "other features"),
        (0x28, 0x1b, "other features"),
        (0x28, 0x33, "other features"),
        (0x28, 0x03, "other features"),
        (0x28, 0x8000_0013, "other features"),
        (0x2c, 1, "other features"),
        (0x50, 1 << 24, "other features"),
    ];
    for (at, word, expected) in cases {
        let mut disk = Disk::new();
        three(&mut disk, 1, 2);
        disk.set_super(at, word);
        let before = disk.blocks.clone();
        match disk.replay() {
            Err(Error::Corrupt(why) | Error::Unsupported(why)) => {
                assert!(why.contains(expected), "{why}");
            }
            other => panic!("expected '{expected}', got {other:?}"),
        }
        assert!(disk.blocks == before);
    }
    let mut disk = Disk::new();
    disk.put(0, 0x18, 9);
    let failure = Error::Corrupt("bad checksum of the journal's superblock");
    assert_eq!(disk.replay(), Err(failure));
}

/// Why the journal was given up is said, and stays until it is forgotten. What is not known of the superblock stays.
#[test]
fn error_number() {
    let mut disk = Disk::new();
    three(&mut disk, 1, 2);
    disk.set_super(0x20, -5i32 as u32);
    disk.set_super(0x4c, 77);
    let fs = disk.fs;
    let mut journal = Journal::open(&mut disk, &fs).unwrap();
    assert_eq!(journal.sb.errno, -5);
    journal.replay(&mut disk).unwrap();
    assert_eq!(Journal::open(&mut disk, &fs).unwrap().sb.errno, -5);
    journal.forget_error(&mut disk).unwrap();
    let journal = Journal::open(&mut disk, &fs).unwrap();
    assert_eq!((journal.sb.errno, journal.sb.start), (0, 0));
    assert_eq!(disk.word(0, 0x4c), 77);
}

/// Wherever a replay ends early, the next one does it all.
#[test]
fn interrupted() {
    let mut whole = Disk::new();
    let (mut writer, _) = three(&mut whole, LEN - 5, 2);
    writer.write(&mut whole, &[(DATA + 20, filled(3))], &[DATA + 9]);
    let start = whole.clone();
    whole.replay().unwrap();
    for writes in 0..6 {
        let mut disk = start.clone();
        disk.writes = writes;
        let done = disk.replay();
        if writes < 5 {
            assert_eq!(done, Err(Error::Io("no more writes")));
            assert_ne!(disk.word(0, 0x1c), 0);
        }
        disk.writes = usize::MAX;
        disk.replay().unwrap();
        assert!(disk.blocks == whole.blocks);
    }
    // What cannot be read.
    let log = start.fs.journal;
    for block in log.start..log.end() {
        let mut disk = start.clone();
        disk.unreadable = Some(block);
        let done = disk.replay();
        if done.is_ok() {
            assert!(disk.blocks == whole.blocks, "block {block}");
        } else {
            assert_eq!(done, Err(Error::Io("unreadable")));
            disk.unreadable = None;
            disk.replay().unwrap();
            assert!(disk.blocks == whole.blocks, "block {block}");
        }
    }
}

/// Random damage: no panic, no endless loop, and no write into the log or to outside; twice the same.
#[test]
fn fuzz() {
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").map_or(20_000, |v| v.parse().unwrap());
    let seed = std::env::var("FUZZ_SEED").map_or(21, |v| v.parse().unwrap());
    println!("seed {seed}");
    let mut r = Random(seed);
    let (mut errors, mut replayed) = (0, 0);
    for round in 0..rounds {
        let mut disk = Disk::new();
        let start = 1 + r.below(u64::from(LEN) - 1) as u32;
        let mut writer = Writer::new(&mut disk, start, r.next() as u32);
        let mut own = vec![(0, 0xfc)];
        for _ in 0..1 + r.below(5) {
            let blocks: Vec<_> = (0..r.below(4))
                .map(|_| (DATA + r.below(10), filled(r.next() as u32)))
                .collect();
            let revokes: Vec<_> = (0..r.below(3)).map(|_| DATA + r.below(10)).collect();
            let written = writer.write(&mut disk, &blocks, &revokes);
            own.extend(written.revokes.iter().map(|&b| (b, 4092)));
            own.extend(written.descriptors.iter().map(|&b| (b, 4092)));
            own.push((written.commit, 16));
        }
        for _ in 0..r.below(4) {
            let (block, crc) = own[r.below(own.len() as u64) as usize];
            let word =
                [0, 1, 2, 5, 8, 1023, 4092, 4096, u32::MAX, r.next() as u32][r.below(10) as usize];
            disk.put(block, r.below(30) as usize * 4, word);
            if r.below(4) > 0 {
                disk.seal(block, crc);
            }
        }
        let log = disk.fs.journal;
        let mut again = disk.clone();
        let result = panic::catch_unwind(|| {
            let done = disk.replay();
            (done, disk)
        });
        let Ok((done, disk)) = result else {
            panic!("panic in round {round}");
        };
        let inside = |b: &&u64| (log.start + 1..log.end()).contains(b);
        assert_eq!(disk.written.iter().find(inside), None);
        assert!(disk.reads < 5 * u64::from(LEN));
        assert_eq!(again.replay(), done);
        if done.is_ok() {
            let before = again.blocks.clone();
            assert_eq!(again.replay(), Ok(Replayed::default()));
            assert!(again.blocks == before);
        }
        errors += u64::from(done.is_err());
        replayed += u64::from(done.is_ok_and(|d| d.written > 0));
    }
    println!("{errors} of {rounds} were refused, {replayed} replayed");
    assert!(errors > rounds / 10 && replayed > rounds / 10);
}

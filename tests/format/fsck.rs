// SPDX-License-Identifier: GPL-2.0

//! Tests of `fsck.toyfs`: a part of it when that is compiled with `--test`; see `run.sh`.
//!
//! They build a filesystem in memory that has something of everything, and damage it.

use super::*;
use random::Random;
use std::{collections::BTreeMap, io, panic, time::Instant};
use toyfs_format::{
    checksum, crc32c_update,
    dir::{self, FileType},
    flags, get32, get64, journal, put32, put64, symlink,
    xattr::{self, Prefix},
    ChainHeader, Extent, Inode, Region, State, Superblock, Time, BITS_PER_BLOCK, BLOCK_SIZE,
    CHAIN_EXTENTS, SUPER_OFFSET, SUPER_SIZE, S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
};

pub(crate) const TOTAL: u64 = 2048;
pub(crate) const BIG: u64 = 4;
pub(crate) const DIR: u64 = 5;
pub(crate) const DEEP: u64 = 6;
const SHORT: u64 = 7;
const LONG: u64 = 8;
const FIFO: u64 = 9;
const DISK: u64 = 10;
/// The last inode.
pub(crate) const LAST: u64 = DISK;

/// Tag, permissions and id of each entry.
const ACL: [(u16, u16, u32); 5] = [
    (1, 6, !0),
    (2, 4, 1000),
    (4, 4, !0),
    (16, 4, !0),
    (32, 0, !0),
];

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    for (tag, perm, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// An image, and where its parts are.
#[derive(Clone)]
pub(crate) struct Image {
    /// The blocks that are not all zeroes.
    pub(crate) blocks: BTreeMap<u64, [u8; BLOCK_SIZE]>,
    pub(crate) total: u64,
    pub(crate) sb: Superblock,
    next: u64,
    pub(crate) chains: Vec<u64>,
    pub(crate) dirs: Vec<u64>,
    pub(crate) links: Vec<u64>,
    /// Those of extended attributes: of inode 2, and of `dir`.
    pub(crate) attributes: Vec<u64>,
}

impl Disk for Image {
    fn blocks(&self) -> u64 {
        self.total
    }

    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()> {
        if block >= self.total {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self.blocks.get(&block) {
            Some(data) => buf.copy_from_slice(&data[..buf.len()]),
            None => buf.fill(0),
        }
        Ok(())
    }
}

impl Image {
    /// A filesystem with
    ///
    /// - 1: the root: `empty`, `small`, `big`, `dir`
    /// - 2: `empty`, an empty file with extended attributes and flags
    /// - 3: `small`, a file with two extents
    /// - 4: `big`, a file with an extent chain of two blocks
    /// - 5: `dir`, a directory of two blocks, with extended attributes and flags: `deep`, `link`
    /// - 6: `dir/deep`, a directory without a block
    /// - 2 again, as `dir/link`
    /// - 7, 8: `dir/short`, `dir/long`, symbolic links
    /// - 9, 10: `dir/fifo`, `dir/disk`, a FIFO and a block device
    pub(crate) fn new() -> Self {
        let mut sb = Superblock::layout(TOTAL, 64, 1024).unwrap();
        sb.uuid = *b"0123456789abcdef";
        let mut image = Self {
            blocks: BTreeMap::new(),
            total: TOTAL,
            sb,
            next: sb.data.start,
            chains: Vec::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            attributes: Vec::new(),
        };
        image.inode(1, S_IFDIR | 0o755, 3, 1, &[(0, 1)]);
        image.inode(2, S_IFREG | 0o644, 2, 0, &[]);
        image.inode(3, S_IFREG | 0o644, 1, 0, &[(0, 3), (7, 2)]);
        let many: Vec<_> = (0..200).map(|i| (i * 2, 1)).collect();
        image.inode(BIG, S_IFREG | 0o600, 1, 0, &many);
        image.inode(DIR, S_IFDIR | 0o755, 3, 1, &[(0, 2)]);
        image.inode(DEEP, S_IFDIR | 0o755, 2, 5, &[]);
        image.inode(SHORT, S_IFLNK | 0o777, 1, 0, &[]);
        image.inode(LONG, S_IFLNK | 0o777, 1, 0, &[(0, 1)]);
        image.inode(FIFO, S_IFIFO | 0o600, 1, 0, &[]);
        image.inode(DISK, S_IFBLK | 0o660, 1, 0, &[]);
        put32(image.raw_inode(SHORT), 32, 1);
        put64(image.raw_inode(SHORT), 40, 6);
        image.raw_inode(SHORT)[160..166].copy_from_slice(b"target");
        put64(image.raw_inode(LONG), 40, 300);
        let (at, seed) = (image.next - 1, sb.seed());
        symlink::encode(image.block(at), LONG, &[b'x'; 300], seed);
        image.links.push(at);
        put32(image.raw_inode(DISK), 104, 0x1234_5678);
        let root = image.dirs[0];
        image.add(root, 1, b"empty", 2, FileType::Reg);
        image.add(root, 1, b"small", 3, FileType::Reg);
        image.add(root, 1, b"big", BIG, FileType::Reg);
        image.add(root, 1, b"dir", DIR, FileType::Dir);
        let (first, second) = (image.dirs[1], image.dirs[2]);
        image.add(first, DIR, b"deep", DEEP, FileType::Dir);
        image.add(second, DIR, b"link", 2, FileType::Reg);
        image.add(second, DIR, b"short", SHORT, FileType::Lnk);
        image.add(second, DIR, b"long", LONG, FileType::Lnk);
        image.add(second, DIR, b"fifo", FIFO, FileType::Fifo);
        image.add(second, DIR, b"disk", DISK, FileType::Blk);
        for ino in (0..=LAST).chain(sb.inode_count..sb.inode_bitmap.len * BITS_PER_BLOCK) {
            image.set_bit(sb.inode_bitmap, ino, true);
        }
        let next = image.next;
        for b in (0..next).chain(sb.data.end()..sb.block_bitmap.len * BITS_PER_BLOCK) {
            image.set_bit(sb.block_bitmap, b, true);
        }
        let mut raw = [0; SUPER_SIZE];
        sb.encode(&mut raw);
        for block in [0, sb.backup] {
            image.block(block)[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE].copy_from_slice(&raw);
        }
        journal::encode_super(image.array(sb.journal.start), 1024, &sb.uuid);
        image.seal();
        image
    }

    pub(crate) fn array(&mut self, block: u64) -> &mut [u8; BLOCK_SIZE] {
        assert!(block < self.total);
        self.blocks.entry(block).or_insert([0; BLOCK_SIZE])
    }

    pub(crate) fn block(&mut self, block: u64) -> &mut [u8] {
        self.array(block)
    }

    /// The bytes from `at` on, to the end of their block.
    pub(crate) fn bytes(&mut self, at: usize) -> &mut [u8] {
        &mut self.block((at / BLOCK_SIZE) as u64)[at % BLOCK_SIZE..]
    }

    pub(crate) fn raw_inode(&mut self, ino: u64) -> &mut [u8] {
        let (block, offset) = self.sb.inode_location(ino).unwrap();
        &mut self.block(block)[offset..offset + 256]
    }

    pub(crate) fn set_bit(&mut self, region: Region, bit: u64, value: bool) {
        let byte = &mut self.block(region.start)[bit as usize / 8];
        *byte = *byte & !(1 << (bit % 8)) | u8::from(value) << (bit % 8);
    }

    /// Makes an inode with these file block ranges.
    fn inode(&mut self, ino: u64, mode: u32, nlink: u32, parent: u64, ranges: &[(u64, u32)]) {
        let mut extents = Vec::new();
        for &(file_block, len) in ranges {
            // Not adjacent to the one before.
            extents.push(Extent {
                file_block,
                disk_block: self.next,
                len,
                unwritten: mode & S_IFMT == S_IFREG && file_block == 7,
            });
            self.next += u64::from(len);
        }
        let mut inode = Inode {
            ino,
            mode,
            nlink,
            parent,
            size: extents.last().map_or(0, |e| e.end() * BLOCK_SIZE as u64),
            blocks: extents.iter().map(|e| u64::from(e.len)).sum(),
            atime: Time { sec: 1, nsec: 2 },
            extent_count: extents.len() as u32,
            ..Inode::default()
        };
        for (slot, e) in inode.inline.iter_mut().zip(&extents) {
            *slot = *e;
        }
        if ino == 2 || ino == DIR {
            self.give_attributes(&mut inode);
        }
        if mode & S_IFMT == S_IFDIR {
            let seed = self.sb.seed();
            for b in extents.iter().flat_map(|e| e.disk_block..e.disk_end()) {
                dir::init_block(self.block(b), ino, seed);
                self.dirs.push(b);
            }
        }
        let rest = extents.get(4..).unwrap_or(&[]);
        // They need not be full.
        let chunks: Vec<_> = rest.chunks(CHAIN_EXTENTS - 9).collect();
        inode.chain_len = chunks.len() as u32;
        inode.blocks += chunks.len() as u64;
        inode.chain_head = if chunks.is_empty() { 0 } else { self.next };
        for (i, chunk) in chunks.iter().enumerate() {
            let last = i + 1 == chunks.len();
            let header = ChainHeader {
                owner: ino,
                next: if last { 0 } else { self.next + 1 },
                count: chunk.len() as u32,
            };
            let (at, seed) = (self.next, self.sb.seed());
            header.encode(self.block(at), chunk, seed);
            self.chains.push(at);
            self.next += 1;
        }
        let raw = inode.encode(self.sb.seed());
        self.raw_inode(ino).copy_from_slice(&raw);
    }

    /// Gives an inode extended attributes, and flags.
    fn give_attributes(&mut self, inode: &mut Inode) {
        inode.flags = flags::ALL;
        inode.xattr_block = self.next;
        inode.blocks += 1;
        let (at, seed) = (self.next, self.sb.seed());
        self.attributes.push(at);
        self.next += 1;
        let block = self.block(at);
        xattr::init_block(block, inode.ino);
        let value: &[u8] = b"value";
        assert!(xattr::set(block, Prefix::User, b"name", Some(value)).unwrap());
        let prefix = match inode.is_dir() {
            true => Prefix::AclDefault,
            false => Prefix::AclAccess,
        };
        assert!(xattr::set(block, prefix, b"", Some(&acl(&ACL))).unwrap());
        xattr::seal(block, seed);
    }

    pub(crate) fn add(&mut self, block: u64, dir: u64, name: &[u8], ino: u64, kind: FileType) {
        let seed = self.sb.seed();
        let block = self.block(block);
        dir::validate(block, dir, seed).unwrap();
        assert!(dir::insert(block, name, ino, kind, seed).unwrap());
    }

    /// Renews all checksums.
    pub(crate) fn seal(&mut self) {
        let seed = self.sb.seed();
        for ino in 1..=LAST {
            let raw = self.raw_inode(ino);
            let crc = checksum(seed, raw, 4);
            put32(raw, 4, crc);
        }
        for b in [&self.chains, &self.dirs, &self.links, &self.attributes]
            .map(|b| b.clone())
            .concat()
        {
            let block = self.block(b);
            let crc = checksum(seed, block, 4);
            put32(block, 4, crc);
        }
        let block = self.block(self.sb.journal.start);
        put32(block, 0xfc, 0);
        let crc = crc32c_update(!0, &block[..1024]);
        block[0xfc..0x100].copy_from_slice(&crc.to_be_bytes());
        for b in [0, self.sb.backup] {
            let raw = &mut self.block(b)[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE];
            let crc = checksum(!0, raw, SUPER_SIZE - 4);
            put32(raw, SUPER_SIZE - 4, crc);
        }
    }

    /// Changes some words of metadata.
    pub(crate) fn damage(&mut self, r: &mut Random, least: u64) {
        let table = self.sb.inode_table.start as usize * BLOCK_SIZE;
        for _ in 0..least + r.below(4) {
            // Each kind of metadata as often as the others.
            let chain = r.pick(&self.chains) as usize * BLOCK_SIZE;
            let dir = r.pick(&self.dirs) as usize * BLOCK_SIZE;
            let attributes = r.pick(&self.attributes) as usize * BLOCK_SIZE;
            let bitmaps = self.sb.inode_bitmap.start as usize * BLOCK_SIZE;
            let (base, len) = r.pick(&[
                (SUPER_OFFSET, 240),
                (table + 256, 6 * 256),
                (table + 256, 6 * 256),
                (chain, 100),
                (chain, BLOCK_SIZE),
                (dir, 100),
                (dir, BLOCK_SIZE),
                (attributes, 100),
                (bitmaps, 3 * BLOCK_SIZE),
                (self.sb.journal.start as usize * BLOCK_SIZE, 256),
            ]);
            let word = r.pick(&[
                0,
                1,
                2,
                TOTAL - 1,
                TOTAL,
                self.chains[0],
                self.dirs[0],
                self.attributes[0],
                u64::from(u32::MAX),
                1 << 32,
                1 << 63,
                u64::MAX,
            ]);
            match r.below(3) {
                0 => self.bytes(base + r.below(len as u64) as usize)[0] = r.next() as u8,
                1 => {
                    let at = base + r.below(len as u64 / 8) as usize * 8;
                    put64(self.bytes(at), 0, word);
                }
                _ => {
                    let at = base + r.below(len as u64 / 4) as usize * 4;
                    put32(self.bytes(at), 0, word as u32);
                }
            }
        }
    }

    /// Runs the check. Returns what it printed too.
    pub(crate) fn check(&self) -> (Result<Summary, Failure>, Vec<String>) {
        let mut lines = Vec::new();
        let result = check(self, &mut |line: &str| lines.push(line.to_string()));
        (result, lines)
    }
}

/// Writes the image to a file, for other programs. In another one `big` is a directory that is everywhere, of a chain that is a
/// loop.
#[test]
fn write_image() {
    let Ok(path) = std::env::var("WRITE_IMAGE") else {
        return;
    };
    let mut image = Image::new();
    write(&path, &image);
    let (head, data) = (image.chains[0], image.sb.data);
    let block = image.block(head);
    put64(block, 16, head);
    for i in 0..get32(block, 24) as usize {
        put64(block, 32 + i * 24 + 8, data.start);
        put32(block, 32 + i * 24 + 16, data.len as u32);
    }
    let raw = image.raw_inode(BIG);
    put32(raw, 16, S_IFDIR);
    put64(raw, 128, 1);
    put32(raw, 108, 1 << 20);
    put32(raw, 120, 1 << 19);
    image.seal();
    write(&format!("{path}.loop"), &image);
}

fn write(path: &str, image: &Image) {
    let mut bytes = vec![0; TOTAL as usize * BLOCK_SIZE];
    for (&at, block) in &image.blocks {
        let at = at as usize * BLOCK_SIZE;
        bytes[at..at + BLOCK_SIZE].copy_from_slice(block);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn clean() {
    let (result, lines) = Image::new().check();
    assert_eq!(lines, [""; 0]);
    let summary = result.unwrap();
    assert_eq!((summary.errors, summary.state), (0, State::Clean));
    assert_eq!((summary.used_inodes, summary.inodes), (LAST, 63));
    assert_eq!(summary.blocks, TOTAL);
}

/// Damages an image. The checksums are made good again afterwards.
pub(crate) type Damage = fn(&mut Image);

/// One defect each, and the complaint that must be among those it causes.
pub(crate) fn cases() -> &'static [(&'static str, Damage)] {
    &[
        ("inode 7: bad target of symbolic link", |i| {
            i.raw_inode(SHORT)[162] = 0;
        }),
        ("inode 7: bad target of symbolic link", |i| {
            put64(i.raw_inode(SHORT), 40, 7);
        }),
        ("inode 7: target of symbolic link in the wrong place", |i| {
            put32(i.raw_inode(SHORT), 32, 0);
        }),
        ("inode 8: bad length of symbolic link", |i| {
            put64(i.raw_inode(LONG), 40, 4080);
        }),
        (": bad target of symbolic link", |i| {
            put64(i.raw_inode(LONG), 40, 299);
        }),
        (": bad target of symbolic link", |i| {
            let at = i.links[0];
            i.block(at)[20] = 0;
        }),
        (": bad magic of symbolic link", |i| {
            let at = i.links[0];
            i.block(at)[0] = 0;
        }),
        (": target of another symbolic link", |i| {
            let at = i.links[0];
            put64(i.block(at), 8, SHORT);
        }),
        ("inode 9: device number, but no device", |i| {
            put32(i.raw_inode(FIFO), 104, 1);
        }),
        ("inode 10: special file with contents", |i| {
            put64(i.raw_inode(DISK), 40, 1);
        }),
        (
            "inode 5: entry 'disk' refers to inode 10, which is of another type",
            |i| {
                put32(i.raw_inode(DISK), 16, 0o20660);
            },
        ),
        ("inode 2: unknown inode flag", |i| {
            put32(i.raw_inode(2), 32, 1 << 31);
        }),
        ("unlinked, but not deleted", |i| {
            put32(i.raw_inode(2), 28, 0);
        }),
        ("inode 2: 7 links, should be 2", |i| {
            put32(i.raw_inode(2), 28, 7);
        }),
        ("inode 5: 2 links, should be 3", |i| {
            put32(i.raw_inode(DIR), 28, 2);
        }),
        ("inode 3: bad file type", |i| put32(i.raw_inode(3), 16, 0)),
        ("refers to inode 3, which is damaged", |i| {
            put32(i.raw_inode(3), 16, 0);
        }),
        ("which is of another type", |i| {
            put32(i.raw_inode(3), 16, S_IFDIR);
            put64(i.raw_inode(3), 128, 1);
        }),
        ("root is no directory", |i| {
            put32(i.raw_inode(1), 16, S_IFREG);
            put64(i.raw_inode(1), 128, 0);
        }),
        ("no root directory", |i| put32(i.raw_inode(1), 16, 0)),
        ("root has another parent", |i| put64(i.raw_inode(1), 128, 5)),
        ("which has another parent", |i| {
            put64(i.raw_inode(DEEP), 128, 1)
        }),
        ("inode 3: 2 blocks from", |i| {
            // Both extents share blocks.
            let disk = get64(i.raw_inode(3), 168);
            put64(i.raw_inode(3), 168 + 24, disk + 1);
        }),
        ("used elsewhere too", |i| {
            let disk = i.dirs[0];
            put64(i.raw_inode(3), 168, disk);
        }),
        ("outside the data region", |i| put64(i.raw_inode(3), 168, 2)),
        ("outside the data region", |i| {
            put64(i.raw_inode(3), 168, TOTAL)
        }),
        ("outside the data region", |i| {
            put64(i.raw_inode(BIG), 112, 3)
        }),
        ("used elsewhere too", |i| {
            // A loop in the chain.
            let head = i.chains[0];
            put64(i.block(head), 16, head);
        }),
        ("longer than the inode says", |i| {
            let last = i.chains[1];
            put64(i.block(last), 16, last);
        }),
        ("extent block of another inode", |i| {
            let head = i.chains[0];
            put64(i.block(head), 8, 3);
        }),
        ("number of extents does not match", |i| {
            let last = i.chains[1];
            let n = get32(i.block(last), 24);
            put32(i.block(last), 24, n - 1);
        }),
        ("bad number of extents", |i| {
            let head = i.chains[0];
            put32(i.block(head), 24, 0);
        }),
        ("does not match the number of extents", |i| {
            put32(i.raw_inode(BIG), 120, 1000);
        }),
        ("out of order", |i| {
            let head = i.chains[0];
            put64(i.block(head), 32, 1);
        }),
        ("does not match the extents", |i| {
            put64(i.raw_inode(3), 48, 6);
        }),
        ("size of directory", |i| put64(i.raw_inode(DIR), 40, 4096)),
        ("size of directory", |i| put64(i.raw_inode(DEEP), 40, 4096)),
        ("hole in directory", |i| {
            put64(i.raw_inode(DIR), 160, 1);
            put64(i.raw_inode(DIR), 40, 3 * 4096);
        }),
        ("hole in directory", |i| put64(i.raw_inode(DIR), 160, 1)),
        ("unwritten blocks in directory", |i| {
            put32(i.raw_inode(DIR), 180, 1);
        }),
        ("directory block", |i| {
            let block = i.dirs[0];
            i.block(block)[16 + 8] = 13;
        }),
        ("directory block of another inode", |i| {
            let block = i.dirs[1];
            put64(i.block(block), 8, 1);
        }),
        ("illegal name", |i| {
            let block = i.dirs[0];
            i.block(block)[16 + 12] = b'/';
        }),
        ("which does not exist", |i| {
            let block = i.dirs[0];
            put64(i.block(block), 16, 64);
        }),
        ("refers to inode 19, which is free", |i| {
            let block = i.dirs[0];
            put64(i.block(block), 16, 19);
        }),
        ("two entries 'empty'", |i| {
            let block = i.dirs[0];
            i.add(block, 1, b"empty", 2, FileType::Reg);
        }),
        ("two entries 'deep'", |i| {
            // In different blocks.
            let block = i.dirs[2];
            i.add(block, DIR, b"deep", 2, FileType::Reg);
        }),
        ("directory is in 2 directories", |i| {
            let block = i.dirs[0];
            i.add(block, 1, b"again", DEEP, FileType::Dir);
        }),
        ("root is in a directory", |i| {
            let block = i.dirs[1];
            i.add(block, DIR, b"up", 1, FileType::Dir);
        }),
        ("inode 3: is in no directory", |i| {
            let (block, seed) = (i.dirs[0], i.sb.seed());
            dir::remove(i.block(block), b"small", seed).unwrap();
        }),
        ("inode 6: directory cannot be reached", |i| {
            // Moved into itself.
            let (block, seed) = (i.dirs[0], i.sb.seed());
            dir::remove(i.block(block), b"dir", seed).unwrap();
            let block = i.dirs[1];
            i.add(block, DIR, b"loop", DIR, FileType::Dir);
        }),
        ("in use, but marked free", |i| {
            let region = i.sb.block_bitmap;
            let block = i.dirs[0];
            i.set_bit(region, block, false);
        }),
        ("block bitmap: 2047+1 in use, but marked free", |i| {
            let region = i.sb.block_bitmap;
            i.set_bit(region, TOTAL - 1, false);
        }),
        ("block bitmap: 1700+1 marked in use, but free", |i| {
            let region = i.sb.block_bitmap;
            i.set_bit(region, 1700, true);
        }),
        ("after the last one marked free", |i| {
            let region = i.sb.block_bitmap;
            i.set_bit(region, TOTAL, false);
        }),
        ("inode 2: unknown inode flag", |i| {
            put32(i.raw_inode(2), 32, 1 << 7)
        }),
        ("attribute block 2048 outside the data region", |i| {
            put64(i.raw_inode(2), 136, TOTAL);
        }),
        ("inode 3: 1 blocks from", |i| {
            let block = i.attributes[0];
            put64(i.raw_inode(3), 136, block);
        }),
        ("inode 2: number of blocks does not match", |i| {
            put64(i.raw_inode(2), 136, 0);
        }),
        ("marked in use, but free", |i| put64(i.raw_inode(2), 136, 0)),
        ("bad attribute block magic", |i| {
            let block = i.attributes[0];
            i.block(block)[0] = 0;
        }),
        ("attribute block of another inode", |i| {
            let block = i.attributes[0];
            put64(i.block(block), 8, 3);
        }),
        ("attribute block without attributes", |i| {
            let block = i.attributes[0];
            put32(i.block(block), 16, 0);
        }),
        ("attributes cross the end", |i| {
            let block = i.attributes[0];
            put32(i.block(block), 16, 4096);
        }),
        ("attribute crosses the end", |i| {
            let block = i.attributes[0];
            put32(i.block(block), 16, 12);
        }),
        ("unknown prefix", |i| {
            let block = i.attributes[0];
            i.block(block)[24] = 5;
        }),
        ("illegal name of an attribute", |i| {
            let block = i.attributes[0];
            i.block(block)[29] = 0;
        }),
        ("is no ACL", |i| {
            // Its version.
            let block = i.attributes[0];
            i.block(block)[24 + 13 + 4] = 1;
        }),
        ("attribute that is there twice", |i| {
            let block = i.attributes[0];
            let block = i.block(block);
            xattr::set(block, Prefix::User, b"eman", Some(b"value")).unwrap();
            let at = 24 + 13 + 4 + 44 + 4;
            assert_eq!(&block[at..at + 4], b"eman");
            block[at..at + 4].copy_from_slice(b"name");
        }),
        ("attribute block 2 outside the data region", |i| {
            put64(i.raw_inode(SHORT), 136, 2);
        }),
        ("attribute block of another inode", |i| {
            // A FIFO.
            let block = i.attributes[0];
            put64(i.raw_inode(2), 136, 0);
            put64(i.raw_inode(FIFO), 136, block);
            put64(i.raw_inode(FIFO), 48, 1);
        }),
        ("inode 5: 1 blocks from", |i| {
            // A directory's, in the first block of the directory.
            let block = i.dirs[1];
            put64(i.raw_inode(DIR), 136, block);
        }),
        ("inode 5: number of blocks does not match", |i| {
            put64(i.raw_inode(DIR), 48, 2);
        }),
        ("inode 5: extent", |i| {
            // One of the two blocks is left, and the attributes.
            put32(i.raw_inode(DIR), 160 + 16, 1000);
            put64(i.raw_inode(DIR), 160 + 8, TOTAL - 2);
        }),
        ("has a default ACL, but is no directory", |i| {
            let block = i.attributes[0];
            i.block(block)[24 + 13] = 3;
        }),
        ("inode bitmap", |i| {
            let region = i.sb.inode_bitmap;
            i.set_bit(region, 64, false);
        }),
        ("inode 20: bad inode magic", |i| {
            let region = i.sb.inode_bitmap;
            i.set_bit(region, 20, true);
        }),
        ("which is free", |i| {
            let region = i.sb.inode_bitmap;
            i.set_bit(region, 2, false);
        }),
        ("orphan bitmap: 0 is no inode", |i| {
            let region = i.sb.orphans;
            i.set_bit(region, 0, true);
        }),
        ("orphan bitmap: 64 is no inode", |i| {
            let region = i.sb.orphans;
            i.set_bit(region, 64, true);
        }),
        ("orphan bitmap: 11 is no inode", |i| {
            let region = i.sb.orphans;
            i.set_bit(region, 11, true);
        }),
        ("inode 2: 0 links, should be 2", |i| {
            let region = i.sb.orphans;
            i.set_bit(region, 2, true);
            put32(i.raw_inode(2), 28, 0);
        }),
        ("directory without links has entries", |i| {
            let block = i.dirs[0];
            let seed = i.sb.seed();
            dir::remove(i.block(block), b"dir", seed).unwrap();
            put32(i.raw_inode(DIR), 28, 0);
            let region = i.sb.orphans;
            i.set_bit(region, DIR, true);
        }),
        ("journal: no superblock", |i| {
            let block = i.sb.journal.start;
            i.block(block).fill(0);
        }),
        ("journal: the journal is too short", |i| {
            let block = i.sb.journal.start;
            i.block(block)[0x17] = 9;
        }),
        ("copy of the superblock in block 2047: differs", |i| {
            i.block(TOTAL - 1)[SUPER_OFFSET + 170] ^= 1;
        }),
        ("copy of the superblock in block 2047: missing", |i| {
            i.block(TOTAL - 1).fill(0);
        }),
    ]
}

#[test]
fn defects() {
    for (expected, damage) in cases() {
        let mut image = Image::new();
        damage(&mut image);
        image.seal();
        let (result, lines) = image.check();
        let summary = result.unwrap();
        assert_eq!(summary.errors, lines.len() as u64);
        assert!(
            lines.iter().any(|l| l.contains(expected)),
            "expected '{expected}', got {lines:#?}"
        );
    }
}

#[test]
fn superblocks() {
    let good = Image::new();
    let at = SUPER_OFFSET;

    let mut image = good.clone();
    image.block(0)[at] = 0;
    let (result, lines) = image.check();
    let summary = result.unwrap();
    assert_eq!((summary.errors, summary.state), (1, State::Dirty));
    assert!(lines[0].contains("block 2047 has a copy"));

    // Either sector of a change of state that was torn.
    for (word, crc_of) in [(1, 2), (2, 1)] {
        let mut image = good.clone();
        put32(image.block(0), at + 160, crc_of);
        image.seal();
        put32(image.block(0), at + 160, word);
        let (result, lines) = image.check();
        let summary = result.unwrap();
        assert_eq!((summary.errors, summary.state), (0, State::Dirty));
        assert!(lines[0].contains("torn"));
    }

    let mut image = good.clone();
    image.block(0)[at] = 0;

    image.block(TOTAL - 1).fill(0);
    let failure = image.check().0.unwrap_err();
    assert!(matches!(&failure, Failure::Unusable(why) if why.contains("no toyfs")));

    let mut image = good.clone();
    image.total = 500;
    let failure = image.check().0.unwrap_err();
    assert!(matches!(&failure, Failure::Damaged(why) if why.contains("device has 500")));

    let mut image = good.clone();
    put64(image.block(0), at + 32, 1);
    image.seal();
    let failure = image.check().0.unwrap_err();
    assert!(matches!(&failure, Failure::Unusable(why) if why.contains("incompatible")));

    let mut image = good.clone();
    put32(image.block(0), at + 160, 2);
    image.seal();
    let summary = image.check().0.unwrap();
    assert_eq!((summary.errors, summary.state), (0, State::Dirty));

    // A label that was changed since.
    let mut image = good.clone();
    image.block(0)[at + 184] = b'x';
    image.seal();
    assert_eq!(image.check().0.unwrap().errors, 0);
}

/// Every bit of checksummed metadata counts.
#[test]
fn flips_are_found() {
    let good = Image::new();
    let mut r = Random(11);
    let inodes = (good.sb.inode_table.start as usize * BLOCK_SIZE) + 256;
    let mut places = vec![
        SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE,
        inodes..inodes + 6 * 256,
    ];
    let rest = [good.attributes.clone(), vec![TOTAL - 1]].concat();
    for b in [good.chains.clone(), good.dirs.clone(), rest].concat() {
        let start = b as usize * BLOCK_SIZE;
        let whole = start..start + BLOCK_SIZE;
        let copy = start + SUPER_OFFSET..start + SUPER_OFFSET + SUPER_SIZE;
        places.push(if b == TOTAL - 1 { copy } else { whole });
    }
    let mut image = good.clone();
    for place in places {
        for i in place.step_by(3) {
            let mask = 1 << r.below(8);
            image.bytes(i)[0] ^= mask;
            let (result, _) = image.check();
            assert!(result.map_or(true, |s| s.errors > 0), "byte {i}");
            image.bytes(i)[0] ^= mask;
        }
    }
}

/// Random damage, most of it under a good checksum, makes the check neither panic nor hang.
#[test]
fn fuzz() {
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").map_or(20_000, |v| v.parse().unwrap());
    let seed = std::env::var("FUZZ_SEED").map_or(12, |v| v.parse().unwrap());
    let good = Image::new();
    let mut r = Random(seed);
    let mut found = 0;
    let mut slowest = 0;
    for round in 0..rounds {
        let mut image = good.clone();
        image.damage(&mut r, 1);
        if r.below(5) > 0 {
            image.seal();
        }
        let start = Instant::now();
        let result = panic::catch_unwind(|| image.check().0);
        slowest = slowest.max(start.elapsed().as_millis());
        match result {
            Ok(result) => found += u64::from(result.map_or(true, |s| s.errors > 0)),
            Err(_) => panic!("panic in round {round}"),
        }
    }
    println!("{found} of {rounds} damaged images called damaged, slowest {slowest} ms");
    assert!(found > rounds / 2);
    assert!(slowest < 5000);
}

/// A million extents that all claim everything do not take a million times as long.
#[test]
fn claims_are_bounded() {
    let mut image = Image::new();
    let (start, len) = (image.sb.data.start, image.sb.data.len as u32);
    for n in 0..2 {
        let at = image.chains[n];
        let block = image.block(at);
        for i in 0..get32(block, 24) as usize {
            put64(block, 32 + i * 24 + 8, start);
            put32(block, 32 + i * 24 + 16, len);
        }
    }
    image.seal();
    let (result, lines) = image.check();
    assert!(result.unwrap().errors > 100);
    let total: u64 = lines
        .iter()
        .filter_map(|l| {
            l.split_once(" blocks from ")?
                .0
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        })
        .fold(0, |sum, n: u64| sum + n);
    assert!(total < 3 * TOTAL, "{total} blocks were looked at");
}

#[test]
fn runs() {
    let mut r = Random(13);
    for _ in 0..200 {
        let len = 1 + r.below(100);
        let (mut a, mut b) = (Bits::new(len), Bits::new(len));
        for _ in 0..r.below(60) {
            let i = r.below(len);
            a.set(i);
            if r.below(2) == 0 {
                b.set(i);
            }
        }
        let mut expected = vec![];
        for i in 0..len {
            if a.get(i) && !b.get(i) {
                expected.push(i);
            }
        }
        let runs = a.runs(&b, len, |a, b| a && !b);
        let got: Vec<u64> = runs.iter().flat_map(|r| r.start..r.end()).collect();
        assert_eq!(got, expected);
        assert!(runs.windows(2).all(|w| w[0].end() < w[1].start));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `fsck.toyfs`: checks a toyfs filesystem.
//!
//! It only reads. Whatever the device holds, it ends, and in a time that is bounded by the size of
//! the metadata: nothing is read more than once because something damaged refers to it twice.

#![forbid(unsafe_code)]

#[path = "device.rs"]
mod device;
#[path = "../toyfs/dir.rs"]
mod dir;
#[path = "../toyfs/format.rs"]
mod format;

use std::{
    collections::{BTreeMap, HashSet},
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use device::Device;
use dir::FileType;
use format::{
    ChainHeader, Corrupt, Extent, Inode, Region, State, SuperError, Superblock, BITS_PER_BLOCK,
    BLOCK_SIZE, CHAIN_EXTENTS, INODES_PER_BLOCK, ROOT_INO, SUPER_OFFSET, SUPER_SIZE,
};

const USAGE: &str = "\
Usage: fsck.toyfs [options] DEVICE

Checks the toyfs filesystem on DEVICE, a block device or an image file, without changing it.

  -n          change nothing (there is no other way yet)
  -a, -p, -y  accepted, but repair is not supported: what is found stays
  -f          check even if the filesystem is marked clean (always done)
  -q          print nothing but errors
  -h, --help  print this help
  -V, --version  print the version

Exit status: 0 no errors, 4 errors found, 8 the check could not be made, 16 usage.
";

const EXIT_ERRORS: u8 = 4;
const EXIT_OPERATIONAL: u8 = 8;
const EXIT_USAGE: u8 = 16;

/// After so many errors the others are only counted.
const MAX_MESSAGES: u64 = 1000;

/// What is being checked.
trait Disk {
    /// Size in whole blocks.
    fn blocks(&self) -> u64;
    /// Reads a block.
    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl Disk for Device {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = block.checked_mul(BLOCK_SIZE as u64);
        Device::read(self, at.ok_or(io::ErrorKind::InvalidInput)?, buf)
    }
}

/// A set of block or inode numbers, in the bit order of the bitmaps on disk.
struct Bits(Vec<u8>);

impl Bits {
    fn new(len: u64) -> Self {
        Self(vec![0; len.div_ceil(8) as usize])
    }

    fn get(&self, i: u64) -> bool {
        self.0
            .get((i / 8) as usize)
            .is_some_and(|b| b & (1 << (i % 8)) != 0)
    }

    /// Adds `i` and returns whether it was there already.
    fn set(&mut self, i: u64) -> bool {
        match self.0.get_mut((i / 8) as usize) {
            Some(b) => {
                let mask = 1 << (i % 8);
                let was = *b & mask != 0;
                *b |= mask;
                was
            }
            None => false,
        }
    }

    /// The maximal runs in `0..end` of numbers for which `wanted` of the bit here and the bit in
    /// `other` holds.
    fn runs(&self, other: &Self, end: u64, wanted: impl Fn(bool, bool) -> bool) -> Vec<Region> {
        let mut runs: Vec<Region> = Vec::new();
        let mut i = 0;
        while i < end {
            let byte = (i / 8) as usize;
            // Most of both is equal and uniform.
            if i % 8 == 0 && end - i >= 8 && !wanted(false, false) && !wanted(true, true) {
                if self.0.get(byte) == other.0.get(byte) {
                    i += 8;
                    continue;
                }
            }
            if wanted(self.get(i), other.get(i)) {
                match runs.last_mut() {
                    Some(last) if last.end() == i => last.len += 1,
                    _ => runs.push(Region { start: i, len: 1 }),
                }
            }
            i += 1;
        }
        runs
    }
}

/// Prints and counts errors.
struct Report<'a> {
    print: &'a mut dyn FnMut(&str),
    errors: u64,
}

impl Report<'_> {
    fn error(&mut self, message: &str) {
        self.errors += 1;
        if self.errors <= MAX_MESSAGES {
            (self.print)(message);
        } else if self.errors == MAX_MESSAGES + 1 {
            (self.print)("more errors follow, which are only counted");
        }
    }
}

/// What the second half of the check has to know about an inode.
struct Node {
    is_dir: bool,
    nlink: u32,
    size: u64,
    parent: u64,
    /// Of directories only; `None` if they cannot be relied on.
    extents: Option<Vec<Extent>>,
    /// Directory entries that refer to it.
    refs: u64,
    /// Directory entries in it that refer to directories.
    subdirs: u64,
}

/// Numbers for the last line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    errors: u64,
    dirty: bool,
    used_inodes: u64,
    inodes: u64,
    used_blocks: u64,
    blocks: u64,
}

/// Why there was nothing to check.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// No superblock to start from; but it was one of ours.
    Damaged(String),
    /// Not ours, or unreadable.
    Unusable(String),
}

/// The state of a check.
struct Check<'a, D: Disk> {
    disk: &'a D,
    sb: Superblock,
    report: Report<'a>,
    /// The bitmaps as stored.
    block_map: Bits,
    inode_map: Bits,
    /// The blocks that something refers to.
    seen: Bits,
    /// So many references to blocks that are in `seen` already are looked at one by one.
    patience: u64,
    nodes: BTreeMap<u64, Node>,
}

/// Reads the superblock in `block`.
fn read_super(disk: &impl Disk, block: u64) -> io::Result<Result<Superblock, SuperError>> {
    let mut buf = vec![0; BLOCK_SIZE];
    disk.read(block, &mut buf)?;
    Ok(Superblock::parse(
        &buf[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE],
    ))
}

/// Finds the superblock.
fn find_super(disk: &impl Disk) -> Result<Superblock, Failure> {
    if disk.blocks() < 2 {
        return Err(Failure::Unusable("too small for a filesystem".into()));
    }
    let sb = read_super(disk, 0).map_err(|e| Failure::Unusable(format!("block 0: {e}")))?;
    let why = match sb {
        Ok(sb) => return Ok(sb),
        Err(SuperError::Unsupported(why)) => return Err(Failure::Unusable(why.into())),
        Err(SuperError::Corrupt(why)) => why,
        Err(SuperError::Foreign) => "no toyfs superblock",
    };
    // Where mkfs puts the copy, unless it was told a size.
    let last = disk.blocks() - 1;
    match read_super(disk, last) {
        Ok(Ok(copy)) if copy.backup == last => Err(Failure::Damaged(format!(
            "superblock: {why}, but block {last} has a copy of it"
        ))),
        _ if sb == Err(SuperError::Foreign) => Err(Failure::Unusable(why.into())),
        _ => Err(Failure::Damaged(format!("superblock: {why}"))),
    }
}

/// Checks a filesystem, printing one line for each error.
fn check(disk: &impl Disk, print: &mut dyn FnMut(&str)) -> Result<Summary, Failure> {
    let sb = find_super(disk)?;
    if sb.total_blocks > disk.blocks() {
        return Err(Failure::Damaged(format!(
            "superblock: {} blocks, but the device has {}",
            sb.total_blocks,
            disk.blocks()
        )));
    }
    let mut check = Check {
        disk,
        sb,
        report: Report { print, errors: 0 },
        block_map: Bits::new(0),
        inode_map: Bits::new(0),
        seen: Bits::new(sb.total_blocks),
        patience: sb.total_blocks,
        nodes: BTreeMap::new(),
    };
    check.superblock();
    check.block_map = check.bitmap("block", sb.block_bitmap);
    check.inode_map = check.bitmap("inode", sb.inode_bitmap);
    check.inodes();
    check.directories();
    check.links();
    check.bitmaps();
    Ok(Summary {
        errors: check.report.errors,
        dirty: sb.state == State::Dirty,
        used_inodes: check.nodes.len() as u64,
        inodes: sb.inode_count - 1,
        used_blocks: check.seen.0.iter().map(|b| u64::from(b.count_ones())).sum(),
        blocks: sb.total_blocks,
    })
}

impl<D: Disk> Check<'_, D> {
    fn error(&mut self, message: String) {
        self.report.error(&message);
    }

    fn inode_error(&mut self, ino: u64, message: impl AsRef<str>) {
        self.error(format!("inode {ino}: {}", message.as_ref()));
    }

    /// Reads a block; an error is reported.
    fn read(&mut self, block: u64, buf: &mut [u8]) -> bool {
        match self.disk.read(block, buf) {
            Ok(()) => true,
            Err(e) => {
                self.error(format!("block {block}: {e}"));
                false
            }
        }
    }

    /// Marks the blocks of the filesystem itself and compares the copy of the superblock.
    fn superblock(&mut self) {
        let sb = self.sb;
        // Everything outside the data region, whether it has a purpose or not.
        for block in (0..sb.data.start).chain(sb.data.end()..sb.total_blocks) {
            self.seen.set(block);
        }
        if sb.backup == 0 {
            return;
        }
        let at = sb.backup;
        let why = match read_super(self.disk, at) {
            Err(e) => e.to_string(),
            Ok(Err(SuperError::Foreign)) => "missing".to_string(),
            Ok(Err(SuperError::Unsupported(why) | SuperError::Corrupt(why))) => why.to_string(),
            // The state of the copy is that of the day it was made.
            Ok(Ok(mut copy)) => {
                copy.state = sb.state;
                if copy == sb {
                    return;
                }
                "differs from the superblock".to_string()
            }
        };
        self.error(format!("copy of the superblock in block {at}: {why}"));
    }

    /// Reads a bitmap.
    fn bitmap(&mut self, name: &str, region: Region) -> Bits {
        let mut bits = Bits::new(region.len * BITS_PER_BLOCK);
        for (i, buf) in bits.0.chunks_mut(BLOCK_SIZE).enumerate() {
            let block = region.start + i as u64;
            if let Err(e) = self.disk.read(block, buf) {
                self.report
                    .error(&format!("{name} bitmap: block {block}: {e}"));
                buf.fill(0);
            }
        }
        bits
    }

    /// Reads all inodes in use and marks their blocks.
    fn inodes(&mut self) {
        let sb = self.sb;
        let mut buf = vec![0; BLOCK_SIZE];
        for i in 0..sb.inode_table.len {
            let first = i * INODES_PER_BLOCK;
            let numbers = first.max(1)..(first + INODES_PER_BLOCK).min(sb.inode_count);
            if !numbers.clone().any(|ino| self.inode_map.get(ino)) {
                continue;
            }
            if !self.read(sb.inode_table.start + i, &mut buf) {
                continue;
            }
            for ino in numbers {
                if !self.inode_map.get(ino) {
                    continue;
                }
                let Some((_, offset)) = sb.inode_location(ino) else {
                    continue;
                };
                match Inode::parse(&buf[offset..], ino, sb.seed()) {
                    Ok(inode) => self.inode(&inode),
                    Err(Corrupt(why)) => self.inode_error(ino, why),
                }
            }
        }
    }

    /// Looks at one inode.
    fn inode(&mut self, inode: &Inode) {
        let ino = inode.ino;
        if inode.nlink == 0 {
            self.inode_error(ino, "unlinked, but not deleted");
        }
        let extents = self.extents(inode);
        if let Some(extents) = &extents {
            let blocks: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
            if blocks + u64::from(inode.chain_len) != inode.blocks {
                self.inode_error(ino, "number of blocks does not match the extents");
            }
        }
        self.nodes.insert(
            ino,
            Node {
                is_dir: inode.is_dir(),
                nlink: inode.nlink,
                size: inode.size,
                parent: inode.parent,
                extents: extents.filter(|_| inode.is_dir()),
                refs: 0,
                subdirs: 0,
            },
        );
    }

    /// Reads the extents of an inode and marks their blocks. `None` if there are errors in them.
    fn extents(&mut self, inode: &Inode) -> Option<Vec<Extent>> {
        let ino = inode.ino;
        let mut extents = inode.inline_extents().to_vec();
        let mut good = true;
        let mut next = inode.chain_head;
        let mut buf = vec![0; BLOCK_SIZE];
        for seq in 0..inode.chain_len {
            if !self.sb.is_data(next, 1) {
                self.inode_error(ino, format!("extent block {next} outside the data region"));
                good = false;
                break;
            }
            // A loop ends here: it comes to a block that was seen.
            if !self.claim(ino, next, 1) || !self.read(next, &mut buf) {
                good = false;
                break;
            }
            let header = match ChainHeader::parse(&buf, ino, seq, self.sb.seed()) {
                Ok(header) => header,
                Err(Corrupt(why)) => {
                    self.inode_error(ino, format!("extent block {next}: {why}"));
                    good = false;
                    break;
                }
            };
            if seq + 1 < inode.chain_len && header.count as usize != CHAIN_EXTENTS {
                self.inode_error(ino, format!("extent block {next} in mid-chain is not full"));
                good = false;
            }
            for e in header.extents(&buf) {
                match e {
                    Ok(e) => extents.push(e),
                    Err(Corrupt(why)) => {
                        self.inode_error(ino, format!("extent block {next}: {why}"));
                        good = false;
                    }
                }
            }
            next = header.next;
        }
        if good && next != 0 {
            self.inode_error(ino, "extent chain is longer than the inode says");
            good = false;
        }
        if good && extents.len() != inode.extent_count as usize {
            self.inode_error(ino, "number of extents does not match the extent chain");
            good = false;
        }
        let mut end = 0;
        for e in &extents {
            if e.file_block < end {
                self.inode_error(ino, "extents overlap or are out of order");
                good = false;
            }
            end = e.end();
            if !self.sb.is_data(e.disk_block, e.len.into()) {
                let place = format!("{}+{}", e.disk_block, e.len);
                self.inode_error(ino, format!("extent {place} outside the data region"));
                good = false;
            } else if !self.claim(ino, e.disk_block, e.len.into()) {
                good = false;
            }
        }
        good.then_some(extents)
    }

    /// Marks blocks as used. Returns whether none was before; otherwise that is reported.
    fn claim(&mut self, ino: u64, start: u64, len: u64) -> bool {
        let mut first = None;
        let mut count: u64 = 0;
        for block in start..start.saturating_add(len) {
            if !self.seen.set(block) {
                continue;
            }
            first = first.or(Some(block));
            count += 1;
            // Extents could be made to claim everything a million times.
            match self.patience.checked_sub(1) {
                Some(rest) => self.patience = rest,
                None => break,
            }
        }
        let Some(first) = first else {
            return true;
        };
        self.inode_error(
            ino,
            format!("{count} blocks from {first} are used elsewhere too"),
        );
        false
    }

    /// Reads all directories and counts the references in them.
    fn directories(&mut self) {
        match self.nodes.get(&ROOT_INO) {
            Some(root) if !root.is_dir => self.inode_error(ROOT_INO, "root is no directory"),
            Some(_) => {}
            None => self.inode_error(ROOT_INO, "no root directory"),
        }
        let dirs: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_dir)
            .map(|(&ino, _)| ino)
            .collect();
        let mut children: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for &ino in &dirs {
            let Some(node) = self.nodes.get_mut(&ino) else {
                continue;
            };
            let (size, extents) = (node.size, node.extents.take());
            match extents {
                Some(extents) => {
                    let found = self.directory(ino, size, &extents);
                    children.insert(ino, found);
                }
                None => self.inode_error(ino, "directory not checked because of its extents"),
            }
        }
        // Every directory is in one directory only (`links` checks), so what cannot be reached
        // from the root hangs on a loop, or on something damaged.
        let mut reached = HashSet::from([ROOT_INO]);
        let mut todo = vec![ROOT_INO];
        while let Some(ino) = todo.pop() {
            for &child in children.get(&ino).into_iter().flatten() {
                if reached.insert(child) {
                    todo.push(child);
                }
            }
        }
        for ino in dirs {
            if !reached.contains(&ino) {
                self.inode_error(ino, "directory cannot be reached from the root");
            }
        }
    }

    /// Reads one directory and returns the directories in it.
    fn directory(&mut self, ino: u64, size: u64, extents: &[Extent]) -> Vec<u64> {
        let mut children = Vec::new();
        let mut names = HashSet::new();
        let mut buf = vec![0; BLOCK_SIZE];
        let mut end = 0;
        for e in extents {
            if e.file_block != end {
                self.inode_error(ino, "hole in directory");
            }
            end = e.end();
            if e.unwritten {
                self.inode_error(ino, "unwritten blocks in directory");
                continue;
            }
            for block in e.disk_block..e.disk_end() {
                if !self.read(block, &mut buf) {
                    continue;
                }
                if let Err(Corrupt(why)) = dir::validate(&buf, ino, self.sb.seed()) {
                    self.inode_error(ino, format!("directory block {block}: {why}"));
                    continue;
                }
                let mut entries = Vec::new();
                let walked = dir::iterate(&buf, 0, |e| {
                    entries.push((e.ino, e.kind, e.name.to_vec()));
                    true
                });
                if let Err(Corrupt(why)) = walked {
                    self.inode_error(ino, format!("directory block {block}: {why}"));
                }
                for (target, kind, name) in entries {
                    if self.entry(ino, target, kind, &name) {
                        children.push(target);
                    }
                    if !names.insert(name.clone()) {
                        let name = name.escape_ascii();
                        self.inode_error(ino, format!("two entries '{name}' in directory"));
                    }
                }
            }
        }
        if end != size / BLOCK_SIZE as u64 {
            self.inode_error(ino, "size of directory does not match its blocks");
        }
        children
    }

    /// Looks at one directory entry and returns whether it refers to a directory.
    fn entry(&mut self, parent: u64, target: u64, kind: FileType, name: &[u8]) -> bool {
        let entry = format!("entry '{}' refers to inode {target}", name.escape_ascii());
        if target >= self.sb.inode_count {
            self.inode_error(parent, format!("{entry}, which does not exist"));
            return false;
        }
        let Some(node) = self.nodes.get_mut(&target) else {
            let state = if self.inode_map.get(target) {
                "damaged"
            } else {
                "free"
            };
            self.inode_error(parent, format!("{entry}, which is {state}"));
            return false;
        };
        node.refs += 1;
        let is_dir = node.is_dir;
        let stray = is_dir && node.parent != parent;
        if is_dir != (kind == FileType::Dir) {
            self.inode_error(parent, format!("{entry}, which is of another type"));
        }
        if stray {
            self.inode_error(parent, format!("{entry}, which has another parent"));
        }
        if is_dir {
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.subdirs += 1;
            }
        }
        is_dir
    }

    /// Compares link counts with references.
    fn links(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        for (&ino, node) in &nodes {
            if ino == ROOT_INO {
                if node.refs != 0 {
                    self.inode_error(ino, "root is in a directory");
                }
                if node.is_dir && node.parent != ROOT_INO {
                    self.inode_error(ino, "root has another parent");
                }
            } else if node.refs == 0 && node.nlink != 0 {
                self.inode_error(ino, "is in no directory");
                continue;
            } else if node.is_dir && node.refs > 1 {
                let refs = node.refs;
                self.inode_error(ino, format!("directory is in {refs} directories"));
            }
            let expected = if node.is_dir {
                2 + node.subdirs
            } else {
                node.refs
            };
            // A directory that was unlinked while open is as empty as a file in that state.
            let orphan = node.nlink == 0 && node.refs == 0 && node.subdirs == 0;
            if u64::from(node.nlink) != expected && !orphan {
                let nlink = node.nlink;
                self.inode_error(ino, format!("{nlink} links, should be {expected}"));
            }
        }
        self.nodes = nodes;
    }

    /// Compares the bitmaps with what was found.
    fn bitmaps(&mut self) {
        let total = self.sb.total_blocks;
        let all = self.sb.block_bitmap.len * BITS_PER_BLOCK;
        let missing = self
            .block_map
            .runs(&self.seen, total, |map, seen| !map && seen);
        let leaked = self
            .block_map
            .runs(&self.seen, total, |map, seen| map && !seen);
        let padding = (total..all).any(|i| !self.block_map.get(i));
        for Region { start, len } in missing {
            self.error(format!(
                "block bitmap: {start}+{len} in use, but marked free"
            ));
        }
        for Region { start, len } in leaked {
            self.error(format!(
                "block bitmap: {start}+{len} marked in use, but free"
            ));
        }
        if padding {
            self.error("block bitmap: blocks after the last one marked free".into());
        }
        let count = self.sb.inode_count;
        let all = self.sb.inode_bitmap.len * BITS_PER_BLOCK;
        if !self.inode_map.get(0) || (count..all).any(|i| !self.inode_map.get(i)) {
            self.error("inode bitmap: inodes that do not exist marked free".into());
        }
    }
}

/// What the command line asked for.
struct Options {
    device: PathBuf,
    quiet: bool,
    repair: bool,
}

/// Parses the command line. `Ok(None)`: it was answered already.
fn parse_args(args: Vec<String>) -> Result<Option<Options>, String> {
    let mut places = Vec::new();
    let mut quiet = false;
    let mut repair = false;
    let mut only_places = false;
    for arg in args {
        if only_places || !arg.starts_with('-') || arg == "-" {
            places.push(arg);
            continue;
        }
        match arg.as_str() {
            "--" => only_places = true,
            "--help" => {
                print!("{USAGE}");
                return Ok(None);
            }
            "--version" => {
                println!("fsck.toyfs {}", device::VERSION);
                return Ok(None);
            }
            _ => {
                for letter in arg[1..].chars() {
                    match letter {
                        'n' | 'f' => {}
                        'a' | 'p' | 'y' => repair = true,
                        'q' => quiet = true,
                        'h' => {
                            print!("{USAGE}");
                            return Ok(None);
                        }
                        'V' => {
                            println!("fsck.toyfs {}", device::VERSION);
                            return Ok(None);
                        }
                        _ => return Err(format!("unknown option {arg}")),
                    }
                }
            }
        }
    }
    let mut places = places.into_iter();
    let device = places.next().ok_or("no device given")?.into();
    match places.next() {
        Some(extra) => Err(format!("unexpected argument: {extra}")),
        None => Ok(Some(Options {
            device,
            quiet,
            repair,
        })),
    }
}

/// Does it all and returns the exit status.
fn run(options: &Options) -> Result<u8, String> {
    let path: &Path = &options.device;
    let name = path.display();
    let file = OpenOptions::new()
        .read(true)
        .open(path)
        .map_err(|e| format!("{name}: {e}"))?;
    let disk = Device::new(file).map_err(|e| format!("{name}: {e}"))?;
    if let Some(place) = device::mount_point(path) {
        eprintln!("{name}: mounted on {place}: what is found may not be real");
    }
    let mut print = |message: &str| println!("{name}: {message}");
    let status = match check(&disk, &mut print) {
        Ok(summary) => {
            if summary.dirty && !options.quiet {
                println!("{name}: was not unmounted, or is mounted");
            }
            let numbers = format!(
                "{}/{} inodes, {}/{} blocks",
                summary.used_inodes, summary.inodes, summary.used_blocks, summary.blocks
            );
            match summary.errors {
                0 if options.quiet => 0,
                0 => {
                    println!("{name}: clean, {numbers}");
                    0
                }
                1 => {
                    println!("{name}: 1 error, {numbers}");
                    EXIT_ERRORS
                }
                n => {
                    println!("{name}: {n} errors, {numbers}");
                    EXIT_ERRORS
                }
            }
        }
        Err(Failure::Damaged(why)) => {
            println!("{name}: {why}");
            println!("{name}: 1 error, nothing else could be checked");
            EXIT_ERRORS
        }
        Err(Failure::Unusable(why)) => return Err(format!("{name}: {why}")),
    };
    if status == EXIT_ERRORS && options.repair {
        eprintln!("fsck.toyfs: repair is not supported");
    }
    Ok(status)
}

fn main() -> ExitCode {
    match device::arguments().and_then(parse_args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(options)) => match run(&options) {
            Ok(status) => ExitCode::from(status),
            Err(e) => {
                eprintln!("fsck.toyfs: {e}");
                ExitCode::from(EXIT_OPERATIONAL)
            }
        },
        Err(e) => {
            eprintln!("fsck.toyfs: {e}\nTry 'fsck.toyfs --help'.");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[cfg(test)]
#[path = "../../tests/format/fsck.rs"]
mod tests;

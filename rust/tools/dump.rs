// SPDX-License-Identifier: GPL-2.0

//! `dump.toyfs`: prints what is on a toyfs filesystem, for people. It reads what is there, and not what the journal would
//! make of it; what is not sound is printed as far as it can be.

#![forbid(unsafe_code)]

use std::{fmt, fs::File, path::PathBuf, process::ExitCode};
use toyfs_format::{
    bits, dir, flags,
    journal::{self, Kind, Super},
    xattr, ChainHeader, Corrupt, Extent, Inode, Region, State, SuperError, Superblock, Time,
    BITS_PER_BLOCK, BLOCK_SIZE, MAX_DIR_BLOCKS, MAX_EXTENTS, SUPER_OFFSET,
};
use toyfs_tools::{arguments, format_label, format_uuid, Device, Output, Program};

const USAGE: &str = "\
Usage: dump.toyfs [options] DEVICE [WHAT]

Prints what is on the toyfs filesystem on DEVICE, a block device or an image file. WHAT is one of

  super       the superblock (default)
  journal     the superblock of the journal, and the blocks of its log that are its own
  inode N     inode N, with its extents and extended attributes
  dir N       the entries of directory N
  block N     block N
  bitmap inode|block|orphan
              the numbers whose bits are 1

  -h, --help  print this help
  -V, --version  print the version

Exit status: 0 printed, 1 not everything was sound or could be read.
";

const PROGRAM: Program = Program {
    name: "dump.toyfs",
    usage: USAGE,
};

/// What is to be printed.
enum What {
    Super,
    Journal,
    Inode(u64),
    Dir(u64),
    Block(u64),
    Bitmap(String),
}

/// Parses the command line. `Ok(None)`: it was answered already.
fn parse_args(args: Vec<String>) -> Result<Option<(PathBuf, What)>, String> {
    let places = toyfs_tools::parse(&PROGRAM, args, |_, letters| {
        Err(format!("unknown option {}", letters.word()))
    })?;
    let Some(places) = places else {
        return Ok(None);
    };
    let number = |text: &str| text.parse().map_err(|_| format!("bad number: {text}"));
    let words: Vec<&str> = places.iter().map(String::as_str).collect();
    let Some((&device, what)) = words.split_first() else {
        return Err("no device given".into());
    };
    let what = match *what {
        [] | ["super"] => What::Super,
        ["journal"] => What::Journal,
        ["inode", n] => What::Inode(number(n)?),
        ["dir", n] => What::Dir(number(n)?),
        ["block", n] => What::Block(number(n)?),
        ["bitmap", which @ ("inode" | "block" | "orphan")] => What::Bitmap(which.into()),
        _ => return Err(format!("unknown: {}", what.join(" "))),
    };
    Ok(Some((device.into(), what)))
}

/// The flags of an inode, as `chattr(1)` describes them.
const FLAGS: [(u32, &str); 6] = [
    (flags::SYNC, "synchronous"),
    (flags::DIRSYNC, "synchronous directory"),
    (flags::IMMUTABLE, "immutable"),
    (flags::APPEND, "append only"),
    (flags::NOATIME, "no times of access"),
    (flags::NODUMP, "not for backups"),
];

/// A filesystem, and where it is printed to.
struct Dump {
    device: Device,
    sb: Superblock,
    output: Output,
    /// Everything was sound.
    sound: bool,
}

/// What one calls a file of this type.
fn name_of(kind: Option<dir::FileType>) -> &'static str {
    use dir::FileType::{Blk, Chr, Dir, Fifo, Lnk, Reg, Sock};

    match kind {
        Some(Fifo) => "FIFO",
        Some(Chr) => "character device",
        Some(Dir) => "directory",
        Some(Blk) => "block device",
        Some(Reg) => "file",
        Some(Lnk) => "symbolic link",
        Some(Sock) => "socket",
        None => "file of an unknown type",
    }
}

impl Dump {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.output.line(text);
    }

    /// Prints what is wrong.
    fn wrong(&mut self, what: impl fmt::Display) {
        self.sound = false;
        self.line(format_args!("wrong: {what}"));
    }

    fn read(&self, block: u64) -> Result<[u8; BLOCK_SIZE], String> {
        let mut buf = [0; BLOCK_SIZE];
        match block.checked_mul(BLOCK_SIZE as u64) {
            Some(at) if block < self.device.blocks => self
                .device
                .read(at, &mut buf)
                .map_err(|e| format!("block {block}: {e}"))?,
            _ => return Err(format!("block {block}: does not exist")),
        }
        Ok(buf)
    }

    fn print(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Super => self.superblock(),
            What::Journal => self.journal()?,
            What::Inode(ino) => self.inode(*ino)?,
            What::Dir(ino) => self.directory(*ino)?,
            What::Block(block) => self.block(*block)?,
            What::Bitmap(which) => self.bitmap(which)?,
        }
        Ok(())
    }

    fn superblock(&mut self) {
        let sb = self.sb;
        let state = match sb.state {
            State::Clean => "clean",
            State::Dirty => "dirty",
            State::Errors => "errors",
        };
        self.line(format_args!("uuid: {}", format_uuid(&sb.uuid)));
        self.line(format_args!("label: {}", format_label(&sb.label)));
        self.line(format_args!("state: {state}"));
        self.line(format_args!("made: {}", sb.mkfs_time));
        self.line(format_args!(
            "features: compatible {:#x}, read-only {:#x}, incompatible {:#x}",
            sb.compat, sb.ro_compat, sb.incompat
        ));
        self.line(format_args!("blocks: {}", sb.total_blocks));
        self.line(format_args!("inodes: {}", sb.inode_count));
        for (name, region) in regions(&sb) {
            let Region { start, len } = region;
            self.line(format_args!("{name}: {start}+{len}"));
        }
        self.line(format_args!("copy of the superblock: {}", sb.backup));
    }

    fn journal(&mut self) -> Result<(), String> {
        let region = self.sb.journal;
        let mut seed = self.sb.seed();
        match Super::parse(&self.read(region.start)?, region.len) {
            Ok(sb) => {
                seed = sb.seed();
                self.line(format_args!("uuid: {}", format_uuid(&sb.uuid)));
                self.line(format_args!(
                    "blocks: {}, the first of the log is {}",
                    sb.len, sb.first
                ));
                self.line(format_args!("sequence: {}", sb.sequence));
                match sb.start {
                    0 => self.line(format_args!("start: 0, the log is empty")),
                    start => self.line(format_args!("start: {start}")),
                }
                self.line(format_args!("head: {}", sb.head));
                self.line(format_args!("error: {}", sb.errno));
            }
            Err(e) => self.wrong(describe(e)),
        }
        for i in 1..region.len {
            let block = self.read(region.start + i)?;
            if let Some((kind, sequence)) = journal::header(&block) {
                self.log_block(i, &block, (kind, sequence), seed);
            }
        }
        Ok(())
    }

    fn log_block(&mut self, i: u64, block: &[u8], (kind, sequence): (Kind, u32), seed: u32) {
        let list = |blocks: &mut dyn Iterator<Item = u64>| {
            blocks.map(|b| b.to_string()).collect::<Vec<_>>().join(" ")
        };
        let (sound, what) = match kind {
            Kind::Descriptor => {
                let blocks = list(&mut journal::tags(block).map(|tag| tag.block));
                (
                    journal::tail_ok(block, seed),
                    format!("descriptor, blocks {blocks}"),
                )
            }
            Kind::Revoke => {
                let blocks = list(&mut journal::revoked(block).into_iter().flatten());
                (
                    journal::tail_ok(block, seed),
                    format!("revoke, blocks {blocks}"),
                )
            }
            Kind::Commit => (
                journal::commit_ok(block, seed),
                format!("commit, at {}", journal::commit_time(block)),
            ),
        };
        let note = if sound { "" } else { " (bad checksum)" };
        self.line(format_args!("{i}: transaction {sequence}: {what}{note}"));
    }

    /// Reads a bit of a bitmap.
    fn bit(&self, region: Region, i: u64) -> Result<bool, String> {
        let block = self.read(region.start + i / BITS_PER_BLOCK)?;
        Ok(bits::get(&block, (i % BITS_PER_BLOCK) as usize) == Some(true))
    }

    fn raw_inode(&self, ino: u64) -> Result<Inode, String> {
        let (at, offset) = self
            .sb
            .inode_location(ino)
            .ok_or(format!("inode {ino}: does not exist"))?;
        let block = self.read(at)?;
        Inode::parse(&block[offset..], ino, self.sb.seed())
            .map_err(|Corrupt(why)| format!("inode {ino}: {why}"))
    }

    fn inode(&mut self, ino: u64) -> Result<(), String> {
        if self.sb.inode_location(ino).is_none() {
            return Err(format!("inode {ino}: does not exist"));
        }
        let used = self.bit(self.sb.inode_bitmap, ino)?;
        let orphan = self.bit(self.sb.orphans, ino)?;
        let state = if used { "in use" } else { "free" };
        let orphan = if orphan { ", orphan" } else { "" };
        self.line(format_args!("inode {ino}: {state}{orphan}"));
        let inode = match self.raw_inode(ino) {
            Ok(inode) => inode,
            Err(why) if used => {
                self.wrong(why);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let kind = name_of(dir::FileType::from_mode(inode.mode));
        self.line(format_args!("mode: {:o}, a {kind}", inode.mode));
        if let Some(target) = inode.target {
            let target = target.split(|&b| b == 0).next().unwrap_or(&[]);
            self.line(format_args!("target: {}", target.escape_ascii()));
        }
        self.line(format_args!("owner: {}, group: {}", inode.uid, inode.gid));
        self.line(format_args!("links: {}", inode.nlink));
        self.line(format_args!("generation: {}", inode.generation));
        self.line(format_args!(
            "size: {}, blocks: {}",
            inode.size, inode.blocks
        ));
        for (name, Time { sec, nsec }) in [
            ("atime", inode.atime),
            ("mtime", inode.mtime),
            ("ctime", inode.ctime),
            ("btime", inode.btime),
        ] {
            self.line(format_args!("{name}: {sec}.{nsec:09}"));
        }
        if inode.is_dir() {
            self.line(format_args!("parent: {}", inode.parent));
        }
        if inode.flags != 0 {
            let names = FLAGS.iter().filter(|(flag, _)| inode.flags & flag != 0);
            let names: Vec<&str> = names.map(|&(_, name)| name).collect();
            self.line(format_args!("flags: {}", names.join(", ")));
        }
        let (count, len) = (inode.extent_count, inode.chain_len);
        self.line(format_args!(
            "extents: {count}, in {len} chain blocks and here:"
        ));
        for e in self.extents(&inode, true) {
            self.extent(&e);
        }
        if inode.xattr_block != 0 {
            self.line(format_args!("attributes, in block {}:", inode.xattr_block));
            match self.read(inode.xattr_block) {
                Ok(block) => self.attribute_block(ino, inode.xattr_block, &block),
                Err(why) => self.wrong(why),
            }
        }
        Ok(())
    }

    fn attribute_block(&mut self, owner: u64, block: u64, buf: &[u8]) {
        if let Err(Corrupt(why)) = xattr::validate(buf, owner, self.sb.seed()) {
            self.wrong(format_args!("block {block}: {why}"));
        }
        // What is wrong with one has been printed.
        for e in xattr::entries(buf).flatten() {
            let prefix = e.prefix.text().escape_ascii();
            self.line(format_args!(
                "  {prefix}{}: {}",
                e.name.escape_ascii(),
                e.value.escape_ascii()
            ));
        }
    }

    fn extent(&mut self, e: &Extent) {
        let Extent {
            file_block,
            disk_block,
            len,
            unwritten,
        } = e;
        let note = if *unwritten { ", unwritten" } else { "" };
        self.line(format_args!("  {file_block}+{len} at {disk_block}{note}"));
    }

    /// The extents of an inode, as far as they can be read. The chain is printed if that is wanted.
    fn extents(&mut self, inode: &Inode, print: bool) -> Vec<Extent> {
        let mut extents = inode.inline_extents().to_vec();
        let mut next = inode.chain_head;
        let mut left = inode.chain_len;
        while next != 0 && left > 0 && extents.len() <= MAX_EXTENTS as usize {
            let block = match self.read(next) {
                Ok(block) => block,
                Err(why) => {
                    self.wrong(why);
                    break;
                }
            };
            let header = match ChainHeader::parse(&block, inode.ino, self.sb.seed()) {
                Ok(header) => header,
                Err(Corrupt(why)) => {
                    self.wrong(format_args!("block {next}: {why}"));
                    break;
                }
            };
            if print {
                self.line(format_args!(
                    "  chain block {next}: {} extents",
                    header.count
                ));
            }
            extents.extend(header.extents(&block).flatten());
            next = header.next;
            left -= 1;
        }
        extents
    }

    fn directory(&mut self, ino: u64) -> Result<(), String> {
        let inode = self.raw_inode(ino)?;
        if !inode.is_dir() {
            return Err(format!("inode {ino}: is no directory"));
        }
        let extents = self.extents(&inode, false);
        let blocks = extents.iter().flat_map(|e| e.disk_block..e.disk_end());
        // An extent may say anything, and a chain be a loop.
        for block in blocks.take(MAX_DIR_BLOCKS as usize) {
            match self.read(block) {
                Ok(buf) => self.directory_block(ino, block, &buf),
                Err(why) => {
                    self.wrong(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn directory_block(&mut self, owner: u64, block: u64, buf: &[u8]) {
        if let Err(Corrupt(why)) = dir::validate(buf, owner, self.sb.seed()) {
            self.wrong(format_args!("block {block}: {why}"));
        }
        let mut lines = Vec::new();
        let walked = dir::iterate(buf, 0, |e| {
            let kind = name_of(Some(e.kind));
            lines.push(format!("{} {kind} {}", e.ino, e.name.escape_ascii()));
            true
        });
        for line in lines {
            self.line(format_args!("{line}"));
        }
        if let Err(Corrupt(why)) = walked {
            self.wrong(format_args!("block {block}: {why}"));
        }
    }

    fn block(&mut self, block: u64) -> Result<(), String> {
        let buf = self.read(block)?;
        let sb = self.sb;
        let place = regions(&sb)
            .into_iter()
            .find(|(_, r)| (r.start..r.end()).contains(&block))
            .map_or("outside all regions", |(name, _)| name);
        let place = match block {
            0 => "superblock",
            _ if block == sb.backup => "copy of the superblock",
            _ => place,
        };
        self.line(format_args!("block {block}: {place}"));
        if sb.is_data(block, 1) {
            let used = self.bit(sb.block_bitmap, block)?;
            self.line(format_args!("{}", if used { "in use" } else { "free" }));
            let owner = toyfs_format::get64(&buf, 8);
            if let Ok(header) = ChainHeader::parse(&buf, owner, sb.seed()) {
                self.line(format_args!(
                    "extent chain of inode {owner}, next {}",
                    header.next
                ));
                for e in header.extents(&buf).flatten() {
                    self.extent(&e);
                }
                return Ok(());
            }
            if dir::validate(&buf, owner, sb.seed()).is_ok() {
                self.line(format_args!("directory block of inode {owner}"));
                self.directory_block(owner, block, &buf);
                return Ok(());
            }
            if xattr::validate(&buf, owner, sb.seed()).is_ok() {
                self.line(format_args!("attribute block of inode {owner}"));
                self.attribute_block(owner, block, &buf);
                return Ok(());
            }
        }
        self.bytes(&buf);
        Ok(())
    }

    /// Prints bytes. Of equal lines one after another, only the first.
    fn bytes(&mut self, buf: &[u8]) {
        let mut before = None;
        for (i, line) in buf.chunks(16).enumerate() {
            if before.replace(line) == Some(line) {
                continue;
            }
            let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
            let text: String = line
                .iter()
                .map(|&b| {
                    if matches!(b, 32..=126) {
                        b as char
                    } else {
                        '.'
                    }
                })
                .collect();
            self.line(format_args!("{:03x}  {}  {text}", i * 16, hex.join(" ")));
        }
    }

    fn bitmap(&mut self, which: &str) -> Result<(), String> {
        let (region, end) = match which {
            "inode" => (self.sb.inode_bitmap, self.sb.inode_count),
            "orphan" => (self.sb.orphans, self.sb.inode_count),
            _ => (self.sb.block_bitmap, self.sb.total_blocks),
        };
        let mut run: Option<Region> = None;
        for i in 0..region.len {
            let block = self.read(region.start + i)?;
            let base = i * BITS_PER_BLOCK;
            let bits = (end.saturating_sub(base)).min(BITS_PER_BLOCK) as usize;
            let mut at = bits::next(&block, 0, bits, true);
            while at < bits {
                let stop = bits::next(&block, at, bits, false);
                let (start, len) = (base + at as u64, (stop - at) as u64);
                match &mut run {
                    Some(run) if run.end() == start => run.len += len,
                    _ => {
                        self.run(run);
                        run = Some(Region { start, len });
                    }
                }
                at = bits::next(&block, stop, bits, true);
            }
        }
        self.run(run);
        Ok(())
    }

    fn run(&mut self, run: Option<Region>) {
        if let Some(Region { start, len }) = run {
            self.line(format_args!("{start}+{len}"));
        }
    }
}

/// The regions and their names.
fn regions(sb: &Superblock) -> [(&'static str, Region); 6] {
    [
        ("inode bitmap", sb.inode_bitmap),
        ("orphan bitmap", sb.orphans),
        ("block bitmap", sb.block_bitmap),
        ("inode table", sb.inode_table),
        ("journal", sb.journal),
        ("data", sb.data),
    ]
}

fn describe(error: SuperError) -> &'static str {
    match error {
        SuperError::Foreign => "no toyfs superblock",
        SuperError::Unsupported(why) | SuperError::Corrupt(why) => why,
    }
}

/// The superblock, or its copy, and what is wrong with it.
fn find_super(device: &Device) -> Result<(Superblock, Option<&'static str>), String> {
    let read = |block: u64| {
        let mut raw = vec![0; BLOCK_SIZE];
        let read = device.read(block * BLOCK_SIZE as u64, &mut raw);
        read.map(|()| raw.split_off(SUPER_OFFSET))
    };
    let raw = read(0).map_err(|e| e.to_string())?;
    let error = match Superblock::parse_torn(&raw) {
        Ok((sb, false)) => return Ok((sb, None)),
        Ok((sb, true)) => return Ok((sb, Some("torn when its state changed"))),
        Err(e) => describe(e),
    };
    let last = device.blocks.checked_sub(1).ok_or(error)?;
    let copy = read(last)
        .ok()
        .and_then(|raw| Superblock::parse_copy(&raw, last));
    let copy = copy.ok_or(error)?;
    Ok((copy, Some("damaged, this is its copy")))
}

/// Does it all. Returns whether everything was sound.
fn run(path: PathBuf, what: &What) -> Result<bool, String> {
    let name = path.display().to_string();
    let device = File::open(&path)
        .and_then(Device::new)
        .map_err(|e| format!("{name}: {e}"))?;
    let (sb, wrong) = find_super(&device).map_err(|e| format!("{name}: {e}"))?;
    let mut dump = Dump {
        device,
        sb,
        output: Output::default(),
        sound: true,
    };
    if let Some(wrong) = wrong {
        dump.wrong(format_args!("superblock: {wrong}"));
    }
    let printed = dump.print(what).map_err(|e| format!("{name}: {e}"));
    let sound = dump.sound;
    dump.output.end()?;
    printed.map(|()| sound)
}

fn main() -> ExitCode {
    let result = match arguments().and_then(parse_args) {
        Ok(Some((path, what))) => run(path, &what),
        Ok(None) => Ok(true),
        Err(e) => Err(format!("{e}\nTry 'dump.toyfs --help'.")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("dump.toyfs: {e}");
            ExitCode::FAILURE
        }
    }
}

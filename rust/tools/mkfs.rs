// SPDX-License-Identifier: GPL-2.0

//! `mkfs.toyfs`: makes a toyfs filesystem.

#![forbid(unsafe_code)]

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use toyfs_format::{
    bits, dir, journal, Extent, Inode, Region, Superblock, Time, BITS_PER_BLOCK, BLOCK_LOG2,
    BLOCK_SIZE, LABEL_LEN, MAX_BLOCKS, MAX_INODES, MAX_JOURNAL_BLOCKS, MIN_JOURNAL_BLOCKS,
    ROOT_INO, SUPER_MAGIC, SUPER_OFFSET, SUPER_SIZE, S_IFDIR,
};
use toyfs_tools::{
    arguments, format_label, format_uuid, mount_point, parse_uuid, Device, Output, Program,
};

const USAGE: &str = "\
Usage: mkfs.toyfs [options] DEVICE [SIZE]

Makes a toyfs filesystem on DEVICE, a block device or an image file. SIZE limits it, in blocks
of 4096 bytes or, with one of the suffixes K, M, G, T, in bytes; an image file is created or
grown to that size.

  -f          overwrite what looks like another filesystem
  -J MIB      size of the journal in MiB, from 4 to 1024 (default: 4 to 1024, by the size of the
              filesystem)
  -L LABEL    volume label, at most 32 bytes
  -N INODES   number of inodes (default: one for every 16 KiB)
  -U UUID     use this UUID rather than a random one
  -q          print nothing but errors
  -h, --help  print this help
  -V, --version  print the version

SOURCE_DATE_EPOCH in the environment, in seconds since 1970, is used for all times.
";

const PROGRAM: Program = Program {
    name: "mkfs.toyfs",
    usage: USAGE,
};

/// Open a block device exclusively: fails if it is mounted or otherwise claimed.
const O_EXCL: i32 = 0o200;
/// Bytes of data for which there is an inode by default.
const BYTES_PER_INODE: u64 = 16384;
/// Default for very small filesystems.
const MIN_INODES: u64 = 64;
/// Blocks of a mebibyte.
const MIB: u64 = 1 << (20 - BLOCK_LOG2);
/// Superblocks of other filesystems are in one of the first so many blocks. They are erased.
const ERASED_BLOCKS: usize = 17;

/// What the command line asked for.
#[derive(Default)]
struct Options {
    device: PathBuf,
    /// Size in blocks.
    size: Option<u64>,
    force: bool,
    quiet: bool,
    label: [u8; LABEL_LEN],
    inodes: Option<u64>,
    /// Length of the journal in blocks.
    journal: Option<u64>,
    uuid: Option<[u8; 16]>,
}

/// Parses a size: blocks, or bytes with a suffix.
fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return text.parse().ok(),
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    Some(number.checked_mul(1 << shift)? >> BLOCK_LOG2)
}

/// Parses the size of the journal.
fn parse_journal(text: &str) -> Result<u64, String> {
    let mib: u64 = text
        .parse()
        .map_err(|_| format!("bad size of the journal: {text}"))?;
    let (least, most) = (MIN_JOURNAL_BLOCKS / MIB, MAX_JOURNAL_BLOCKS / MIB);
    if !(least..=most).contains(&mib) {
        return Err(format!(
            "a journal of {mib} MiB: it has to be one of {least} to {most} MiB"
        ));
    }
    Ok(mib * MIB)
}

/// Parses the command line. `Ok(None)`: it was answered already.
fn parse_args(args: Vec<String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let places = toyfs_tools::parse(&PROGRAM, args, |letter, letters| {
        match letter {
            'f' => options.force = true,
            'q' => options.quiet = true,
            'L' => {
                let label = letters.value(letter)?;
                options
                    .label
                    .get_mut(..label.len())
                    .ok_or(format!("label is longer than {LABEL_LEN} bytes"))?
                    .copy_from_slice(label.as_bytes());
            }
            'J' => options.journal = Some(parse_journal(&letters.value(letter)?)?),
            'N' => {
                let text = letters.value(letter)?;
                let number = text.parse().ok().filter(|&n: &u64| n > 0);
                options.inodes = Some(number.ok_or(format!("bad number of inodes: {text}"))?);
            }
            'U' => {
                let text = letters.value(letter)?;
                let uuid = parse_uuid(&text).ok_or(format!("bad UUID: {text}"))?;
                options.uuid = Some(uuid);
            }
            _ => return Err(format!("unknown option -{letter}")),
        }
        Ok(())
    })?;
    let Some(places) = places else {
        return Ok(None);
    };
    let mut places = places.into_iter();
    options.device = places.next().ok_or("no device given")?.into();
    if let Some(text) = places.next() {
        options.size = Some(parse_size(&text).ok_or(format!("bad size: {text}"))?);
    }
    match places.next() {
        Some(extra) => Err(format!("unexpected argument: {extra}")),
        None => Ok(Some(options)),
    }
}

/// What the start of a device looks like, if not empty.
///
/// libblkid knows more, but is a C library, and Kbuild makes this program with the Rust compiler alone. These are those that
/// one would be sorry for.
fn signature(start: &[u8]) -> Option<&'static str> {
    const SIGNATURES: &[(usize, &[u8], &str)] = &[
        (SUPER_OFFSET, &SUPER_MAGIC, "a toyfs filesystem"),
        (0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 filesystem"),
        (0, b"XFSB", "an xfs filesystem"),
        (0x10040, b"_BHRfS_M", "a btrfs filesystem"),
        (0x400, &[0x10, 0x20, 0xf5, 0xf2], "an f2fs filesystem"),
        (0x10000, &[0x01, 0x16, 0x19, 0x70], "a gfs2 filesystem"),
        (0, b"hsqs", "a squashfs filesystem"),
        (0x8001, b"CD001", "an ISO 9660 filesystem"),
        (3, b"NTFS    ", "an NTFS filesystem"),
        (0x200, b"EFI PART", "a GPT partition table"),
        (0, b"LUKS\xba\xbe", "an encrypted volume"),
        (0x218, b"LVM2 001", "an LVM physical volume"),
        (0xff6, b"SWAPSPACE2", "swap space"),
        (0x1fe, &[0x55, 0xaa], "a boot sector or partition table"),
    ];
    SIGNATURES
        .iter()
        .find(|(at, magic, _)| start.get(*at..).is_some_and(|s| s.starts_with(magic)))
        .map(|&(_, _, name)| name)
}

/// The time for all time stamps.
fn now() -> Result<Time, String> {
    if let Ok(text) = env::var("SOURCE_DATE_EPOCH") {
        let sec = text
            .parse()
            .map_err(|_| format!("bad SOURCE_DATE_EPOCH: {text}"))?;
        return Ok(Time { sec, nsec: 0 });
    }
    // A clock before 1970 is no reason to fail.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Time {
        sec: now.as_secs() as i64,
        nsec: now.subsec_nanos(),
    })
}

/// A random (version 4) UUID. (By hand, for the same reason as [`signature`].)
fn random_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut uuid)?;
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// Opens the device for writing, after making sure that nobody else uses it.
fn open(options: &Options) -> Result<Device, String> {
    let path: &Path = &options.device;
    let error = |e: io::Error| format!("{}: {e}", path.display());
    let is_block = match fs::metadata(path) {
        Ok(m) if m.file_type().is_block_device() => true,
        Ok(m) if m.is_file() => false,
        Ok(_) => {
            return Err(format!(
                "{}: neither a block device nor a regular file",
                path.display()
            ))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && options.size.is_some() => false,
        Err(e) => return Err(error(e)),
    };
    if let Some(place) = mount_point(path) {
        return Err(format!("{}: is mounted on {place}", path.display()));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(!is_block && options.size.is_some())
        .custom_flags(if is_block { O_EXCL } else { 0 })
        .open(path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => format!("{}: is in use", path.display()),
            _ => error(e),
        })?;
    let len = file.metadata().map_err(error)?.len();
    if let Some(size) = options.size.filter(|_| !is_block) {
        let bytes = size
            .checked_mul(BLOCK_SIZE as u64)
            .ok_or("SIZE too large")?;
        if len < bytes {
            file.set_len(bytes).map_err(error)?;
        }
    }
    Device::new(file).map_err(error)
}

/// A block of a bitmap whose object `base` is its first, in which the objects that `used` says
/// are in use.
fn bitmap_block(base: u64, used: impl Fn(u64) -> bool) -> Vec<u8> {
    let mut block = vec![0; BLOCK_SIZE];
    for bit in 0..BITS_PER_BLOCK {
        if used(base + bit) {
            bits::assign(&mut block, bit as usize, 1, true);
        }
    }
    block
}

/// Writes a bitmap.
fn write_bitmap(dev: &Device, at: Region, used: impl Fn(u64) -> bool) -> io::Result<()> {
    for i in 0..at.len {
        dev.write(at.start + i, &bitmap_block(i * BITS_PER_BLOCK, &used))?;
    }
    Ok(())
}

/// Writes an empty journal. What is left of another one in its log could be taken for transactions, so that is zeroed;
/// what reads as zeroes is not written again: an image stays sparse.
fn write_journal(dev: &Device, sb: &Superblock) -> io::Result<()> {
    const CHUNK: u64 = MIB;
    let zeroes = vec![0; CHUNK as usize * BLOCK_SIZE];
    let mut buf = zeroes.clone();
    for at in (sb.journal.start..sb.journal.end()).step_by(CHUNK as usize) {
        let len = CHUNK.min(sb.journal.end() - at) as usize * BLOCK_SIZE;
        let (buf, zeroes) = (&mut buf[..len], &zeroes[..len]);
        // What cannot be read may well be written.
        if dev.read(at * BLOCK_SIZE as u64, buf).is_err() || buf != zeroes {
            dev.write(at, zeroes)?;
        }
    }
    let mut block = [0; BLOCK_SIZE];
    journal::encode_super(&mut block, sb.journal.len as u32, &sb.uuid);
    dev.write(sb.journal.start, &block)
}

/// Writes the filesystem that `sb` describes, with an empty root directory.
fn write_filesystem(dev: &Device, sb: &Superblock, now: Time) -> io::Result<()> {
    // First of all, and for good, so that an interrupted run leaves nothing that can be taken for a filesystem: neither
    // a copy of the superblock of an earlier one, nor that superblock.
    let zeroes = vec![0; (sb.total_blocks as usize).min(ERASED_BLOCKS) * BLOCK_SIZE];
    dev.write(dev.blocks - 1, &zeroes[..BLOCK_SIZE])?;
    if sb.backup != dev.blocks - 1 {
        dev.write(sb.backup, &zeroes[..BLOCK_SIZE])?;
    }
    dev.write(0, &zeroes)?;
    dev.sync()?;

    let root_block = sb.data.start;
    write_bitmap(dev, sb.inode_bitmap, |i| {
        i <= ROOT_INO || i >= sb.inode_count
    })?;
    write_bitmap(dev, sb.orphans, |_| false)?;
    write_bitmap(dev, sb.block_bitmap, |i| {
        i <= root_block || i >= sb.data.end()
    })?;
    write_journal(dev, sb)?;

    let mut root = Inode {
        ino: ROOT_INO,
        mode: S_IFDIR | 0o755,
        nlink: 2,
        size: BLOCK_SIZE as u64,
        blocks: 1,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        parent: ROOT_INO,
        extent_count: 1,
        ..Inode::default()
    };
    root.inline[0] = Extent {
        file_block: 0,
        disk_block: root_block,
        len: 1,
        unwritten: false,
    };
    // The other inodes of the table are free: what they hold does not matter.
    let mut block = vec![0; BLOCK_SIZE];
    if let Some((at, offset)) = sb.inode_location(ROOT_INO) {
        let raw = root.encode(sb.seed());
        block[offset..offset + raw.len()].copy_from_slice(&raw);
        dev.write(at, &block)?;
    }
    dir::init_block(&mut block, ROOT_INO, sb.seed());
    dev.write(root_block, &block)?;

    let mut raw = [0; SUPER_SIZE];
    sb.encode(&mut raw);
    block.fill(0);
    block[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE].copy_from_slice(&raw);
    dev.write(sb.backup, &block)?;
    dev.sync()?;
    // Now it becomes a filesystem.
    dev.write(0, &block)?;
    dev.sync()
}

/// How many inodes and blocks of journal a filesystem of `blocks` blocks is to have. `None` if it is too small.
fn counts(options: &Options, blocks: u64) -> Option<(u64, u64)> {
    let inodes = options
        .inodes
        .unwrap_or((blocks / (BYTES_PER_INODE / BLOCK_SIZE as u64)).clamp(MIN_INODES, MAX_INODES));
    let journal = options
        .journal
        .or_else(|| Superblock::journal_blocks(blocks))?;
    Some((inodes, journal))
}

/// Lays out a filesystem of `blocks` blocks. `None` if it is too small.
fn layout(options: &Options, blocks: u64) -> Option<Superblock> {
    let (inodes, journal) = counts(options, blocks)?;
    Superblock::layout(blocks, inodes, journal)
}

/// The least size in blocks of a filesystem that is like that.
fn least(options: &Options) -> u64 {
    let (mut too_few, mut enough) = (0, MAX_BLOCKS);
    while enough - too_few > 1 {
        let blocks = too_few + (enough - too_few) / 2;
        match layout(options, blocks) {
            Some(_) => enough = blocks,
            None => too_few = blocks,
        }
    }
    enough
}

/// Does it all.
fn run(options: &Options) -> Result<(), String> {
    let name = options.device.display();
    let now = now()?;
    let dev = open(options)?;
    let blocks = match options.size {
        Some(size) if size > dev.blocks => {
            return Err(format!("{name}: has {} blocks, not {size}", dev.blocks))
        }
        Some(size) => size,
        None => dev.blocks,
    };
    if !options.force {
        let mut start = vec![0; (dev.blocks as usize).min(ERASED_BLOCKS) * BLOCK_SIZE];
        dev.read(0, &mut start)
            .map_err(|e| format!("{name}: {e}"))?;
        if let Some(what) = signature(&start) {
            return Err(format!("{name}: holds {what}; use -f to overwrite it"));
        }
    }
    if blocks > MAX_BLOCKS {
        return Err(format!(
            "{name}: too large, the limit is {MAX_BLOCKS} blocks"
        ));
    }
    if options.inodes.is_some_and(|n| n > MAX_INODES) {
        return Err(format!("too many inodes, the limit is {MAX_INODES}"));
    }
    let mut sb = layout(options, blocks).ok_or_else(|| {
        format!(
            "{name}: too small: has {blocks} blocks of {BLOCK_SIZE} bytes, and needs at least {}",
            least(options)
        )
    })?;
    sb.mkfs_time = now.sec;
    sb.label = options.label;
    sb.uuid = match options.uuid {
        Some(uuid) => uuid,
        None => random_uuid().map_err(|e| format!("/dev/urandom: {e}"))?,
    };
    write_filesystem(&dev, &sb, now).map_err(|e| format!("{name}: {e}"))?;
    if !options.quiet {
        let mut output = Output::default();
        output.line(format_args!(
            "{name}: toyfs, {} blocks of {BLOCK_SIZE} bytes, {} inodes, {} blocks of journal, {} for data",
            sb.total_blocks, sb.inode_count, sb.journal.len, sb.data.len
        ));
        output.line(format_args!("label: {}", format_label(&sb.label)));
        output.line(format_args!("uuid: {}", format_uuid(&sb.uuid)));
        output.end()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let result = match arguments().and_then(parse_args) {
        Ok(Some(options)) => run(&options),
        Ok(None) => Ok(()),
        Err(e) => Err(format!("{e}\nTry 'mkfs.toyfs --help'.")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mkfs.toyfs: {e}");
            ExitCode::FAILURE
        }
    }
}

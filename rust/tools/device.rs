// SPDX-License-Identifier: GPL-2.0

//! What `mkfs.toyfs` and `fsck.toyfs` have in common: block devices, UUIDs, numbers.

// Each of the programs uses a part of it.
#![allow(dead_code)]

use std::{
    env,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::Path,
};

use super::format::{BLOCK_LOG2, BLOCK_SIZE};

/// Shown by `--version`.
pub(crate) const VERSION: &str = "1 (format version 1)";

/// A device, or an image file.
pub(crate) struct Device {
    file: File,
    /// Size in whole blocks.
    pub(crate) blocks: u64,
}

impl Device {
    /// Wraps an open file.
    pub(crate) fn new(mut file: File) -> io::Result<Self> {
        // A block device has no size in its metadata, but an end.
        let blocks = file.seek(SeekFrom::End(0))? >> BLOCK_LOG2;
        Ok(Self { file, blocks })
    }

    /// Reads from byte `at` on.
    pub(crate) fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    /// Writes block `block` and following.
    pub(crate) fn write(&self, block: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, block * BLOCK_SIZE as u64)
    }

    /// Returns once everything written is stable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The command line without the name of the program.
pub(crate) fn arguments() -> Result<Vec<String>, String> {
    env::args_os()
        .skip(1)
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("argument is not UTF-8: {}", arg.to_string_lossy()))
        })
        .collect()
}

/// Where `path` is mounted, if it is a mounted block device.
pub(crate) fn mount_point(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?;
    if !device.file_type().is_block_device() {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (source, place) = (words.next()?, words.next()?);
        let source = fs::metadata(source).ok()?;
        let same = source.file_type().is_block_device() && source.rdev() == device.rdev();
        same.then(|| place.to_string())
    })
}

/// Parses a UUID: 32 hexadecimal digits, with or without dashes.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits = text
        .chars()
        .filter(|&c| c != '-')
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<Vec<_>>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

/// The customary form of a UUID.
pub(crate) fn format_uuid(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A volume label for people.
pub(crate) fn format_label(label: &[u8]) -> String {
    let end = label.iter().position(|&b| b == 0).unwrap_or(label.len());
    label[..end].escape_ascii().to_string()
}

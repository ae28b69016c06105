// SPDX-License-Identifier: GPL-2.0

//! Block devices and image files.

use std::{
    fs::{self, File, Metadata},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::Path,
};

use toyfs_format::{BLOCK_LOG2, BLOCK_SIZE};

/// A device, or an image file.
pub struct Device {
    file: File,
    /// Size in whole blocks.
    pub blocks: u64,
}

impl Device {
    /// Wraps an open file.
    pub fn new(mut file: File) -> io::Result<Self> {
        // A block device has no size in its metadata, but an end.
        let blocks = file.seek(SeekFrom::End(0))? >> BLOCK_LOG2;
        Ok(Self { file, blocks })
    }

    /// Reads from byte `at` on.
    pub fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    /// Writes block `block` and following.
    pub fn write(&self, block: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, block * BLOCK_SIZE as u64)
    }

    /// Returns once everything written is stable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Where `path` is mounted: a block device, or the image that a loop device has.
pub fn mount_point(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (source, place) = (words.next()?, words.next()?);
        let source = fs::metadata(source).ok()?;
        let same = source.file_type().is_block_device()
            && match device.file_type().is_block_device() {
                true => source.rdev() == device.rdev(),
                false => image_of(source.rdev()).is_some_and(|image| {
                    (image.dev(), image.ino()) == (device.dev(), device.ino())
                }),
            };
        same.then(|| place.to_string())
    })
}

/// The image of a loop device.
fn image_of(device: u64) -> Option<Metadata> {
    // As makedev(3) has it.
    let major = (device >> 8 & 0xfff | device >> 32 & !0xfff) as u32;
    let minor = (device & 0xff | device >> 12 & !0xff) as u32;
    let file = format!("/sys/dev/block/{major}:{minor}/loop/backing_file");
    let path = fs::read_to_string(file).ok()?;
    fs::metadata(path.trim_end_matches('\n')).ok()
}

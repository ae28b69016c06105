// SPDX-License-Identifier: GPL-2.0

//! The superblock and its copy.

use super::state::{Check, Disk, Failure};
use std::io;
use toyfs_format::{SuperError, Superblock, BLOCK_SIZE, SUPER_OFFSET, SUPER_SIZE};

/// Reads the superblock in `block`.
fn read_super(disk: &impl Disk, block: u64) -> io::Result<Result<Superblock, SuperError>> {
    let mut buf = vec![0; BLOCK_SIZE];
    disk.read(block, &mut buf)?;
    Ok(Superblock::parse(
        &buf[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE],
    ))
}

/// Finds the superblock, or its copy, and prints what is wrong with the superblock. Returns the number of
/// errors, too: that it was torn by a power cut is none.
pub(crate) fn find_super(
    disk: &impl Disk,
    print: &mut dyn FnMut(&str),
) -> Result<(Superblock, u64), Failure> {
    if disk.blocks() < 2 {
        return Err(Failure::Unusable("too small for a filesystem".into()));
    }
    let (sb, errors) = whichever(disk, print)?;
    if sb.total_blocks > disk.blocks() {
        return Err(Failure::Damaged(format!(
            "superblock: {} blocks, but the device has {}",
            sb.total_blocks,
            disk.blocks()
        )));
    }
    Ok((sb, errors))
}

/// The superblock or its copy, whatever it says.
fn whichever(disk: &impl Disk, print: &mut dyn FnMut(&str)) -> Result<(Superblock, u64), Failure> {
    let mut buf = vec![0; BLOCK_SIZE];
    let read = disk.read(0, &mut buf);
    let raw = &buf[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE];
    let (ours, why) = match (read, Superblock::parse_torn(raw)) {
        (Ok(()), Ok((sb, false))) => return Ok((sb, 0)),
        (Ok(()), Ok((sb, true))) => {
            print("superblock: torn when its state changed: the state or the checksum is older");
            return Ok((sb, 0));
        }
        (Ok(()), Err(SuperError::Unsupported(why))) => return Err(Failure::Unusable(why.into())),
        (Ok(()), Err(SuperError::Corrupt(why))) => (true, why.to_string()),
        (Ok(()), Err(SuperError::Foreign)) => (false, "no toyfs superblock".to_string()),
        (Err(e), _) => (false, format!("block 0: {e}")),
    };
    // Where mkfs puts the copy, unless it was told a size.
    let last = disk.blocks() - 1;
    if disk.read(last, &mut buf).is_ok() {
        let raw = &buf[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE];
        if let Some(copy) = Superblock::parse_copy(raw, last) {
            print(&format!(
                "superblock: {why}, but block {last} has a copy of it, which is used"
            ));
            return Ok((copy, 1));
        }
    }
    if ours {
        Err(Failure::Damaged(format!("superblock: {why}")))
    } else {
        Err(Failure::Unusable(why))
    }
}

impl<D: Disk> Check<'_, D> {
    /// Marks the blocks of the filesystem itself and compares the copy of the superblock.
    pub(super) fn superblock(&mut self) {
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
            // State and label of the copy are those of the day it was made.
            Ok(Ok(mut copy)) => {
                (copy.state, copy.label) = (sb.state, sb.label);
                if copy == sb {
                    return;
                }
                "differs from the superblock".to_string()
            }
        };
        self.error(format!("copy of the superblock in block {at}: {why}"));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The check of a filesystem: what is to be found in which order.
//!
//! It only reads. Whatever the device holds, it ends, and in a time that is bounded by the size of
//! the metadata: nothing is read more than once because something damaged refers to it twice.

mod bitmaps;
mod bits;
mod directories;
mod inodes;
mod state;
mod superblock;

use bits::Bits;
use state::{Check, Report};
use std::collections::BTreeMap;
use toyfs_format::State;

pub(crate) use state::{Disk, Failure, Summary};

/// Checks a filesystem, printing one line for each error.
pub(crate) fn check(disk: &impl Disk, print: &mut dyn FnMut(&str)) -> Result<Summary, Failure> {
    let (sb, errors) = superblock::find_super(disk, print)?;
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
        report: Report { print, errors },
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

#[cfg(test)]
#[path = "../../../tests/format/fsck.rs"]
mod tests;

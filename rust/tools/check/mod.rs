// SPDX-License-Identifier: GPL-2.0

//! The check of a filesystem: what is to be found in which order.
//!
//! It only reads. Whatever the device holds, it ends, and in a time that is bounded by the size of
//! the metadata: nothing is read more than once because something damaged refers to it twice.

mod bitmaps;
mod bits;
mod directories;
mod inodes;
mod journal;
mod state;
mod superblock;

use state::{Check, Report};
use std::collections::BTreeMap;

pub(crate) use bits::Bits;
pub(crate) use inodes::check_attributes;
pub(crate) use state::{Disk, Failure, Summary};
pub(crate) use superblock::find_super;

/// Checks a filesystem, printing one line for each error.
pub(crate) fn check(disk: &impl Disk, print: &mut dyn FnMut(&str)) -> Result<Summary, Failure> {
    let (sb, errors) = find_super(disk, print)?;
    let mut check = Check {
        disk,
        sb,
        report: Report { print, errors },
        block_map: Bits::new(0),
        inode_map: Bits::new(0),
        orphan_map: Bits::new(0),
        orphans: 0,
        seen: Bits::new(sb.total_blocks),
        patience: sb.total_blocks,
        nodes: BTreeMap::new(),
    };
    check.superblock();
    check.journal();
    check.block_map = check.bitmap("block", sb.block_bitmap);
    check.inode_map = check.bitmap("inode", sb.inode_bitmap);
    check.orphan_map = check.bitmap("orphan", sb.orphans);
    check.inodes();
    check.directories();
    check.links();
    check.bitmaps();
    Ok(Summary {
        errors: check.report.errors,
        state: sb.state,
        orphans: check.orphans,
        used_inodes: check.nodes.len() as u64,
        inodes: sb.inode_count - 1,
        used_blocks: check.seen.0.iter().map(|b| u64::from(b.count_ones())).sum(),
        blocks: sb.total_blocks,
    })
}

#[cfg(test)]
#[path = "../../../tests/format/fsck.rs"]
pub(crate) mod tests;

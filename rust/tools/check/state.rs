// SPDX-License-Identifier: GPL-2.0

//! What a check works with.

use super::bits::Bits;
use std::{collections::BTreeMap, io};
use toyfs_format::{dir::FileType, Extent, State, Superblock};

/// After so many errors the others are only counted.
const MAX_MESSAGES: u64 = 1000;

/// What is being checked.
pub(crate) trait Disk {
    /// Size in whole blocks.
    fn blocks(&self) -> u64;
    /// Reads a block.
    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// Prints and counts errors.
pub(super) struct Report<'a> {
    pub(super) print: &'a mut dyn FnMut(&str),
    pub(super) errors: u64,
}

impl Report<'_> {
    pub(super) fn error(&mut self, message: &str) {
        self.errors += 1;
        if self.errors <= MAX_MESSAGES {
            (self.print)(message);
        } else if self.errors == MAX_MESSAGES + 1 {
            (self.print)("more errors follow, which are only counted");
        }
    }
}

/// What the second half of the check has to know about an inode.
pub(super) struct Node {
    pub(super) is_dir: bool,
    /// What entries have to say about it.
    pub(super) kind: Option<FileType>,
    pub(super) nlink: u32,
    pub(super) size: u64,
    pub(super) parent: u64,
    /// Of directories only; `None` if they cannot be relied on.
    pub(super) extents: Option<Vec<Extent>>,
    /// Directory entries that refer to it.
    pub(super) refs: u64,
    /// Directory entries in it that refer to directories.
    pub(super) subdirs: u64,
}

/// Numbers for the last line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) errors: u64,
    pub(crate) state: State,
    /// Inodes that are still to be deleted, or to be truncated.
    pub(crate) orphans: u64,
    pub(crate) used_inodes: u64,
    pub(crate) inodes: u64,
    pub(crate) used_blocks: u64,
    pub(crate) blocks: u64,
}

/// Why there was nothing to check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No superblock to start from; but it was one of ours.
    Damaged(String),
    /// Not ours, or unreadable.
    Unusable(String),
}

/// The state of a check.
pub(super) struct Check<'a, D: Disk> {
    pub(super) disk: &'a D,
    pub(super) sb: Superblock,
    pub(super) report: Report<'a>,
    /// The bitmaps as stored.
    pub(super) block_map: Bits,
    pub(super) inode_map: Bits,
    pub(super) orphan_map: Bits,
    /// Inodes in use that are in the latter.
    pub(super) orphans: u64,
    /// The blocks that something refers to.
    pub(super) seen: Bits,
    /// So many references to blocks that are in `seen` already are looked at one by one.
    pub(super) patience: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
}

impl<D: Disk> Check<'_, D> {
    pub(super) fn error(&mut self, message: String) {
        self.report.error(&message);
    }

    pub(super) fn inode_error(&mut self, ino: u64, message: impl AsRef<str>) {
        self.error(format!("inode {ino}: {}", message.as_ref()));
    }

    /// Reads a block; an error is reported.
    pub(super) fn read(&mut self, block: u64, buf: &mut [u8]) -> bool {
        match self.disk.read(block, buf) {
            Ok(()) => true,
            Err(e) => {
                self.error(format!("block {block}: {e}"));
                false
            }
        }
    }
}

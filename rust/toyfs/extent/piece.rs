// SPDX-License-Identifier: GPL-2.0

//! Single extents: which belong together, what a part of one is, and what a block maps to.

use toyfs_format::Extent;

/// What a block of a file maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// `len` blocks from the one asked for are at `disk` and following.
    Mapped {
        /// Disk block of the block asked for.
        disk: u64,
        /// Number of blocks that follow each other from there, at least 1.
        len: u64,
        /// They read as zeroes until [`ExtentMap::mark_written`](super::ExtentMap::mark_written).
        unwritten: bool,
    },
    /// No block is allocated to the `len` blocks from the one asked for. After the last extent
    /// that is everything up to block `u64::MAX`.
    Hole {
        /// Number of blocks, at least 1 (except for block `u64::MAX`).
        len: u64,
    },
}

/// Whether `b` continues `a` in the file and on disk, so that both may become one extent.
pub(super) fn adjacent(a: &Extent, b: &Extent) -> bool {
    a.end() == b.file_block
        && a.disk_end() == b.disk_block
        && a.unwritten == b.unwritten
        && a.len.checked_add(b.len).is_some()
}

/// The one extent that `a` and `b`, which are [`adjacent`], become.
pub(super) fn joined(a: &Extent, b: &Extent) -> Extent {
    Extent {
        len: a.len + b.len,
        ..*a
    }
}

/// The part of `e` within `from..to`, if there is one.
pub(super) fn clip(e: &Extent, from: u64, to: u64) -> Option<Extent> {
    let start = e.file_block.max(from);
    let end = e.end().min(to);
    if start >= end {
        return None;
    }
    Some(Extent {
        file_block: start,
        // Both sums stay within the extent.
        disk_block: e.disk_block + (start - e.file_block),
        len: (end - start) as u32,
        unwritten: e.unwritten,
    })
}

/// What `file_block` and the blocks after it map to, if `e` is the first extent that ends after it.
pub(super) fn mapping_of(e: Option<&Extent>, file_block: u64) -> Mapping {
    let Some(e) = e else {
        return Mapping::Hole {
            len: u64::MAX - file_block,
        };
    };
    match clip(e, file_block, u64::MAX) {
        Some(part) if part.file_block == file_block => Mapping::Mapped {
            disk: part.disk_block,
            len: part.len.into(),
            unwritten: part.unwritten,
        },
        _ => Mapping::Hole {
            len: e.file_block - file_block,
        },
    }
}

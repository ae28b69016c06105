// SPDX-License-Identifier: GPL-2.0

//! toyfs: a small file system on a block device, whose direct writes shut the page cache out.
//!
//! - `format`, `block`, `bitmap`, `extent`, `dir`: what is on disk, and how it is found and changed.
//! - `options`, `stats`: mount options and counters.
//! - `mount`: the super block. `inode`, `namei`: inodes and directories.
//! - `data`: the page cache: read, write, writeback, faults, truncation.
//! - `dio`: the direct-I/O protocol.
//!
//! # Lock order
//!
//! ```text
//! i_rwsem -> mmap_lock -> invalidate_lock -> InodeData::pages -> folio lock
//!         -> InodeData::map -> Super::allocator -> folio lock of the device's page cache
//! ```
//!
//! No hold of `pages` spans an access to user memory, and nobody waits for it with a folio locked.
//! Memory allocated under `map` or `allocator` must not enter file system reclaim
//! ([`NofsScope`](crate::vfs::NofsScope)), which evicts inodes and then takes both.

#![forbid(unsafe_code)]

pub(crate) mod bitmap;
pub(crate) mod block;
mod data;
mod dio;
pub(crate) mod dir;
pub(crate) mod extent;
pub(crate) mod format;
mod inode;
mod mount;
mod namei;
mod options;
mod stats;

use crate::vfs;

/// The file system type.
pub(crate) struct ToyFs;

/// An in-memory inode of toyfs.
type Inode = vfs::Inode<ToyFs>;

/// A mounted toyfs.
type SuperBlock = vfs::SuperBlock<ToyFs>;

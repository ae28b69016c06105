// SPDX-License-Identifier: GPL-2.0

//! toyfs: a small file system on a block device, whose direct writes shut the page cache out.
//!
//! - `block`, `bitmap`, `windows`, `extent`: how what is on disk, the format (`toyfs_format`), is found and changed.
//! - `types`: what toyfs calls the objects of the VFS that are its own.
//! - `options`, `stats`: mount options, counters and gauges.
//! - `errors`: changes of metadata, and what happens after an error of one, or a shutdown.
//! - `mount`: the super block. `inode`, `entries`, `summary`, `namei`: inodes and directories. `xattr`: attributes of inodes.
//! - `admin`: what an administrator asks of a mount.
//! - `data`: the page cache: read, write, writeback, truncation.
//! - `hold`: the add lock. `dio`: the direct-I/O protocol. `wanted`: pages that direct writes leave in the cache for a while.
//! - `file`: what is done to files, by way of the one or the other.
//!
//! # Lock order
//!
//! ```text
//! mmap_lock ---------\
//!                     v
//! i_rwsem -> invalidate_lock -> InodeData::add_lock -> folio lock
//!         -> handle of the journal -> InodeData::map -> Super::allocator
//! ```
//!
//! Direct I/O brings its buffer in before it takes any of them; a buffered write faults its own in under `i_rwsem`, as on every
//! file system. No hold of `add_lock` spans an access to user memory, and nobody waits for it with a folio locked.
//! A commit of the journal waits for whoever has a handle, so nobody who has one waits for what is to the left of it:
//! Documentation/journal.rst. Memory allocated under a handle, `map` or `allocator` must not enter file system reclaim
//! ([`NofsScope`](crate::vfs::NofsScope); a handle is such a scope), which evicts inodes and then takes all three.

#![forbid(unsafe_code)]

mod admin;
pub(crate) mod bitmap;
pub(crate) mod block;
mod data;
mod dio;
mod discard;
mod entries;
mod errors;
pub(crate) mod extent;
mod file;
#[cfg(CONFIG_KUNIT = "y")]
mod format_tests;
mod hold;
mod inode;
mod mount;
mod namei;
mod options;
mod stats;
mod summary;
mod types;
mod wanted;
mod windows;
mod xattr;

use kernel::error::Result;
use types::{Inode, InodeRef, InvalidateLock, LockedInode, LockedSuper, SuperBlock};

pub(crate) use mount::STATICS;
pub(crate) use types::ToyFs;

/// To be called once, before the file system is registered.
pub(crate) fn init() -> Result {
    inode::InodeData::teach_lock_order()
}

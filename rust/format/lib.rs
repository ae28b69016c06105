// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of toyfs.
//!
//! A crate of its own, which the kernel module, the host programs `mkfs.toyfs` and `fsck.toyfs` and their
//! tests use as it is, so it uses nothing but `core`. Everything on disk is little-endian, but for the journal, and is
//! decoded field by field: no structure is laid over the bytes.
//!
//! Nothing in here panics, whatever the bytes are. All decoders check what they can check
//! without further I/O and return [`Corrupt`] otherwise, so that a decoded value satisfies the
//! invariants that its type documents.
//!
//! `Documentation/on-disk-format.rst` describes the format for people.
//!
//! Each file uses only those before it: `layout`, `bits` and `bytes`, `checksum`, `superblock`, `journal`, `replay`, `extent`,
//! `symlink`, `inode`, `dir`, `xattr`.

// Kbuild says so to every crate of a module, and saying it twice is a warning.
#![cfg_attr(not(MODULE), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod bits;
mod bytes;
mod checksum;
pub mod dir;
mod extent;
mod inode;
pub mod journal;
mod layout;
pub mod replay;
mod superblock;
pub mod symlink;
pub mod xattr;

pub use bytes::{get16, get32, get64, put16, put32, put64};
pub use checksum::{checksum, crc32c, crc32c_update};
pub use extent::{chain_may_have, ChainHeader, Extent};
pub use inode::{flags, Inode, Time};
pub use layout::{
    Corrupt, BITS_PER_BLOCK, BLOCK_LOG2, BLOCK_SIZE, CHAIN_EXTENTS, CHAIN_HEADER, EXTENT_SIZE,
    INLINE_EXTENTS, INLINE_TARGET, INODES_PER_BLOCK, INODE_SIZE, MAX_BLOCKS, MAX_DIR_BLOCKS,
    MAX_EXTENTS, MAX_FILE_BLOCKS, MAX_FILE_SIZE, MAX_INODES, MAX_JOURNAL_BLOCKS, MAX_LINKS,
    MIN_JOURNAL_BLOCKS, ROOT_INO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
    S_IFSOCK,
};
pub use superblock::{
    Region, State, SuperError, Superblock, INCOMPAT_SUPPORTED, LABEL_LEN, RO_COMPAT_SUPPORTED,
    STATFS_MAGIC, SUPER_MAGIC, SUPER_OFFSET, SUPER_SIZE, VERSION,
};

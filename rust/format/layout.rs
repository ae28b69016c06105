// SPDX-License-Identifier: GPL-2.0

//! Sizes, limits and numbers of the format, and what it is to break its rules.

/// A structure on disk that breaks the rules of the format, and which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

/// log2 of the only block size that there is.
pub const BLOCK_LOG2: u32 = 12;
/// The block size in bytes.
pub const BLOCK_SIZE: usize = 1 << BLOCK_LOG2;

/// Size of an inode in the inode table.
pub const INODE_SIZE: usize = 256;
/// Inodes per block of the inode table.
pub const INODES_PER_BLOCK: u64 = (BLOCK_SIZE / INODE_SIZE) as u64;
/// Number of the root directory. Number 0 is never used.
pub const ROOT_INO: u64 = 1;
/// Extents that fit into the inode itself.
pub const INLINE_EXTENTS: usize = 4;
/// Longest target of a symbolic link that is in the inode, in place of the extents.
pub const INLINE_TARGET: usize = INLINE_EXTENTS * EXTENT_SIZE;
/// Size of an extent record.
pub const EXTENT_SIZE: usize = 24;
/// Extents in one block of an inode's extent chain.
pub const CHAIN_EXTENTS: usize = (BLOCK_SIZE - CHAIN_HEADER) / EXTENT_SIZE;
/// Size of the header of an extent chain block.
pub const CHAIN_HEADER: usize = 32;
/// Blocks that a file may span: 16 TiB.
pub const MAX_FILE_BLOCKS: u64 = 1 << 32;
/// Largest file size in bytes.
pub const MAX_FILE_SIZE: u64 = MAX_FILE_BLOCKS << BLOCK_LOG2;
/// Most extents that a file may have. Bounds the length of its chain, hence the memory for it.
pub const MAX_EXTENTS: u32 = 1 << 22;
/// Most links that an inode may have, so that adding one never overflows.
pub const MAX_LINKS: u32 = i32::MAX as u32;
/// Most blocks that a directory may have (256 MiB). Bounds the time of a lookup, which reads them all.
pub const MAX_DIR_BLOCKS: u64 = 1 << 16;
/// Largest number of blocks in a filesystem (256 TiB). Leaves ample room for sums in 64 bits.
pub const MAX_BLOCKS: u64 = 1 << 36;
/// Largest number of inodes in a filesystem.
pub const MAX_INODES: u64 = 1 << 32;
/// Least length of the journal in blocks, the superblock of it included: jbd2 takes no shorter one.
pub const MIN_JOURNAL_BLOCKS: u64 = 1024;
/// Greatest length of the journal in blocks: 1 GiB. A replay has to read all of it.
pub const MAX_JOURNAL_BLOCKS: u64 = 1 << 18;
/// Bits in one bitmap block.
pub const BITS_PER_BLOCK: u64 = (BLOCK_SIZE * 8) as u64;

/// Offset of the checksum in an inode and in a chain block.
pub(super) const CRC_OFFSET: usize = 4;

/// Mask of the file type in a mode.
pub const S_IFMT: u32 = 0o170000;
/// Mode of a FIFO.
pub const S_IFIFO: u32 = 0o010000;
/// Mode of a character device.
pub const S_IFCHR: u32 = 0o020000;
/// Mode of a directory.
pub const S_IFDIR: u32 = 0o040000;
/// Mode of a block device.
pub const S_IFBLK: u32 = 0o060000;
/// Mode of a regular file.
pub const S_IFREG: u32 = 0o100000;
/// Mode of a symbolic link.
pub const S_IFLNK: u32 = 0o120000;
/// Mode of a socket.
pub const S_IFSOCK: u32 = 0o140000;

// SPDX-License-Identifier: GPL-2.0

//! The file system type, and the objects of the VFS that belong to it.

use crate::vfs;

/// The file system type.
pub(crate) struct ToyFs;

/// An in-memory inode of toyfs.
pub(super) type Inode = vfs::Inode<ToyFs>;

/// One whose `i_rwsem` is held exclusively.
pub(super) type LockedInode = vfs::LockedInode<ToyFs>;

/// Such a one whose `invalidate_lock` is held exclusively as well.
pub(super) type InvalidateLock<'a> = vfs::InvalidateLock<'a, ToyFs>;

/// A counted reference to an inode.
pub(super) type InodeRef<'a> = vfs::InodeRef<'a, ToyFs>;

/// A mounted toyfs.
pub(super) type SuperBlock = vfs::SuperBlock<ToyFs>;

/// One whose `s_umount` is held.
pub(super) type LockedSuper = vfs::LockedSuper<ToyFs>;

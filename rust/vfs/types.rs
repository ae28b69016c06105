// SPDX-License-Identifier: GPL-2.0

//! What a file system is to the objects that the wrappers wrap: its data types, and its C operation tables.

use crate::bindings;

/// The data types of a file system: what the operations find in
/// [`SuperBlock::data`](super::SuperBlock::data) and [`Inode::data`](super::Inode::data).
pub(crate) trait Types: Sized + Send + Sync + 'static {
    /// Per-mount data.
    type Super: Send + Sync;

    /// Per-inode data. Created with every in-memory inode, before it is read from disk; dropped
    /// after an RCU grace period, possibly in softirq context.
    type Inode: Send + Sync;
}

/// The C operation tables of a file system, for the methods that hand one to the kernel. Built in `tables`, for
/// everything that is a [`FileSystem`](super::operations::FileSystem).
///
/// # Safety
///
/// The functions in the tables must be those that the C declarations of their places ask for, and expect objects of
/// `Self`.
pub(crate) unsafe trait CTables: Types {
    /// Of directories.
    const DIR_INODE_OPS: &'static bindings::inode_operations;
    /// Of open directories.
    const DIR_FILE_OPS: &'static bindings::file_operations;
    /// Of symbolic links.
    const LINK_INODE_OPS: &'static bindings::inode_operations;
    /// Of devices, FIFOs and sockets.
    const SPECIAL_INODE_OPS: &'static bindings::inode_operations;
    /// Of regular files.
    const FILE_INODE_OPS: &'static bindings::inode_operations;
    /// Of open regular files.
    const FILE_OPS: &'static bindings::file_operations;
    /// Of the page cache of regular files.
    const MAPPING_OPS: &'static bindings::address_space_operations;
    /// Where the data of regular files is.
    const IOMAP_OPS: &'static bindings::iomap_ops;
    /// For what is copied into the page cache.
    const WRITE_OPS: &'static bindings::iomap_write_ops;
    /// For direct writes.
    const WRITE_DIO_OPS: &'static bindings::iomap_dio_ops;
}

/// With this in it, a type with the lifetime `'a` is not one with any other.
pub(super) type Brand<'a> = fn(&'a ()) -> &'a ();

// SPDX-License-Identifier: GPL-2.0

//! The C operation tables, built from the operations that a [`FileSystem`] implements: the raw pointers that the kernel
//! passes become references whose lifetime is the call.
//!
//! A file for each family of tables. Methods of objects find the tables through [`CTables`].

pub(super) mod context;
mod directory;
mod export;
mod fault;
mod file;
mod inode;
mod ioctl;
mod iomap;
mod mapping;
pub(super) mod super_block;
mod writeback;
pub(super) mod xattr;

use super::{operations::FileSystem, types::CTables};
use crate::bindings;

// SAFETY: The functions are written for their places, and for `T`.
unsafe impl<T: FileSystem> CTables for T {
    const DIR_INODE_OPS: &'static bindings::inode_operations =
        &directory::Tables::<T>::DIR_INODE_OPS;
    const DIR_FILE_OPS: &'static bindings::file_operations = &directory::Tables::<T>::DIR_FILE_OPS;
    const LINK_INODE_OPS: &'static bindings::inode_operations = &inode::Tables::<T>::LINK_INODE_OPS;
    const SPECIAL_INODE_OPS: &'static bindings::inode_operations =
        &inode::Tables::<T>::SPECIAL_INODE_OPS;
    const FILE_INODE_OPS: &'static bindings::inode_operations = &inode::Tables::<T>::FILE_INODE_OPS;
    const FILE_OPS: &'static bindings::file_operations = &file::Tables::<T>::FILE_OPS;
    const MAPPING_OPS: &'static bindings::address_space_operations =
        &mapping::Tables::<T>::MAPPING_OPS;
    const IOMAP_OPS: &'static bindings::iomap_ops = &iomap::Tables::<T>::IOMAP_OPS;
    const WRITE_OPS: &'static bindings::iomap_write_ops = &iomap::Tables::<T>::WRITE_OPS;
    const WRITE_DIO_OPS: &'static bindings::iomap_dio_ops = &iomap::Tables::<T>::WRITE_DIO_OPS;
}

// SPDX-License-Identifier: GPL-2.0

//! Where the data of a file is: what iomap asks for and is told.
//!
//! C header: `include/linux/iomap.h`.

use super::{inode::Inode, types::Types};
use crate::bindings;
use kernel::{error::Result, prelude::*};

/// What a mapping is asked for: the `IOMAP_*` flags that `iomap_iter_next()` passes.
#[derive(Clone, Copy)]
pub(crate) struct IomapFlags(pub(super) u32);

impl IomapFlags {
    /// Blocks must be there for writing.
    ///
    /// Not set for zeroing and reporting, which leave holes alone.
    pub(crate) fn is_write(self) -> bool {
        self.0 & bindings::VFS_IOMAP_WRITE != 0
            && self.0 & (bindings::VFS_IOMAP_ZERO | bindings::VFS_IOMAP_REPORT) == 0
    }

    /// The caller must not sleep.
    pub(crate) fn is_nowait(self) -> bool {
        self.0 & bindings::VFS_IOMAP_NOWAIT != 0
    }
}

/// What a range of a file is on the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtentKind {
    /// Nothing.
    Hole,
    /// Data, at this byte of the device.
    Mapped(u64),
    /// Blocks at this byte of the device, whose contents are not the file's: they read as zeroes.
    Unwritten(u64),
}

/// A range of a file, in bytes, and what it is on the device.
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) kind: ExtentKind,
    /// Metadata needed to find the data is not durable yet: `fdatasync(2)` must write it.
    pub(crate) dirty: bool,
    /// [`MappingOps::map_sequence`](super::MappingOps::map_sequence) as it was when the extent held.
    pub(crate) sequence: u64,
}

/// `IOMAP_NULL_ADDR`.
const NULL_ADDR: u64 = u64::MAX;

impl Extent {
    /// Fills in `iomap`. `EIO` if the extent does not contain `pos`.
    pub(super) fn fill<T: Types>(
        &self,
        inode: &Inode<T>,
        pos: u64,
        iomap: &mut bindings::iomap,
    ) -> Result {
        let end = self.offset.checked_add(self.len);
        if pos < self.offset || end.is_none_or(|end| pos >= end || end > i64::MAX as u64) {
            return Err(EIO);
        }
        let (ty, addr) = match self.kind {
            ExtentKind::Hole => (bindings::IOMAP_HOLE, NULL_ADDR),
            ExtentKind::Mapped(addr) => (bindings::IOMAP_MAPPED, addr),
            ExtentKind::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, addr),
        };
        iomap.offset = self.offset as i64;
        iomap.length = self.len;
        iomap.type_ = ty as u16;
        iomap.addr = addr;
        iomap.flags = if self.dirty {
            bindings::VFS_IOMAP_F_DIRTY as u16
        } else {
            0
        };
        iomap.validity_cookie = self.sequence;
        iomap.bdev = inode.super_block().device().as_raw();
        Ok(())
    }
}

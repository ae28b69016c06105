// SPDX-License-Identifier: GPL-2.0

//! Safe faces of the file system interfaces: super block, inode, directory, page cache, iomap,
//! direct I/O and page fault.
//!
//! A file system implements the traits [`FileSystem`], [`DirOps`], [`FileOps`] and [`MappingOps`] on
//! one marker type and registers it with [`Registration`]. The C operation tables are built from the
//! traits; the raw pointers that the kernel passes to them become references whose lifetime is the
//! call. All `unsafe` of a file system lives here.
//!
//! C headers: `include/linux/fs.h`, `include/linux/fs_context.h`, `include/linux/iomap.h`,
//! `include/linux/pagemap.h`, `include/linux/uio.h`.

mod block_device;
mod dio;
mod file;
mod inode;
mod mapping;
mod super_block;

pub(crate) use self::{
    block_device::{BlockDevice, ErrorCursor, NofsScope},
    dio::{direct_rw, direct_write_later, DirectFlags, PageOwner, PinnedBuffer},
    file::{
        fatal_signal_pending, Fallocate, FaultAnswer, FaultResult, FileOps, IovIter, IterState,
        Kiocb, PageMkwrite,
    },
    inode::{
        Attr, DirEmitter, DirOps, Idmap, Inode, InodeLock, InodeLockShared, NewInode, StatDio,
        Timestamp,
    },
    mapping::{
        Extent, ExtentKind, IomapFlags, LockedFolio, MappingOps, ReadFolio, Readahead, Relocked,
    },
    super_block::{
        FileSystem, FsStatics, Options, PendingSuper, Registration, SeqWriter, StatFs, SuperBlock,
        SuperGeometry,
    },
};

use kernel::{error::Result, prelude::*};

/// Turns a byte count or an error into what `->read_iter()` and friends return.
fn to_ssize(ret: Result<usize>) -> isize {
    match ret {
        // CAST: Counts are limited by MAX_RW_COUNT, below `isize::MAX`.
        Ok(n) => n as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// Turns a C return value (byte count or negative errno) into a `Result`.
fn from_ssize(ret: isize) -> Result<usize> {
    if ret < 0 {
        // CAST: Negative values are errnos, which fit.
        Err(Error::from_errno(ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// Turns zero or a negative errno into what C expects of an `int` function.
fn to_int(ret: Result) -> i32 {
    match ret {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

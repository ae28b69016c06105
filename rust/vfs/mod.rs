// SPDX-License-Identifier: GPL-2.0

//! Safe faces of the file system interfaces: super block, inode, directory, page cache, iomap,
//! direct I/O and page fault.
//!
//! A file for each object of the kernel's, each of which uses only those before it in this list:
//!
//! - `errno`, `types`, `task`, `message`, `debugfs`, `lockdep`: what others are made with.
//! - `block_device`, `work_queue`, `deferred`, `ioend`, `fs_type`, `super_block`, `journal`.
//! - `inode`, `inode_lock`, `new_inode`, `directory`, `xattr`.
//! - `iov_iter`, `file`, `iomap`, `mapping`, `fault`, `pinned`, `dio`.
//! - `operations`: what a file system implements, on one marker type.
//! - `tables`: the C operation tables, built from that. `registration`.
//!
//! A file system implements [`Types`], and the traits that make it a
//! [`FileSystem`](operations::FileSystem), and registers it with [`Registration`]. All `unsafe` of a file system lives here.
//!
//! C headers: `include/linux/fs.h`, `include/linux/fs_context.h`, `include/linux/iomap.h`,
//! `include/linux/pagemap.h`, `include/linux/uio.h`.

mod access;
mod block_device;
mod debugfs;
mod deferred;
mod dio;
mod directory;
mod errno;
mod fault;
mod file;
mod fs_type;
mod inode;
mod inode_lock;
mod ioend;
mod iomap;
mod iov_iter;
mod journal;
mod last_time;
mod lockdep;
mod mapping;
mod message;
mod new_inode;
mod operations;
mod pinned;
mod registration;
mod super_block;
mod tables;
mod task;
#[cfg(CONFIG_KUNIT = "y")]
mod threads;
mod types;
mod work_queue;
mod xattr;

#[cfg(CONFIG_KUNIT = "y")]
pub(crate) use self::threads::with_threads;
pub(crate) use self::{
    access::Reader,
    block_device::{BlockDevice, ErrorCursor},
    debugfs::{File, Show},
    dio::{direct_rw, direct_rw_later, flush_plug, DirectMemory, DirectOps, DirectWritten},
    directory::{DirEmitter, Place},
    fault::{FaultAnswer, FaultResult, PageMkwrite},
    file::{Fallocate, InodeHeld, Kiocb},
    fs_type::FsStatics,
    inode::{FileFlags, Inode, InodeRef, StatDio, Timestamp},
    inode_lock::{InodeLock, InodeLockShared, LockedInode},
    iomap::{Extent, ExtentKind, IomapFlags},
    iov_iter::IovIter,
    journal::{AtomicTid, FoundJournal, Handle, Journal, Tid},
    last_time::LastTime,
    lockdep::might_lock_folio,
    mapping::InvalidateLock,
    message::{panic, RateLimit},
    new_inode::{Attr, Idmap, NewInode},
    operations::{
        AdminOps, AttrOps, DirOps, ExportOps, FileOps, MappingOps, Options, Shutdown, SuperOps,
    },
    pinned::{pinned_pages, PageOwner, PinnedBuffer},
    registration::Registration,
    super_block::{LockedSuper, PendingSuper, StatFs, SuperBlock, SuperGeometry},
    task::{cond_resched, fatal_signal_pending, NofsScope},
    types::Types,
    xattr::{NewAcls, XattrKind, XattrList, XattrMode},
};

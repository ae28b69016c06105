// SPDX-License-Identifier: GPL-2.0

//! The operations that a file system implements.
//!
//! What implements them all, on one marker type, is a [`FileSystem`]; nobody else names them together.
//!
//! C headers, for the tables of functions that these stand for: `include/linux/fs.h`,
//! `include/linux/fs_context.h`, `include/linux/mm.h`, `include/linux/iomap.h`.

use super::{
    access::Reader,
    dio::DirectOps,
    directory::{DirEmitter, Place},
    fault::{FaultAnswer, FaultResult, PageMkwrite},
    file::{Fallocate, Kiocb},
    inode::{Inode, InodeRef, StatDio, Timestamp},
    inode_lock::LockedInode,
    iomap::{Extent, IomapFlags},
    iov_iter::IovIter,
    new_inode::{Idmap, NewInode},
    super_block::{LockedSuper, PendingSuper, StatFs, SuperBlock},
    types::Types,
    xattr::{XattrKind, XattrList, XattrMode},
};
use core::{convert::Infallible, ops::RangeInclusive};
use kernel::{error::Result, prelude::*, seq_file::SeqFile, str::CStr};

/// A file system: a type with all the operations.
pub(crate) trait FileSystem:
    SuperOps + AdminOps + DirOps + ExportOps + AttrOps + FileOps + DirectOps + MappingOps
{
}

impl<T> FileSystem for T where
    T: SuperOps + AdminOps + DirOps + ExportOps + AttrOps + FileOps + DirectOps + MappingOps
{
}

/// Mount options.
pub(crate) trait Options: Default + Send {
    /// Parses one option.
    ///
    /// # Errors
    ///
    /// `Ok(false)` for an unknown one; `Err(message)` for a value that makes no sense.
    fn parse(&mut self, key: &CStr, value: Option<&CStr>) -> Result<bool, &'static CStr>;
}

/// Operations on a file system type, and on a mount as a whole.
pub(crate) trait SuperOps: Types {
    /// Name as in `/proc/filesystems`.
    const NAME: &'static CStr;

    /// Name of the inode slab cache.
    const INODE_CACHE: &'static CStr;

    /// The mount options.
    type Options: Options;

    /// Initialises the per-inode data.
    fn new_inode_data() -> impl PinInit<Self::Inode, Infallible>;

    /// Reads the super block of a device that is being mounted.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a device without this file system, `EUCLEAN` for a corrupt one. The mount fails
    /// with the error; the function prints why.
    fn fill_super(
        sb: &PendingSuper<'_, Self>,
        options: &Self::Options,
    ) -> Result<Pin<KBox<Self::Super>>>;

    /// Returns the root directory. Called once, after [`SuperOps::fill_super`].
    fn root(sb: &SuperBlock<Self>) -> Result<InodeRef<'_, Self>>;

    /// The options that a mount has now: what a remount starts from.
    fn current_options(sb: &SuperBlock<Self>) -> Self::Options;

    /// Applies new options to a mount; `read_only` is the new state. Nothing has changed on error. If it is
    /// `forced` (an emergency remount), those who write may still do so until it is the state.
    fn reconfigure(
        sb: &LockedSuper<Self>,
        options: &Self::Options,
        read_only: bool,
        forced: bool,
    ) -> Result;

    /// What [`SuperBlock::defer`] has asked for. Returns whether it is to be called again, a little later. The mount may be frozen, or
    /// read-only; it has not ended. For [`LockedSuper::undefer`] it takes no `s_umount`.
    fn deferred(sb: &SuperBlock<Self>) -> bool;

    /// Ends a mount: the last chance to write. All inodes are gone. [`Self::deferred`] may be called meanwhile.
    fn put_super(sb: &LockedSuper<Self>);

    /// Fails if nothing may be changed any more. Asked before every operation that changes something: the VFS
    /// does not ask for files that were open when the mount was forced to be read-only.
    fn check_writable(sb: &SuperBlock<Self>) -> Result;

    /// Fails if nothing may be read any more, not even from memory. Asked before every operation that does not ask
    /// [`SuperOps::check_writable`], but for those that only tell what an inode is.
    fn check_readable(sb: &SuperBlock<Self>) -> Result;

    /// Writes what [`SuperOps::write_inode`] and the page cache of the device do not cover.
    fn sync_fs(sb: &LockedSuper<Self>, wait: bool) -> Result;

    /// Leaves the device as it may stay for a while: the VFS has stopped everybody who writes, and written everything.
    fn freeze(sb: &LockedSuper<Self>) -> Result;

    /// Fills in `statfs(2)`.
    fn statfs(sb: &SuperBlock<Self>) -> StatFs;

    /// Prints the options as in `/proc/mounts`, each with a comma before it.
    fn show_options(sb: &SuperBlock<Self>, out: &SeqFile);

    /// Writes an inode that was marked dirty. What makes it durable is [`FileOps::fsync`] or [`SuperOps::sync_fs`].
    fn write_inode(inode: &Inode<Self>) -> Result;

    /// Ends an inode's life in memory. Its pages are gone. With `nlink` zero, it also ends on disk.
    fn evict_inode(inode: &Inode<Self>);
}

/// What is still written when a file system is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// All that was changed.
    Everything,
    /// Metadata, and not the data of files.
    Metadata,
    /// Nothing.
    Nothing,
}

/// Operations on a mount that an administrator asks for, by `ioctl(2)`.
pub(crate) trait AdminOps: Types {
    /// Most bytes that a label has.
    const LABEL_LEN: usize;

    /// Fills in the label, with zeroes at the end, into [`Self::LABEL_LEN`] bytes.
    fn label(sb: &SuperBlock<Self>, to: &mut [u8]);

    /// Changes the label to one of at most [`Self::LABEL_LEN`] bytes, none of which is zero. The caller keeps the mount writable.
    fn set_label(sb: &SuperBlock<Self>, label: &[u8]) -> Result;

    /// Tells the device which of the bytes `start..start + len` are not in use, in pieces of at least `least` bytes. Returns
    /// how many.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a device that does not want to know, `EINVAL` for a range that is not there, `EINTR`.
    fn trim(sb: &SuperBlock<Self>, start: u64, len: u64, least: u64) -> Result<u64>;

    /// Stops the file system, for good: everything fails with `EIO` from now on, and nothing is written. What was written is as
    /// after a power cut.
    fn shutdown(sb: &SuperBlock<Self>, how: Shutdown) -> Result;
}

/// Operations on the attributes of inodes.
pub(crate) trait AttrOps: Types {
    /// Calls `f` with the value of an extended attribute. `name` is what follows what `kind` stands for.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, and what `f` returns.
    fn get_xattr(
        inode: &Inode<Self>,
        kind: XattrKind,
        name: &[u8],
        f: impl FnOnce(&[u8]) -> Result,
    ) -> Result;

    /// Sets an extended attribute, or removes it; with it, and on disk at once, the permissions of the inode become `permissions`.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENODATA` as `mode` says. `ENODATA` too if there is none to be removed, unless permissions are given. `ENOSPC` if it does not
    /// fit.
    fn set_xattr(
        inode: &LockedInode<Self>,
        kind: XattrKind,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
        permissions: Option<u16>,
    ) -> Result;

    /// Adds all extended attributes to `list`.
    fn list_xattrs(inode: &Inode<Self>, list: &mut XattrList<'_>) -> Result;

    /// The flags of an inode, as in `FS_IOC_GETFLAGS`.
    fn file_flags(inode: &Inode<Self>) -> u32;

    /// Changes them. The caller may.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a flag that is unknown, or makes no sense for this inode.
    fn set_file_flags(inode: &LockedInode<Self>, flags: u32) -> Result;
}

/// Operations on directories and inodes.
///
/// The VFS holds `i_rwsem` of the directory: shared for `lookup` and `iterate`, exclusive where the argument
/// says so.
pub(crate) trait DirOps: Types {
    /// Finds `name`; `Ok(None)` if it is not there.
    fn lookup<'a>(dir: &'a Inode<Self>, name: &[u8]) -> Result<Option<InodeRef<'a, Self>>>;

    /// Creates what the type in `mode` says, but no symbolic link. `rdev` is the number of a device, as
    /// [`Inode::rdev`] returns it.
    ///
    /// Returns the new inode with its entry in `dir` made; the caller instantiates the dentry.
    fn create<'a>(
        dir: &'a LockedInode<Self>,
        idmap: &Idmap,
        name: &[u8],
        mode: u16,
        rdev: u32,
    ) -> Result<NewInode<'a, Self>>;

    /// Creates a symbolic link, as [`Self::create`] does. `ENAMETOOLONG` for a target that is too long.
    fn symlink<'a>(
        dir: &'a LockedInode<Self>,
        idmap: &Idmap,
        name: &[u8],
        target: &[u8],
    ) -> Result<NewInode<'a, Self>>;

    /// Creates a regular file without a name, which [`Self::link`] may give one; `dir` is not locked.
    fn tmpfile<'a>(dir: &'a Inode<Self>, idmap: &Idmap, mode: u16) -> Result<NewInode<'a, Self>>;

    /// Makes `name`, which is not there, one more entry of `inode`, which is no directory and has fewer links than there may be; none
    /// only if it comes from [`Self::tmpfile`].
    fn link(dir: &LockedInode<Self>, name: &[u8], inode: &LockedInode<Self>) -> Result;

    /// Removes the entry of what is no directory.
    fn unlink(dir: &LockedInode<Self>, name: &[u8], inode: &LockedInode<Self>) -> Result;

    /// Removes the entry of a directory; `ENOTEMPTY` if it has entries.
    fn rmdir(dir: &LockedInode<Self>, name: &[u8], inode: &LockedInode<Self>) -> Result;

    /// Moves the entry of `inode`. `target` is what the new place names now. With `whiteout` the old place names a new character
    /// device 0/0 afterwards.
    fn rename(
        from: &Place<'_, Self>,
        inode: &Inode<Self>,
        to: &Place<'_, Self>,
        target: Option<&LockedInode<Self>>,
        whiteout: Option<&Idmap>,
    ) -> Result;

    /// Lets the entries of `a_inode` and `b_inode` change places.
    fn exchange(
        a: &Place<'_, Self>,
        a_inode: &Inode<Self>,
        b: &Place<'_, Self>,
        b_inode: &Inode<Self>,
    ) -> Result;

    /// Emits the entries from position `out.pos()` on, which is at least 2: "." and ".." have been
    /// emitted.
    fn iterate(dir: &Inode<Self>, out: &mut DirEmitter<'_>) -> Result;

    /// Changes the size of a regular file.
    fn set_size(inode: &LockedInode<Self>, size: u64) -> Result;

    /// What direct I/O must be aligned to, for `statx(2)`.
    fn dio_alignment(inode: &Inode<Self>) -> StatDio;

    /// Makes a directory, or a file's metadata, durable.
    fn sync_metadata(inode: &Inode<Self>) -> Result;

    /// The time of creation, for `statx(2)`.
    fn birth_time(inode: &Inode<Self>) -> Timestamp;
}

/// Operations by file handle. What a handle says need not make sense, and never did perhaps.
pub(crate) trait ExportOps: Types {
    /// Returns the inode that has this number and generation, if it has links or is in memory.
    ///
    /// # Errors
    ///
    /// `ESTALE`, and no message, if there is none.
    fn inode_of_handle(
        sb: &SuperBlock<Self>,
        ino: u64,
        generation: u32,
    ) -> Result<InodeRef<'_, Self>>;

    /// Returns the directory that a directory is in. `ESTALE`, and no message, for what is no directory, or in none any more.
    fn parent(dir: &Inode<Self>) -> Result<InodeRef<'_, Self>>;
}

/// Operations on open regular files.
pub(crate) trait FileOps: Types {
    /// `read(2)` and its relatives. Returns the number of bytes read.
    fn read(iocb: &mut Kiocb<'_, Self>, to: &mut IovIter<'_>) -> Result<usize>;

    /// `write(2)` and its relatives. Returns the number of bytes written, and has made them durable
    /// if the request asks for it.
    fn write(iocb: &mut Kiocb<'_, Self>, from: &mut IovIter<'_>) -> Result<usize>;

    /// `fallocate(2)`, of `len` bytes, at least one. The caller has updated the times, and has checked that the
    /// file may become as long as `op` makes it.
    fn fallocate(inode: &LockedInode<Self>, op: Fallocate, pos: u64, len: u64) -> Result;

    /// Makes the metadata durable that the file's data, already written, needs.
    fn fsync(inode: &Inode<Self>, datasync: bool) -> Result;

    /// A page fault on page `index` of the file. Process context; locks of the memory map are held.
    ///
    /// The answer is all: serving a fault may drop those locks, and with them go VMA, file and inode.
    fn fault(inode: &Inode<Self>, index: u64) -> FaultAnswer;

    /// Whether [`MappingOps::reads`] should know for whom. Asked when an access begins; if not, that is [`Reader::Unknown`] to the
    /// end of the access. Must not sleep.
    fn asks_for_reader(inode: &Inode<Self>) -> bool;

    /// The current task has loaded or spliced from the page cache of the file what it wanted, or has failed to. Must not sleep.
    fn got(inode: &Inode<Self>);

    /// A page of a shared mapping is about to become writable. To be answered by
    /// [`PageMkwrite::serve`] or [`PageMkwrite::refuse`].
    fn page_mkwrite<'a>(inode: &Inode<Self>, fault: PageMkwrite<'a, Self>) -> FaultResult<'a>;
}

/// Operations on the page cache of regular files.
pub(crate) trait MappingOps: Types {
    /// Finds, or with [`IomapFlags::is_write`] makes, the mapping of the file at `pos`.
    ///
    /// The extent returned contains `pos`. A write to a hole gets
    /// [`ExtentKind::Unwritten`](super::ExtentKind::Unwritten) blocks.
    fn map(inode: &Inode<Self>, pos: u64, len: u64, flags: IomapFlags) -> Result<Extent>;

    /// Changes whenever an extent that [`MappingOps::map`] returned may no longer hold.
    fn map_sequence(inode: &Inode<Self>) -> u64;

    /// The mapping for writing a dirty page back.
    fn map_for_writeback(inode: &Inode<Self>, pos: u64) -> Result<Extent>;

    /// The unwritten blocks of `pos..pos + len` have been written by writeback: makes them ordinary
    /// ones. Called from a work queue of the mount's own, where memory allocations do not enter file
    /// system reclaim.
    fn written(inode: &Inode<Self>, pos: u64, len: u64) -> Result;

    /// The current task reads `pages`, by index, into the cache, with their folios locked. `reader` says for whom.
    fn reads(inode: &Inode<Self>, pages: &RangeInclusive<u64>, reader: impl FnOnce() -> Reader);

    /// Before a folio is found or made, and locked, for a copy into it. May sleep.
    ///
    /// Every success is followed by one [`MappingOps::leave_folio`] in the same task.
    fn enter_folio(inode: &Inode<Self>) -> Result;

    /// After the folio was unlocked.
    fn leave_folio(inode: &Inode<Self>);

    /// Something was copied into a folio, which is still locked, and the file may have become longer. Who writes the folio back must find
    /// that the inode has to be written, too.
    fn copied(inode: &Inode<Self>);
}

// SPDX-License-Identifier: GPL-2.0

//! Inodes and directories.
//!
//! C headers: `include/linux/fs.h`, `include/linux/dcache.h`.

use super::{
    file::FileOps,
    mapping::MappingOps,
    super_block::{FileSystem, SuperBlock, Tables},
    to_int,
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    mem::{self, offset_of, ManuallyDrop, MaybeUninit},
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    error::{to_result, Result},
    prelude::*,
    sync::aref::{ARef, AlwaysRefCounted},
    types::{NotThreadSafe, Opaque},
};

/// Operations on directories and inodes.
///
/// The VFS holds `i_rwsem` of the directory: shared for `lookup` and `iterate`, exclusive for the
/// others.
pub(crate) trait DirOps: FileSystem {
    /// Finds `name`; `Ok(None)` if it is not there.
    fn lookup(dir: &Inode<Self>, name: &[u8]) -> Result<Option<ARef<Inode<Self>>>>;

    /// Creates a regular file (`S_IFREG` in `mode`) or a directory (`S_IFDIR`).
    ///
    /// Returns the new inode with its entry in `dir` made; the caller instantiates the dentry.
    fn create(dir: &Inode<Self>, idmap: &Idmap, name: &[u8], mode: u16) -> Result<NewInode<Self>>;

    /// Removes the entry of a regular file.
    fn unlink(dir: &Inode<Self>, name: &[u8], inode: &Inode<Self>) -> Result;

    /// Removes the entry of a directory; `ENOTEMPTY` if it has entries.
    fn rmdir(dir: &Inode<Self>, name: &[u8], inode: &Inode<Self>) -> Result;

    /// Moves an entry. `target` is what `new_name` names now.
    fn rename(
        old_dir: &Inode<Self>,
        old_name: &[u8],
        inode: &Inode<Self>,
        new_dir: &Inode<Self>,
        new_name: &[u8],
        target: Option<&Inode<Self>>,
        no_replace: bool,
    ) -> Result;

    /// Emits the entries from position `out.pos()` on, which is at least 2: "." and ".." have been
    /// emitted.
    fn iterate(dir: &Inode<Self>, out: &mut DirEmitter<'_>) -> Result;

    /// Changes the size of a regular file; `i_rwsem` is held exclusively.
    fn set_size(inode: &Inode<Self>, size: u64) -> Result;

    /// What direct I/O must be aligned to, for `statx(2)`.
    fn dio_alignment(inode: &Inode<Self>) -> StatDio;

    /// Makes a directory, or a file's metadata, durable.
    fn sync_metadata(inode: &Inode<Self>) -> Result;

    /// The time of creation, for `statx(2)`.
    fn birth_time(inode: &Inode<Self>) -> Timestamp;
}

/// `stx_dio_mem_align` and `stx_dio_offset_align`.
pub(crate) struct StatDio {
    pub(crate) memory: u32,
    pub(crate) offset: u32,
}

/// A point in time: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Default)]
pub(crate) struct Timestamp {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

/// The id mapping of the mount that an operation came through.
#[repr(transparent)]
pub(crate) struct Idmap(Opaque<bindings::mnt_idmap>);

/// An inode together with the file system's data: what the slab cache holds.
#[repr(C)]
pub(super) struct InodeBox<T: FileSystem> {
    pub(super) data: UnsafeCell<MaybeUninit<T::Inode>>,
    pub(super) inode: Opaque<bindings::inode>,
}

impl<T: FileSystem> InodeBox<T> {
    pub(super) fn of(inode: *mut bindings::inode) -> *mut Self {
        inode.wrapping_byte_sub(offset_of!(Self, inode)).cast()
    }
}

/// An in-memory inode of file system `T`.
///
/// # Invariants
///
/// Is the `inode` of an [`InodeBox<T>`] whose data is initialised.
#[repr(transparent)]
pub(crate) struct Inode<T: FileSystem>(Opaque<bindings::inode>, core::marker::PhantomData<T>);

// SAFETY: `T::Inode` is `Send + Sync`, and the VFS part is reference counted and synchronised.
unsafe impl<T: FileSystem> Send for Inode<T> {}
// SAFETY: As above.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

// SAFETY: `i_count` keeps an inode in memory.
unsafe impl<T: FileSystem> AlwaysRefCounted for Inode<T> {
    fn inc_ref(&self) {
        // SAFETY: A shared reference implies that the count is not zero.
        unsafe { bindings::ihold(self.as_raw()) }
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up one reference.
        unsafe { bindings::iput(obj.as_ref().as_raw()) }
    }
}

impl<T: FileSystem> Inode<T> {
    /// # Safety
    ///
    /// `ptr` must be an inode of `T` that lives for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: Transparent; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    pub(super) fn raw_mapping(&self) -> *mut bindings::address_space {
        // SAFETY: Valid inode; constant for the inodes of such a file system.
        unsafe { (*self.as_raw()).i_mapping }
    }

    /// The file system's data.
    pub(crate) fn data(&self) -> &T::Inode {
        // SAFETY: By the type invariant. Only shared references are ever made until it is freed.
        unsafe { (*(*InodeBox::<T>::of(self.as_raw())).data.get()).assume_init_ref() }
    }

    /// The super block.
    pub(crate) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: Outlives its inodes; inodes exist only after its data was set.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: Constant once the inode is visible.
        unsafe { (*self.as_raw()).i_ino }
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: Valid inode. A racing chmod gives the one or the other.
        unsafe { ptr::read_volatile(ptr::addr_of!((*self.as_raw()).i_mode)) }
    }

    /// Whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFDIR
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_size_read(self.as_raw()) as u64 }
    }

    /// Changes the size in memory. The caller holds `i_rwsem` exclusively, or the inode is new.
    pub(crate) fn set_size_field(&self, size: u64) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_size_write(self.as_raw(), size as i64) }
    }

    /// Owner and group, as stored.
    pub(crate) fn owner(&self) -> (u32, u32) {
        // SAFETY: Valid inode.
        unsafe {
            (
                bindings::vfs_i_uid_read(self.as_raw()),
                bindings::vfs_i_gid_read(self.as_raw()),
            )
        }
    }

    /// Number of links.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_i_nlink(self.as_raw()) }
    }

    /// Adds a link. The caller holds `i_rwsem` exclusively, or the inode is new.
    pub(crate) fn inc_nlink(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::inc_nlink(self.as_raw()) }
    }

    /// Removes a link. The caller holds `i_rwsem` exclusively.
    pub(crate) fn drop_nlink(&self) {
        // SAFETY: Valid inode with a link, or the VFS warns.
        unsafe { bindings::drop_nlink(self.as_raw()) }
    }

    /// Removes all links. The caller holds `i_rwsem` exclusively, or the inode is new.
    pub(crate) fn clear_nlink(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::clear_nlink(self.as_raw()) }
    }

    /// The generation number.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: Constant once the inode is visible.
        unsafe { (*self.as_raw()).i_generation }
    }

    /// Access, modification and change times.
    pub(crate) fn times(&self) -> [Timestamp; 3] {
        let i = self.as_raw();
        // SAFETY: Valid inode; a torn time is as good as the VFS itself gives.
        unsafe {
            [
                Timestamp {
                    sec: (*i).i_atime_sec,
                    nsec: (*i).i_atime_nsec,
                },
                Timestamp {
                    sec: (*i).i_mtime_sec,
                    nsec: (*i).i_mtime_nsec,
                },
                Timestamp {
                    sec: (*i).i_ctime_sec,
                    nsec: (*i).i_ctime_nsec,
                },
            ]
        }
    }

    /// Sets modification and change time to now.
    pub(crate) fn touch(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_touch(self.as_raw()) }
    }

    /// Sets the change time to now.
    pub(crate) fn touch_ctime(&self) {
        // SAFETY: Valid inode.
        unsafe {
            bindings::inode_set_ctime_current(self.as_raw());
        }
    }

    /// Sets what `stat(2)` reports as blocks of 512 bytes.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_set_blocks(self.as_raw(), sectors) }
    }

    /// Has the inode written back in time, and by `fsync(2)` and `fdatasync(2)`.
    pub(crate) fn mark_dirty(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_mark_inode_dirty(self.as_raw()) }
    }

    /// Whether the inode waits for writeback; `datasync` leaves out what `fdatasync(2)` does not need.
    pub(crate) fn is_dirty(&self, datasync: bool) -> bool {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_is_dirty(self.as_raw(), datasync) }
    }

    /// Writes the inode back if it is dirty and waits for it.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_raw(), 1) })
    }

    /// Takes `i_rwsem` exclusively; `EINTR` if the task is killed while it waits.
    pub(crate) fn lock(&self) -> Result<InodeLock<'_, T>> {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::vfs_inode_lock_killable(self.as_raw()) })?;
        Ok(InodeLock(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` exclusively if that needs no waiting.
    pub(crate) fn try_lock(&self) -> Option<InodeLock<'_, T>> {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_trylock(self.as_raw()) }
            .then(|| InodeLock(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` shared; `EINTR` if the task is killed while it waits.
    pub(crate) fn lock_shared(&self) -> Result<InodeLockShared<'_, T>> {
        // SAFETY: Valid inode.
        to_result(unsafe { bindings::vfs_inode_lock_shared_killable(self.as_raw()) })?;
        Ok(InodeLockShared(self, NotThreadSafe))
    }

    /// Takes `i_rwsem` shared if that needs no waiting.
    pub(crate) fn try_lock_shared(&self) -> Option<InodeLockShared<'_, T>> {
        // SAFETY: Valid inode.
        unsafe { bindings::vfs_inode_trylock_shared(self.as_raw()) }
            .then(|| InodeLockShared(self, NotThreadSafe))
    }

    /// Whether writes need not look for privileges to remove (`S_NOSEC`).
    pub(crate) fn is_nosec(&self) -> bool {
        // SAFETY: Valid inode.
        unsafe { (*self.as_raw()).i_flags & bindings::VFS_S_NOSEC != 0 }
    }

    /// Waits until no direct I/O on the inode is in flight. The caller holds `i_rwsem` exclusively.
    pub(crate) fn dio_wait(&self) {
        // SAFETY: Valid inode.
        unsafe { bindings::inode_dio_wait(self.as_raw()) }
    }
}

/// `i_rwsem` held exclusively.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct InodeLock<'a, T: FileSystem>(&'a Inode<T>, NotThreadSafe);

impl<T: FileSystem> Drop for InodeLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task, by construction.
        unsafe { bindings::vfs_inode_unlock(self.0.as_raw()) }
    }
}

/// `i_rwsem` held shared.
#[must_use = "the lock is released when the guard is dropped"]
pub(crate) struct InodeLockShared<'a, T: FileSystem>(&'a Inode<T>, NotThreadSafe);

impl<T: FileSystem> Drop for InodeLockShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task, by construction.
        unsafe { bindings::vfs_inode_unlock_shared(self.0.as_raw()) }
    }
}

/// What is read from disk, or decided, about an inode before it becomes visible.
pub(crate) struct Attr {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) size: u64,
    pub(crate) sectors: u64,
    pub(crate) generation: u32,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
}

/// An inode that only its creator uses (`I_NEW`). Dropping it discards it.
pub(crate) struct NewInode<T: FileSystem>(NonNull<Inode<T>>);

impl<T: FileSystem> core::ops::Deref for NewInode<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: The value owns a reference.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        // SAFETY: New and referenced, by construction. Unhashed, it leaves memory with the reference, and
        // those who wait for it look again.
        unsafe { bindings::vfs_abandon_new_inode(self.as_raw()) }
    }
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> NewInode<T> {
    /// Fills in an inode that was read from disk.
    pub(crate) fn set_attr(&self, attr: &Attr) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet.
        unsafe {
            (*i).i_mode = attr.mode;
            (*i).i_generation = attr.generation;
            bindings::vfs_i_uid_write(i, attr.uid);
            bindings::vfs_i_gid_write(i, attr.gid);
            bindings::set_nlink(i, attr.nlink);
            bindings::vfs_inode_set_atime(i, attr.atime.sec, attr.atime.nsec);
            bindings::vfs_inode_set_mtime(i, attr.mtime.sec, attr.mtime.nsec);
            bindings::vfs_inode_set_ctime(i, attr.ctime.sec, attr.ctime.nsec);
        }
        self.set_size_field(attr.size);
        self.set_sectors(attr.sectors);
        self.set_operations();
    }

    /// Fills in an inode that is being created in `dir` now.
    pub(crate) fn set_created(&self, dir: &Inode<T>, idmap: &Idmap, mode: u16) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet; the id mapping is valid for the operation.
        unsafe {
            (*i).i_generation = bindings::vfs_random_u32();
            bindings::inode_init_owner(idmap.0.get(), i, dir.as_raw(), mode);
            bindings::simple_inode_init_ts(i);
        }
        self.set_operations();
    }

    fn set_operations(&self) {
        let i = self.as_raw();
        // SAFETY: Nobody else uses the inode yet; the tables are constants.
        unsafe {
            if self.is_dir() {
                (*i).i_op = &Tables::<T>::DIR_INODE_OPS;
                (*i).__bindgen_anon_3.i_fop = &Tables::<T>::DIR_FILE_OPS;
            } else {
                (*i).i_op = &Tables::<T>::FILE_INODE_OPS;
                (*i).__bindgen_anon_3.i_fop = &Tables::<T>::FILE_OPS;
                (*(*i).i_mapping).a_ops = &Tables::<T>::MAPPING_OPS;
            }
        }
    }

    /// Makes the inode visible to everybody who looks it up.
    pub(crate) fn publish(self) -> ARef<Inode<T>> {
        let this = ManuallyDrop::new(self);
        // SAFETY: Filled in; the reference moves to the return value.
        unsafe {
            bindings::unlock_new_inode(this.as_raw());
            ARef::from_raw(this.0)
        }
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// Finds inode `ino` in memory, or returns a new one to be filled in.
    ///
    /// Wraps `iget_locked()`.
    pub(crate) fn inode(&self, ino: u64) -> Result<Result<ARef<Inode<T>>, NewInode<T>>> {
        // SAFETY: Valid super block.
        let ptr = unsafe { bindings::iget_locked(self.as_raw(), ino) };
        let inode = NonNull::new(ptr.cast::<Inode<T>>()).ok_or(ENOMEM)?;
        // SAFETY: Referenced; it is ours to fill in if it is new, else it was filled in.
        unsafe {
            if bindings::vfs_inode_is_new(ptr) {
                Ok(Err(NewInode(inode)))
            } else {
                Ok(Ok(ARef::from_raw(inode)))
            }
        }
    }

    /// Makes an in-memory inode for the newly allocated number `ino`, without links.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the number is in use, `ENOMEM`.
    pub(crate) fn new_inode(&self, ino: u64) -> Result<NewInode<T>> {
        // SAFETY: Valid super block; the inode is ours until it is published.
        unsafe {
            let ptr = bindings::new_inode(self.as_raw());
            let inode = NonNull::new(ptr.cast::<Inode<T>>()).ok_or(ENOMEM)?;
            (*ptr).i_ino = ino;
            if bindings::insert_inode_locked(ptr) != 0 {
                // Not in the hash, so nobody looks at it: nothing of it is on disk.
                bindings::clear_nlink(ptr);
                (*ptr).i_ino = 0;
                bindings::iput(ptr);
                return Err(EUCLEAN);
            }
            Ok(NewInode(inode))
        }
    }
}

/// Where a directory's entries go.
pub(crate) struct DirEmitter<'a>(&'a mut bindings::dir_context);

impl DirEmitter<'_> {
    /// The position to start at.
    pub(crate) fn pos(&self) -> u64 {
        self.0.pos as u64
    }

    /// Sets the position that the next call starts at.
    pub(crate) fn set_pos(&mut self, pos: u64) {
        self.0.pos = pos as i64;
    }

    /// Emits an entry; false if there is no room for it. `kind` is a `DT_*` value.
    pub(crate) fn emit(&mut self, name: &[u8], ino: u64, kind: u8) -> bool {
        // SAFETY: The context is valid for the call; the name is copied.
        unsafe {
            bindings::vfs_dir_emit(
                self.0,
                name.as_ptr().cast(),
                name.len() as i32,
                ino,
                kind.into(),
            )
        }
    }
}

/// # Safety
///
/// `dentry` must be valid, with a stable name, for `'a`.
unsafe fn name_of<'a>(dentry: *const bindings::dentry) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: By the caller's promise.
    unsafe {
        let ptr = bindings::vfs_dentry_name(dentry, &mut len);
        slice::from_raw_parts(ptr.cast(), len as usize)
    }
}

impl<T: FileSystem + DirOps + FileOps + MappingOps> Tables<T> {
    pub(super) const DIR_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(Self::lookup),
        create: Some(Self::create),
        unlink: Some(Self::unlink),
        mkdir: Some(Self::mkdir),
        rmdir: Some(Self::rmdir),
        rename: Some(Self::rename),
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    pub(super) const FILE_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        fiemap: Some(Self::fiemap),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    pub(super) const DIR_FILE_OPS: bindings::file_operations = bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate_shared),
        fsync: Some(Self::dir_fsync),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->lookup()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: u32,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS passes valid objects; the dentry is ours, its name stable.
        unsafe {
            match T::lookup(Inode::from_raw(dir), name_of(dentry)) {
                Ok(Some(inode)) => {
                    bindings::d_splice_alias(ARef::into_raw(inode).as_ref().as_raw(), dentry)
                }
                Ok(None) => bindings::d_splice_alias(ptr::null_mut(), dentry),
                Err(e) => e.to_ptr(),
            }
        }
    }

    /// # Safety
    ///
    /// As `->create()`.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> Result {
        // SAFETY: The VFS passes valid objects; the dentry is ours, its name stable.
        unsafe {
            let new = T::create(
                Inode::from_raw(dir),
                &*idmap.cast::<Idmap>(),
                name_of(dentry),
                mode,
            )?;
            // Unlocks the inode and takes over its reference.
            bindings::d_instantiate_new(dentry, ManuallyDrop::new(new).as_raw());
        }
        Ok(())
    }

    /// `->create()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> i32 {
        // SAFETY: Passed through.
        to_int(unsafe { Self::make(idmap, dir, dentry, mode) })
    }

    /// `->mkdir()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: Passed through.
        match unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFDIR as u16) } {
            Ok(()) => ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// `->unlink()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> i32 {
        // SAFETY: The VFS holds both inodes' locks; the dentry is positive.
        unsafe {
            let inode = Inode::from_raw(bindings::vfs_d_inode(dentry));
            to_int(T::unlink(Inode::from_raw(dir), name_of(dentry), inode))
        }
    }

    /// `->rmdir()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> i32 {
        // SAFETY: The VFS holds both inodes' locks; the dentry is positive.
        unsafe {
            let inode = Inode::from_raw(bindings::vfs_d_inode(dentry));
            to_int(T::rmdir(Inode::from_raw(dir), name_of(dentry), inode))
        }
    }

    /// `->rename()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old_dentry: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new_dentry: *mut bindings::dentry,
        flags: u32,
    ) -> i32 {
        if flags & !bindings::RENAME_NOREPLACE != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: The VFS holds the locks of the directories and of the inodes that move.
        unsafe {
            let target = bindings::vfs_d_inode(new_dentry);
            to_int(T::rename(
                Inode::from_raw(old_dir),
                name_of(old_dentry),
                Inode::from_raw(bindings::vfs_d_inode(old_dentry)),
                Inode::from_raw(new_dir),
                name_of(new_dentry),
                (!target.is_null()).then(|| Inode::from_raw(target)),
                flags & bindings::RENAME_NOREPLACE != 0,
            ))
        }
    }

    /// `->iterate_shared()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn iterate_shared(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects and holds the directory's lock.
        unsafe {
            if !bindings::vfs_dir_emit_dots(file, ctx) {
                return 0;
            }
            let dir = Inode::from_raw(bindings::vfs_file_inode(file));
            to_int(T::iterate(dir, &mut DirEmitter(&mut *ctx)))
        }
    }

    /// `->fsync()` of a directory.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn dir_fsync(
        file: *mut bindings::file,
        _start: i64,
        _end: i64,
        _datasync: i32,
    ) -> i32 {
        // SAFETY: Valid file of a directory of this file system.
        to_int(T::sync_metadata(unsafe {
            Inode::from_raw(bindings::vfs_file_inode(file))
        }))
    }

    /// `->setattr()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> i32 {
        let set = || -> Result {
            // SAFETY: The VFS passes valid objects and holds `i_rwsem` exclusively.
            unsafe {
                let inode = Inode::<T>::from_raw(bindings::vfs_d_inode(dentry));
                to_result(bindings::setattr_prepare(idmap, dentry, attr))?;
                if (*attr).ia_valid & bindings::ATTR_SIZE != 0 {
                    T::set_size(inode, (*attr).ia_size as u64)?;
                }
                bindings::setattr_copy(idmap, inode.as_raw(), attr);
                inode.mark_dirty();
            }
            Ok(())
        };
        to_int(set())
    }

    /// `->getattr()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: u32,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            let raw = bindings::vfs_d_inode((*path).dentry);
            let inode = Inode::<T>::from_raw(raw);
            bindings::generic_fillattr(idmap, request_mask, raw, stat);
            if request_mask & bindings::STATX_BTIME != 0 {
                let btime = T::birth_time(inode);
                (*stat).btime.tv_sec = btime.sec;
                (*stat).btime.tv_nsec = btime.nsec as isize;
                (*stat).result_mask |= bindings::STATX_BTIME;
            }
            if request_mask & bindings::STATX_DIOALIGN != 0 && !inode.is_dir() {
                let dio = T::dio_alignment(inode);
                (*stat).dio_mem_align = dio.memory;
                (*stat).dio_offset_align = dio.offset;
                (*stat).result_mask |= bindings::STATX_DIOALIGN;
            }
        }
        0
    }

    /// `->fiemap()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> i32 {
        // SAFETY: The VFS passes valid objects.
        unsafe {
            let ret = bindings::vfs_inode_lock_shared_killable(inode);
            if ret != 0 {
                return ret;
            }
            let ret = bindings::iomap_fiemap(inode, info, start, len, &Self::IOMAP_OPS);
            bindings::vfs_inode_unlock_shared(inode);
            ret
        }
    }
}

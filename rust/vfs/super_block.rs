// SPDX-License-Identifier: GPL-2.0

//! File system types, mounting and super blocks.
//!
//! C headers: `include/linux/fs.h`, `include/linux/fs_context.h`.

use super::{
    inode::{Inode, InodeBox},
    mapping::MappingOps,
    to_int, BlockDevice, DirOps, FileOps,
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    convert::Infallible,
    marker::PhantomData,
    mem::{self, offset_of},
    ptr,
};
use kernel::{
    debugfs::Dir,
    error::{to_result, Result},
    prelude::*,
    str::CStr,
    sync::aref::ARef,
    types::Opaque,
};

/// What a file system is: its types, and the operations on a mount as a whole.
///
/// The associated data types are what the operations find in [`SuperBlock::data`] and
/// [`Inode::data`].
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// Name as in `/proc/filesystems`.
    const NAME: &'static CStr;

    /// Name of the inode slab cache.
    const INODE_CACHE: &'static CStr;

    /// The mount options.
    type Options: Options;

    /// Per-mount data.
    type Super: Send + Sync;

    /// Per-inode data. Created with every in-memory inode, before it is read from disk; dropped
    /// after an RCU grace period, possibly in softirq context.
    type Inode: Send + Sync;

    /// The type's registration data: one `static` for each file system.
    fn statics() -> &'static FsStatics;

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

    /// Returns the root directory. Called once, after [`FileSystem::fill_super`].
    fn root(sb: &SuperBlock<Self>) -> Result<ARef<Inode<Self>>>;

    /// The options that a mount has now: what a remount starts from.
    fn current_options(sb: &SuperBlock<Self>) -> Self::Options;

    /// Applies new options to a mount; `read_only` is the new state. Nothing has changed on error.
    fn reconfigure(sb: &SuperBlock<Self>, options: &Self::Options, read_only: bool) -> Result;

    /// Ends a mount: the last chance to write. All inodes are gone.
    fn put_super(sb: &SuperBlock<Self>);

    /// Writes what [`FileSystem::write_inode`] and the page cache of the device do not cover.
    fn sync_fs(sb: &SuperBlock<Self>, wait: bool) -> Result;

    /// Fills in `statfs(2)`.
    fn statfs(sb: &SuperBlock<Self>) -> StatFs;

    /// Prints the options as in `/proc/mounts`, each with a comma before it.
    fn show_options(sb: &SuperBlock<Self>, out: &SeqWriter);

    /// Copies an inode into its place in the page cache of the device. What makes it durable is
    /// [`FileOps::fsync`] or the VFS's syncing of the device.
    fn write_inode(inode: &Inode<Self>) -> Result;

    /// Ends an inode's life in memory. Its pages are gone. With `nlink` zero, it also ends on disk.
    fn evict_inode(inode: &Inode<Self>);
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

/// Registration data of a file system type, which lockdep requires to be static.
pub(crate) struct FsStatics {
    fs_type: UnsafeCell<bindings::file_system_type>,
    inode_cache: UnsafeCell<*mut bindings::kmem_cache>,
    debugfs: UnsafeCell<Option<Dir>>,
}

// SAFETY: Written by `Registration::new` before the type is visible to anybody, and by `drop` after
// it no longer is; in between, the VFS synchronises its accesses to `fs_type`.
unsafe impl Sync for FsStatics {}

impl FsStatics {
    /// Unregistered.
    pub(crate) const fn new() -> Self {
        FsStatics {
            // SAFETY: All zeroes is a valid `file_system_type`: null pointers, empty lists and unused
            // lock class keys.
            fs_type: UnsafeCell::new(unsafe { mem::zeroed() }),
            inode_cache: UnsafeCell::new(ptr::null_mut()),
            debugfs: UnsafeCell::new(None),
        }
    }

    /// The type's directory in debugfs, while it is registered.
    pub(crate) fn debugfs(&self) -> Option<&Dir> {
        // SAFETY: Only changes when nobody uses the type, see `Sync` above.
        unsafe { (*self.debugfs.get()).as_ref() }
    }

    pub(super) fn inode_cache(&self) -> *mut bindings::kmem_cache {
        // SAFETY: Only changes when nobody uses the type, see `Sync` above.
        unsafe { *self.inode_cache.get() }
    }
}

/// A registered file system type; dropping it unregisters.
///
/// A mount holds a reference to the module, so no mount exists when it is dropped.
pub(crate) struct Registration<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem + DirOps + FileOps + MappingOps> Registration<T> {
    /// Registers `T` with the VFS. At most one registration of a type may exist.
    ///
    /// Wraps `register_filesystem()`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the name is taken, `ENOMEM`.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        let statics = T::statics();
        // SAFETY: The constructor is called on objects of the given size and alignment.
        let cache = unsafe {
            bindings::vfs_inode_cache_create(
                T::INODE_CACHE.as_char_ptr(),
                mem::size_of::<InodeBox<T>>() as u32,
                mem::align_of::<InodeBox<T>>() as u32,
                Some(Tables::<T>::inode_ctor),
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: Not registered yet, so nobody else looks at the statics.
        let ret = unsafe {
            *statics.inode_cache.get() = cache;
            *statics.debugfs.get() = Some(Dir::new(T::NAME));
            let fs_type = statics.fs_type.get();
            (*fs_type).name = T::NAME.as_char_ptr();
            (*fs_type).fs_flags = bindings::FS_REQUIRES_DEV as i32;
            (*fs_type).init_fs_context = Some(Tables::<T>::init_fs_context);
            (*fs_type).kill_sb = Some(Tables::<T>::kill_sb);
            (*fs_type).owner = module.as_ptr().cast();
            bindings::register_filesystem(fs_type)
        };
        if let Err(e) = to_result(ret) {
            // SAFETY: Created above, and empty; nobody uses the statics.
            unsafe {
                bindings::kmem_cache_destroy(cache);
                *statics.debugfs.get() = None;
            }
            return Err(e);
        }
        Ok(Registration(PhantomData))
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        let statics = T::statics();
        // SAFETY: Registered by `new`. Inodes are freed by RCU callbacks: when the barrier returns,
        // the cache is empty.
        unsafe {
            bindings::unregister_filesystem(statics.fs_type.get());
            bindings::rcu_barrier();
            bindings::kmem_cache_destroy(statics.inode_cache());
            *statics.debugfs.get() = None;
        }
    }
}

/// Figures of `statfs(2)`, in blocks and inodes.
pub(crate) struct StatFs {
    pub(crate) magic: u32,
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) name_len: u32,
}

/// A `struct seq_file` that is being filled.
pub(crate) struct SeqWriter(*mut bindings::seq_file);

impl SeqWriter {
    /// Appends `s`.
    pub(crate) fn puts(&self, s: &CStr) {
        // SAFETY: Valid for the call that the value was made for.
        unsafe { bindings::vfs_seq_puts(self.0, s.as_char_ptr()) }
    }
}

/// A super block of a mounted file system.
///
/// # Invariants
///
/// `s_fs_info` owns a `Pin<KBox<T::Super>>`, from before the first inode until after the last.
#[repr(transparent)]
pub(crate) struct SuperBlock<T: FileSystem>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: What is accessed through a shared reference is either constant for the life of the mount
// or synchronised by the VFS; `T::Super` is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `ptr` must be a super block of type `T` that lives for `'a` and satisfies the invariants.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: Transparent; liveness is the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The per-mount data.
    pub(crate) fn data(&self) -> &T::Super {
        // SAFETY: By the type invariant.
        unsafe { &*(*self.as_raw()).s_fs_info.cast::<T::Super>() }
    }

    /// The device that the file system is on.
    pub(crate) fn device(&self) -> &BlockDevice {
        // SAFETY: Open for as long as the super block is mounted.
        unsafe { BlockDevice::from_raw((*self.as_raw()).s_bdev) }
    }

    /// Whether the file system is mounted read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: Valid super block.
        unsafe { bindings::vfs_sb_rdonly(self.as_raw()) }
    }

    /// Writes everything that is dirty and waits, [`FileSystem::sync_fs`] included. To be called where
    /// `s_umount` is held: from [`FileSystem::reconfigure`].
    ///
    /// Wraps `sync_filesystem()`.
    pub(crate) fn sync_all(&self) -> Result {
        // SAFETY: Valid super block.
        to_result(unsafe { bindings::sync_filesystem(self.as_raw()) })
    }

    /// Writes all dirty inodes and waits. To be called from [`FileSystem::sync_fs`] only, where
    /// `s_umount` is held.
    ///
    /// Wraps `sync_inodes_sb()`.
    pub(crate) fn sync_inodes(&self) {
        // SAFETY: Valid super block.
        unsafe { bindings::sync_inodes_sb(self.as_raw()) }
    }

    /// The name of the device, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: `s_id` is NUL-terminated and constant after mounting.
        unsafe { CStr::from_char_ptr((*self.as_raw()).s_id.as_ptr()) }
    }
}

/// What a file system tells the VFS about its geometry.
pub(crate) struct SuperGeometry {
    pub(crate) magic: u32,
    /// Largest file size in bytes.
    pub(crate) max_bytes: u64,
    pub(crate) uuid: [u8; 16],
}

/// A super block that is being set up: it has a device and no data yet.
pub(crate) struct PendingSuper<'a, T: FileSystem>(*mut bindings::super_block, PhantomData<&'a T>);

impl<T: FileSystem> PendingSuper<'_, T> {
    /// The device.
    pub(crate) fn device(&self) -> &BlockDevice {
        // SAFETY: `get_tree_bdev()` has opened it.
        unsafe { BlockDevice::from_raw((*self.0).s_bdev) }
    }

    /// The name of the device, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: Set by `get_tree_bdev()`, NUL-terminated.
        unsafe { CStr::from_char_ptr((*self.0).s_id.as_ptr()) }
    }

    /// Whether the mount is read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: Valid super block.
        unsafe { bindings::vfs_sb_rdonly(self.0) }
    }

    /// Sets the block size of the device's page cache to a page.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device cannot do that.
    pub(crate) fn set_page_blocks(&self) -> Result {
        // SAFETY: Valid super block, set up by this task alone.
        match unsafe { bindings::sb_set_blocksize(self.0, kernel::page::PAGE_SIZE as i32) } {
            0 => Err(EINVAL),
            _ => Ok(()),
        }
    }

    /// Publishes what was read from the device.
    pub(crate) fn set_geometry(&self, geometry: &SuperGeometry) {
        // SAFETY: Valid super block, set up by this task alone.
        unsafe {
            (*self.0).s_magic = geometry.magic as usize;
            (*self.0).s_maxbytes = geometry
                .max_bytes
                .min(bindings::VFS_MAX_LFS_FILESIZE as u64)
                as i64;
            (*self.0).s_time_gran = 1;
            (*self.0).s_time_min = i64::MIN;
            (*self.0).s_time_max = i64::MAX;
            (*self.0).s_uuid.b = geometry.uuid;
            (*self.0).s_uuid_len = 16;
            // No extended attributes, so no capabilities: lets writes skip looking for them.
            (*self.0).s_flags |= bindings::VFS_SB_NOSEC;
        }
    }
}

/// The C operation tables of `T`.
pub(super) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem + DirOps + FileOps + MappingOps> Tables<T> {
    const CONTEXT_OPS: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::fc_free),
        parse_param: Some(Self::fc_parse_param),
        get_tree: Some(Self::fc_get_tree),
        reconfigure: Some(Self::fc_reconfigure),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    const SUPER_OPS: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(Self::alloc_inode),
        free_inode: Some(Self::free_inode),
        write_inode: Some(Self::write_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        sync_fs: Some(Self::sync_fs),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->init_fs_context()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> i32 {
        // SAFETY: The VFS passes a context that this function sets up alone. On reconfiguration its
        // root is a dentry of a mounted `T`.
        let options = unsafe {
            if (*fc).purpose() == bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
                T::current_options(SuperBlock::<T>::from_raw((*(*fc).root).d_sb))
            } else {
                T::Options::default()
            }
        };
        let Ok(options) = KBox::new(options, GFP_KERNEL) else {
            return ENOMEM.to_errno();
        };
        // SAFETY: As above.
        unsafe {
            (*fc).fs_private = KBox::into_raw(options).cast();
            (*fc).ops = &Self::CONTEXT_OPS;
        }
        0
    }

    /// `fs_context_operations->free()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fc_free(fc: *mut bindings::fs_context) {
        // SAFETY: Set by `init_fs_context`, freed once.
        let raw = unsafe { (*fc).fs_private.cast::<T::Options>() };
        if !raw.is_null() {
            // SAFETY: As above.
            drop(unsafe { KBox::from_raw(raw) });
        }
    }

    /// `fs_context_operations->parse_param()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fc_parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> i32 {
        // ENOPARAM, which has no constant in `kernel::error`.
        const ENOPARAM: i32 = bindings::ENOPARAM as i32;
        // SAFETY: Context and parameter are valid and ours for the call.
        unsafe {
            let ret = bindings::vfs_parse_fs_param_source(fc, param);
            if ret != -ENOPARAM {
                return ret;
            }
            let key = CStr::from_char_ptr((*param).key);
            let value = match (*param).type_() {
                bindings::fs_value_type_fs_value_is_string => {
                    Some(CStr::from_char_ptr((*param).__bindgen_anon_1.string))
                }
                _ => None,
            };
            let options = &mut *(*fc).fs_private.cast::<T::Options>();
            match options.parse(key, value) {
                Ok(true) => 0,
                Ok(false) => -ENOPARAM,
                Err(message) => {
                    bindings::vfs_fc_error(fc, message.as_char_ptr());
                    EINVAL.to_errno()
                }
            }
        }
    }

    /// `fs_context_operations->get_tree()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fc_get_tree(fc: *mut bindings::fs_context) -> i32 {
        // SAFETY: Valid context; `fill_super` fits the type.
        unsafe { bindings::get_tree_bdev(fc, Some(Self::fill_super)) }
    }

    /// `fs_context_operations->reconfigure()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fc_reconfigure(fc: *mut bindings::fs_context) -> i32 {
        // SAFETY: The root is a dentry of a mounted `T`; `s_umount` is held for writing.
        unsafe {
            let sb = SuperBlock::<T>::from_raw((*(*fc).root).d_sb);
            let options = &*(*fc).fs_private.cast::<T::Options>();
            let read_only = if (*fc).sb_flags_mask as usize & bindings::VFS_SB_RDONLY != 0 {
                (*fc).sb_flags as usize & bindings::VFS_SB_RDONLY != 0
            } else {
                sb.is_read_only()
            };
            to_int(T::reconfigure(sb, options, read_only))
        }
    }

    /// Fills a super block for `get_tree_bdev()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> i32 {
        let fill = || -> Result {
            // SAFETY: The context is ours for the call, its options set by `init_fs_context`.
            let options = unsafe { &*(*fc).fs_private.cast::<T::Options>() };
            let data = T::fill_super(&PendingSuper(sb, PhantomData), options)?;
            // SAFETY: The super block is being set up by this task alone. The box is freed by
            // `kill_sb`, which is called even if this function fails from here on.
            unsafe {
                (*sb).s_fs_info = KBox::into_raw(Pin::into_inner_unchecked(data)).cast();
                (*sb).s_op = &Self::SUPER_OPS;
            }
            // SAFETY: The invariants hold now.
            let root = T::root(unsafe { SuperBlock::<T>::from_raw(sb) })?;
            // SAFETY: `d_make_root()` takes over the reference, also on failure.
            let dentry = unsafe { bindings::d_make_root(ARef::into_raw(root).as_ref().as_raw()) };
            if dentry.is_null() {
                return Err(ENOMEM);
            }
            // SAFETY: As above.
            unsafe { (*sb).s_root = dentry };
            Ok(())
        };
        to_int(fill())
    }

    /// `->kill_sb()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: The VFS calls this once, with the last reference. After `kill_block_super()`, no
        // inode is left that could use the data, and nobody can look at it: take it back.
        unsafe {
            let data = (*sb).s_fs_info.cast::<T::Super>();
            bindings::kill_block_super(sb);
            if !data.is_null() {
                drop(Pin::new_unchecked(KBox::from_raw(data)));
            }
        }
    }

    /// Constructs an object of the inode cache.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn inode_ctor(obj: *mut kernel::ffi::c_void) {
        // SAFETY: The slab allocator passes an object of the cache; only its VFS part is constructed.
        unsafe {
            let inode = obj.byte_add(offset_of!(InodeBox<T>, inode));
            bindings::inode_init_once(inode.cast());
        }
    }

    /// `->alloc_inode()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn alloc_inode(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: The cache exists while the type is registered.
        let obj = unsafe { bindings::vfs_alloc_inode_sb(sb, T::statics().inode_cache()) };
        let obj = obj.cast::<InodeBox<T>>();
        if obj.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: Fresh object; its data part is uninitialised memory of the right type.
        unsafe {
            let data = ptr::addr_of_mut!((*obj).data);
            match T::new_inode_data().__init(data.cast()) {
                Ok(()) => {}
            }
            Opaque::cast_into(ptr::addr_of!((*obj).inode))
        }
    }

    /// `->free_inode()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: Called once for each inode of `alloc_inode`, when nobody can reach it any more.
        unsafe {
            let obj = InodeBox::<T>::of(inode);
            ptr::drop_in_place(ptr::addr_of_mut!((*obj).data).cast::<T::Inode>());
            bindings::kmem_cache_free(T::statics().inode_cache(), obj.cast());
        }
    }

    /// `->write_inode()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        _wbc: *mut bindings::writeback_control,
    ) -> i32 {
        // SAFETY: Valid for the call.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        to_int(T::write_inode(inode).inspect_err(|_| {
            // The VFS has taken it for written; the next sync tries again.
            inode.mark_dirty();
        }))
    }

    /// `->evict_inode()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: The VFS hands over the last reference; the order is that of every file system:
        // pages, then what the pages need, then the inode.
        unsafe {
            bindings::truncate_inode_pages_final(ptr::addr_of_mut!((*inode).i_data));
            // What ends on disk with an unlinked inode must not do so on a frozen file system.
            let unlinked = bindings::vfs_i_nlink(inode) == 0;
            if unlinked {
                bindings::vfs_sb_start_intwrite((*inode).i_sb);
            }
            T::evict_inode(Inode::<T>::from_raw(inode));
            if unlinked {
                bindings::vfs_sb_end_intwrite((*inode).i_sb);
            }
            bindings::clear_inode(inode);
        }
    }

    /// `->put_super()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: Called for mounts that were set up completely.
        T::put_super(unsafe { SuperBlock::<T>::from_raw(sb) })
    }

    /// `->sync_fs()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: i32) -> i32 {
        // SAFETY: Called for mounts that were set up completely.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        to_int(T::sync_fs(sb, wait != 0))
    }

    /// `->statfs()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn statfs(dentry: *mut bindings::dentry, buf: *mut bindings::kstatfs) -> i32 {
        // SAFETY: Both are valid for the call.
        unsafe {
            let sb = SuperBlock::<T>::from_raw((*dentry).d_sb);
            let st = T::statfs(sb);
            (*buf).f_type = st.magic as isize;
            (*buf).f_bsize = kernel::page::PAGE_SIZE as isize;
            (*buf).f_frsize = kernel::page::PAGE_SIZE as isize;
            (*buf).f_blocks = st.blocks;
            (*buf).f_bfree = st.free;
            (*buf).f_bavail = st.available;
            (*buf).f_files = st.files;
            (*buf).f_ffree = st.files_free;
            (*buf).f_namelen = st.name_len as isize;
            let id = bindings::vfs_huge_encode_dev((*sb.device().as_raw()).bd_dev);
            (*buf).f_fsid.val = [id as u32 as i32, (id >> 32) as u32 as i32];
        }
        0
    }

    /// `->show_options()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> i32 {
        // SAFETY: Both are valid for the call.
        unsafe { T::show_options(SuperBlock::<T>::from_raw((*root).d_sb), &SeqWriter(seq)) };
        0
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `struct super_operations`, and the slab cache of inodes.
//!
//! C header: `include/linux/fs.h`.

use super::writeback;
use crate::{
    bindings,
    vfs::{
        deferred::Deferred,
        errno::to_int,
        fs_type::FsStatics,
        inode::{Inode, InodeBox},
        ioend::IoEnds,
        operations::FileSystem,
        super_block::{LockedSuper, SuperBlock},
    },
};
use core::{
    marker::PhantomData,
    mem::{self, offset_of},
    ptr,
};
use kernel::{prelude::*, seq_file::SeqFile, time::Msecs, types::Opaque};

/// When deferred work that is not at its end is called again.
const AGAIN_MS: Msecs = 1000;

/// The table of the super blocks of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const SUPER_OPS: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(Self::alloc_inode),
        free_inode: Some(Self::free_inode),
        write_inode: Some(Self::write_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        sync_fs: Some(Self::sync_fs),
        freeze_fs: Some(Self::freeze_fs),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// Constructs an object of the inode cache.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn inode_ctor(obj: *mut kernel::ffi::c_void) {
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
        let obj = unsafe {
            let cache = *FsStatics::<T>::of(sb).inode_cache.get();
            bindings::vfs_alloc_inode_sb(sb, cache)
        };
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
            IoEnds::init(
                ptr::addr_of_mut!((*obj).ends),
                writeback::Tables::<T>::finish_ioends,
            );
            Opaque::cast_into(ptr::addr_of!((*obj).inode))
        }
    }

    /// `->free_inode()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: Called once for each inode of `alloc_inode`, when nobody can reach it any more. There
        // may be no super block any more, and `kfree()` finds the cache by itself.
        unsafe {
            let obj = InodeBox::<T>::of(inode);
            if let Some(target) = Inode::<T>::from_raw(inode).link() {
                // Of a path walk with RCU: it has seen its grace period.
                bindings::kfree(target.as_ptr().cast());
            }
            ptr::drop_in_place(ptr::addr_of_mut!((*obj).data).cast::<T::Inode>());
            bindings::kfree(obj.cast());
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

    /// The work of [`Deferred`].
    ///
    /// # Safety
    ///
    /// To be called by the work queue, with that of a mount of `T`.
    pub(in crate::vfs) unsafe extern "C" fn deferred(work: *mut bindings::work_struct) {
        // SAFETY: The mount was set up, and `kill_sb` waits for this to return.
        let sb = unsafe { SuperBlock::<T>::from_raw(Deferred::sb(work)) };
        if T::deferred(sb) {
            sb.defer(AGAIN_MS);
        }
    }

    /// `->put_super()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: Called for mounts that were set up completely, with `s_umount` held.
        T::put_super(unsafe { LockedSuper::<T>::from_raw(sb) })
    }

    /// `->sync_fs()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: i32) -> i32 {
        // SAFETY: Called for mounts that were set up completely, with `s_umount` held.
        let sb = unsafe { LockedSuper::<T>::from_raw(sb) };
        to_int(T::sync_fs(sb, wait != 0))
    }

    /// `->freeze_fs()`. Nothing is to be done for a thaw.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> i32 {
        // SAFETY: Called for mounts that were set up completely, with `s_umount` held.
        to_int(T::freeze(unsafe { LockedSuper::<T>::from_raw(sb) }))
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
        unsafe {
            T::show_options(
                SuperBlock::<T>::from_raw((*root).d_sb),
                SeqFile::from_raw(seq.cast()),
            )
        };
        0
    }
}

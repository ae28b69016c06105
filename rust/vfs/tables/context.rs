// SPDX-License-Identifier: GPL-2.0

//! Mounting: `struct fs_context_operations`, and the life of a super block.
//!
//! C headers: `include/linux/fs_context.h`, `include/linux/fs_parser.h`.

use super::{export, super_block, xattr};
use crate::{
    bindings,
    vfs::{
        deferred::Deferred,
        errno::to_int,
        operations::{FileSystem, Options},
        super_block::{LockedSuper, PendingSuper, SuperBlock, SuperBox},
        work_queue::WorkQueue,
    },
};
use core::{marker::PhantomData, mem, ptr};
use kernel::{error::Result, prelude::*, str::CStr};

/// The table of mounting `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    const CONTEXT_OPS: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::fc_free),
        parse_param: Some(Self::fc_parse_param),
        get_tree: Some(Self::fc_get_tree),
        reconfigure: Some(Self::fc_reconfigure),
        // SAFETY: All zeroes is a table of absent operations.
        ..unsafe { mem::zeroed() }
    };

    /// `->init_fs_context()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> i32 {
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
            let sb = LockedSuper::<T>::from_raw((*(*fc).root).d_sb);
            let options = &*(*fc).fs_private.cast::<T::Options>();
            let read_only = if (*fc).sb_flags_mask as usize & bindings::VFS_SB_RDONLY != 0 {
                (*fc).sb_flags as usize & bindings::VFS_SB_RDONLY != 0
            } else {
                sb.is_read_only()
            };
            let forced = (*fc).sb_flags as usize & bindings::VFS_SB_FORCE != 0;
            to_int(T::reconfigure(sb, options, read_only, forced))
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
            // SAFETY: `get_tree_bdev()` passes a super block of the type, with its device, to be set up.
            let pending = unsafe { PendingSuper::<T>::from_raw(sb) };
            let queue = WorkQueue::new(T::NAME, pending.id())?;
            let data = T::fill_super(&pending, options)?;
            let contents = SuperBox::<T> {
                queue,
                deferred: Deferred::new(),
                data,
            };
            let contents = KBox::into_raw(KBox::new(contents, GFP_KERNEL)?);
            // SAFETY: The super block is being set up by this task alone. The box is freed by
            // `kill_sb`, which is called even if this function fails from here on, and does not move until then.
            unsafe {
                let deferred = ptr::addr_of_mut!((*contents).deferred);
                Deferred::init(deferred, sb, super_block::Tables::<T>::deferred);
                (*sb).s_fs_info = contents.cast();
                (*sb).s_op = &super_block::Tables::<T>::SUPER_OPS;
                (*sb).s_export_op = &export::Tables::<T>::EXPORT_OPS;
                (*sb).s_xattr = xattr::Tables::<T>::HANDLERS.as_ptr();
            }
            // SAFETY: The invariants hold now.
            let root = T::root(unsafe { SuperBlock::<T>::from_raw(sb) })?;
            // SAFETY: `d_make_root()` takes over the reference, also on failure.
            let dentry = unsafe { bindings::d_make_root(root.into_raw()) };
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
    pub(in crate::vfs) unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: The VFS calls this once, with the last reference. After `generic_shutdown_super()`, no inode is left that could
        // use the data, and nobody can look at it: take it back. What is in it may write to the device until then. The rest is
        // as in `kill_block_super()`.
        unsafe {
            let contents = (*sb).s_fs_info.cast::<SuperBox<T>>();
            bindings::generic_shutdown_super(sb);
            if !contents.is_null() {
                (*contents).deferred.stop();
                drop(KBox::from_raw(contents));
            }
            if !(*sb).s_bdev.is_null() {
                bindings::sync_blockdev((*sb).s_bdev);
                bindings::fs_bdev_file_release((*sb).s_bdev_file, sb);
            }
        }
    }
}

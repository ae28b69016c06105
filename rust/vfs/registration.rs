// SPDX-License-Identifier: GPL-2.0

//! Registration of file system types.
//!
//! C header: `include/linux/fs.h`.

use super::{
    debugfs::Dir,
    fs_type::FsStatics,
    inode::InodeBox,
    operations::FileSystem,
    tables::{context, super_block},
};
use crate::bindings;
use core::mem;
use kernel::{
    error::{to_result, Result},
    prelude::*,
    sync::atomic::{Acquire, Relaxed, Release},
};

/// A registered file system type; dropping it unregisters.
///
/// A mount holds a reference to the module, so no mount exists when it is dropped.
pub(crate) struct Registration<T: FileSystem>(&'static FsStatics<T>);

impl<T: FileSystem> Registration<T> {
    /// Registers `T` with the VFS.
    ///
    /// Wraps `register_filesystem()`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the name is taken or `statics` in use, `ENOMEM`.
    pub(crate) fn new(module: &'static ThisModule, statics: &'static FsStatics<T>) -> Result<Self> {
        if statics.owned.xchg(true, Acquire) {
            return Err(EBUSY);
        }
        Self::register(module, statics).inspect_err(|_| statics.owned.store(false, Release))?;
        if cfg!(all(CONFIG_PREEMPTION, not(CONFIG_TASKS_RCU))) {
            // Nothing tells when a preempted task has left our code: then it stays for good.
            pr_warn!("cannot be unloaded: this kernel is preemptible and lacks CONFIG_TASKS_RCU\n");
            // SAFETY: The module is being initialised, so it is there.
            unsafe { bindings::__module_get(module.as_ptr().cast()) };
        }
        Ok(Registration(statics))
    }

    /// Only for the owner of `statics`.
    fn register(module: &'static ThisModule, statics: &'static FsStatics<T>) -> Result {
        // SAFETY: The constructor is called on objects of the given size and alignment.
        let cache = unsafe {
            bindings::vfs_inode_cache_create(
                T::INODE_CACHE.as_char_ptr(),
                mem::size_of::<InodeBox<T>>() as u32,
                mem::align_of::<InodeBox<T>>() as u32,
                Some(super_block::Tables::<T>::inode_ctor),
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
            // Times are set by the helpers of the VFS only, which then know when a finer one is needed.
            (*fs_type).fs_flags =
                (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME) as i32;
            (*fs_type).init_fs_context = Some(context::Tables::<T>::init_fs_context);
            (*fs_type).kill_sb = Some(context::Tables::<T>::kill_sb);
            (*fs_type).owner = module.as_ptr().cast();
            bindings::register_filesystem(fs_type)
        };
        to_result(ret).inspect_err(|_| {
            // SAFETY: Created above, and empty; nobody uses the statics.
            unsafe {
                bindings::kmem_cache_destroy(cache);
                *statics.debugfs.get() = None;
            }
        })
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        let statics = self.0;
        // SAFETY: Registered by `new`. Inodes are freed by RCU callbacks: when the barrier returns,
        // the cache is empty.
        unsafe {
            bindings::unregister_filesystem(statics.fs_type.get());
            bindings::rcu_barrier();
            // Every mount has ended, and with it everything on its work queues has returned. What may
            // still have to return through our code are completions that the block layer, or iomap,
            // called: either they are RCU readers (interrupts, and where preemption is off), or tasks
            // that have been preempted, since completions do not sleep. The second wait is for
            // those; see `new` for kernels that have no such thing.
            bindings::vfs_synchronize_rcu();
            if statics.ended_in_task.load(Relaxed) {
                bindings::vfs_synchronize_rcu_tasks();
                statics.ended_in_task.store(false, Relaxed);
            }
            bindings::kmem_cache_destroy(*statics.inode_cache.get());
            *statics.debugfs.get() = None;
        }
        statics.owned.store(false, Release);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! `struct vm_operations_struct`.
//!
//! C header: `include/linux/mm.h`.

use crate::{
    bindings,
    vfs::{
        access::{announced, At},
        fault::{FaultAnswer, PageMkwrite},
        file::file_inode,
        inode::Inode,
        operations::FileSystem,
    },
};
use core::{marker::PhantomData, mem};
use kernel::ffi::c_ulong;

const LOADED: bindings::vm_fault_t = bindings::vm_fault_reason_VM_FAULT_LOCKED;
const FAILED: bindings::vm_fault_t = bindings::VFS_FAULT_ERROR;

/// The table of the mappings of files of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

impl<T: FileSystem> Tables<T> {
    pub(in crate::vfs) const VM_OPS: bindings::vm_operations_struct =
        bindings::vm_operations_struct {
            fault: Some(Self::fault),
            map_pages: Some(Self::map_pages),
            page_mkwrite: Some(Self::page_mkwrite),
            // SAFETY: All zeroes is a table of absent operations.
            ..unsafe { mem::zeroed() }
        };

    /// `->fault()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The VMA's file is one of `T`, and open while the locks are held. `filemap_fault()` may
        // drop them, but says so. (A task that is going to store has not got yet what it wants.)
        unsafe {
            let inode = Inode::from_raw(file_inode(bindings::vfs_vmf_file(vmf)));
            let index = (*vmf).__bindgen_anon_1.pgoff as u64;
            if T::fault(inode, index) == FaultAnswer::Refuse {
                return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
            }
            let flags = (*vmf).flags;
            // A store through a private mapping goes to a copy.
            let loads =
                flags & bindings::VFS_FAULT_FLAG_WRITE == 0 || !bindings::vfs_vmf_is_shared(vmf);
            let ret = if T::asks_for_reader(inode) {
                let at = if flags & bindings::VFS_FAULT_FLAG_RETRY_NOWAIT == 0 {
                    At::Page(index)
                } else {
                    At::Nowhere
                };
                // The inode is only compared with.
                announced(inode.as_raw(), at, || bindings::filemap_fault(vmf))
            } else {
                bindings::filemap_fault(vmf)
            };
            let ended = if loads { LOADED | FAILED } else { FAILED };
            if ret & ended != 0 && ret & bindings::vm_fault_reason_VM_FAULT_RETRY == 0 {
                T::got(inode);
            }
            ret
        }
    }

    /// `->map_pages()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn map_pages(
        vmf: *mut bindings::vm_fault,
        start: c_ulong,
        end: c_ulong,
    ) -> bindings::vm_fault_t {
        // SAFETY: The VMA's file is one of `T`, and stays open for the call.
        unsafe {
            let ret = bindings::filemap_map_pages(vmf, start, end);
            if ret & bindings::vm_fault_reason_VM_FAULT_NOPAGE != 0 {
                T::got(Inode::<T>::from_raw(file_inode(bindings::vfs_vmf_file(
                    vmf,
                ))));
            }
            ret
        }
    }

    /// `->page_mkwrite()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The VMA's file is one of `T` and stays open for the call.
        unsafe {
            let inode = Inode::<T>::from_raw(file_inode(bindings::vfs_vmf_file(vmf)));
            let may = T::check_writable(inode.super_block());
            if may.and_then(|()| inode.check_mutable()).is_err() {
                return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
            }
            T::page_mkwrite(inode, PageMkwrite::new(&mut *vmf)).into_raw()
        }
    }
}

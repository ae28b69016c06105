// SPDX-License-Identifier: GPL-2.0

//! `->unlocked_ioctl()` of files and directories.
//!
//! C header: `include/uapi/linux/fs.h`.

use crate::{
    bindings,
    vfs::{
        file::file_inode,
        inode::Inode,
        operations::{FileSystem, Shutdown},
    },
};
use core::marker::PhantomData;
use kernel::{
    error::{to_result, Result},
    ffi::c_ulong,
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// For the tables of `T`.
pub(in crate::vfs) struct Tables<T>(PhantomData<T>);

/// `FSLABEL_MAX`: the length of what is handed over.
const LABEL_MAX: usize = 256;
/// `struct fstrim_range`: start, length and least length.
const RANGE: usize = 24;

impl<T: FileSystem> Tables<T> {
    /// `->unlocked_ioctl()`.
    ///
    /// # Safety
    ///
    /// To be called by the kernel, as the C declaration says.
    pub(in crate::vfs) unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: u32,
        arg: c_ulong,
    ) -> isize {
        // SAFETY: Valid file of `T`.
        let inode = unsafe { Inode::<T>::from_raw(file_inode(file)) };
        let user = |len| UserSlice::new(UserPtr::from_addr(arg), len);
        let done = match command {
            bindings::VFS_IOC_GETFSLABEL => Self::get_label(inode, user(LABEL_MAX)),
            // SAFETY: Passed on.
            bindings::VFS_IOC_SETFSLABEL => unsafe { Self::set_label(file, inode, user) },
            bindings::VFS_IOC_TRIM => Self::trim(inode, user),
            bindings::VFS_IOC_SHUTDOWN => Self::shutdown(inode, user(4)),
            _ => Err(ENOTTY),
        };
        match done {
            Ok(()) => 0,
            Err(e) => e.to_errno() as isize,
        }
    }

    /// `EPERM` for who may not administrate the system.
    fn check_admin() -> Result {
        // SAFETY: Looks at the current task only.
        match unsafe { bindings::vfs_is_admin() } {
            true => Ok(()),
            false => Err(EPERM),
        }
    }

    fn get_label(inode: &Inode<T>, to: UserSlice) -> Result {
        let mut label = [0; LABEL_MAX];
        T::label(
            inode.super_block(),
            label.get_mut(..T::LABEL_LEN).ok_or(EINVAL)?,
        );
        to.writer().write_slice(&label)
    }

    /// # Safety
    ///
    /// `file` must be valid.
    unsafe fn set_label(
        file: *mut bindings::file,
        inode: &Inode<T>,
        user: impl Fn(usize) -> UserSlice,
    ) -> Result {
        Self::check_admin()?;
        let mut label = [0; LABEL_MAX];
        // As much as it takes to see whether it ends.
        let label = label.get_mut(..T::LABEL_LEN + 1).ok_or(EINVAL)?;
        user(label.len()).reader().read_slice(label)?;
        let len = label.iter().position(|&byte| byte == 0).ok_or(EINVAL)?;
        // SAFETY: By the contract of this function.
        to_result(unsafe { bindings::mnt_want_write_file(file) })?;
        let sb = inode.super_block();
        let set =
            T::check_writable(sb).and_then(|()| T::set_label(sb, label.get(..len).unwrap_or(&[])));
        // SAFETY: As above.
        unsafe { bindings::mnt_drop_write_file(file) };
        set
    }

    fn trim(inode: &Inode<T>, user: impl Fn(usize) -> UserSlice) -> Result {
        Self::check_admin()?;
        let mut range = [0; RANGE];
        user(RANGE).reader().read_slice(&mut range)?;
        let mut words = range
            .chunks_exact(8)
            .map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
        let mut word = || words.next().unwrap_or(0);
        let (start, len, least) = (word(), word(), word());
        let trimmed = T::trim(inode.super_block(), start, len, least)?;
        let mut writer = user(RANGE).writer();
        for word in [start, trimmed, least] {
            writer.write_slice(&word.to_ne_bytes())?;
        }
        Ok(())
    }

    fn shutdown(inode: &Inode<T>, how: UserSlice) -> Result {
        Self::check_admin()?;
        let mut word = [0; 4];
        how.reader().read_slice(&mut word)?;
        let how = match u32::from_ne_bytes(word) {
            0 => Shutdown::Everything,
            1 => Shutdown::Metadata,
            2 => Shutdown::Nothing,
            _ => return Err(EINVAL),
        };
        T::shutdown(inode.super_block(), how)
    }
}

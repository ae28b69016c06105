// SPDX-License-Identifier: GPL-2.0

//! What a directory that is being read goes to, and the names of entries.
//!
//! C headers: `include/linux/fs.h`, `include/linux/dcache.h`.

use super::{inode_lock::LockedInode, types::Types};
use crate::bindings;
use core::slice;

/// A name in a directory that is to be changed.
pub(crate) struct Place<'a, T: Types> {
    pub(crate) dir: &'a LockedInode<T>,
    pub(crate) name: &'a [u8],
}

/// Where a directory's entries go.
pub(crate) struct DirEmitter<'a>(pub(super) &'a mut bindings::dir_context);

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
pub(super) unsafe fn name_of<'a>(dentry: *const bindings::dentry) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: By the caller's promise.
    unsafe {
        let ptr = bindings::vfs_dentry_name(dentry, &mut len);
        slice::from_raw_parts(ptr.cast(), len as usize)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show something.
//!
//! An open file keeps the module loaded, which those of `kernel::debugfs` do not: their operations have no
//! owner. When the [`File`] is gone, what has it open can only close it.
//!
//! C header: `include/linux/debugfs.h`.

use crate::bindings;
use core::{fmt, ops::Deref};
use kernel::{
    error::{from_err_ptr, Result},
    prelude::*,
    seq_file::SeqFile,
    str::CStr,
    sync::Arc,
};

/// What can be shown.
pub(crate) trait Show: Send + Sync + 'static {
    /// Prints it.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A file or directory, and that in which it is.
///
/// # Invariants
///
/// `dentry` is null or was made by debugfs, in the directory of `parent`, and is removed here.
struct Entry {
    dentry: *mut bindings::dentry,
    _parent: Option<Arc<Entry>>,
}

// SAFETY: debugfs has locks of its own.
unsafe impl Send for Entry {}
// SAFETY: As above.
unsafe impl Sync for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the parent is still there. Waits for those who are reading.
        unsafe { bindings::vfs_debugfs_remove(self.dentry) }
    }
}

/// A directory; it goes when it and all that is in it were dropped. Without debugfs it is nothing.
pub(crate) struct Dir(Option<Arc<Entry>>);

impl Dir {
    fn make(parent: Option<&Arc<Entry>>, name: &CStr) -> Self {
        let at = parent.map_or(core::ptr::null_mut(), |parent| parent.dentry);
        // SAFETY: The parent, if any, is a directory of debugfs.
        let dentry = unsafe { bindings::vfs_debugfs_create_dir(name.as_char_ptr(), at) };
        let Ok(dentry) = from_err_ptr(dentry) else {
            return Dir(None);
        };
        // INVARIANT: Just made. If there is no memory it is removed again.
        let entry = Entry {
            dentry,
            _parent: parent.cloned(),
        };
        Dir(Arc::new(entry, GFP_KERNEL).ok())
    }

    /// A directory at the top.
    pub(crate) fn new(name: &CStr) -> Self {
        Self::make(None, name)
    }

    /// A directory in this one.
    pub(crate) fn subdir(&self, name: &CStr) -> Self {
        match &self.0 {
            Some(parent) => Self::make(Some(parent), name),
            None => Dir(None),
        }
    }

    /// A file in this directory that shows `data`, which is made where it stays.
    pub(crate) fn file<T: Show>(&self, name: &CStr, data: impl Init<T>) -> Result<File<T>> {
        let shown = KBox::init(Shown::new(data), GFP_KERNEL)?;
        // Reading goes through the pointer that debugfs gets, so there must be no other but shared ones.
        let mut file = File { entry: None, shown };
        if let Some(parent) = &self.0 {
            // SAFETY: The parent is a directory of debugfs. The box stays where it is until the file was
            // removed, see the order of the fields of `File`.
            let dentry = unsafe {
                bindings::vfs_debugfs_create_file(
                    name.as_char_ptr(),
                    parent.dentry,
                    core::ptr::from_ref(&*file.shown).cast_mut().cast(),
                )
            };
            // INVARIANT: Just made.
            file.entry = from_err_ptr(dentry).ok().map(|dentry| Entry {
                dentry,
                _parent: Some(parent.clone()),
            });
        }
        Ok(file)
    }
}

/// What the C side finds: its part comes first.
#[repr(C)]
struct Shown<T> {
    file: bindings::vfs_debugfs_file,
    data: T,
}

// SAFETY: The C part is constant.
unsafe impl<T: Send> Send for Shown<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Shown<T> {}

/// A value, and a file that shows it.
pub(crate) struct File<T: Show> {
    // Removed before the value is freed: fields are dropped in this order.
    entry: Option<Entry>,
    shown: KBox<Shown<T>>,
}

impl<T: Show> Deref for File<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.shown.data
    }
}

/// For printing.
struct Printed<'a, T>(&'a T);

impl<T: Show> fmt::Display for Printed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

impl<T: Show> Shown<T> {
    fn new(data: impl Init<T>) -> impl Init<Self> {
        init!(Shown {
            file: bindings::vfs_debugfs_file {
                show: Some(Self::show),
            },
            data <- data,
        })
    }

    /// # Safety
    ///
    /// To be called by the C side for the file that a `Shown<T>` was given to.
    unsafe extern "C" fn show(
        seq: *mut bindings::seq_file,
        file: *const bindings::vfs_debugfs_file,
    ) -> i32 {
        // SAFETY: The file is the first field of a `Shown<T>`, which is there while somebody reads.
        let shown = unsafe { &*file.cast::<Self>() };
        // SAFETY: Valid for the call.
        let seq = unsafe { SeqFile::from_raw(seq.cast()) };
        seq.call_printf(format_args!("{}", Printed(&shown.data)));
        0
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Mount options.
//!
//! What the kernel's `fs_parser` converts (numbers, flags, paths) is not among them, and it has no Rust face: words are
//! compared here. The VFS has taken its own options before.

use crate::vfs;
use kernel::{prelude::*, str::CStr};

/// What a direct write does whose buffer is, in part, the very range that it writes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub(super) enum SelfDio {
    /// Fails with `EFAULT`.
    #[default]
    Error = 0,
    /// Goes through the page cache.
    Buffered = 1,
    /// Faults the buffer in, shuts the cache out, and tries again, without bound: what such a
    /// protocol does that has no marker. For demonstration.
    Retry = 2,
}

impl SelfDio {
    /// The strategy that was stored as a number.
    pub(super) fn from_raw(raw: u32) -> Self {
        match raw {
            1 => SelfDio::Buffered,
            2 => SelfDio::Retry,
            _ => SelfDio::Error,
        }
    }

    /// As `/proc/mounts` shows it.
    pub(super) fn option(self) -> &'static str {
        match self {
            SelfDio::Error => ",selfdio=error",
            SelfDio::Buffered => ",selfdio=buffered",
            SelfDio::Retry => ",selfdio=retry",
        }
    }
}

/// What an error of metadata does.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub(super) enum OnError {
    /// Makes the file system read-only.
    #[default]
    RemountRo = 0,
    /// Stops the machine.
    Panic = 1,
}

impl OnError {
    /// The choice that was stored as a number.
    pub(super) fn from_raw(raw: u32) -> Self {
        match raw {
            1 => OnError::Panic,
            _ => OnError::RemountRo,
        }
    }

    /// As `/proc/mounts` shows it.
    pub(super) fn option(self) -> &'static str {
        match self {
            OnError::RemountRo => ",errors=remount-ro",
            OnError::Panic => ",errors=panic",
        }
    }
}

/// The mount options.
#[derive(Default, PartialEq)]
pub(crate) struct Options {
    pub(super) selfdio: SelfDio,
    pub(super) on_error: OnError,
    /// The journal is not replayed, and not used.
    pub(super) norecovery: bool,
    /// The device is told of blocks that were freed.
    pub(super) discard: bool,
}

impl vfs::Options for Options {
    fn parse(&mut self, key: &CStr, value: Option<&CStr>) -> Result<bool, &'static CStr> {
        let value = value.map(CStr::to_bytes);
        match key.to_bytes() {
            b"selfdio" => {
                self.selfdio = match value {
                    Some(b"error") => SelfDio::Error,
                    Some(b"buffered") => SelfDio::Buffered,
                    Some(b"retry") => SelfDio::Retry,
                    _ => return Err(c"toyfs: selfdio= wants one of error, buffered, retry"),
                }
            }
            b"errors" => {
                self.on_error = match value {
                    Some(b"remount-ro") => OnError::RemountRo,
                    Some(b"panic") => OnError::Panic,
                    _ => return Err(c"toyfs: errors= wants one of remount-ro, panic"),
                }
            }
            b"discard" => self.discard = true,
            b"nodiscard" => self.discard = false,
            b"norecovery" => self.norecovery = true,
            // mount(8) hands back what it finds in /proc/mounts.
            b"emergency_ro" | b"shutdown" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Mount options.

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
    pub(super) fn option(self) -> &'static CStr {
        match self {
            SelfDio::Error => c",selfdio=error",
            SelfDio::Buffered => c",selfdio=buffered",
            SelfDio::Retry => c",selfdio=retry",
        }
    }
}

/// The mount options.
#[derive(Default)]
pub(crate) struct Options {
    pub(super) selfdio: SelfDio,
}

impl vfs::Options for Options {
    fn parse(&mut self, key: &CStr, value: Option<&CStr>) -> Result<bool, &'static CStr> {
        if key.to_bytes() != b"selfdio" {
            return Ok(false);
        }
        self.selfdio = match value.map(CStr::to_bytes) {
            Some(b"error") => SelfDio::Error,
            Some(b"buffered") => SelfDio::Buffered,
            Some(b"retry") => SelfDio::Retry,
            _ => return Err(c"toyfs: selfdio= wants one of error, buffered, retry"),
        };
        Ok(true)
    }
}

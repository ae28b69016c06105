// SPDX-License-Identifier: GPL-2.0

//! The toyfs module: a file system whose direct writes shut the page cache out without deadlock,
//! livelock or starvation.
//!
//! The rooms of the crate, each of which uses only those after it: `toyfs`, the file system's logic;
//! `lock`, the two-state shared lock, and `marker`, which know nothing of file systems and of each
//! other; `vfs`, safe faces of the kernel's file system interfaces; `gauge`, for the statistics; `bindings`.
//! The on-disk format is a crate of its own, `toyfs_format`, which the user's tools share.

use kernel::prelude::*;

mod bindings;
mod gauge;
pub mod lock;
pub mod marker;
mod toyfs;
mod vfs;

module! {
    type: ToyfsModule,
    name: "toyfs",
    authors: ["The toyfs authors"],
    description: "A file system with race-free direct I/O",
    license: "GPL",
    alias: ["fs-toyfs"],
    params: {
        grace_us: i64 {
            default: -1,
            description: "Microseconds that a waiter of the add lock lets the other side in ahead of it (default: built in; see Documentation/two-state-shared-lock.rst)",
        },
    },
}

struct ToyfsModule {
    registration: Option<vfs::Registration<toyfs::ToyFs>>,
}

impl kernel::Module for ToyfsModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        lock::set_grace_us(module_parameters::grace_us.value());
        toyfs::init()?;
        Ok(ToyfsModule {
            registration: Some(vfs::Registration::new(module, &toyfs::STATICS)?),
        })
    }
}

impl Drop for ToyfsModule {
    fn drop(&mut self) {
        // First nobody may set a marker any more.
        self.registration = None;
        marker::exit();
    }
}

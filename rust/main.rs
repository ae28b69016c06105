// SPDX-License-Identifier: GPL-2.0

//! The toyfs module: a file system whose direct writes shut the page cache out without deadlock,
//! livelock or starvation.
//!
//! The rooms of the crate, each of which uses only those after it: `toyfs`, the file system's logic;
//! `lock`, the two-state shared lock, and `marker`, which know nothing of file systems and of each
//! other; `vfs`, safe faces of the kernel's file system interfaces; `bindings`.

use kernel::prelude::*;

mod bindings;
mod lock;
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
            description: "Microseconds that a waiter of the page lock lets the other side in ahead of it (default: built in; see Documentation/two-state-shared-lock.rst)",
        },
    },
}

struct ToyfsModule {
    registration: Option<vfs::Registration<toyfs::ToyFs>>,
}

impl kernel::Module for ToyfsModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if let Ok(us) = u64::try_from(module_parameters::grace_us.value()) {
            lock::set_grace(us.saturating_mul(1000));
        }
        Ok(ToyfsModule {
            registration: Some(vfs::Registration::new(module)?),
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

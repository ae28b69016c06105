// SPDX-License-Identifier: GPL-2.0

//! The marker as a module of its own, for users in C.
//!
//! One in Rust compiles `marker/` itself: see `Documentation/taking-the-marker.rst`.

use kernel::prelude::*;

pub mod marker;

module! {
    type: MarkerModule,
    name: "faults_disabled_mapping",
    authors: ["The toyfs developers"],
    description: "Marks tasks that are inside direct I/O on a mapping",
    license: "GPL",
}

struct MarkerModule;

impl kernel::Module for MarkerModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(MarkerModule)
    }
}

impl Drop for MarkerModule {
    fn drop(&mut self) {
        // Nobody uses it any more: a module that calls what this one exports keeps it loaded.
        marker::exit();
    }
}

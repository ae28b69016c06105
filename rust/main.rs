// SPDX-License-Identifier: GPL-2.0

//! toyfs.

use kernel::prelude::*;

mod bindings;

module! {
    type: ToyfsModule,
    name: "toyfs",
    authors: ["The toyfs authors"],
    description: "toyfs",
    license: "GPL",
}

struct ToyfsModule;

impl kernel::Module for ToyfsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(ToyfsModule)
    }
}

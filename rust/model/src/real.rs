// SPDX-License-Identifier: GPL-2.0

//! The lock as the kernel compiles it.

#[path = "../../lock/core.rs"]
pub mod core;

pub mod env {
    include!("env.rs");
}

pub mod scenarios {
    include!("scenarios.rs");
}

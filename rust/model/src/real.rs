// SPDX-License-Identifier: GPL-2.0

//! The lock as the kernel compiles it.

#[path = "../../lock/core.rs"]
pub mod core;

#[path = "../../lock/queue.rs"]
pub mod queue;

#[path = "../../lock/types.rs"]
pub mod types;

pub mod env {
    include!("env.rs");
}

pub mod scenarios {
    include!("scenarios.rs");
}

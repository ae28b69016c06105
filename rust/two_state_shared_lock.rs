// SPDX-License-Identifier: GPL-2.0

//! The two-state shared lock as a module of its own, for users in C.
//!
//! One in Rust compiles `lock/` itself: see `Documentation/taking-the-lock.rst`.

use kernel::prelude::*;

pub mod lock;

module! {
    type: LockModule,
    name: "two_state_shared_lock",
    authors: ["The toyfs developers"],
    description: "A fair lock with two states, both shared, that exclude each other",
    license: "GPL",
    params: {
        grace_us: i64 {
            default: -1,
            description: "Microseconds that a waiter lets the other state in ahead of it (default: built in; see Documentation/two-state-shared-lock.rst)",
        },
    },
}

struct LockModule;

impl kernel::Module for LockModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if !lock::capi::layout_agrees() {
            pr_err!("the C header and the lock disagree about its layout: build both anew\n");
            return Err(EINVAL);
        }
        lock::set_grace_us(module_parameters::grace_us.value());
        Ok(LockModule)
    }
}

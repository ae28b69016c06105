// SPDX-License-Identifier: GPL-2.0

//! Messages of the kernel's log, and the last one.
//!
//! C headers: `include/linux/ratelimit.h`, `include/linux/panic.h`.

use crate::bindings;
use core::convert::Infallible;
use kernel::{prelude::*, str::CStr, types::Opaque};

/// Limits how often messages are printed: ten in five seconds.
#[pin_data]
pub(crate) struct RateLimit {
    #[pin]
    state: Opaque<bindings::ratelimit_state>,
}

// SAFETY: The state has a lock of its own.
unsafe impl Send for RateLimit {}
// SAFETY: As above.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// A limit that nobody has used yet.
    pub(crate) fn new() -> impl PinInit<Self, Infallible> {
        pin_init!(RateLimit {
            // SAFETY: Initialises the state in its final place.
            state <- Opaque::ffi_init(|state| unsafe { bindings::vfs_ratelimit_init(state) }),
        })
    }

    /// Whether one more message may be printed. If some may not, says later how many of `who` were
    /// left out.
    pub(crate) fn allows(&self, who: &CStr) -> bool {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::vfs_ratelimit(self.state.get(), who.as_char_ptr()) }
    }
}

/// Stops the machine: what an administrator asked for in case of an error.
pub(crate) fn panic(message: &CStr) {
    // SAFETY: The string is valid for the call.
    unsafe { bindings::vfs_panic(message.as_char_ptr()) }
}

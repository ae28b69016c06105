// SPDX-License-Identifier: GPL-2.0

//! What `mkfs.toyfs` and `fsck.toyfs` have in common. A crate, as the format is.

#![forbid(unsafe_code)]

mod device;
mod names;
mod options;
mod output;

pub use device::{mount_point, Device};
pub use names::{format_label, format_uuid, parse_uuid};
pub use options::{arguments, parse, Letters, Program};
pub use output::Output;

// SPDX-License-Identifier: GPL-2.0

//! Between `Result` and what C functions return.

use kernel::{error::Result, prelude::*};

/// Turns a byte count or an error into what `->read_iter()` and friends return.
pub(super) fn to_ssize(ret: Result<usize>) -> isize {
    match ret {
        // CAST: Counts are limited by MAX_RW_COUNT, below `isize::MAX`.
        Ok(n) => n as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// Turns a C return value (byte count or negative errno) into a `Result`.
pub(super) fn from_ssize(ret: isize) -> Result<usize> {
    if ret < 0 {
        // CAST: Negative values are errnos, which fit.
        Err(Error::from_errno(ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// Turns zero or a negative errno into what C expects of an `int` function.
pub(super) fn to_int(ret: Result) -> i32 {
    match ret {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Access to metadata blocks.

use super::format::Corrupt;
use kernel::prelude::*;

/// Reads and writes parts of metadata blocks.
///
/// Implemented by the mounted filesystem on top of its device's page cache; the unit tests
/// implement it in memory.
pub(crate) trait BlockIo {
    /// Copies from byte `offset` of `block`. The range must not leave the block.
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result;

    /// Copies `data` to byte `offset` of `block` in the cache and marks that dirty. The range must
    /// not leave the block.
    fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result;
}

/// For `map_err`: logs which structure on disk is corrupt and why, and yields `EUCLEAN`.
pub(crate) fn corrupt(what: &'static str, id: u64) -> impl FnOnce(Corrupt) -> Error {
    move |Corrupt(why)| {
        pr_err!("{what} {id}: {why}\n");
        EUCLEAN
    }
}

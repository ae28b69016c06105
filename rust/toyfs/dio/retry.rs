// SPDX-License-Identifier: GPL-2.0

//! `selfdio=retry`: what a direct write does that has no marker. For the demonstration only.

use super::part::{pin, Ending, Progress};
use crate::{
    lock::State,
    toyfs::{hold::Hold, ToyFs},
    vfs::{IovIter, Kiocb},
};
use core::ops::RangeInclusive;
use kernel::prelude::*;
use toyfs_format::BLOCK_LOG2;

/// A part of a direct write without a marker. Faults the buffer in, and if it is the target, so that shutting the cache
/// out will take its pages away, does just that, and has the caller start over; it does until the task is killed.
pub(super) fn write_part(
    iocb: &mut Kiocb<'_, ToyFs>,
    from: &mut IovIter<'_>,
    want: usize,
    pages: &RangeInclusive<u64>,
    ending: Ending<'_>,
) -> Result<Progress> {
    let inode = iocb.inode();
    match pin(from, want, inode, pages, false, || false)? {
        Some(pinned) => pinned.write(iocb, from, ending, None),
        None => {
            inode.super_block().data().stats().retries.inc();
            let _block = Hold::take(inode, State::Block)?;
            // Should a page be in use, the next round finds it again.
            let _ = inode.invalidate_pages(
                pages.start() << BLOCK_LOG2,
                ((pages.end() + 1) << BLOCK_LOG2) - 1,
            );
            Ok(Progress {
                bytes: 0,
                end: None,
            })
        }
    }
}

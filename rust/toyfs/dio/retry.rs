// SPDX-License-Identifier: GPL-2.0

//! `selfdio=retry`: what a direct write does that has no marker. For the demonstration only.

use super::buffer::Pages;
use crate::{
    lock::State,
    toyfs::{hold::Hold, Inode},
};
use kernel::prelude::*;
use toyfs_format::BLOCK_LOG2;

/// The buffer of a direct write is its target. Shutting the cache out takes its pages away: does just that, for the caller to
/// start over; it does until the task is killed.
pub(super) fn drop_pages(inode: &Inode, pages: &Pages) -> Result {
    inode.super_block().data().stats().retries.inc();
    let _block = Hold::take(inode, State::Block)?;
    let (pos, last) = (
        pages.start() << BLOCK_LOG2,
        ((pages.end() + 1) << BLOCK_LOG2) - 1,
    );
    // Should a page be in use, the next round finds it again.
    if !inode.is_pinned_beside(pos, last, |_| 0) {
        let _ = inode.invalidate_pages(pos, last);
    }
    Ok(())
}

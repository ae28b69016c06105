// SPDX-License-Identifier: GPL-2.0

//! What an administrator asks of a mount: its label, to trim it, to shut it down.

use super::{block::BlockIo, errors::Credits, SuperBlock, ToyFs};
use crate::vfs::{AdminOps, Shutdown};
use kernel::prelude::*;
use toyfs_format::{Superblock, BLOCK_LOG2, BLOCK_SIZE, LABEL_LEN, SUPER_OFFSET, SUPER_SIZE};

impl AdminOps for ToyFs {
    const LABEL_LEN: usize = LABEL_LEN;

    fn label(sb: &SuperBlock, to: &mut [u8]) {
        let label = *sb.data().label.lock();
        for (to, from) in to.iter_mut().zip(label) {
            *to = from;
        }
    }

    fn set_label(sb: &SuperBlock, label: &[u8]) -> Result {
        let mut new = [0; LABEL_LEN];
        for (to, from) in new.iter_mut().zip(label) {
            *to = *from;
        }
        // The copy of the super block is that of the first day.
        let mut label = sb.data().label.lock();
        let io = sb.change(Credits::ONE)?;
        let mut raw = [0; SUPER_SIZE];
        io.read(0, SUPER_OFFSET, &mut raw)?;
        Superblock::set_label(&mut raw, new);
        io.write(0, SUPER_OFFSET, &raw)?;
        io.finish(true)?;
        *label = new;
        Ok(())
    }

    fn trim(sb: &SuperBlock, start: u64, len: u64, least: u64) -> Result<u64> {
        if sb.device().discard_granularity().is_none() {
            return Err(EOPNOTSUPP);
        }
        // Without the journal the bitmap need not be right.
        sb.journal()?;
        let (first, count) = (start >> BLOCK_LOG2, len >> BLOCK_LOG2);
        if first >= sb.data().format.total_blocks || count == 0 {
            return Err(EINVAL);
        }
        let least = least.div_ceil(BLOCK_SIZE as u64);
        let end = first.saturating_add(count);
        let (trimmed, _) = sb.discard_free(first, end, least, || Some(()))?;
        Ok(trimmed << BLOCK_LOG2)
    }

    fn shutdown(sb: &SuperBlock, how: Shutdown) -> Result {
        if sb.is_shut_down() {
            return Ok(());
        }
        match how {
            Shutdown::Everything => sb.while_frozen(|| sb.shut_down())?,
            Shutdown::Metadata => {
                // If that fails, it comes to the same.
                let _ = sb.commit_all();
                sb.shut_down();
            }
            Shutdown::Nothing => sb.shut_down(),
        }
        Ok(())
    }
}

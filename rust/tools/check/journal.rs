// SPDX-License-Identifier: GPL-2.0

//! The journal. What is in its log has been replayed, if only in memory, before a check.

use super::state::{Check, Disk};
use toyfs_format::{journal::Super, SuperError, BLOCK_SIZE};

impl<D: Disk> Check<'_, D> {
    /// Looks at the superblock of the journal.
    pub(super) fn journal(&mut self) {
        let region = self.sb.journal;
        let mut buf = vec![0; BLOCK_SIZE];
        if !self.read(region.start, &mut buf) {
            return;
        }
        match Super::parse(&buf, region.len) {
            Ok(sb) if sb.start != 0 => self.error("journal: has not been replayed".into()),
            Ok(_) | Err(SuperError::Foreign) => {}
            Err(SuperError::Unsupported(why) | SuperError::Corrupt(why)) => {
                self.error(format!("journal: {why}"));
            }
        }
    }
}

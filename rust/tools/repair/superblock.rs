// SPDX-License-Identifier: GPL-2.0

//! The superblock and its copy.

use super::Repair;
use crate::{check::Disk, overlay::Overlay};
use std::io;
use toyfs_format::{
    replay::Block, State, SuperError, Superblock, BLOCK_SIZE, SUPER_OFFSET, SUPER_SIZE,
};

/// The superblock in its block.
fn raw(block: &Block) -> [u8; SUPER_SIZE] {
    let mut raw = [0; SUPER_SIZE];
    raw.copy_from_slice(&block[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE]);
    raw
}

/// Whether what is in place of the superblock, which was found damaged, was ours and no other file system's: by what
/// identifies it, or because little of it has changed.
pub(crate) fn may_restore<D: Disk>(disk: &Overlay<'_, D>, sb: &Superblock) -> bool {
    const FEW: usize = 64;
    const SECTOR: usize = 512;
    let Ok(block) = disk.block(0) else {
        // It cannot be read; perhaps it can be written.
        return true;
    };
    let found = raw(&block);
    let zeroes = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    if zeroes(&found) {
        // What has its superblock elsewhere may have nothing here: LUKS, for instance, or LVM.
        return zeroes(&block);
    }
    // A restoration that was torn has left a sector of zeroes.
    let ours = |(sector, copy): (&[u8], &[u8])| {
        let differ = sector.iter().zip(copy).filter(|(a, b)| a != b).count();
        differ <= FEW || zeroes(sector)
    };
    let sectors = found.chunks(SECTOR);
    sb.may_replace(&found)
        || disk
            .block(sb.backup)
            .is_ok_and(|copy| sectors.zip(raw(&copy).chunks(SECTOR)).all(ours))
}

impl<D: Disk> Repair<'_, '_, D> {
    /// Restores the superblock from its copy, or the copy from it.
    pub(super) fn superblock(&mut self) -> io::Result<()> {
        let sb = self.sb;
        let mut block = self.disk.block(0).unwrap_or([0; BLOCK_SIZE]);
        let mut found = raw(&block);
        let what = match Superblock::parse_torn(&found) {
            Ok((_, false)) => None,
            Ok((_, true)) => Some("superblock: torn: seal it"),
            Err(_) => Some("superblock: damaged: restore it from its copy"),
        };
        if let Some(what) = what {
            let torn = Superblock::parse_torn(&found).is_ok();
            let wanted = match torn {
                true => self.fixes.safe(what),
                false => self.fixes.wanted_if_all(what),
            };
            if !wanted {
                return Ok(());
            }
            if !torn {
                found = raw(&self.disk.block(sb.backup)?);
            }
            Superblock::set_state(&mut found, State::Errors);
            block[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE].copy_from_slice(&found);
            self.disk.put(0, &block);
        }
        self.backup(found)
    }

    /// Makes the copy of the superblock anew if it is not like it.
    fn backup(&mut self, mut found: [u8; SUPER_SIZE]) -> io::Result<()> {
        let sb = self.sb;
        if sb.backup == 0 {
            return Ok(());
        }
        let mut block = self.disk.block(sb.backup).unwrap_or([0; BLOCK_SIZE]);
        let same = |mut copy: Superblock| {
            // State and label of the copy are those of the day it was made.
            (copy.state, copy.label) = (sb.state, sb.label);
            copy == sb
        };
        match Superblock::parse(&raw(&block)) {
            Ok(copy) if same(copy) => return Ok(()),
            Ok(_)
            | Err(SuperError::Foreign | SuperError::Unsupported(_) | SuperError::Corrupt(_)) => {}
        }
        if self.fixes.safe("copy of the superblock: make it anew") {
            Superblock::set_state(&mut found, State::Clean);
            block[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE].copy_from_slice(&found);
            self.disk.put(sb.backup, &block);
        }
        Ok(())
    }
}

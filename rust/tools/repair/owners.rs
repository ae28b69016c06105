// SPDX-License-Identifier: GPL-2.0

//! Whose metadata a block is, if it says so itself: then it is nobody's data, whoever claims it first.

use super::Repair;
use crate::check::{check_attributes, Disk};
use toyfs_format::{dir, symlink, ChainHeader, Inode, MAX_EXTENTS};

impl<D: Disk> Repair<'_, '_, D> {
    /// Whether a block is the metadata of another inode.
    pub(super) fn is_of_another(&self, block: u64, ino: u64) -> bool {
        self.owners.get(&block).is_some_and(|&owner| owner != ino)
    }

    /// Notes the blocks of metadata that an inode has, and that say so.
    pub(super) fn note_metadata(&mut self, inode: &Inode) {
        let seed = self.sb.seed();
        if inode.xattr_block != 0 {
            self.note(inode, inode.xattr_block, |b| {
                check_attributes(b, inode, seed).is_ok()
            });
        }
        let mut extents = inode.inline_extents().to_vec();
        let mut next = inode.chain_head;
        while next != 0 && extents.len() <= MAX_EXTENTS as usize {
            let mut header = None;
            self.note(inode, next, |b| {
                header = ChainHeader::parse(b, inode.ino, seed).ok();
                if let Some(header) = header.filter(|_| inode.is_dir()) {
                    extents.extend(header.extents(b).flatten());
                }
                header.is_some()
            });
            next = header.map_or(0, |header| header.next);
        }
        if !inode.is_dir() && !inode.is_symlink() {
            return;
        }
        for block in extents.iter().flat_map(|e| e.disk_block..e.disk_end()) {
            // Extents could be made to name everything a million times.
            if self.looks == 0 {
                return;
            }
            self.note(inode, block, |b| match inode.is_dir() {
                true => dir::validate(b, inode.ino, seed).is_ok(),
                false => symlink::parse(b, inode.ino, inode.size, seed).is_ok(),
            });
        }
    }

    /// Notes a block, if it is what the inode says.
    fn note(&mut self, inode: &Inode, block: u64, is_it: impl FnOnce(&[u8]) -> bool) {
        self.looks = self.looks.saturating_sub(1);
        // What has an owner has been looked at: a chain that is a loop ends here.
        if !self.sb.is_data(block, 1) || self.looks == 0 || self.owners.contains_key(&block) {
            return;
        }
        if self.disk.block(block).is_ok_and(|b| is_it(&b)) {
            self.owners.insert(block, inode.ino);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The blocks of extended attributes: each is kept, or its inode has none any more.

use super::Repair;
use crate::check::{check_attributes, Disk};
use toyfs_format::{Corrupt, Inode};

/// What is known about the extended attributes of an inode.
pub(super) enum Attributes {
    /// There are none, or they are sound and their block is marked as used.
    Kept,
    /// They were not sound. The inode has none now.
    Dropped,
    /// They are not sound, and stay.
    Left,
}

impl<D: Disk> Repair<'_, '_, D> {
    /// Looks at the extended attributes of an inode. To be called before its extents are: a block that says that it is this
    /// inode's is no block of its data.
    pub(super) fn attributes(&mut self, inode: &mut Inode) -> Attributes {
        let block = inode.xattr_block;
        if block == 0 {
            return Attributes::Kept;
        }
        let Err(Corrupt(why)) = self.check_attributes(inode) else {
            self.used.set(block);
            return Attributes::Kept;
        };
        let ino = inode.ino;
        let what = format!("inode {ino}: attribute block {block}: {why}: drop it");
        if !self.fixes.wanted_if_all(what) {
            self.left.insert(ino);
            return Attributes::Left;
        }
        // Whose block it is remains to be seen.
        inode.xattr_block = 0;
        Attributes::Dropped
    }

    fn check_attributes(&self, inode: &Inode) -> Result<(), Corrupt> {
        let block = inode.xattr_block;
        if !self.sb.is_data(block, 1) {
            return Err(Corrupt("outside the data region"));
        }
        if self.used.get(block) {
            return Err(Corrupt("used elsewhere too"));
        }
        let buf = self.disk.block(block);
        let buf = buf.map_err(|_| Corrupt("unreadable"))?;
        check_attributes(&buf, inode, self.sb.seed())
    }
}

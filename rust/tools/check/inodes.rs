// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the blocks that they claim.

use super::state::{Check, Disk, Node};
use toyfs_format::{
    dir::FileType, symlink, xattr, ChainHeader, Corrupt, Extent, Inode, BLOCK_SIZE,
    INODES_PER_BLOCK,
};

impl<D: Disk> Check<'_, D> {
    /// Reads all inodes in use and marks their blocks.
    pub(super) fn inodes(&mut self) {
        let sb = self.sb;
        let mut buf = vec![0; BLOCK_SIZE];
        for i in 0..sb.inode_table.len {
            let first = i * INODES_PER_BLOCK;
            let numbers = first.max(1)..(first + INODES_PER_BLOCK).min(sb.inode_count);
            if !numbers.clone().any(|ino| self.inode_map.get(ino)) {
                continue;
            }
            if !self.read(sb.inode_table.start + i, &mut buf) {
                continue;
            }
            for ino in numbers {
                if !self.inode_map.get(ino) {
                    continue;
                }
                let Some((_, offset)) = sb.inode_location(ino) else {
                    continue;
                };
                match Inode::parse(&buf[offset..], ino, sb.seed()) {
                    Ok(inode) => self.inode(&inode),
                    Err(Corrupt(why)) => self.inode_error(ino, why),
                }
            }
        }
    }

    /// Looks at one inode.
    fn inode(&mut self, inode: &Inode) {
        let ino = inode.ino;
        if self.orphan_map.get(ino) {
            self.orphans += 1;
        } else if inode.nlink == 0 {
            self.inode_error(ino, "unlinked, but not deleted");
        }
        let extents = self.extents(inode);
        let attributes = self.attributes(inode);
        if let Some(extents) = &extents {
            let blocks: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
            if blocks + u64::from(inode.chain_len) + attributes != inode.blocks {
                self.inode_error(ino, "number of blocks does not match the extents");
            }
        }
        if inode.is_symlink() && inode.size > 0 {
            // None if it is in the inode, where it has been checked.
            for e in extents.iter().flatten() {
                self.target(inode, e.disk_block);
            }
        }
        self.nodes.insert(
            ino,
            Node {
                is_dir: inode.is_dir(),
                kind: FileType::from_mode(inode.mode),
                nlink: inode.nlink,
                size: inode.size,
                parent: inode.parent,
                extents: extents.filter(|_| inode.is_dir()),
                refs: 0,
                subdirs: 0,
            },
        );
    }

    /// Looks at the target of a symbolic link in its block.
    fn target(&mut self, inode: &Inode, block: u64) {
        let mut buf = vec![0; BLOCK_SIZE];
        if !self.read(block, &mut buf) {
            return;
        }
        if let Err(Corrupt(why)) = symlink::parse(&buf, inode.ino, inode.size, self.sb.seed()) {
            self.inode_error(inode.ino, format!("block {block}: {why}"));
        }
    }

    /// Reads the extents of an inode and marks their blocks. `None` if there are errors in them.
    fn extents(&mut self, inode: &Inode) -> Option<Vec<Extent>> {
        let ino = inode.ino;
        let mut extents = inode.inline_extents().to_vec();
        let mut good = true;
        let mut next = inode.chain_head;
        let mut buf = vec![0; BLOCK_SIZE];
        for _ in 0..inode.chain_len {
            if !self.sb.is_data(next, 1) {
                self.inode_error(ino, format!("extent block {next} outside the data region"));
                good = false;
                break;
            }
            // A loop ends here: it comes to a block that was seen.
            if !self.claim(ino, next, 1) || !self.read(next, &mut buf) {
                good = false;
                break;
            }
            let header = match ChainHeader::parse(&buf, ino, self.sb.seed()) {
                Ok(header) => header,
                Err(Corrupt(why)) => {
                    self.inode_error(ino, format!("extent block {next}: {why}"));
                    good = false;
                    break;
                }
            };
            for e in header.extents(&buf) {
                match e {
                    Ok(e) => extents.push(e),
                    Err(Corrupt(why)) => {
                        self.inode_error(ino, format!("extent block {next}: {why}"));
                        good = false;
                    }
                }
            }
            next = header.next;
        }
        if good && next != 0 {
            self.inode_error(ino, "extent chain is longer than the inode says");
            good = false;
        }
        if good && extents.len() != inode.extent_count as usize {
            self.inode_error(ino, "number of extents does not match the extent chain");
            good = false;
        }
        let mut end = 0;
        for e in &extents {
            if e.file_block < end {
                self.inode_error(ino, "extents overlap or are out of order");
                good = false;
            }
            end = e.end();
            if !self.sb.is_data(e.disk_block, e.len.into()) {
                let place = format!("{}+{}", e.disk_block, e.len);
                self.inode_error(ino, format!("extent {place} outside the data region"));
                good = false;
            } else if !self.claim(ino, e.disk_block, e.len.into()) {
                good = false;
            }
        }
        good.then_some(extents)
    }

    /// Marks the block of an inode's extended attributes, and checks it. Returns the number of blocks that it says it has for them.
    fn attributes(&mut self, inode: &Inode) -> u64 {
        let (ino, block) = (inode.ino, inode.xattr_block);
        if block == 0 {
            return 0;
        }
        let mut buf = vec![0; BLOCK_SIZE];
        if !self.sb.is_data(block, 1) {
            let place = format!("attribute block {block} outside the data region");
            self.inode_error(ino, place);
        } else if self.claim(ino, block, 1) && self.read(block, &mut buf) {
            if let Err(Corrupt(why)) = check_attributes(&buf, inode, self.sb.seed()) {
                self.inode_error(ino, format!("attribute block {block}: {why}"));
            }
        }
        1
    }

    /// Marks blocks as used. Returns whether none was before; otherwise that is reported.
    fn claim(&mut self, ino: u64, start: u64, len: u64) -> bool {
        let mut first = None;
        let mut count: u64 = 0;
        for block in start..start.saturating_add(len) {
            if !self.seen.set(block) {
                continue;
            }
            first = first.or(Some(block));
            count += 1;
            // Extents could be made to claim everything a million times.
            match self.patience.checked_sub(1) {
                Some(rest) => self.patience = rest,
                None => break,
            }
        }
        let Some(first) = first else {
            return true;
        };
        self.inode_error(
            ino,
            format!("{count} blocks from {first} are used elsewhere too"),
        );
        false
    }
}

/// Checks everything about the block of an inode's extended attributes.
pub(crate) fn check_attributes(block: &[u8], inode: &Inode, seed: u32) -> Result<(), Corrupt> {
    xattr::validate(block, inode.ino, seed)?;
    let default = xattr::find(block, xattr::Prefix::AclDefault, b"")?;
    if default.is_some() && !inode.is_dir() {
        return Err(Corrupt("has a default ACL, but is no directory"));
    }
    Ok(())
}

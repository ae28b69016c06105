// SPDX-License-Identifier: GPL-2.0

//! Inodes: which are kept, and what their numbers should be.

use super::{attributes::Attributes, connect::Tree, extents::Salvage, Node, Repair};
use crate::check::Disk;
use std::{collections::HashSet, io};
use toyfs_format::{
    dir::FileType, symlink, Corrupt, Extent, Inode, BLOCK_LOG2, BLOCK_SIZE, INODES_PER_BLOCK,
    INODE_SIZE, ROOT_INO,
};

impl<D: Disk> Repair<'_, '_, D> {
    /// Reads all inodes in use, and keeps what is sound.
    pub(super) fn inodes_read(&mut self) -> io::Result<()> {
        let blocks = self.sb.inode_table.len;
        for i in 0..blocks {
            for (_, inode) in self.in_use(i)? {
                if let Some(inode) = inode.ok().filter(|inode| inode.nlink > 0) {
                    self.note_metadata(&inode);
                }
            }
        }
        // What was deleted comes last: its blocks may long be another's.
        let mut unlinked = Vec::new();
        for i in 0..blocks {
            for (ino, inode) in self.in_use(i)? {
                match inode {
                    Ok(inode) if inode.nlink == 0 && ino != ROOT_INO => unlinked.push(inode),
                    Ok(inode) => self.admit(inode),
                    Err(Corrupt(why)) => self.clear(ino, why),
                }
            }
        }
        self.marked_free();
        for inode in unlinked {
            self.admit(inode);
        }
        Ok(())
    }

    /// The inodes in use in a block of the table.
    fn in_use(&self, i: u64) -> io::Result<Vec<(u64, Result<Inode, Corrupt>)>> {
        let first = i * INODES_PER_BLOCK;
        let numbers = first.max(1)..(first + INODES_PER_BLOCK).min(self.sb.inode_count);
        let mut numbers = numbers.filter(|&ino| self.inode_map.get(ino)).peekable();
        if numbers.peek().is_none() {
            return Ok(Vec::new());
        }
        let block = self.disk.block(self.sb.inode_table.start + i)?;
        let inode = |ino| {
            let raw = &block[(ino - first) as usize * INODE_SIZE..];
            (ino, Inode::parse(raw, ino, self.sb.seed()))
        };
        Ok(numbers.map(inode).collect())
    }

    /// Keeps what is marked free, and yet in a directory that is kept: the bitmap has no checksum,
    /// and an inode that was deleted has no links.
    fn marked_free(&mut self) {
        let mut asked = HashSet::new();
        let mut todo = self.directory_numbers();
        if !self.nodes.contains_key(&ROOT_INO) && self.recover(ROOT_INO, FileType::Dir) {
            todo.push(ROOT_INO);
        }
        while let Some(ino) = todo.pop() {
            for block in self.blocks_of(ino) {
                for e in self.entries(block, ino).unwrap_or_default() {
                    let known = self.inode_map.get(e.target) || !asked.insert(e.target);
                    if !known && self.recover(e.target, e.kind) && e.kind == FileType::Dir {
                        todo.push(e.target);
                    }
                }
            }
        }
    }

    /// Keeps an inode of this type although it is marked free, if that is wanted.
    fn recover(&mut self, ino: u64, kind: FileType) -> bool {
        let Some((at, offset)) = self.sb.inode_location(ino) else {
            return false;
        };
        let found = self.disk.block(at).ok();
        let found = found.and_then(|b| Inode::parse(&b[offset..], ino, self.sb.seed()).ok());
        let is_it = |i: &Inode| i.nlink > 0 && FileType::from_mode(i.mode) == Some(kind);
        let Some(inode) = found.filter(is_it) else {
            return false;
        };
        let what = format!("inode {ino}: marked free, but in a directory: keep it");
        let wanted = self.fixes.wanted_if_all(what);
        if wanted {
            self.admit(inode);
        }
        wanted
    }

    /// Keeps an inode, unless there is nothing that it could keep.
    fn admit(&mut self, inode: Inode) {
        let checked = match inode.ino == ROOT_INO && !inode.is_dir() {
            true => Err(Corrupt("root is no directory")),
            false => self.check_link(&inode),
        };
        match checked {
            Ok(()) => self.keep(inode),
            Err(Corrupt(why)) => self.clear(inode.ino, why),
        }
    }

    /// Checks the target of a symbolic link that has a block for it: there is nothing else that such a one could keep.
    fn check_link(&self, inode: &Inode) -> Result<(), Corrupt> {
        let Some(e) = inode
            .inline_extents()
            .first()
            .filter(|_| inode.is_symlink() && inode.size > 0)
        else {
            return Ok(());
        };
        if !self.sb.is_data(e.disk_block, 1) || self.used.get(e.disk_block) {
            return Err(Corrupt("target of symbolic link in another's block"));
        }
        let block = self.disk.block(e.disk_block);
        let block = block.map_err(|_| Corrupt("unreadable target of symbolic link"))?;
        symlink::parse(&block, inode.ino, inode.size, self.sb.seed()).map(drop)
    }

    /// Gives an inode up.
    fn clear(&mut self, ino: u64, why: &str) {
        if !self
            .fixes
            .wanted_if_all(format!("inode {ino}: {why}: clear it"))
        {
            self.left.insert(ino);
        }
    }

    /// Keeps an inode, and of its extents and attributes what is sound.
    fn keep(&mut self, mut inode: Inode) {
        let ino = inode.ino;
        let attributes = self.attributes(&mut inode);
        let Salvage {
            mut extents,
            chain,
            mut damaged,
        } = self.salvage(&inode);
        let owned = match attributes {
            Attributes::Kept if inode.xattr_block != 0 => Some(inode.xattr_block),
            Attributes::Left if self.sb.is_data(inode.xattr_block, 1) => {
                // For nobody to get it; it may be somebody's already.
                self.used.set(inode.xattr_block);
                None
            }
            _ => None,
        };
        let mut relaid = false;
        if self.orphan_map.get(ino) && inode.nlink > 0 && inode.is_file() {
            relaid = self.truncate(&inode, &mut extents);
        }
        let data: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
        damaged |= inode.is_dir() && inode.size != data << BLOCK_LOG2;
        let blocks = data + chain.len() as u64 + u64::from(inode.xattr_block != 0);
        let mut dirty = false;
        if matches!(attributes, Attributes::Dropped) {
            dirty = true;
            inode.blocks = inode.blocks.saturating_sub(1);
        }
        if damaged {
            let what = format!("inode {ino}: extents are damaged: keep what is sound of them");
            if self.fixes.wanted_if_all(what) {
                relaid = true;
            } else {
                self.left.insert(ino);
            }
        } else if !relaid && inode.blocks != blocks {
            let what =
                format!("inode {ino}: number of blocks does not match the extents: correct it");
            if self.fixes.safe(what) {
                dirty = true;
                inode.blocks = blocks;
            }
        }
        let needed = relaid || inode.is_dir() || inode.nlink == 0;
        self.nodes.insert(
            ino,
            Node {
                inode,
                extents: needed.then_some(extents),
                chain,
                attributes: owned,
                dirty,
                relaid,
                refs: 0,
                subdirs: 0,
                entries: 0,
            },
        );
    }

    /// Frees what is behind the end of a file. Returns whether there was anything.
    fn truncate(&mut self, inode: &Inode, extents: &mut Vec<Extent>) -> bool {
        let end = inode.size.div_ceil(BLOCK_SIZE as u64);
        if extents.last().is_none_or(|e| e.end() <= end) {
            return false;
        }
        let what = format!("inode {}: orphan: free what is behind its end", inode.ino);
        if !self.fixes.safe(what) {
            return false;
        }
        for e in extents.iter_mut() {
            let kept = end.saturating_sub(e.file_block).min(e.len.into());
            self.release(e.disk_block + kept, u64::from(e.len) - kept);
            e.len = kept as u32;
        }
        extents.retain(|e| e.len > 0);
        true
    }

    /// Deletes what has neither links nor entries.
    pub(super) fn unlinked(&mut self) {
        let unlinked: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(&ino, n)| {
                ino != ROOT_INO && n.inode.nlink == 0 && n.refs == 0 && n.entries == 0
            })
            .map(|(&ino, _)| ino)
            .collect();
        for ino in unlinked {
            let wanted = if self.orphan_map.get(ino) {
                self.fixes.safe(format!("inode {ino}: orphan: delete it"))
            } else {
                self.fixes
                    .wanted_if_all(format!("inode {ino}: unlinked, but not deleted: delete it"))
            };
            if !wanted {
                continue;
            }
            let Some(node) = self.nodes.remove(&ino) else {
                continue;
            };
            for e in node.extents.into_iter().flatten() {
                self.release(e.disk_block, e.len.into());
            }
            for block in node.chain.into_iter().chain(node.attributes) {
                self.release(block, 1);
            }
        }
    }

    /// Corrects parents and link counts.
    pub(super) fn links(&mut self, tree: &Tree) {
        for (&ino, node) in &mut self.nodes {
            let inode = &mut node.inode;
            let parent = match tree.chosen.get(&ino) {
                Some(&parent) => parent,
                None if ino == ROOT_INO => ROOT_INO,
                // Of what has just been linked to lost+found, it is right.
                None => inode.parent,
            };
            if inode.is_dir() && inode.parent != parent {
                let what = format!("inode {ino}: parent is {}: {parent}", inode.parent);
                if self.fixes.wanted_if_all(what) {
                    inode.parent = parent;
                    node.dirty = true;
                }
            }
            let expected = match inode.is_dir() {
                true => 2 + node.subdirs,
                false => node.refs,
            };
            // It is left in no directory, then.
            let nowhere = node.refs == 0 && ino != ROOT_INO;
            if u64::from(inode.nlink) != expected && !nowhere {
                let what = format!("inode {ino}: {} links: {expected}", inode.nlink);
                if self.fixes.safe(what) {
                    inode.nlink = expected as u32;
                    node.dirty = true;
                }
            }
        }
    }

    /// Writes the inodes that have changed, and their extents.
    pub(super) fn inodes_write(&mut self) -> io::Result<()> {
        let mut nodes = std::mem::take(&mut self.nodes);
        for node in nodes.values_mut() {
            if node.relaid {
                self.lay_out(node);
            }
            if !node.dirty {
                continue;
            }
            let Some((at, offset)) = self.sb.inode_location(node.inode.ino) else {
                continue;
            };
            let mut block = self.disk.block(at)?;
            let raw = node.inode.encode(self.sb.seed());
            block[offset..offset + INODE_SIZE].copy_from_slice(&raw);
            self.disk.put(at, &block);
        }
        self.nodes = nodes;
        Ok(())
    }
}

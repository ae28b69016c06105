// SPDX-License-Identifier: GPL-2.0

//! Directories, and the links that they are.

use super::state::{Check, Disk};
use std::collections::{BTreeMap, HashSet};
use toyfs_format::{
    dir::{self, FileType},
    Corrupt, Extent, BLOCK_SIZE, ROOT_INO,
};

impl<D: Disk> Check<'_, D> {
    /// Reads all directories and counts the references in them.
    pub(super) fn directories(&mut self) {
        match self.nodes.get(&ROOT_INO) {
            Some(root) if !root.is_dir => self.inode_error(ROOT_INO, "root is no directory"),
            Some(_) => {}
            None => self.inode_error(ROOT_INO, "no root directory"),
        }
        let dirs: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_dir)
            .map(|(&ino, _)| ino)
            .collect();
        let mut children: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for &ino in &dirs {
            let Some(node) = self.nodes.get_mut(&ino) else {
                continue;
            };
            let (size, extents) = (node.size, node.extents.take());
            match extents {
                Some(extents) => {
                    let found = self.directory(ino, size, &extents);
                    children.insert(ino, found);
                }
                None => self.inode_error(ino, "directory not checked because of its extents"),
            }
        }
        // Every directory is in one directory only (`links` checks), so what cannot be reached
        // from the root hangs on a loop, or on something damaged.
        let mut reached = HashSet::from([ROOT_INO]);
        let mut todo = vec![ROOT_INO];
        while let Some(ino) = todo.pop() {
            for &child in children.get(&ino).into_iter().flatten() {
                if reached.insert(child) {
                    todo.push(child);
                }
            }
        }
        for ino in dirs {
            let orphan = self.nodes.get(&ino).is_some_and(|node| node.nlink == 0)
                && self.orphan_map.get(ino);
            if !reached.contains(&ino) && !orphan {
                self.inode_error(ino, "directory cannot be reached from the root");
            }
        }
    }

    /// Reads one directory and returns the directories in it.
    fn directory(&mut self, ino: u64, size: u64, extents: &[Extent]) -> Vec<u64> {
        let mut children = Vec::new();
        let mut names = HashSet::new();
        let mut buf = vec![0; BLOCK_SIZE];
        let mut end = 0;
        for e in extents {
            if e.file_block != end {
                self.inode_error(ino, "hole in directory");
            }
            end = e.end();
            if e.unwritten {
                self.inode_error(ino, "unwritten blocks in directory");
                continue;
            }
            for block in e.disk_block..e.disk_end() {
                if !self.read(block, &mut buf) {
                    continue;
                }
                if let Err(Corrupt(why)) = dir::validate(&buf, ino, self.sb.seed()) {
                    self.inode_error(ino, format!("directory block {block}: {why}"));
                    continue;
                }
                let mut entries = Vec::new();
                let walked = dir::iterate(&buf, 0, |e| {
                    entries.push((e.ino, e.kind, e.name.to_vec()));
                    true
                });
                if let Err(Corrupt(why)) = walked {
                    self.inode_error(ino, format!("directory block {block}: {why}"));
                }
                for (target, kind, name) in entries {
                    if self.entry(ino, target, kind, &name) {
                        children.push(target);
                    }
                    if !names.insert(name.clone()) {
                        let name = name.escape_ascii();
                        self.inode_error(ino, format!("two entries '{name}' in directory"));
                    }
                }
            }
        }
        let unlinked = self.nodes.get(&ino).is_some_and(|node| node.nlink == 0);
        if unlinked && self.orphan_map.get(ino) && !names.is_empty() {
            self.inode_error(ino, "directory without links has entries");
        }
        if end != size / BLOCK_SIZE as u64 {
            self.inode_error(ino, "size of directory does not match its blocks");
        }
        children
    }

    /// Looks at one directory entry and returns whether it refers to a directory.
    fn entry(&mut self, parent: u64, target: u64, kind: FileType, name: &[u8]) -> bool {
        let entry = format!("entry '{}' refers to inode {target}", name.escape_ascii());
        if target >= self.sb.inode_count {
            self.inode_error(parent, format!("{entry}, which does not exist"));
            return false;
        }
        let Some(node) = self.nodes.get_mut(&target) else {
            let state = if self.inode_map.get(target) {
                "damaged"
            } else {
                "free"
            };
            self.inode_error(parent, format!("{entry}, which is {state}"));
            return false;
        };
        node.refs += 1;
        let (is_dir, right) = (node.is_dir, node.kind == Some(kind));
        let stray = is_dir && node.parent != parent;
        if !right {
            self.inode_error(parent, format!("{entry}, which is of another type"));
        }
        if stray {
            self.inode_error(parent, format!("{entry}, which has another parent"));
        }
        if is_dir {
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.subdirs += 1;
            }
        }
        is_dir
    }

    /// Compares link counts with references.
    pub(super) fn links(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        for (&ino, node) in &nodes {
            if ino == ROOT_INO {
                if node.refs != 0 {
                    self.inode_error(ino, "root is in a directory");
                }
                if node.is_dir && node.parent != ROOT_INO {
                    self.inode_error(ino, "root has another parent");
                }
            } else if node.refs == 0 && node.nlink != 0 {
                self.inode_error(ino, "is in no directory");
                continue;
            } else if node.is_dir && node.refs > 1 {
                let refs = node.refs;
                self.inode_error(ino, format!("directory is in {refs} directories"));
            }
            let expected = if node.is_dir {
                2 + node.subdirs
            } else {
                node.refs
            };
            // A directory that was unlinked while open is as empty as a file in that state.
            let orphan = node.nlink == 0 && node.refs == 0 && node.subdirs == 0;
            if u64::from(node.nlink) != expected && !orphan {
                let nlink = node.nlink;
                self.inode_error(ino, format!("{nlink} links, should be {expected}"));
            }
        }
        self.nodes = nodes;
    }
}

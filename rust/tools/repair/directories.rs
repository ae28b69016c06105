// SPDX-License-Identifier: GPL-2.0

//! Directories: which entries are kept.

use super::{
    connect::{Entry, Tree},
    Repair,
};
use crate::check::Disk;
use std::collections::HashSet;
use toyfs_format::{
    dir::{self, FileType},
    BLOCK_SIZE, ROOT_INO,
};

/// What has been kept already.
#[derive(Default)]
struct Kept {
    /// Names in this directory.
    names: HashSet<Vec<u8>>,
    /// Directories, anywhere.
    dirs: HashSet<u64>,
}

impl<D: Disk> Repair<'_, '_, D> {
    /// Makes blocks of directories sound that are not.
    pub(super) fn directory_blocks(&mut self) {
        for ino in self.directory_numbers() {
            for block in self.blocks_of(ino) {
                if self.entries(block, ino).is_some() {
                    continue;
                }
                let kept = self.plausible(ino, block);
                let what = match kept.len() {
                    0 => "empty it".to_string(),
                    n => format!("keep {n} entries"),
                };
                let what = format!("inode {ino}: directory block {block} is damaged: {what}");
                if self.fixes.wanted_if_all(what) {
                    self.fill(ino, block, &kept);
                }
            }
        }
    }

    /// The entries of a directory block in which nothing is wrong but the checksum, as far as there are such inodes.
    fn plausible(&self, ino: u64, block: u64) -> Vec<Entry> {
        let Ok(mut buf) = self.disk.block(block) else {
            return Vec::new();
        };
        dir::seal(&mut buf, self.sb.seed());
        let mut entries = self.entries_in(&buf, ino).unwrap_or_default();
        entries.retain(|e| {
            let node = self.nodes.get(&e.target);
            node.is_some_and(|n| FileType::from_mode(n.inode.mode) == Some(e.kind))
        });
        entries
    }

    /// Takes out of all directories what is not sound, and counts what is.
    pub(super) fn directories(&mut self, tree: &Tree) {
        let mut kept = Kept::default();
        for ino in self.directory_numbers() {
            kept.names.clear();
            for block in self.blocks_of(ino) {
                self.directory_block(ino, block, tree, &mut kept);
            }
        }
    }

    /// One block of a directory.
    fn directory_block(&mut self, ino: u64, block: u64, tree: &Tree, kept: &mut Kept) {
        let Some(found) = self.entries(block, ino) else {
            return;
        };
        let mut entries = Vec::new();
        for mut e in found.iter().cloned() {
            if let Some(why) = self.objection(ino, &e, tree, kept) {
                let name = e.name.escape_ascii();
                let what = format!("inode {ino}: entry '{name}' {why}: remove it");
                if self.fixes.wanted_if_all(what) {
                    continue;
                }
            }
            self.keep_entry(ino, &mut e, kept);
            entries.push(e);
        }
        if entries != found {
            self.fill(ino, block, &entries);
        }
    }

    /// Why an entry cannot stay.
    fn objection(&self, ino: u64, e: &Entry, tree: &Tree, kept: &Kept) -> Option<String> {
        let target = e.target;
        let refers = format!("refers to inode {target}");
        if self.left.contains(&target) && !self.nodes.contains_key(&target) {
            return None;
        }
        let Some(node) = self.nodes.get(&target) else {
            return Some(format!("{refers}, which is free or damaged"));
        };
        if target == ROOT_INO {
            return Some(format!("{refers}, the root"));
        }
        if kept.names.contains(&e.name) {
            return Some("is there twice".into());
        }
        let elsewhere = tree.chosen.get(&target) != Some(&ino) || kept.dirs.contains(&target);
        (node.inode.is_dir() && elsewhere)
            .then(|| format!("{refers}, a directory that belongs elsewhere"))
    }

    /// Counts an entry that stays, with the right type.
    fn keep_entry(&mut self, ino: u64, e: &mut Entry, kept: &mut Kept) {
        kept.names.insert(e.name.clone());
        let Some(node) = self.nodes.get_mut(&e.target) else {
            return;
        };
        node.refs += 1;
        let is_dir = node.inode.is_dir();
        if let Some(kind) = FileType::from_mode(node.inode.mode).filter(|&kind| kind != e.kind) {
            let name = e.name.escape_ascii();
            let what = format!("inode {ino}: entry '{name}' is of another type: correct it");
            if self.fixes.wanted_if_all(what) {
                e.kind = kind;
            }
        }
        if is_dir {
            kept.dirs.insert(e.target);
            if let Some(node) = self.nodes.get_mut(&ino) {
                node.subdirs += 1;
            }
        }
    }

    /// Makes a directory block with these entries, which were all in it before.
    fn fill(&mut self, ino: u64, block: u64, entries: &[Entry]) {
        let seed = self.sb.seed();
        let mut buf = [0; BLOCK_SIZE];
        dir::init_block(&mut buf, ino, seed);
        for e in entries {
            let added = dir::insert(&mut buf, &e.name, e.target, e.kind, seed);
            debug_assert_eq!(added, Ok(true));
        }
        self.disk.put(block, &buf);
    }
}

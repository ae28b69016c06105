// SPDX-License-Identifier: GPL-2.0

//! The tree of directories: which directory is in which.

use super::{Node, Repair};
use crate::check::Disk;
use std::collections::{HashMap, HashSet, VecDeque};
use toyfs_format::{
    dir::{self, FileType},
    Extent, ROOT_INO,
};

/// A directory entry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: u64,
    pub(super) kind: FileType,
    pub(super) name: Vec<u8>,
}

/// The directories that can be reached from the root.
#[derive(Default)]
pub(super) struct Tree {
    /// The directory that each is to be in.
    pub(super) chosen: HashMap<u64, u64>,
    /// Those that are in none, and have to go into lost+found.
    pub(super) lost: Vec<u64>,
    reached: HashSet<u64>,
    children: HashMap<u64, Vec<u64>>,
}

impl Tree {
    /// Goes from a directory to all that are in it, and in these. An entry in the directory that the other one takes for its
    /// parent counts more than one elsewhere.
    fn spread(&mut self, from: u64, parent: &HashMap<u64, u64>) {
        let mut todo = vec![from];
        let mut strays = VecDeque::new();
        self.reached.insert(from);
        loop {
            while let Some(ino) = todo.pop() {
                for &child in self.children.get(&ino).into_iter().flatten() {
                    if parent.get(&child) != Some(&ino) {
                        strays.push_back((ino, child));
                    } else if self.reached.insert(child) {
                        self.chosen.insert(child, ino);
                        todo.push(child);
                    }
                }
            }
            let Some((ino, child)) = strays.pop_front() else {
                return;
            };
            if self.reached.insert(child) {
                self.chosen.insert(child, ino);
                todo.push(child);
            }
        }
    }
}

impl<D: Disk> Repair<'_, '_, D> {
    /// The blocks of a directory.
    pub(super) fn blocks_of(&self, ino: u64) -> Vec<u64> {
        let extents = self.nodes.get(&ino).and_then(|n| n.extents.as_ref());
        let range = |e: &Extent| e.disk_block..e.disk_end();
        extents.into_iter().flatten().flat_map(range).collect()
    }

    /// The entries of a directory block. `None` if it is not sound.
    pub(super) fn entries(&self, block: u64, owner: u64) -> Option<Vec<Entry>> {
        self.entries_in(&self.disk.block(block).ok()?, owner)
    }

    /// The same, of a block that was read.
    pub(super) fn entries_in(&self, buf: &[u8], owner: u64) -> Option<Vec<Entry>> {
        dir::validate(buf, owner, self.sb.seed()).ok()?;
        let mut entries = Vec::new();
        dir::iterate(buf, 0, |e| {
            entries.push(Entry {
                target: e.ino,
                kind: e.kind,
                name: e.name.to_vec(),
            });
            true
        })
        .ok()?;
        Some(entries)
    }

    /// Finds out which directory is in which.
    pub(super) fn connect(&mut self) -> Tree {
        let mut tree = Tree::default();
        let mut container = HashMap::new();
        for ino in self.directory_numbers() {
            self.children(ino, &mut tree, &mut container);
        }
        let parent: HashMap<u64, u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.inode.is_dir())
            .map(|(&ino, node)| (ino, node.inode.parent))
            .collect();
        tree.spread(ROOT_INO, &parent);
        let unreached: Vec<u64> = parent
            .keys()
            .copied()
            .filter(|ino| !tree.reached.contains(ino))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        // First what is in no directory at all; then what is in a loop.
        let (inside, tops): (Vec<u64>, Vec<u64>) = unreached
            .iter()
            .partition(|ino| container.contains_key(ino));
        for ino in tops {
            let deleted = |n: &Node| n.inode.nlink == 0 && n.entries == 0;
            if self.nodes.get(&ino).is_some_and(deleted) {
                continue;
            }
            tree.lost.push(ino);
            tree.spread(ino, &parent);
        }
        for ino in inside {
            if tree.reached.contains(&ino) {
                continue;
            }
            let mut seen = HashSet::new();
            let mut top = ino;
            while seen.insert(top) {
                top = container.get(&top).copied().unwrap_or(top);
            }
            // What was reached from a deleted directory has been reached from nowhere.
            tree.lost.push(top);
            tree.spread(top, &parent);
        }
        tree
    }

    /// Notes the directories in a directory.
    fn children(&mut self, ino: u64, tree: &mut Tree, container: &mut HashMap<u64, u64>) {
        let mut names = HashSet::new();
        let mut count = 0;
        for block in self.blocks_of(ino) {
            for e in self.entries(block, ino).unwrap_or_default() {
                let Some(node) = self.nodes.get(&e.target) else {
                    continue;
                };
                if e.target == ROOT_INO || !names.insert(e.name) {
                    continue;
                }
                count += 1;
                if node.inode.is_dir() {
                    tree.children.entry(ino).or_default().push(e.target);
                    container.insert(e.target, ino);
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.entries = count;
        }
    }
}

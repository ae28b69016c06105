// SPDX-License-Identifier: GPL-2.0

//! What is in no directory, and comes into `/lost+found`.

use super::{connect::Tree, Node, Repair};
use crate::check::Disk;
use std::time::{SystemTime, UNIX_EPOCH};
use toyfs_format::{
    dir::{self, FileType},
    Extent, Inode, Time, BLOCK_SIZE, MAX_DIR_BLOCKS, ROOT_INO, S_IFDIR,
};

const NAME: &str = "lost+found";

impl<D: Disk> Repair<'_, '_, D> {
    /// Gives a name to everything that has none.
    pub(super) fn lost(&mut self, tree: &Tree) {
        let mut lost = tree.lost.clone();
        let file = |n: &Node| !n.inode.is_dir() && n.refs == 0 && n.inode.nlink > 0;
        lost.extend(self.nodes.iter().filter(|n| file(n.1)).map(|n| *n.0));
        let mut place = None;
        for ino in lost {
            let what = format!("inode {ino}: is in no directory: put it into {NAME}");
            if !self.fixes.wanted_if_all(what) {
                continue;
            }
            if place.is_none() {
                place = self.lost_found();
            }
            let linked = place.is_some_and(|place| self.link(place, ino));
            if !linked && !self.link(ROOT_INO, ino) {
                self.fixes
                    .talk
                    .say(&format!("inode {ino}: no room for that"));
                self.fixes.declined += 1;
            }
        }
    }

    /// Links an inode as `#` and its number. Returns whether there was room.
    fn link(&mut self, place: u64, ino: u64) -> bool {
        let free = |name: &String| self.look_up(place, name.as_bytes()).is_none();
        let mut names =
            std::iter::once(format!("#{ino}")).chain((1..100).map(|n| format!("#{ino}-{n}")));
        let Some(name) = names.find(free) else {
            return false;
        };
        let Some(kind) = self
            .nodes
            .get(&ino)
            .and_then(|n| FileType::from_mode(n.inode.mode))
        else {
            return false;
        };
        if !self.add_entry(place, name.as_bytes(), ino, kind) {
            return false;
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.refs += 1;
            if kind == FileType::Dir {
                node.inode.parent = place;
                node.dirty = true;
            }
        }
        if kind == FileType::Dir {
            if let Some(node) = self.nodes.get_mut(&place) {
                node.subdirs += 1;
            }
        }
        true
    }

    /// The directory for what is lost; the root if there is no room for one.
    fn lost_found(&mut self) -> Option<u64> {
        self.nodes.get(&ROOT_INO)?;
        let mut name = NAME.to_string();
        for n in 1..100 {
            match self.look_up(ROOT_INO, name.as_bytes()) {
                None => break,
                Some(ino) if self.nodes.get(&ino).is_some_and(|n| n.inode.is_dir()) => {
                    return Some(ino);
                }
                // A file, which stays.
                Some(_) => name = format!("{NAME}-{n}"),
            }
        }
        let taken = |ino: &u64| {
            self.inode_map.get(*ino) || self.nodes.contains_key(ino) || self.left.contains(ino)
        };
        let Some(ino) = (ROOT_INO + 1..self.sb.inode_count).find(|ino| !taken(ino)) else {
            return Some(ROOT_INO);
        };
        if !self.add_entry(ROOT_INO, name.as_bytes(), ino, FileType::Dir) {
            return Some(ROOT_INO);
        }
        let mut node = self.new_directory(ino, ROOT_INO, 0o700);
        node.refs = 1;
        self.nodes.insert(ino, node);
        if let Some(root) = self.nodes.get_mut(&ROOT_INO) {
            root.subdirs += 1;
        }
        Some(ino)
    }

    /// The inode number of an entry.
    fn look_up(&self, ino: u64, name: &[u8]) -> Option<u64> {
        self.blocks_of(ino).into_iter().find_map(|block| {
            let buf = self.disk.block(block).ok()?;
            dir::find(&buf, name).ok()?.map(|e| e.ino)
        })
    }

    /// A directory without entries.
    pub(super) fn new_directory(&self, ino: u64, parent: u64, mode: u32) -> Node {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = Time {
            sec: now.as_secs() as i64,
            nsec: now.subsec_nanos(),
        };
        Node {
            inode: Inode {
                ino,
                mode: S_IFDIR | mode,
                nlink: 2,
                parent,
                generation: self.next_generation(ino),
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
                ..Inode::default()
            },
            extents: Some(Vec::new()),
            chain: Vec::new(),
            attributes: None,
            dirty: true,
            relaid: false,
            refs: 0,
            subdirs: 0,
            entries: 0,
        }
    }

    /// A generation that the inode of this number has not had.
    fn next_generation(&self, ino: u64) -> u32 {
        let before = self.sb.inode_location(ino).and_then(|(at, offset)| {
            let block = self.disk.block(at).ok()?;
            Inode::parse(&block[offset..], ino, self.sb.seed()).ok()
        });
        before.map_or(0, |inode| inode.generation.wrapping_add(1))
    }

    /// Adds an entry to a directory: to its last block, or to a new one. Returns whether there was room.
    fn add_entry(&mut self, ino: u64, name: &[u8], target: u64, kind: FileType) -> bool {
        let seed = self.sb.seed();
        let blocks = self.blocks_of(ino);
        // All of the others are as good as full, unless it is the root.
        let few = if ino == ROOT_INO { blocks.len() } else { 1 };
        for &block in blocks.iter().rev().take(few) {
            // Its checksum is renewed, so it must not be one that is damaged and to stay so.
            if self.entries(block, ino).is_none() {
                continue;
            }
            if let Ok(mut buf) = self.disk.block(block) {
                if dir::insert(&mut buf, name, target, kind, seed) == Ok(true) {
                    self.disk.put(block, &buf);
                    return true;
                }
            }
        }
        if blocks.len() as u64 >= MAX_DIR_BLOCKS || !self.nodes.contains_key(&ino) {
            return false;
        }
        let Some(block) = self.allocate() else {
            return false;
        };
        let mut buf = [0; BLOCK_SIZE];
        dir::init_block(&mut buf, ino, seed);
        let added = dir::insert(&mut buf, name, target, kind, seed);
        debug_assert_eq!(added, Ok(true));
        self.disk.put(block, &buf);
        if let Some(node) = self.nodes.get_mut(&ino) {
            append(node.extents.get_or_insert_with(Vec::new), block);
            node.relaid = true;
        }
        true
    }
}

/// Appends a block to the extents of a directory.
fn append(extents: &mut Vec<Extent>, block: u64) {
    match extents.last_mut() {
        Some(last) if last.disk_end() == block => last.len += 1,
        last => {
            let file_block = last.map_or(0, |e| e.end());
            extents.push(Extent {
                file_block,
                disk_block: block,
                len: 1,
                unwritten: false,
            });
        }
    }
}

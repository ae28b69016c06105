// SPDX-License-Identifier: GPL-2.0

//! The repair of a filesystem: one pass over all of it.
//!
//! What a check finds is not mended one by one. A pass reads what is there, keeps of it what is sound and does not contradict
//! what it has kept already, and writes what is different then. The check decides afterwards whether that was enough.

mod attributes;
mod bitmaps;
mod connect;
mod directories;
mod extents;
mod fixes;
mod inodes;
mod lost;
mod owners;
mod superblock;

use super::{
    check::{Bits, Disk},
    overlay::Overlay,
};
use fixes::Fixes;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};
use toyfs_format::{Extent, Inode, Superblock, ROOT_INO};

pub(crate) use fixes::{Dialogue, Mode};
pub(crate) use superblock::may_restore;

/// An inode that is kept.
struct Node {
    inode: Inode,
    /// Its extents, unless they are as they were and nobody will ask.
    extents: Option<Vec<Extent>>,
    /// The blocks of its extent chain.
    chain: Vec<u64>,
    /// The block of its extended attributes, if it has one that is sound.
    attributes: Option<u64>,
    /// The inode is not as it was.
    dirty: bool,
    /// Neither are its extents.
    relaid: bool,
    /// Directory entries that refer to it.
    refs: u64,
    /// Directory entries in it that refer to directories.
    subdirs: u64,
    /// Directory entries in it.
    entries: u64,
}

/// The state of a pass.
struct Repair<'a, 'd, D: Disk> {
    disk: &'a mut Overlay<'d, D>,
    sb: Superblock,
    fixes: Fixes<'a>,
    /// The bitmaps as stored.
    block_map: Bits,
    inode_map: Bits,
    orphan_map: Bits,
    /// The blocks that what is kept refers to.
    used: Bits,
    /// Whose metadata a block is.
    owners: HashMap<u64, u64>,
    /// So many blocks are looked at for that.
    looks: u64,
    /// So many blocks that are in `used` already are looked at one by one.
    patience: u64,
    /// Where to look for a free block.
    cursor: u64,
    nodes: BTreeMap<u64, Node>,
    /// Inodes that are left as they are, though not sound.
    left: BTreeSet<u64>,
}

/// What a pass came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) done: u64,
    pub(crate) declined: u64,
}

/// Goes through the filesystem once, and leaves in `disk` what is to be written.
pub(crate) fn repair<D: Disk>(
    disk: &mut Overlay<'_, D>,
    sb: Superblock,
    mode: Mode,
    talk: &mut dyn Dialogue,
) -> io::Result<Outcome> {
    let mut repair = Repair {
        disk,
        sb,
        fixes: Fixes {
            mode,
            talk,
            done: 0,
            declined: 0,
        },
        block_map: Bits::new(0),
        inode_map: Bits::new(0),
        orphan_map: Bits::new(0),
        used: Bits::new(sb.total_blocks),
        owners: HashMap::new(),
        looks: sb.total_blocks,
        patience: sb.total_blocks,
        cursor: sb.data.start,
        nodes: BTreeMap::new(),
        left: BTreeSet::new(),
    };
    repair.superblock()?;
    repair.bitmaps_read()?;
    repair.inodes_read()?;
    repair.root();
    repair.directory_blocks();
    let tree = repair.connect();
    repair.directories(&tree);
    repair.unlinked();
    repair.lost(&tree);
    repair.links(&tree);
    repair.inodes_write()?;
    repair.bitmaps_write()?;
    Ok(Outcome {
        done: repair.fixes.done,
        declined: repair.fixes.declined,
    })
}

impl<D: Disk> Repair<'_, '_, D> {
    /// The directories that are kept.
    fn directory_numbers(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.inode.is_dir())
            .map(|(&ino, _)| ino)
            .collect()
    }

    /// Whether something is left as it is.
    fn undecided(&self) -> bool {
        self.fixes.declined > 0 || !self.left.is_empty()
    }

    /// A root directory: the one that is there, or an empty one.
    fn root(&mut self) {
        if self.nodes.contains_key(&ROOT_INO) {
            return;
        }
        if !self.fixes.wanted_if_all("no root directory: make one") {
            return;
        }
        let node = self.new_directory(ROOT_INO, ROOT_INO, 0o755);
        self.nodes.insert(ROOT_INO, node);
    }
}

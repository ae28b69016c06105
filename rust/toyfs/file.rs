// SPDX-License-Identifier: GPL-2.0

//! What is done to files: through the page cache, or directly.
//!
//! `page_mkwrite` waits for `Add` before it takes the folio. The page is in the cache already, but dirtying
//! it between a direct write's writeback and its invalidation would make that fail.

use super::{
    data::{
        buffered_write, free_unused, is_written_directly, preallocate, punch, sync_metadata,
        zero_up_to,
    },
    dio,
    hold::Hold,
    inode::InodeData,
    Inode, LockedInode, ToyFs,
};
use crate::{
    lock::State,
    marker::{self, Verdict},
    vfs::{
        Fallocate, FaultAnswer, FaultResult, FileOps, InodeHeld as _, IovIter, Kiocb, PageMkwrite,
    },
};
use kernel::prelude::*;

impl FileOps for ToyFs {
    fn read(iocb: &mut Kiocb<'_, ToyFs>, to: &mut IovIter<'_>) -> Result<usize> {
        if iocb.is_direct() {
            return dio::read(iocb, to);
        }
        let inode = iocb.inode();
        let read = iocb.buffered_read(to, Self::asks_for_reader(inode));
        Self::got(inode);
        read
    }

    fn write(iocb: &mut Kiocb<'_, ToyFs>, from: &mut IovIter<'_>) -> Result<usize> {
        if iocb.is_direct() {
            return dio::write(iocb, from);
        }
        let inode = iocb.inode();
        let written = {
            let inode = if iocb.is_nowait() {
                inode.try_lock().ok_or(EAGAIN)?
            } else {
                inode.lock()?
            };
            if iocb.is_nowait() && InodeData::is_extending(&inode) {
                return Err(EAGAIN);
            }
            InodeData::settle(&inode);
            if inode.write_checks(iocb, from)? == 0 {
                return Ok(0);
            }
            inode.modified(iocb)?;
            zero_up_to(&inode, iocb.pos())?;
            let written = buffered_write(&inode, iocb, from);
            Self::got(&inode);
            written?
        };
        iocb.write_sync(written)
    }

    fn fallocate(inode: &LockedInode, op: Fallocate, pos: u64, len: u64) -> Result {
        let end = pos + len;
        inode.dio_wait();
        // Not before: what was in flight may have made the file longer.
        let size = inode.size();
        let cache = inode.lock_invalidate();
        if op == Fallocate::Punch || matches!(op, Fallocate::Zero { .. }) {
            punch(&cache, pos, end)?;
        }
        if op != Fallocate::Punch {
            // From here on, what is allocated behind the end is this operation's.
            inode.data().lock_map().extents.keep_noted();
            preallocate(inode, pos, end).inspect_err(|_| free_unused(inode))?;
            inode.data().lock_map().extents.keep_noted();
        }
        if op.grows() && end > size {
            inode.zero_tail(size)?;
            cache.truncate_pages(end);
            inode.mark_dirty();
        }
        Ok(())
    }

    fn fsync(inode: &Inode, datasync: bool) -> Result {
        // Even of a clean inode: what it was written with may not be committed yet.
        sync_metadata(inode, datasync)
    }

    fn fault(inode: &Inode, index: u64) -> FaultAnswer {
        let verdict = marker::check(marker::MappingId::of(inode.mapping()), index);
        if verdict == Verdict::Serve {
            return FaultAnswer::Serve;
        }
        let stats = inode.super_block().data().stats();
        stats.marker_hits.inc();
        match verdict {
            Verdict::Serve | Verdict::Disjoint => return FaultAnswer::Serve,
            Verdict::Refuse => stats.refused_faults.inc(),
            Verdict::Bug => {
                stats.fault_bugs.inc();
                kernel::warn_on!(true);
            }
        }
        FaultAnswer::Refuse
    }

    fn asks_for_reader(inode: &Inode) -> bool {
        is_written_directly(inode)
    }

    fn got(inode: &Inode) {
        inode.super_block().data().wanted.got(inode.ino());
    }

    fn page_mkwrite<'a>(inode: &Inode, fault: PageMkwrite<'a, ToyFs>) -> FaultResult<'a> {
        fault.serialised(|fault| match Hold::take(inode, State::Add) {
            Ok(_add) => {
                let pages = fault.pages();
                let result = fault.serve();
                if result.is_gone() {
                    let data = inode.super_block().data();
                    data.wanted.lost(inode.ino(), &pages);
                } else {
                    Self::got(inode);
                }
                result
            }
            Err(_) => fault.refuse(),
        })
    }
}

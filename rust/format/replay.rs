// SPDX-License-Identifier: GPL-2.0

//! Replay of the journal, as `fs/jbd2/recovery.c` in the kernel does it: a mount has it done there, `fsck.toyfs` here.
//!
//! There are three passes over the log: to find its end, to gather what is revoked, and to write. What the kernel leaves to
//! good luck is an error here: that the log is no longer than its ring, and that what is written belongs to the file system and
//! not to the journal. The latter is seen in the second pass, before anything is written. And what comes before a transaction
//! that is damaged is replayed, whichever of its blocks it is; to the kernel, only if it is the commit block.

use super::{
    journal::{commit_ok, commit_time, header, revoked, tags, tail_ok, Kind, Super, Tag, MAGIC},
    layout::BLOCK_SIZE,
    superblock::{Region, SuperError, Superblock},
};

/// A block.
pub type Block = [u8; BLOCK_SIZE];

/// What a replay reads and writes.
pub trait Device {
    /// Why that fails.
    type Error;

    /// Reads a block.
    fn read(&mut self, block: u64, buf: &mut Block) -> Result<(), Self::Error>;
    /// Writes a block.
    fn write(&mut self, block: u64, data: &Block) -> Result<(), Self::Error>;
    /// Returns once everything written is stable.
    fn flush(&mut self) -> Result<(), Self::Error>;
    /// Keeps in mind that transaction `sequence` revokes a block. Of several, the last one counts.
    fn revoke(&mut self, block: u64, sequence: u32);
    /// The transaction that has revoked a block.
    fn revoked(&self, block: u64) -> Option<u32>;
}

/// Why a replay fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The device does not work.
    Io(E),
    /// The journal has something that is not known here.
    Unsupported(&'static str),
    /// The journal is damaged.
    Corrupt(&'static str),
}

impl<E> From<SuperError> for Error<E> {
    fn from(error: SuperError) -> Self {
        match error {
            SuperError::Unsupported(why) => Self::Unsupported(why),
            SuperError::Corrupt(why) => Self::Corrupt(why),
            SuperError::Foreign => Self::Corrupt("no superblock of a journal"),
        }
    }
}

/// What a replay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions that were replayed.
    pub transactions: u32,
    /// Blocks that were written.
    pub written: u64,
    /// Blocks that were revoked, and not written.
    pub revoked: u64,
}

/// Whether transaction `a` is later than `b`. Their numbers wrap around.
fn later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// What a pass after the first one is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Revoke,
    Replay,
}

/// Where the log ends.
#[derive(Clone, Copy)]
struct End {
    /// The transaction that is not replayed any more.
    sequence: u32,
    /// The block after the last transaction.
    head: u32,
    /// It ends with a transaction that is complete, and yet damaged.
    failed: bool,
}

/// What a pass knows while it goes through the log.
struct Position {
    /// The next block of the log.
    next: u32,
    /// The transaction that it should belong to.
    sequence: u32,
    /// Blocks that may follow: the log is no longer than its ring.
    left: u64,
}

/// The journal of a file system.
pub struct Journal {
    region: Region,
    total_blocks: u64,
    /// Its superblock.
    pub sb: Super,
    done: Replayed,
}

impl Journal {
    /// Reads the superblock of the journal of file system `fs`.
    pub fn open<D: Device>(dev: &mut D, fs: &Superblock) -> Result<Self, Error<D::Error>> {
        let mut block = [0; BLOCK_SIZE];
        dev.read(fs.journal.start, &mut block).map_err(Error::Io)?;
        Ok(Self {
            region: fs.journal,
            total_blocks: fs.total_blocks,
            sb: Super::parse(&block, fs.journal.len)?,
            done: Replayed::default(),
        })
    }

    /// Replays what is in the log, and empties it. When that fails, it may be done again from the start.
    ///
    /// `errno` in the superblock stays: the caller marks the file system, and then calls [`Self::forget_error`].
    pub fn replay<D: Device>(&mut self, dev: &mut D) -> Result<Replayed, Error<D::Error>> {
        self.done = Replayed::default();
        if self.sb.start == 0 {
            return Ok(self.done);
        }
        let end = self.scan(dev)?;
        self.second_pass(dev, Pass::Revoke, end)?;
        let replayed = self.second_pass(dev, Pass::Replay, end);
        // What could be written is to stay, even if it was not all.
        dev.flush().map_err(Error::Io)?;
        replayed?;
        if end.failed {
            return Err(Error::Corrupt("a transaction has a bad checksum"));
        }
        self.done.transactions = end.sequence.wrapping_sub(self.sb.sequence);
        self.sb.sequence = end.sequence.wrapping_add(1);
        self.sb.head = end.head;
        self.sb.start = 0;
        self.write_super(dev)?;
        Ok(self.done)
    }

    /// Forgets why the journal was given up.
    pub fn forget_error<D: Device>(&mut self, dev: &mut D) -> Result<(), Error<D::Error>> {
        self.sb.errno = 0;
        self.write_super(dev)
    }

    fn write_super<D: Device>(&self, dev: &mut D) -> Result<(), Error<D::Error>> {
        let mut block = [0; BLOCK_SIZE];
        dev.read(self.region.start, &mut block).map_err(Error::Io)?;
        self.sb.update(&mut block);
        dev.write(self.region.start, &block).map_err(Error::Io)?;
        dev.flush().map_err(Error::Io)
    }

    fn begin(&self) -> Position {
        Position {
            next: self.sb.start,
            sequence: self.sb.sequence,
            left: u64::from(self.sb.len - self.sb.first),
        }
    }

    /// Number of the next block of the log, which is gone past.
    fn step<E>(&self, at: &mut Position) -> Result<u32, Error<E>> {
        at.left = at
            .left
            .checked_sub(1)
            .ok_or(Error::Corrupt("the log is longer than its ring"))?;
        let block = at.next;
        at.next += 1;
        if at.next >= self.sb.len {
            at.next = self.sb.first;
        }
        Ok(block)
    }

    /// Reads a block of the log.
    fn read<D: Device>(
        &self,
        dev: &mut D,
        block: u32,
        buf: &mut Block,
    ) -> Result<(), Error<D::Error>> {
        dev.read(self.region.start.saturating_add(block.into()), buf)
            .map_err(Error::Io)
    }

    /// Reads the next block of the log if it is one of the journal's own and belongs to the transaction.
    fn next<D: Device>(
        &self,
        dev: &mut D,
        at: &mut Position,
        buf: &mut Block,
    ) -> Result<Option<Kind>, Error<D::Error>> {
        self.read(dev, at.next, buf)?;
        match header(buf) {
            Some((kind, sequence)) if sequence == at.sequence => {
                self.step(at)?;
                Ok(Some(kind))
            }
            _ => Ok(None),
        }
    }

    /// Goes past the blocks that a descriptor block describes.
    fn skip<E>(&self, at: &mut Position, descriptor: &Block) -> Result<(), Error<E>> {
        for _ in tags(descriptor) {
            self.step(at)?;
        }
        Ok(())
    }

    /// The first pass: finds the end of the log.
    fn scan<D: Device>(&self, dev: &mut D) -> Result<End, Error<D::Error>> {
        let seed = self.sb.seed();
        let mut at = self.begin();
        let mut end = None;
        let mut head = at.next;
        // Something did not have the right checksum. It may be what is left of an earlier use of these blocks: then the
        // commit block is older than that of the transaction before.
        let mut doubtful = false;
        let mut newest = 0;
        let mut buf = [0; BLOCK_SIZE];
        while let Some(kind) = self.next(dev, &mut at, &mut buf)? {
            match kind {
                Kind::Descriptor => {
                    doubtful |= !tail_ok(&buf, seed);
                    match self.skip(&mut at, &buf) {
                        // A torn one may describe anything.
                        Err(_) if doubtful => break,
                        done => done?,
                    }
                }
                Kind::Revoke => {
                    doubtful |= !tail_ok(&buf, seed);
                    if revoked(&buf).is_none() {
                        return Err(Error::Corrupt("bad length of a revoke block"));
                    }
                }
                Kind::Commit => {
                    let time = commit_time(&buf);
                    match (doubtful || !commit_ok(&buf, seed), time < newest) {
                        (false, _) => {
                            newest = time;
                            head = at.next;
                            at.sequence = at.sequence.wrapping_add(1);
                        }
                        (true, true) => break,
                        // It was committed, so what comes before may be replayed; it itself may not.
                        (true, false) => {
                            end = Some((at.sequence, head));
                            break;
                        }
                    }
                }
            }
        }
        let (sequence, head, failed) = match end {
            Some((sequence, head)) => (sequence, head, true),
            None => (at.sequence, head, false),
        };
        Ok(End {
            sequence,
            head,
            failed,
        })
    }

    /// The other passes: go through the transactions before `end`.
    fn second_pass<D: Device>(
        &mut self,
        dev: &mut D,
        pass: Pass,
        end: End,
    ) -> Result<(), Error<D::Error>> {
        let seed = self.sb.seed();
        let mut at = self.begin();
        let mut buf = [0; BLOCK_SIZE];
        let mut result = Ok(());
        while later(end.sequence, at.sequence) {
            let Some(kind) = self.next(dev, &mut at, &mut buf)? else {
                return Err(Error::Corrupt("the log has changed while it was read"));
            };
            match kind {
                Kind::Commit => at.sequence = at.sequence.wrapping_add(1),
                Kind::Revoke if pass == Pass::Revoke => {
                    for block in revoked(&buf).into_iter().flatten() {
                        let before = dev.revoked(block);
                        if before.is_none_or(|before| later(at.sequence, before)) {
                            dev.revoke(block, at.sequence);
                        }
                    }
                }
                Kind::Revoke => {}
                Kind::Descriptor if !tail_ok(&buf, seed) => {
                    return Err(Error::Corrupt("the log has changed while it was read"));
                }
                Kind::Descriptor if pass == Pass::Revoke => {
                    if !tags(&buf).all(|tag| self.may_write(tag.block)) {
                        return Err(Error::Corrupt(
                            "a block of the log belongs outside the file system, or into the log",
                        ));
                    }
                    self.skip(&mut at, &buf)?;
                }
                Kind::Descriptor => {
                    for tag in tags(&buf) {
                        let from = self.step(&mut at)?;
                        // What can be replayed is, but for the error.
                        result = result.and(self.restore(dev, &tag, from, at.sequence));
                    }
                }
            }
        }
        result
    }

    /// Whether a block may be in the log.
    fn may_write(&self, block: u64) -> bool {
        block < self.total_blocks && !(self.region.start..self.region.end()).contains(&block)
    }

    /// Writes a block of the log to its place.
    fn restore<D: Device>(
        &mut self,
        dev: &mut D,
        tag: &Tag,
        from: u32,
        sequence: u32,
    ) -> Result<(), Error<D::Error>> {
        let mut data = [0; BLOCK_SIZE];
        self.read(dev, from, &mut data)?;
        if dev
            .revoked(tag.block)
            .is_some_and(|by| !later(sequence, by))
        {
            self.done.revoked += 1;
            return Ok(());
        }
        if !tag.checksum_ok(&data, sequence, self.sb.seed()) {
            return Err(Error::Corrupt("a block in the log has a bad checksum"));
        }
        if tag.escaped {
            if let Some(magic) = data.first_chunk_mut() {
                *magic = MAGIC.to_be_bytes();
            }
        }
        if !self.may_write(tag.block) {
            return Err(Error::Corrupt("the log has changed while it was read"));
        }
        dev.write(tag.block, &data).map_err(Error::Io)?;
        self.done.written += 1;
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What `fsck.toyfs` does, in which order: replay of the journal, check, repair, and check again.
//!
//! The journal is replayed and empty before anything else is written: what is in it is older than any repair. While there are
//! repairs, the superblock says that there are errors; that there are none any more is written last of all.

use super::{
    check::{check, find_super, Disk, Failure, Summary},
    overlay::{Overlay, Storage},
    repair::{may_restore, repair, Dialogue, Mode, Outcome},
};
use std::io;
use toyfs_format::{
    journal::encode_super,
    replay::{Error, Journal, Replayed},
    State, Superblock, BLOCK_SIZE, SUPER_OFFSET, SUPER_SIZE,
};

/// After so many passes there is little hope.
const MAX_PASSES: usize = 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) mode: Mode,
    /// Also if the filesystem is marked clean.
    pub(crate) force: bool,
    pub(crate) quiet: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is marked clean, and was not looked at.
    Skipped,
    /// The check at the end.
    Checked {
        summary: Summary,
        /// What the first check found.
        first: Found,
        /// Something was repaired.
        repaired: bool,
    },
}

/// What there was to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) errors: u64,
    pub(crate) orphans: u64,
    pub(crate) state: State,
}

impl From<&Summary> for Found {
    fn from(summary: &Summary) -> Self {
        Self {
            errors: summary.errors,
            orphans: summary.orphans,
            state: summary.state,
        }
    }
}

fn unusable(e: io::Error) -> Failure {
    Failure::Unusable(e.to_string())
}

/// Does it all.
pub(crate) fn run<S: Storage>(
    disk: &S,
    wish: Wish,
    talk: &mut dyn Dialogue,
) -> Result<Verdict, Failure> {
    let (sb, damage) = find_super(disk, &mut |_| {})?;
    let mut wish = wish;
    if damage > 0 && wish.mode != Mode::Nothing && !may_restore(&Overlay::new(disk), &sb) {
        // Another file system, perhaps, which has left the copy alone: not even the journal is touched.
        talk.say("superblock: something else is in its place, so nothing is changed");
        wish.mode = Mode::Nothing;
    }
    if sb.writable().is_err() && wish.mode != Mode::Nothing {
        // What such a feature adds would no longer agree with what is changed.
        talk.say("superblock: has an unknown read-only feature, so nothing is changed");
        wish.mode = Mode::Nothing;
    }
    let clean = sb.state == State::Clean && damage == 0 && nothing_to_replay(disk, &sb);
    if wish.mode == Mode::Safe && clean && !wish.force {
        return Ok(Verdict::Skipped);
    }
    let mut overlay = Overlay::new(disk);
    let replayed = Journal::open(&mut overlay, &sb).and_then(|mut journal| {
        let replayed = journal.replay(&mut overlay)?;
        if journal.sb.errno != 0 {
            talk.say("journal: was given up because of an error");
            mark(&mut overlay, State::Errors);
            // Where the superblock is damaged, and may stay so, only the journal says it.
            if damage == 0 || wish.mode == Mode::All {
                journal.forget_error(&mut overlay)?;
            }
        }
        Ok(replayed)
    });
    tell(&replayed, wish.quiet, talk);
    // What stays in the journal would undo repairs.
    let give_up = replayed.is_err() && wish.mode != Mode::Nothing && may_give_up(wish.mode, talk);
    if wish.mode == Mode::Nothing || (replayed.is_err() && !give_up) {
        let summary = check(&overlay, &mut |line| talk.say(line))?;
        return Ok(Verdict::Checked {
            first: Found::from(&summary),
            summary,
            repaired: false,
        });
    }
    if give_up {
        give_up_journal(disk, overlay, &sb)?;
    } else {
        overlay.store(&sb).map_err(unusable)?;
    }
    mend(disk, wish.mode, give_up, talk)
}

/// Whether the journal is sound and empty, and was not given up.
fn nothing_to_replay(disk: &impl Disk, sb: &Superblock) -> bool {
    Journal::open(&mut Overlay::new(disk), sb)
        .is_ok_and(|journal| journal.sb.start == 0 && journal.sb.errno == 0)
}

/// Says what a replay came to.
fn tell(replayed: &Result<Replayed, Error<io::Error>>, quiet: bool, talk: &mut dyn Dialogue) {
    match replayed {
        Ok(r) if quiet || *r == Replayed::default() => {}
        Ok(r) => talk.say(&format!(
            "journal: replayed, {} transactions, {} blocks",
            r.transactions, r.written
        )),
        Err(Error::Io(e)) => talk.say(&format!("journal: {e}")),
        Err(Error::Corrupt(why) | Error::Unsupported(why)) => {
            talk.say(&format!("journal: {why}"));
        }
    }
}

/// Writes a state into the superblock, unless that is damaged.
fn mark<D: Disk>(overlay: &mut Overlay<'_, D>, state: State) {
    let Ok(mut block) = overlay.block(0) else {
        return;
    };
    let Some(raw) = block[SUPER_OFFSET..].first_chunk_mut::<SUPER_SIZE>() else {
        return;
    };
    let known = Superblock::parse_torn(raw);
    if known.is_ok_and(|(sb, torn)| torn || sb.state != state) {
        Superblock::set_state(raw, state);
        overlay.put(0, &block);
    }
}

/// Writes a state, on its own.
fn mark_disk<S: Storage>(disk: &S, sb: &Superblock, state: State) -> Result<(), Failure> {
    let mut overlay = Overlay::new(disk);
    mark(&mut overlay, state);
    overlay.store(sb).map_err(unusable)
}

/// Whether a journal that cannot be replayed may be given up.
fn may_give_up(mode: Mode, talk: &mut dyn Dialogue) -> bool {
    const WHAT: &str = "journal: give up what is in it";
    match mode {
        Mode::All => {
            talk.say(WHAT);
            true
        }
        Mode::Ask => talk.ask(WHAT),
        Mode::Safe | Mode::Nothing => false,
    }
}

/// Empties a journal that cannot be replayed. What of it could be is in `overlay`.
fn give_up_journal<S: Storage>(
    disk: &S,
    mut overlay: Overlay<'_, S>,
    sb: &Superblock,
) -> Result<(), Failure> {
    mark(&mut overlay, State::Errors);
    overlay.store(sb).map_err(unusable)?;
    // Its superblock goes first: nothing of the log must be replayed once a part of it is gone.
    // It comes back last: sequence numbers begin at 1 again, and nothing must be left that could
    // be taken for a transaction.
    let zeroes = vec![0; BLOCK_SIZE];
    disk.write(sb.journal.start, &zeroes).map_err(unusable)?;
    disk.sync().map_err(unusable)?;
    for block in sb.journal.start + 1..sb.journal.end() {
        disk.write(block, &zeroes).map_err(unusable)?;
    }
    disk.sync().map_err(unusable)?;
    let mut block = [0; BLOCK_SIZE];
    encode_super(&mut block, sb.journal.len as u32, &sb.uuid);
    disk.write(sb.journal.start, &block).map_err(unusable)?;
    disk.sync().map_err(unusable)
}

/// Checks, and repairs until nothing is found any more or nothing can be done any more.
fn mend<S: Storage>(
    disk: &S,
    mode: Mode,
    emptied: bool,
    talk: &mut dyn Dialogue,
) -> Result<Verdict, Failure> {
    let mut summary = check(disk, &mut |line| talk.say(line))?;
    let mut first = Found::from(&summary);
    first.errors += u64::from(emptied);
    let mut repaired = emptied;
    let mut passes = 0;
    while (summary.errors > 0 || summary.orphans > 0) && passes < MAX_PASSES {
        let done = pass(disk, mode, talk)?;
        if !done {
            break;
        }
        repaired = true;
        passes += 1;
        summary = check(disk, &mut |_| {})?;
    }
    if passes > 0 {
        // This is the check that decides.
        summary = check(disk, &mut |line| talk.say(line))?;
    }
    let (sb, _) = find_super(disk, &mut |_| {})?;
    let state = match summary.errors {
        0 => State::Clean,
        _ => State::Errors,
    };
    mark_disk(disk, &sb, state)?;
    Ok(Verdict::Checked {
        summary,
        first,
        repaired,
    })
}

/// One pass of repairs. Returns whether anything was written.
fn pass<S: Storage>(disk: &S, mode: Mode, talk: &mut dyn Dialogue) -> Result<bool, Failure> {
    let (sb, _) = find_super(disk, &mut |_| {})?;
    let mut overlay = Overlay::new(disk);
    let Outcome { done, declined } = repair(&mut overlay, sb, mode, talk).map_err(unusable)?;
    if mode == Mode::Safe && declined > 0 {
        talk.say(
            "not repaired: that could lose something; fsck.toyfs -y does, or asks without options",
        );
        return Ok(false);
    }
    if done == 0 || overlay.is_empty() {
        return Ok(false);
    }
    mark_disk(disk, &sb, State::Errors)?;
    // Until the end it stays so.
    mark(&mut overlay, State::Errors);
    overlay.store(&sb).map_err(unusable)?;
    Ok(true)
}

#[cfg(test)]
#[path = "../../tests/format/repair.rs"]
mod tests;

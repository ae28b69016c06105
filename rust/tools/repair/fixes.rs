// SPDX-License-Identifier: GPL-2.0

//! Which repairs are made.

/// After so many messages the others are only counted.
const MAX_MESSAGES: u64 = 1000;

/// What may be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    #[default]
    Nothing,
    /// What loses nothing and can be done in one way only.
    Safe,
    /// What the user says.
    Ask,
    /// Everything.
    All,
}

/// What the user says.
pub(crate) trait Dialogue {
    /// Prints a line.
    fn say(&mut self, line: &str);
    /// Asks whether something is to be done.
    fn ask(&mut self, question: &str) -> bool;
}

/// The repairs of a pass.
pub(super) struct Fixes<'a> {
    pub(super) mode: Mode,
    pub(super) talk: &'a mut dyn Dialogue,
    pub(super) done: u64,
    pub(super) declined: u64,
}

impl Fixes<'_> {
    /// Whether something is to be done that loses nothing: a number that follows from others, for instance.
    pub(super) fn safe(&mut self, what: impl AsRef<str>) -> bool {
        self.wanted(self.mode == Mode::Safe, what.as_ref())
    }

    /// Whether something is to be done that may lose something, or could be done in another way.
    pub(super) fn wanted_if_all(&mut self, what: impl AsRef<str>) -> bool {
        self.wanted(false, what.as_ref())
    }

    fn wanted(&mut self, safe: bool, what: &str) -> bool {
        let wanted = match self.mode {
            Mode::All => true,
            Mode::Ask => self.talk.ask(what),
            Mode::Safe => safe,
            Mode::Nothing => false,
        };
        let count = if wanted {
            &mut self.done
        } else {
            &mut self.declined
        };
        *count += 1;
        if wanted && self.mode != Mode::Ask {
            match *count {
                n if n <= MAX_MESSAGES => self.talk.say(what),
                n if n == MAX_MESSAGES + 1 => self.talk.say("more repairs follow"),
                _ => {}
            }
        }
        wanted
    }
}

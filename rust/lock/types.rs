// SPDX-License-Identifier: GPL-2.0

//! What the transition logic and what it runs on tell each other. The model checker on the host compiles this
//! file unchanged, too.

/// The two states of the lock. Holders of one state share it; the two states exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Adds pages to a cache (or whatever the first group of a caller does).
    Add,
    /// Blocks such additions.
    Block,
}

impl State {
    /// The state that excludes this one.
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            State::Add => State::Block,
            State::Block => State::Add,
        }
    }

    /// Where what there is once for each state has that of this one.
    #[inline(always)]
    pub const fn index(self) -> usize {
        match self {
            State::Add => 0,
            State::Block => 1,
        }
    }
}

/// Why a wait ended without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// A signal that the caller wanted to see.
    Signal,
    /// The caller's time is over.
    Timeout,
}

/// Why a waiter is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody woke it, or nobody; it has to look for itself.
    Perhaps,
    /// Its grace is over. Reported once.
    Grace,
    /// It has waited so long that somebody should be told. Reported once.
    Long,
    /// It shall not wait any longer.
    Stop(GiveUp),
}

// SPDX-License-Identifier: GPL-2.0

//! What an observer outside the program knows of one execution, and may not see.
//!
//! loom runs one task at a time, so plain thread-local state is exact and adds no interleavings.

use std::{cell::RefCell, collections::HashMap};

// The layout of the word, once more: the model must not borrow the code it judges.
const PHASE: u64 = 1;
const TELLING: u64 = 1 << 5;
const ONE: u64 = 1 << 8;

fn wait(s: usize) -> u64 {
    2 << s
}

fn shut(s: usize) -> u64 {
    8 << s
}

fn phase(w: u64) -> usize {
    (w & PHASE) as usize
}

/// A task that waits in a queue.
struct Waiting {
    task: usize,
    state: usize,
    /// It has been told to give up, and may have left the queue.
    quits: bool,
    /// How many phases of each state had begun when it queued.
    phases: [u64; 2],
}

#[derive(Default)]
struct Ghost {
    /// The word.
    now: u64,
    /// How many phases of each state have begun.
    phases: [u64; 2],
    waiting: Vec<Waiting>,
    /// Who is inside acquire, for what, and has not queued yet.
    arriving: Vec<(usize, usize)>,
    /// Tasks between acquire and release.
    inside: [usize; 2],
    /// Where something has lived, and on which task's stack.
    dead: HashMap<usize, usize>,
    task: Vec<(loom::thread::ThreadId, usize)>,
    /// Who waits for something that only an observer knows of.
    watching: Vec<loom::thread::Thread>,
}

thread_local! {
    static GHOST: RefCell<Ghost> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Ghost) -> R) -> R {
    GHOST.with(|g| f(&mut g.borrow_mut()))
}

/// A new execution begins.
pub fn reset() {
    with(|g| *g = Ghost::default());
}

fn me(g: &Ghost) -> usize {
    let id = loom::thread::current().id();
    g.task
        .iter()
        .find(|t| t.0 == id)
        .map_or(usize::MAX, |t| t.1)
}

/// The current thread is task `n`.
pub fn i_am(n: usize) {
    let id = loom::thread::current().id();
    with(|g| g.task.push((id, n)));
}

/// The current task is going to wait for `state`.
pub fn arrive(state: usize) {
    with(|g| {
        let me = me(g);
        g.arriving.push((me, state));
    });
}

/// Waits until `when` holds, or for so long as it is not `enough` to be woken.
pub fn watch(when: impl Fn() -> bool, enough: impl Fn() -> bool) -> bool {
    loop {
        if when() {
            return true;
        }
        if enough() {
            return false;
        }
        let me = loom::thread::current();
        with(|g| g.watching.push(me));
        loom::thread::park();
    }
}

/// The word has changed: whoever watches looks.
pub fn tell() {
    for thread in with(|g| std::mem::take(&mut g.watching)) {
        thread.unpark();
    }
}

/// How many wait in a queue.
pub fn waiting() -> usize {
    with(|g| g.waiting.len())
}

/// How many phases have begun.
pub fn phases() -> u64 {
    with(|g| g.phases.iter().sum())
}

/// The current task is told to give up.
pub fn quit() {
    with(|g| {
        let me = me(g);
        for w in g.waiting.iter_mut().filter(|w| w.task == me) {
            w.quits = true;
        }
    });
}

/// The current task does not wait any more.
pub fn done() {
    with(|g| {
        let me = me(g);
        g.arriving.retain(|a| a.0 != me);
        g.waiting.retain(|w| w.task != me);
    });
}

/// The current task holds `state`.
pub fn entered(state: usize) {
    with(|g| {
        g.inside[state] += 1;
        assert!(g.inside[1 - state] == 0, "both states held");
    });
}

/// The current task is about to release `state`.
pub fn leaving(state: usize) {
    with(|g| g.inside[state] -= 1);
}

/// The word changed.
pub fn word(old: u64, new: u64) {
    with(|g| {
        g.now = new;
        let (held, holds) = (old / ONE, new / ONE);
        let s = phase(new);
        assert!(
            new & TELLING == 0 || holds > 0,
            "the lock is free, and not all of the last batch know that they had it"
        );
        assert!(
            holds == 0
                || new & wait(s) == 0
                || new & shut(s) == 0
                || old & (wait(s) | shut(s)) != wait(s),
            "a door is shut upon somebody who could have entered"
        );
        for x in [0, 1] {
            assert!(
                new & shut(x) == 0 || new & wait(1 - x) != 0,
                "door of {x} shut, but nobody waits for {}",
                1 - x
            );
        }
        if holds > held {
            assert!(held == 0 || phase(old) == s, "state changed under a holder");
            assert!(
                held == 0 || old & shut(s) == 0,
                "somebody entered through a shut door"
            );
            if held == 0 {
                g.phases[s] += 1;
                assert!(
                    phase(old) != s || old & wait(1 - s) == 0,
                    "a phase follows its own kind while the other state waits"
                );
                let any = old & (wait(0) | wait(1)) != 0;
                assert!(
                    !any || (old & wait(s) != 0 && new & wait(s) == 0),
                    "a hand-over that does not admit the queue"
                );
            }
            if old & wait(s) != 0 && new & wait(s) == 0 {
                assert!(
                    old & TELLING == 0,
                    "a batch leaves its queue while another is being told"
                );
                let batch: Vec<_> = g.waiting.iter().filter(|w| w.state == s).collect();
                let sure = batch.iter().filter(|w| !w.quits).count();
                assert!(
                    (sure..=batch.len()).contains(&((holds - held) as usize)),
                    "{sure} to {} wait, {} enter",
                    batch.len(),
                    holds - held
                );
                for w in batch {
                    // The bound: at most one whole phase of the other state, and none of its own.
                    let other = g.phases[1 - s] - w.phases[1 - s];
                    assert!(other <= 1, "{other} phases of the other state went ahead");
                    let own = g.phases[s] - w.phases[s];
                    assert!(own <= 1, "{} phases of its own state went ahead", own - 1);
                }
                g.waiting.retain(|w| w.state != s);
            }
        } else if holds == held {
            // A task that has just arrived and changed nothing but flags has queued.
            let me = me(g);
            if let Some(at) = g.arriving.iter().position(|a| a.0 == me) {
                let (task, state) = g.arriving.remove(at);
                assert!(new & wait(state) != 0, "queued without saying so");
                g.waiting.push(Waiting {
                    task,
                    state,
                    quits: false,
                    phases: g.phases,
                });
            }
        }
    });
}

/// The inner lock is about to be released: nobody may be left waiting for a state that is open.
pub fn inner_unlock() {
    with(|g| {
        let s = phase(g.now);
        assert!(
            g.now < ONE || g.now & wait(s) == 0 || g.now & shut(s) != 0,
            "somebody is left waiting in front of an open door"
        );
    });
}

/// Something new lives at `address`, if it is on the stack of this task: others may take remains for something that has not been
/// used yet.
pub fn born(address: usize) {
    with(|g| {
        let me = me(g);
        if g.dead.get(&address) == Some(&me) {
            g.dead.remove(&address);
        }
    });
}

/// What lived at `address` is gone.
pub fn died(address: usize) {
    // Also called while the thread is torn down after a failure.
    let _ = GHOST.try_with(|g| {
        if let Ok(mut g) = g.try_borrow_mut() {
            let me = me(&g);
            g.dead.insert(address, me);
        }
    });
}

/// What lives at `address` is accessed.
pub fn touch(address: usize) {
    let dead = with(|g| g.dead.contains_key(&address));
    assert!(!dead, "a waiter was touched after it had gone");
}

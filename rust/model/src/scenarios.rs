// SPDX-License-Identifier: GPL-2.0

// What the tasks do. Included once per variant of `core.rs` and `queue.rs`.

use super::core::Raw;
use super::env::{reset, Inner, Wait};
use super::types::{GiveUp, State, Woken};
use crate::{ghost, Scenario, Step, Until};
use loom::{cell::UnsafeCell, sync::Arc, thread};

const GRACE: &[Woken] = &[Woken::Grace];
const SIGNAL: &[Woken] = &[Woken::Stop(GiveUp::Signal)];
const GRACE_SIGNAL: &[Woken] = &[Woken::Grace, Woken::Stop(GiveUp::Signal)];

struct World {
    lock: Raw,
    /// What the holders of each state write, one cell per task. Every holder reads what the other
    /// state wrote: loom complains unless the lock orders the two.
    cells: [Vec<UnsafeCell<u32>>; 2],
}

impl World {
    fn inside(&self, s: usize, task: usize) {
        ghost::entered(s);
        // SAFETY: Only this task writes this cell, and loom checks that no reader is concurrent.
        self.cells[s][task].with_mut(|p| unsafe { *p += 1 });
        for cell in &self.cells[1 - s] {
            // SAFETY: The other state is excluded, which is what loom checks here.
            cell.with(|p| unsafe { *p });
        }
        ghost::leaving(s);
    }

    fn step(&self, task: usize, step: &Step) {
        let s = if step.state == 'A' {
            State::Add
        } else {
            State::Block
        };
        let n = usize::from(step.state != 'A');
        if !self.lock.try_acquire(s) {
            let how = match step.until {
                Until::Try => return,
                Until::Strict => Wait::new(true, step.spins, &[]),
                Until::Open => Wait::new(false, step.spins, &[]),
                Until::Grace => Wait::new(false, step.spins, GRACE),
                Until::Signal => Wait::new(false, step.spins, SIGNAL),
                Until::StrictSignal => Wait::new(true, step.spins, SIGNAL),
                Until::GraceSignal => Wait::new(false, step.spins, GRACE_SIGNAL),
                Until::StrictSignalLate => {
                    Wait::new(true, step.spins, SIGNAL).when(|| ghost::phases() >= 2)
                }
                Until::StrictSignalBehind => Wait::new(true, step.spins, SIGNAL)
                    .when(|| ghost::phases() >= 2 && ghost::waiting() >= 2),
            };
            ghost::arrive(n);
            let result = self.lock.acquire_slow(s, how);
            ghost::done();
            if result.is_err() {
                return;
            }
        }
        ghost::watch(|| ghost::waiting() >= step.hold, || false);
        self.inside(n, task);
        self.lock.release(s).expect("released what was held");
    }
}

/// One execution.
pub fn run(scenario: &'static Scenario) {
    ghost::reset();
    reset();
    let n = scenario.tasks.len();
    let cells = || (0..n).map(|_| UnsafeCell::new(0)).collect();
    let world = Arc::new(World {
        lock: Raw::new(Inner::new()),
        cells: [cells(), cells()],
    });
    // Brings everything into being that comes at the first access.
    world.lock.inspect(1, |_| ());

    let work = |world: &World, task: usize| {
        ghost::i_am(task);
        if task > 0 && scenario.tasks[0][0].hold > 0 {
            ghost::watch(
                || ghost::phases() > 0 && ghost::waiting() >= task - 1,
                || false,
            );
        }
        for step in scenario.tasks[task] {
            world.step(task, step);
        }
    };
    let threads: Vec<_> = (1..n)
        .map(|task| {
            let world = world.clone();
            thread::spawn(move || work(&world, task))
        })
        .collect();
    work(&world, 0);
    for t in threads {
        t.join().unwrap();
    }
    let (end, _) = world
        .lock
        .inspect(1, |_| panic!("somebody is left in the queue"));
    assert!(end.held.is_none(), "somebody still holds the lock");
    assert_eq!(end.waiting, [false, false], "somebody seems to wait");
    assert_eq!(end.shut, [false, false], "a door is left shut");
}

// SPDX-License-Identifier: GPL-2.0

//! Model checks `rust/lock/core.rs` and `queue.rs`, compiled unchanged, over interleavings of small configurations: of the
//! smallest all there are, of the others those with so many preemptions as the scenario says. Checks that
//! the model finds the defects of the mutants, and that it is these that it finds.
//!
//! Without arguments: everything. With `SCENARIO` or `SCENARIO VARIANT`: one run in this process.

#![allow(dead_code)]

mod ghost;
mod real;

use std::{
    env,
    process::{Command, ExitCode},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

/// How a task waits.
#[derive(Clone, Copy)]
pub enum Until {
    /// Not at all.
    Try,
    /// With no grace: the door is shut at once.
    Strict,
    /// With a grace that never ends.
    Open,
    /// With a grace that ends at some time.
    Grace,
    /// Until a signal comes at some time; the grace does not end before.
    Signal,
    /// Likewise, with no grace.
    StrictSignal,
    /// The grace ends at some time, and then the signal comes.
    GraceSignal,
    /// With no grace; the signal comes when the first phase is over.
    StrictSignalLate,
    /// Likewise, and when somebody waits behind the door that is shut.
    StrictSignalBehind,
}

/// One acquisition.
pub struct Step {
    state: char,
    until: Until,
    spins: u32,
    /// The lock is held until so many wait.
    hold: usize,
}

pub struct Scenario {
    name: &'static str,
    what: &'static str,
    /// How often a task may be interrupted where it would not have waited; without a bound, these are
    /// all interleavings.
    preemptions: Option<usize>,
    tasks: &'static [&'static [Step]],
}

const fn step(state: char, until: Until) -> Step {
    Step {
        state,
        until,
        spins: 0,
        hold: 0,
    }
}

const fn spin(state: char, until: Until) -> Step {
    Step {
        spins: 2,
        ..step(state, until)
    }
}

/// For the first task, whom the others let enter, and then queue in turn: it stays until `hold` of them wait.
const fn first(state: char, hold: usize) -> Step {
    Step {
        hold,
        ..step(state, Strict)
    }
}

use Until::*;

/// The first seven find every mutant, and soon.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "door-opens",
        what: "3 tasks, a waiter gives up behind whose door another waits",
        preemptions: Some(3),
        tasks: &[
            &[step('A', Open)],
            &[step('B', StrictSignal)],
            &[step('A', Open)],
        ],
    },
    Scenario {
        name: "cancel-1",
        what: "2 tasks, one shuts the door and gives up at any time",
        preemptions: Some(5),
        tasks: &[&[step('A', StrictSignal)], &[step('B', GraceSignal)]],
    },
    Scenario {
        name: "pair",
        what: "2 tasks x 2, every wait a different one",
        preemptions: Some(5),
        tasks: &[
            &[step('A', Grace), step('B', Strict)],
            &[step('B', Open), step('A', Signal)],
        ],
    },
    Scenario {
        name: "cancel-door",
        what: "3 tasks x 2, a waiter shuts the door and then gives up",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Open), step('A', Open)],
            &[step('B', GraceSignal), step('A', Open)],
            &[step('A', Open), step('B', StrictSignal)],
        ],
    },
    Scenario {
        name: "strict",
        what: "3 tasks x 2, mixed states, grace = 0",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Strict), step('B', Strict)],
            &[step('B', Strict), step('A', Strict)],
            &[step('A', Strict), step('B', Strict)],
        ],
    },
    Scenario {
        name: "batch-gives-up",
        what: "3 tasks, one's grace ends, and it gives up, at any time while its batch, a large one, is being told",
        preemptions: Some(3),
        tasks: &[
            &[step('B', Strict)],
            &[step('A', Strict)],
            &[step('A', GraceSignal)],
        ],
    },
    Scenario {
        name: "batch-joined",
        what: "4 tasks, a door opens while a large batch is being told",
        preemptions: Some(1),
        tasks: &[
            &[first('B', 3)],
            &[step('A', Strict), step('A', Open)],
            &[step('A', Strict)],
            &[step('B', StrictSignalBehind), step('B', Strict)],
        ],
    },
    Scenario {
        name: "batch",
        what: "4 tasks, two waiters of one state at once",
        preemptions: Some(2),
        tasks: &[
            &[step('B', Strict)],
            &[step('A', Open)],
            &[step('A', Grace)],
            &[step('B', StrictSignal)],
        ],
    },
    Scenario {
        name: "batch-of-three",
        what: "4 tasks, two give up at any time from when their batch, of three parts, has been admitted",
        preemptions: Some(1),
        tasks: &[
            &[first('B', 3)],
            &[step('A', Strict)],
            &[step('A', StrictSignalLate)],
            &[step('A', StrictSignalLate)],
        ],
    },
    Scenario {
        name: "spin",
        what: "3 tasks x 2, waiters look again before they sleep",
        preemptions: Some(2),
        tasks: &[
            &[spin('A', Strict), step('B', Open)],
            &[spin('B', Grace), step('A', Signal)],
            &[step('A', Open), step('B', GraceSignal)],
        ],
    },
    Scenario {
        name: "grace",
        what: "3 tasks x 2, mixed states, grace ends at any time",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Grace), step('A', Grace)],
            &[step('B', Grace), step('A', Grace)],
            &[step('A', Grace), step('B', Grace)],
        ],
    },
    Scenario {
        name: "open",
        what: "3 tasks x 2, mixed states, grace = off",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Open), step('B', Open)],
            &[step('B', Open), step('A', Open)],
            &[step('A', Open), step('A', Open)],
        ],
    },
    Scenario {
        name: "cancel",
        what: "3 tasks x 2, a waiter gives up at any time",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Open), step('B', Open)],
            &[step('B', Signal), step('A', Signal)],
            &[step('A', Open), step('B', Signal)],
        ],
    },
    Scenario {
        name: "try",
        what: "3 tasks x 2, trylocks in between",
        preemptions: Some(2),
        tasks: &[
            &[step('A', Try), step('B', Try)],
            &[step('B', Grace), step('A', Grace)],
            &[step('A', Strict), step('B', Try)],
        ],
    },
    Scenario {
        name: "grace-1",
        what: "2 tasks, one's grace ends at any time",
        preemptions: None,
        tasks: &[&[step('A', Grace)], &[step('B', Grace)]],
    },
];

type Run = fn(&'static Scenario);

macro_rules! variants {
    ($($name:ident $core:literal $queue:literal $why:literal)*) => {
        $(mod $name {
            pub use crate::real::types;
            pub mod core {
                include!($core);
            }
            pub mod queue {
                include!($queue);
            }
            pub mod env {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/env.rs"));
            }
            pub mod scenarios {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenarios.rs"));
            }
        })*
        const MUTANTS: &[(&str, Run, &str)] =
            &[$((stringify!($name), $name::scenarios::run, $why)),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/mutants.rs"));

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores one scenario. Does not return if it finds something, which may be a defect that is `sought`.
fn explore(scenario: &'static Scenario, run: Run, sought: bool) {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = 4;
    builder.max_branches = 10_000;
    builder.preemption_bound = match env::var("PREEMPTIONS") {
        // To try how far one gets.
        Ok(n) => n.parse().ok(),
        // A defect is found long before all that two allow are explored.
        Err(_) if sought => scenario.preemptions.map(|n| n.max(2)),
        Err(_) => scenario.preemptions,
    };
    // A failure unwinds through loom; the count must come out first.
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        // Not where in loom it was noticed, but what.
        let text = text.split_once('\n').map_or(text.as_str(), |t| t.1);
        let text = text.replace('\n', " ");
        println!("{} {text}", EXECUTIONS.load(Ordering::Relaxed));
        std::process::exit(1);
    }));
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        run(scenario);
    });
    println!("{}", EXECUTIONS.load(Ordering::Relaxed));
}

/// Runs one scenario in a process of its own: whether it succeeded, and what it said.
fn child(scenario: &str, variant: &str) -> (bool, String) {
    let exe = env::current_exe().expect("own path");
    let out = Command::new(exe)
        .args([scenario, variant])
        .output()
        .expect("run itself");
    let mut text = String::from_utf8_lossy(&out.stdout).trim().to_string();
    if text.is_empty() {
        text = out.status.to_string();
    }
    (out.status.success(), text)
}

/// Checks one scenario and says what came of it.
fn check(s: &Scenario, total: &AtomicU64) -> bool {
    let start = Instant::now();
    let (ok, text) = child(s.name, "real");
    if ok {
        total.fetch_add(text.parse().unwrap_or(0), Ordering::Relaxed);
        let bound = match s.preemptions {
            Some(n) => format!("those with up to {n} preemptions"),
            None => String::from("all there are"),
        };
        println!(
            "PASS {}: {text} interleavings, {bound}, in {} s ({})",
            s.name,
            start.elapsed().as_secs(),
            s.what
        );
    } else {
        println!("FAIL {}: after {text} ({})", s.name, s.what);
    }
    ok
}

/// Whether the model finds a mutant, in one scenario, which one is of no importance; but what it finds must be
/// what is wrong.
fn caught(name: &str, why: &str) -> bool {
    let mut others = Vec::new();
    let caught = SCENARIOS.iter().find_map(|s| {
        let (ok, text) = child(s.name, name);
        if ok {
            return None;
        }
        let text: String = text.chars().take(110).collect();
        if text.contains(why) {
            return Some((s.name, text));
        }
        others.push(format!("{}: {text}", s.name));
        None
    });
    match caught {
        Some((scenario, text)) => {
            println!("PASS mutant {name}: caught by {scenario}, interleaving {text}");
            return true;
        }
        None if others.is_empty() => println!("FAIL mutant {name}: not caught"),
        None => println!(
            "FAIL mutant {name}: never for \"{why}\", but {}",
            others.join("; ")
        ),
    }
    false
}

/// Calls `work` for each item, for as many at a time as there are processors. Returns how often that was well and
/// how often not.
fn beside<T: Sync>(items: &[T], work: impl Fn(&T) -> bool + Sync) -> (usize, usize) {
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if work(item) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let passed = passed.into_inner();
    (passed, items.len() - passed)
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Some(name) = args.first() {
        let scenario = SCENARIOS.iter().find(|s| s.name == name).expect("scenario");
        let variant = args.get(1).map_or("real", |s| s);
        let run = match variant {
            "real" => real::scenarios::run as Run,
            name => MUTANTS.iter().find(|m| m.0 == name).expect("variant").1,
        };
        explore(scenario, run, variant != "real");
        return ExitCode::SUCCESS;
    }

    let total = AtomicU64::new(0);
    let real = beside(SCENARIOS, |s| check(s, &total));
    println!("{} interleavings explored", total.into_inner());
    let mutants = beside(MUTANTS, |(name, _, why)| caught(name, why));
    let (passed, failed) = (real.0 + mutants.0, real.1 + mutants.1);
    println!("model: {passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

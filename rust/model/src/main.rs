// SPDX-License-Identifier: GPL-2.0

//! Model checks `rust/lock/core.rs`, compiled unchanged, over the interleavings of small
//! configurations, and checks that the model finds the defects of the mutants.
//!
//! Without arguments: everything. With `SCENARIO` or `SCENARIO VARIANT`: one run in this process.

#![allow(dead_code)]

mod ghost;
mod real;

use std::{
    env,
    process::{Command, ExitCode},
    sync::atomic::{AtomicU64, Ordering},
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
}

/// One acquisition.
pub struct Step {
    state: char,
    until: Until,
    spins: u32,
}

pub struct Scenario {
    name: &'static str,
    what: &'static str,
    preemptions: usize,
    tasks: &'static [&'static [Step]],
}

const fn step(state: char, until: Until) -> Step {
    Step {
        state,
        until,
        spins: 0,
    }
}

const fn spin(state: char, until: Until) -> Step {
    Step {
        state,
        until,
        spins: 2,
    }
}

use Until::*;

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pair",
        what: "2 tasks x 2, every wait a different one, up to 5 preemptions",
        preemptions: 5,
        tasks: &[
            &[step('A', Grace), step('B', Strict)],
            &[step('B', Open), step('A', Signal)],
        ],
    },
    Scenario {
        name: "strict",
        what: "3 tasks x 2, mixed states, grace = 0",
        preemptions: 2,
        tasks: &[
            &[step('A', Strict), step('B', Strict)],
            &[step('B', Strict), step('A', Strict)],
            &[step('A', Strict), step('B', Strict)],
        ],
    },
    Scenario {
        name: "open",
        what: "3 tasks x 2, mixed states, grace = off",
        preemptions: 2,
        tasks: &[
            &[step('A', Open), step('B', Open)],
            &[step('B', Open), step('A', Open)],
            &[step('A', Open), step('A', Open)],
        ],
    },
    Scenario {
        name: "grace",
        what: "3 tasks x 2, mixed states, grace ends at any time",
        preemptions: 2,
        tasks: &[
            &[step('A', Grace), step('A', Grace)],
            &[step('B', Grace), step('A', Grace)],
            &[step('A', Grace), step('B', Grace)],
        ],
    },
    Scenario {
        name: "cancel",
        what: "3 tasks x 2, a waiter gives up at any time",
        preemptions: 2,
        tasks: &[
            &[step('A', Open), step('B', Open)],
            &[step('B', Signal), step('A', Signal)],
            &[step('A', Open), step('B', Signal)],
        ],
    },
    Scenario {
        name: "cancel-door",
        what: "3 tasks x 2, a waiter shuts the door and then gives up",
        preemptions: 2,
        tasks: &[
            &[step('A', Open), step('A', Open)],
            &[step('B', GraceSignal), step('A', Open)],
            &[step('A', Open), step('B', StrictSignal)],
        ],
    },
    Scenario {
        name: "spin",
        what: "3 tasks x 2, waiters look again before they sleep",
        preemptions: 2,
        tasks: &[
            &[spin('A', Strict), step('B', Open)],
            &[spin('B', Grace), step('A', Signal)],
            &[step('A', Open), step('B', GraceSignal)],
        ],
    },
    Scenario {
        name: "try",
        what: "3 tasks x 2, trylocks in between",
        preemptions: 2,
        tasks: &[
            &[step('A', Try), step('B', Try)],
            &[step('B', Grace), step('A', Grace)],
            &[step('A', Strict), step('B', Try)],
        ],
    },
    Scenario {
        name: "door-opens",
        what: "3 tasks, a waiter gives up behind whose door another waits",
        preemptions: 3,
        tasks: &[
            &[step('A', Open)],
            &[step('B', StrictSignal)],
            &[step('A', Open)],
        ],
    },
    Scenario {
        name: "batch",
        what: "4 tasks, two waiters of one state at once",
        preemptions: 2,
        tasks: &[
            &[step('B', Strict)],
            &[step('A', Open)],
            &[step('A', Grace)],
            &[step('B', StrictSignal)],
        ],
    },
];

type Run = fn(&'static Scenario);

macro_rules! variants {
    ($($name:ident $file:literal)*) => {
        $(mod $name {
            pub mod core {
                include!($file);
            }
            pub mod env {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/env.rs"));
            }
            pub mod scenarios {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenarios.rs"));
            }
        })*
        const MUTANTS: &[(&str, Run)] = &[$((stringify!($name), $name::scenarios::run)),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/mutants.rs"));

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores one scenario. Does not return if it finds something.
fn explore(scenario: &'static Scenario, run: Run) {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = 4;
    builder.max_branches = 10_000;
    builder.preemption_bound = Some(scenario.preemptions);
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
    let text = String::from_utf8_lossy(&out.stdout).trim().to_string();
    (out.status.success(), text)
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Some(name) = args.first() {
        let scenario = SCENARIOS.iter().find(|s| s.name == name).expect("scenario");
        let run = match args.get(1).map_or("real", |s| s) {
            "real" => real::scenarios::run as Run,
            name => MUTANTS.iter().find(|m| m.0 == name).expect("variant").1,
        };
        explore(scenario, run);
        return ExitCode::SUCCESS;
    }

    let (mut passed, mut failed) = (0, 0);
    let mut total = 0;
    for s in SCENARIOS {
        let start = Instant::now();
        let (ok, text) = child(s.name, "real");
        if ok {
            passed += 1;
            total += text.parse::<u64>().unwrap_or(0);
            println!(
                "PASS {}: {text} interleavings in {} s ({})",
                s.name,
                start.elapsed().as_secs(),
                s.what
            );
        } else {
            failed += 1;
            println!("FAIL {}: after {text} ({})", s.name, s.what);
        }
    }
    println!("{total} interleavings explored");
    for (name, _) in MUTANTS {
        // The model needs to find it in one scenario. Which one is of no importance.
        let caught = SCENARIOS.iter().find_map(|s| {
            let (ok, text) = child(s.name, name);
            (!ok).then_some((s.name, text))
        });
        match caught {
            Some((scenario, text)) => {
                passed += 1;
                let text: String = text.chars().take(110).collect();
                println!("PASS mutant {name}: caught by {scenario}, interleaving {text}");
            }
            None => {
                failed += 1;
                println!("FAIL mutant {name}: not caught");
            }
        }
    }
    println!("model: {passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Writes one copy of `core.rs` and `queue.rs` per mutant: a defect that the model must find.
//!
//! A mutant is a text replaced by another. The text must be in the files exactly once, so that a
//! change of them cannot turn a mutant into the real thing unnoticed. To find anything else is not
//! to find it: a mutant says for what the model must stop.

use std::{env, fs};

struct Mutant {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    /// What the model says when it finds the defect.
    why: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "release_relaxed",
        from: "self.word.fetch_sub(ONE, Release)",
        to: "self.word.fetch_sub(ONE, Relaxed)",
        why: "Causality violation: Concurrent read and write accesses",
    },
    Mutant {
        name: "grant_relaxed",
        from: "(*at).stage.store(GRANTED, Release)",
        to: "(*at).stage.store(GRANTED, super::env::Relaxed)",
        why: "Causality violation: Concurrent read and write accesses",
    },
    Mutant {
        name: "admit_relaxed",
        from: "match self.word.cmpxchg(w, new, Acquire) {\n                // SAFETY",
        to: "match self.word.cmpxchg(w, new, Relaxed) {\n                // SAFETY",
        why: "Causality violation: Concurrent read and write accesses",
    },
    Mutant {
        name: "recheck_skipped",
        from: "            waiter.parker.prepare(&how);\n            if waiter.stage.load(Acquire) == GRANTED {",
        to: "            waiter.parker.prepare(&how);\n            if false {",
        why: "deadlock; threads",
    },
    Mutant {
        name: "grant_lost_on_cancel",
        from: "            if !waiter.queued.get() {\n                return false;\n            }\n            self.queue[s.index()].unlink(waiter);",
        to: "            if !waiter.queued.get() {\n                return true;\n            }\n            self.queue[s.index()].unlink(waiter);",
        why: "somebody still holds the lock",
    },
    Mutant {
        name: "one_woken_not_the_batch",
        from: "(!self.rest.is_null()).then_some(self.rest)",
        to: "None",
        why: "deadlock; threads",
    },
    Mutant {
        name: "door_left_shut",
        from: "gone |= shut(s.other());",
        to: "gone |= 0;",
        why: "shut, but nobody waits for",
    },
    Mutant {
        name: "door_ignored",
        from: "w & (PHASE | shut(s)) == phase(s)",
        to: "w & PHASE == phase(s)",
        why: "somebody entered through a shut door",
    },
    Mutant {
        name: "hand_over_barged",
        from: "        w & WAIT_ANY == 0\n",
        to: "        w & wait(s) == wait(s) || w & WAIT_ANY == 0\n",
        why: "a hand-over that does not admit the queue",
    },
    Mutant {
        name: "own_state_served_first",
        from: "} else if w & wait(last.other()) != 0 {\n                last.other()\n            } else {\n                last\n            };",
        to: "} else if w & wait(last) != 0 {\n                last\n            } else {\n                last.other()\n            };",
        why: "a phase follows its own kind while the other state waits",
    },
    Mutant {
        name: "waiter_touched_after_grant",
        from: "let waker = (*at).parker.waker();\n            (*at).stage.store(GRANTED, Release);",
        to: "(*at).stage.store(GRANTED, Release);\n            let waker = (*at).parker.waker();",
        why: "a waiter was touched after it had gone",
    },
    Mutant {
        name: "gives_up_while_told",
        from: "let inner = self.inner_once(|w| w & TELLING != 0);",
        to: "let inner = self.inner.lock();",
        why: "a waiter leaves a queue that is empty",
    },
    Mutant {
        name: "door_opens_while_told",
        from: "let inner = self.inner_once(|w| w & TELLING != 0);",
        to: "let inner = self.inner_once(|w| w & (TELLING | PHASE) == TELLING | phase(s));",
        why: "a batch leaves its queue while another is being told",
    },
    Mutant {
        name: "door_shut_by_holder",
        from: "let _inner = self.inner_once(|w| w & (TELLING | PHASE) == TELLING | phase(s));",
        to: "let _inner = self.inner.lock();",
        why: "a waiter of an empty queue is overdue",
    },
    Mutant {
        name: "told_for_ever",
        from: "self.clear(TELLING);",
        to: "",
        why: "the lock is free, and not all",
    },
    Mutant {
        name: "no_admission_after_cancel",
        from: "            // The door that opened, or the hand-over that now has no taker, may admit others.\n            self.admit()",
        to: "            Batch::none()",
        why: "somebody is left waiting in front of an open door",
    },
];

/// Everything that a mutant may change.
const SOURCES: [&str; 2] = ["core", "queue"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let sources = SOURCES.map(|name| {
        let path = format!("../lock/{name}.rs");
        println!("cargo:rerun-if-changed={path}");
        let source = fs::read_to_string(&path).expect(&path);
        // An included file may not begin with inner documentation.
        source
            .lines()
            .filter(|l| !l.starts_with("//!"))
            .map(|l| format!("{l}\n"))
            .collect::<String>()
    });

    let out = env::var("OUT_DIR").unwrap();
    let mut list = String::from("variants! {\n");
    for m in MUTANTS {
        let n: usize = sources.iter().map(|s| s.matches(m.from).count()).sum();
        assert_eq!(n, 1, "mutant {}: its text is {n} times there", m.name);
        list += &format!("    {}", m.name);
        for (name, source) in SOURCES.iter().zip(&sources) {
            let file = format!("{out}/{}_{name}.rs", m.name);
            fs::write(&file, source.replace(m.from, m.to)).unwrap();
            list += &format!(" {file:?}");
        }
        list += &format!(" {:?}\n", m.why);
    }
    list += "}\n";
    fs::write(format!("{out}/mutants.rs"), list).unwrap();
}

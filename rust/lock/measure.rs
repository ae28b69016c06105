// SPDX-License-Identifier: GPL-2.0

//! Measurements: starvation, the grace curve, and the cost beside other locks.

use super::{
    harness::{check, now, resched, sleep_us, spin, torture, with_threads, Report},
    lock::{self, new_two_state_shared_lock, State, TwoStateSharedLock},
};
use kernel::{
    ffi::c_int,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
    time::Delta,
};

/// A lock to measure, ours or another one.
struct Subject {
    ours: Pin<KBox<Ours>>,
    other: *mut torture::Other,
}

#[pin_data]
struct Ours {
    #[pin]
    lock: TwoStateSharedLock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Rwsem,
    Percpu,
    Unfair,
}

const KINDS: [Kind; 4] = [Kind::Ours, Kind::Rwsem, Kind::Percpu, Kind::Unfair];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ours => "two-state",
            Kind::Rwsem => "rwsem",
            Kind::Percpu => "percpu-rwsem",
            Kind::Unfair => "unfair",
        }
    }

    fn code(self) -> c_int {
        match self {
            Kind::Ours => 0,
            Kind::Rwsem => torture::RWSEM,
            Kind::Percpu => torture::PERCPU,
            Kind::Unfair => torture::UNFAIR,
        }
    }

    fn size(self) -> usize {
        match self {
            Kind::Ours => size_of::<TwoStateSharedLock>(),
            // SAFETY: Always safe to call.
            _ => unsafe { torture::lock_torture_other_size(self.code()) },
        }
    }
}

// SAFETY: All the locks are made to be shared.
unsafe impl Sync for Subject {}

impl Subject {
    fn new() -> Result<Self> {
        let ours = KBox::pin_init(
            pin_init!(Ours { lock <- new_two_state_shared_lock!("lock_torture_measure") }),
            GFP_KERNEL,
        )?;
        // SAFETY: In process context.
        let other = unsafe { torture::lock_torture_other_new() };
        if other.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self { ours, other })
    }

    /// Takes the lock and holds it while `f` runs. `false` if it cannot be had in `timeout` ns,
    /// which rwsem and percpu-rwsem do not look at.
    fn hold(&self, kind: Kind, s: State, timeout: u64, f: impl FnOnce()) -> bool {
        if kind == Kind::Ours {
            let timeout = Delta::from_nanos(timeout.min(i64::MAX as u64) as i64);
            let Ok(_guard) = self.ours.lock.lock_timeout(s, timeout) else {
                return false;
            };
            f();
            return true;
        }
        let block = s == State::Block;
        // SAFETY: `other` lives as long as `self`; what is locked is unlocked.
        unsafe {
            if !torture::lock_torture_other_lock(self.other, kind.code(), block, timeout) {
                return false;
            }
            f();
            torture::lock_torture_other_unlock(self.other, kind.code(), block);
        }
        true
    }

    /// Takes and releases the lock `n` times, holding it for `hold` ns. Returns how long it took.
    fn times(&self, kind: Kind, s: State, hold: u64, n: u32) -> u64 {
        if kind != Kind::Ours {
            let block = s == State::Block;
            // SAFETY: `other` lives as long as `self`.
            return unsafe {
                torture::lock_torture_other_loop(self.other, kind.code(), block, hold, n)
            };
        }
        let begin = now();
        for _ in 0..n {
            let _guard = self.ours.lock.lock(s);
            if hold > 0 {
                spin(hold);
            }
        }
        now() - begin
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // SAFETY: Made by `new`, and nobody uses it any more.
        unsafe { torture::lock_torture_other_free(self.other) }
    }
}

// ---------------------------------------------------------------------------
// Waits
// ---------------------------------------------------------------------------

/// How long an asker waited, in microseconds.
struct Waits {
    asked: usize,
    starved: bool,
    mean: u64,
    p999: u64,
    worst: u64,
    /// Holds of the chain, per second.
    chain: u64,
}

/// How long the holds of the chain are, in microseconds.
const CHAIN_HOLD_US: u64 = 1000;

/// Lets threads hold the state that `asker` is not in an unbroken chain, for `ns`, and asks.
fn ask(report: &Report, subject: &Subject, kind: Kind, asker: State) -> Result<Waits> {
    let (n, ns) = (report.threads, report.ns);
    let stop = Atomic::<u32>::new(0);
    let holds = Atomic::<u64>::new(0);
    let mut waits = KVec::<u64>::with_capacity(1 << 16, GFP_KERNEL)?;
    let mut starved = false;
    let mut elapsed = 0;
    let body = |me: usize| {
        // Out of step with each other, so that the holds overlap.
        sleep_us(
            (CHAIN_HOLD_US * me as u64)
                .checked_div(n as u64)
                .unwrap_or(0)
                + 1,
        );
        while stop.load(Relaxed) == 0 {
            subject.hold(kind, asker.other(), u64::MAX, || {
                sleep_us(CHAIN_HOLD_US);
            });
            holds.fetch_add(1, Relaxed);
        }
    };
    with_threads(n, false, &body, |_| {
        sleep_us(20_000);
        let begin = now();
        let end = begin + ns;
        let before = holds.load(Relaxed);
        while now() < end {
            let at = now();
            if !subject.hold(kind, asker, end - at.min(end), || ()) {
                // An asker that has waited for the rest of a run of this length has starved.
                starved |= now() - at > ns / 2;
            }
            if waits.push((now() - at) / 1000, GFP_KERNEL).is_err() {
                break;
            }
            sleep_us(500);
        }
        elapsed = now() - begin;
        stop.store(
            holds.load(Relaxed).wrapping_sub(before).max(1) as u32,
            Relaxed,
        );
        holds.fetch_sub(before, Relaxed);
    })?;
    waits.sort_unstable();
    let asked = waits.len();
    let at = |i: usize| waits.get(i).copied().unwrap_or(0);
    Ok(Waits {
        asked,
        starved,
        mean: waits.iter().sum::<u64>() / asked.max(1) as u64,
        p999: at((asked * 999 / 1000).min(asked.saturating_sub(1))),
        worst: at(asked.saturating_sub(1)),
        chain: holds.load(Relaxed) * 1_000_000 / (elapsed / 1000).max(1),
    })
}

/// The prototype must be seen to starve, in the run in which ours must not.
pub(super) fn starve(report: &Report) -> Result {
    let subject = Subject::new()?;
    for asker in [State::Block, State::Add] {
        let unfair = ask(report, &subject, Kind::Unfair, asker)?;
        let ours = ask(report, &subject, Kind::Ours, asker)?;
        for (name, w) in [("unfair", &unfair), ("two-state", &ours)] {
            pr_info!(
                "starve: {} asks for {:?}: asked {} times, waited {} us on average, {} us at worst{}\n",
                name,
                asker,
                w.asked,
                w.mean,
                w.worst,
                if w.starved { ", starved" } else { "" }
            );
        }
        check!(
            report,
            unfair.starved,
            "the prototype did not starve {asker:?}"
        );
        check!(report, !ours.starved, "{asker:?} starved");
        // Each wait should take grace and a hold; the rest is for a machine that is busy.
        check!(
            report,
            ours.asked as u64 > report.ns / 200_000_000,
            "{asker:?} got in {} times only",
            ours.asked
        );
    }
    report.result(fmt!("starve"))
}

/// Waits and throughput against the grace period.
pub(super) fn grace_curve(report: &Report) -> Result {
    let subject = Subject::new()?;
    for us in [0, 500, 1000, 2000, 4000, 8000, u64::MAX] {
        lock::set_grace(us.saturating_mul(1000));
        let block = ask(report, &subject, Kind::Ours, State::Block)?;
        let add = ask(report, &subject, Kind::Ours, State::Add)?;
        let mixed = mixed_rate(&subject, Kind::Ours, 1000, 1_000_000_000)?;
        let busy = busy_rate(&subject, 1000, 1_000_000_000)?;
        let show = |w: &Waits| (w.asked, w.mean, w.p999, w.worst, w.chain);
        // The greatest number stands for "off".
        pr_info!(
            "grace {} us: Block asks (n, mean, p99.9, worst us, chain/s) {:?}; Add asks {:?}; \
             1+1 threads {} holds/s; 2+2 threads {} holds/s\n",
            us as i64,
            show(&block),
            show(&add),
            mixed,
            busy
        );
    }
    report.result(fmt!("grace"))
}

// ---------------------------------------------------------------------------
// Cost
// ---------------------------------------------------------------------------

/// Runs one thread per entry of `states` for `ns`, each on a CPU of its own as far as there are
/// so many. Returns the operations done and the time they took together.
fn rate(subject: &Subject, kind: Kind, states: &[State], hold: u64, ns: u64) -> Result<(u64, u64)> {
    let ready = Atomic::<u32>::new(0);
    let ops = Atomic::<u64>::new(0);
    let took = Atomic::<u64>::new(0);
    let chunk = if hold == 0 {
        512
    } else {
        (50_000 / hold).max(1) as u32
    };
    let body = |me: usize| {
        let Some(&s) = states.get(me) else { return };
        ready.fetch_add(1, Full);
        while (ready.load(Acquire) as usize) < states.len() {
            resched();
        }
        let begin = now();
        let (mut n, mut inside) = (0, 0);
        while now() - begin < ns {
            inside += subject.times(kind, s, hold, chunk);
            n += u64::from(chunk);
            resched();
        }
        ops.fetch_add(n, Relaxed);
        took.fetch_add(inside, Relaxed);
    };
    with_threads(states.len(), true, &body, |_| ())?;
    Ok((ops.load(Relaxed), took.load(Relaxed)))
}

/// Holds per second with one thread of each state.
fn mixed_rate(subject: &Subject, kind: Kind, hold: u64, ns: u64) -> Result<u64> {
    let (ops, _) = rate(subject, kind, &[State::Add, State::Block], hold, ns)?;
    Ok(ops * 1_000_000 / (ns / 1000))
}

/// Holds per second with two threads of each state, one of each on each CPU.
fn busy_rate(subject: &Subject, hold: u64, ns: u64) -> Result<u64> {
    let states = [State::Add, State::Block, State::Block, State::Add];
    let (ops, _) = rate(subject, Kind::Ours, &states, hold, ns)?;
    Ok(ops * 1_000_000 / (ns / 1000))
}

/// What an acquire and a release cost, hold included, beside other locks.
pub(super) fn bench(report: &Report) -> Result {
    let subject = Subject::new()?;
    let rounds = report.rounds;
    let rows: [(&str, &[State]); 5] = [
        ("Add alone", &[State::Add]),
        ("Block alone", &[State::Block]),
        ("Add + Add", &[State::Add, State::Add]),
        ("Block + Block", &[State::Block, State::Block]),
        ("Add + Block", &[State::Add, State::Block]),
    ];
    for kind in KINDS {
        pr_info!("bench: {} is {} bytes\n", kind.name(), kind.size());
    }
    for hold in [0, 1000, 10_000, 100_000] {
        for (name, states) in &rows {
            let mut samples: [KVec<u64>; 4] = [KVec::new(), KVec::new(), KVec::new(), KVec::new()];
            // The kinds take turns, so that what disturbs one round disturbs all of them.
            for _ in 0..rounds {
                for (kind, samples) in KINDS.iter().zip(&mut samples) {
                    let (ops, took) = rate(&subject, *kind, states, hold, 50_000_000)?;
                    // In tenths of a nanosecond.
                    samples.push(took * 10 / ops.max(1), GFP_KERNEL)?;
                }
            }
            samples.iter_mut().for_each(|s| s.sort_unstable());
            let median = |k: usize| samples[k].get(rounds / 2).copied().unwrap_or(0);
            for (k, kind) in KINDS.iter().enumerate() {
                let m = median(k);
                let ratio = m * 100 / median(1).max(1);
                pr_info!(
                    "bench: {:>3} us, {:<13}: {:<12} {:>8}.{} ns ({}..{}), {}.{:02} of rwsem\n",
                    hold / 1000,
                    name,
                    kind.name(),
                    m / 10,
                    m % 10,
                    samples[k].first().copied().unwrap_or(0) / 10,
                    samples[k].last().copied().unwrap_or(0) / 10,
                    ratio / 100,
                    ratio % 100
                );
            }
        }
    }
    report.result(fmt!("bench"))
}

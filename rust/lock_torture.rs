// SPDX-License-Identifier: GPL-2.0

//! Torture, measurements and lockdep cases for the two-state shared lock. Test only.
//!
//! Everything happens while the module is being loaded: `insmod` returns when it is done, and
//! fails if a check failed. What was found is in the kernel log, on lines that begin with
//! `lock_torture:`.

use kernel::{
    ffi::c_void,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed, Release},
    time::Delta,
};

#[path = "lock/harness.rs"]
mod harness;
#[path = "lock/mod.rs"]
pub mod lock;
#[path = "lock/measure.rs"]
mod measure;

use harness::{check, now, resched, sleep_us, spin, torture, with_threads, Report, MAX_THREADS};
use lock::{new_two_state_shared_lock, HandedOff, KeptHold, State, TwoStateSharedLock};

module! {
    type: LockTorture,
    name: "lock_torture",
    authors: ["The toyfs developers"],
    description: "Torture of the two-state shared lock",
    license: "GPL",
    params: {
        seconds: u32 {
            default: 10,
            description: "How long to torture; for measurements, how long each point takes",
        },
        threads: u32 {
            default: 6,
            description: "Number of threads",
        },
        grace_us: i64 {
            default: -1,
            description: "Grace period in microseconds (-1: the default, -2: off)",
        },
        rounds: u32 {
            default: 5,
            description: "How often each point of bench is measured",
        },
    },
}

struct LockTorture;

/// A random number generator (xorshift) of one thread.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11).checked_rem(n).unwrap_or(0)
    }

    fn state(&mut self) -> State {
        if self.below(2) == 0 {
            State::Add
        } else {
            State::Block
        }
    }
}

// ---------------------------------------------------------------------------
// Torture
// ---------------------------------------------------------------------------

#[pin_data]
struct Arena {
    #[pin]
    lock: TwoStateSharedLock,
    /// Holders that are between acquire and release.
    inside: [Atomic<u32>; 2],
    /// Written by holders of each state, without any atomics: odd while somebody writes.
    cells: [[Cell; MAX_THREADS]; 2],
    /// Where each thread leaves a hold for itself.
    kept: [KeptHold; MAX_THREADS],
    stop: Atomic<u32>,
    done: Counts,
}

/// A value that only the lock protects.
struct Cell(::core::cell::UnsafeCell<u64>);

// SAFETY: The lock orders the accesses; that it does is what is being tested.
unsafe impl Sync for Cell {}

impl Cell {
    fn read(&self) -> u64 {
        // SAFETY: The cell is valid. A concurrent write is the failure looked for, and a volatile
        // access of a machine word copes with it.
        unsafe { self.0.get().read_volatile() }
    }

    fn write(&self, v: u64) {
        // SAFETY: As above; only one task writes the cell.
        unsafe { self.0.get().write_volatile(v) }
    }
}

/// What happened how often.
#[derive(Default)]
struct Counts {
    entered: [Count; 2],
    tried: Count,
    timed_out: Count,
    killed: Count,
    irq: Count,
    handed: Count,
    kept: Count,
    worst_us: Count,
}

struct Count(Atomic<u64>);

impl Default for Count {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Count {
    fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn max(&self, v: u64) {
        let mut now = self.0.load(Relaxed);
        while v > now {
            match self.0.cmpxchg(now, v, Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Arena {
    fn new() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                lock <- new_two_state_shared_lock!("lock_torture"),
                inside: [Atomic::new(0), Atomic::new(0)],
                cells: ::core::array::from_fn(|_| {
                    ::core::array::from_fn(|_| Cell(::core::cell::UnsafeCell::new(0)))
                }),
                kept: [const { KeptHold::new() }; MAX_THREADS],
                stop: Atomic::new(0),
                done: Counts::default(),
            }),
            GFP_KERNEL,
        )
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed) != 0
    }

    /// The invariants, from inside. Between `enter` and `leave` the hold is the caller's.
    fn enter(&self, report: &Report, s: State, me: usize) {
        let (own, other) = (s as usize, s.other() as usize);
        self.inside[own].fetch_add(1, Full);
        check!(
            report,
            self.inside[other].load(Acquire) == 0,
            "{s:?} inside together with the other state"
        );
        for (i, cell) in self.cells[other].iter().enumerate() {
            check!(report, cell.read() % 2 == 0, "{s:?} sees thread {i} inside");
        }
        let cell = &self.cells[own][me];
        cell.write(cell.read() + 1);
        self.done.entered[own].inc();
    }

    fn leave(&self, s: State, me: usize) {
        let cell = &self.cells[s as usize][me];
        cell.write(cell.read() + 1);
        self.inside[s as usize].fetch_sub(1, Full);
    }

    fn hold(&self, random: &mut Random) {
        match random.below(32) {
            0 => sleep_us(50 + random.below(500)),
            1..=3 => resched(),
            4..=15 => spin(random.below(20_000)),
            _ => (),
        }
    }

    fn thread(&self, report: &Report, me: usize) {
        // SAFETY: In a kernel thread.
        unsafe { torture::lock_torture_allow_kill() };
        let mut random = Random::new(now() ^ me as u64);
        while !self.stopped() {
            self.once(report, me, &mut random);
            // SAFETY: In a kernel thread, which looks for signals in the lock only.
            unsafe { torture::lock_torture_unkill() };
            if random.below(64) == 0 {
                sleep_us(random.below(300));
            }
            resched();
        }
    }

    fn once(&self, report: &Report, me: usize, random: &mut Random) {
        let s = random.state();
        let begin = now();
        let guard = match random.below(8) {
            0 | 1 => self.lock.lock(s),
            2 | 3 => match self.lock.lock_killable(s) {
                Ok(guard) => guard,
                Err(e) => {
                    check!(report, e == EINTR, "lock_killable: {e:?}");
                    return self.done.killed.inc();
                }
            },
            4 | 5 => {
                let us = random.below(1500) as i64;
                match self.lock.lock_timeout(s, Delta::from_micros(us)) {
                    Ok(guard) => guard,
                    Err(e) => {
                        let waited = now() - begin;
                        if e == EINTR {
                            return self.done.killed.inc();
                        }
                        check!(report, e == ETIMEDOUT, "lock_timeout: {e:?}");
                        check!(
                            report,
                            waited >= us as u64 * 1000,
                            "timed out after {waited} ns of {us} us"
                        );
                        return self.done.timed_out.inc();
                    }
                }
            }
            _ => match self.lock.try_lock(s) {
                Some(guard) => guard,
                None => return self.done.tried.inc(),
            },
        };
        self.done.worst_us.max((now() - begin) / 1000);

        self.enter(report, s, me);
        self.lock.assert_held(s);
        check!(
            report,
            self.lock.try_lock(s.other()).is_none(),
            "try_lock of the other state while {s:?} is held"
        );
        self.hold(random);
        match random.below(16) {
            0 => {
                // The rest happens in hard-irq context.
                let handed = guard.hand_off();
                let irq = InIrq {
                    arena: self,
                    report,
                    me,
                    state: s,
                    handed: ::core::cell::Cell::new(Some(handed)),
                };
                // SAFETY: The call returns when `from_irq` has; `irq` lives longer.
                unsafe {
                    torture::lock_torture_hardirq(from_irq, (&raw const irq).cast_mut().cast())
                };
                self.done.irq.inc();
            }
            1 => {
                let handed = guard.hand_off();
                resched();
                let guard = handed.take();
                self.leave(s, me);
                drop(guard);
                self.done.handed.inc();
            }
            2 => {
                check!(report, self.kept[me].keep(guard).is_ok(), "place taken");
                self.hold(random);
                self.leave(s, me);
                let other = (me + 1) % MAX_THREADS;
                let foreign = self.kept[other].take(&self.lock).is_some();
                check!(report, !foreign, "took what another thread keeps");
                let guard = self.kept[me].take(&self.lock);
                check!(report, guard.is_some(), "nothing kept");
                self.done.kept.inc();
            }
            3 => {
                let raw = guard.hand_off_while(|handed| {
                    resched();
                    handed.into_raw()
                });
                resched();
                self.leave(s, me);
                // SAFETY: The lock is alive.
                unsafe { raw.release() };
                self.done.handed.inc();
            }
            _ => {
                self.leave(s, me);
                drop(guard);
            }
        }
    }
}

/// A hold whose end is in hard-irq context.
struct InIrq<'a> {
    arena: &'a Arena,
    report: &'a Report,
    me: usize,
    state: State,
    handed: ::core::cell::Cell<Option<HandedOff<'a>>>,
}

/// # Safety
///
/// `data` must be an `InIrq` that nobody else looks at until this has returned.
unsafe extern "C" fn from_irq(data: *mut c_void) {
    // SAFETY: `data` is an `InIrq` that lives until this has returned, and only this looks at.
    let irq = unsafe { &*data.cast::<InIrq<'_>>() };
    // SAFETY: Always safe to call.
    let hard = unsafe { torture::lock_torture_in_hardirq() };
    check!(irq.report, hard, "not in hard-irq context");
    irq.arena.leave(irq.state, irq.me);
    drop(irq.handed.take());
}

fn torture_mode(report: &Report) -> Result {
    let (n, seconds) = (report.threads, report.ns / 1_000_000_000);
    let arena = Arena::new()?;
    let body = |me| arena.thread(report, me);
    with_threads(n, false, &body, |threads| {
        let mut random = Random::new(now());
        let end = now() + report.ns;
        let mut last = (now(), 0);
        while now() < end {
            sleep_us(200 + random.below(2000));
            if let Some(t) = threads.get(random.below(n as u64) as usize) {
                t.kill();
            }
            let total = arena.done.entered[0].get() + arena.done.entered[1].get();
            if total != last.1 {
                last = (now(), total);
            } else if now() - last.0 > 5_000_000_000 {
                report.fail(fmt!("nobody entered for 5 s: {:?}", &arena.lock));
                last.0 = now();
            }
        }
        arena.stop.store(1, Release);
    })?;

    let end = arena.lock.snapshot();
    check!(
        report,
        end.held.is_none() && end.waiting == [false; 2] && end.shut == [false; 2],
        "at the end: {:?}",
        &arena.lock
    );
    let d = &arena.done;
    for (what, count) in [
        ("Add", &d.entered[0]),
        ("Block", &d.entered[1]),
        ("a signal", &d.killed),
        ("a time-out", &d.timed_out),
        ("a failed try_lock", &d.tried),
        ("a release in hard-irq context", &d.irq),
    ] {
        check!(
            report,
            seconds == 0 || count.get() > 0,
            "{what} never happened"
        );
    }
    report.result(fmt!(
        "torture: {} s, {} threads: Add {}, Block {}, killed {}, timed out {}, tried in vain {}, \
         irq {}, handed off {}, kept {}, worst wait {} us",
        seconds,
        n,
        d.entered[0].get(),
        d.entered[1].get(),
        d.killed.get(),
        d.timed_out.get(),
        d.tried.get(),
        d.irq.get(),
        d.handed.get(),
        d.kept.get(),
        d.worst_us.get()
    ))
}

// ---------------------------------------------------------------------------
// Lockdep cases
// ---------------------------------------------------------------------------

/// Two locks of different classes, and a twin of the first.
#[pin_data]
struct Trio {
    #[pin]
    a: TwoStateSharedLock,
    #[pin]
    b: TwoStateSharedLock,
    #[pin]
    a2: TwoStateSharedLock,
}

impl Trio {
    fn new() -> Result<Pin<KBox<Self>>> {
        let key = kernel::static_lock_class!();
        KBox::pin_init(
            pin_init!(Self {
                a <- TwoStateSharedLock::new(c"case_a", key),
                b <- new_two_state_shared_lock!("case_b"),
                a2 <- TwoStateSharedLock::new(c"case_a", key),
            }),
            GFP_KERNEL,
        )
    }
}

/// Runs `f` between taking and giving back something of C's.
fn within(c: unsafe extern "C" fn(bool), f: impl FnOnce()) {
    // SAFETY: In process context, with an mm, holding what the case wants to be held.
    unsafe { c(true) };
    f();
    // SAFETY: Balances the call above.
    unsafe { c(false) };
}

/// The file whose locks the cases take.
struct File;

impl File {
    fn open() -> Result<Self> {
        // SAFETY: In process context; called once.
        if unsafe { torture::lock_torture_open() } {
            Ok(Self)
        } else {
            Err(ENOENT)
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: Balances `open`.
        unsafe { torture::lock_torture_close() }
    }
}

/// Has `complete` called with `handed` by another task, and waits for that.
fn in_flight<'a>(handed: HandedOff<'a>, complete: impl Fn(HandedOff<'a>) + Sync) -> Result {
    struct Request<'a>(::core::cell::Cell<Option<HandedOff<'a>>>);
    // SAFETY: One thread looks, and nobody else until it was joined.
    unsafe impl Sync for Request<'_> {}

    impl<'a> Request<'a> {
        fn end(&self, complete: impl Fn(HandedOff<'a>)) {
            if let Some(handed) = self.0.take() {
                complete(handed);
            }
        }
    }

    let request = Request(::core::cell::Cell::new(Some(handed)));
    let body = |_: usize| request.end(&complete);
    with_threads(1, false, &body, |_| ())
}

/// The lockdep cases. `bad-X` makes lockdep report something, `good-X` is what should be done
/// instead.
fn lockdep_case(name: &str) -> Result {
    use State::{Add, Block};
    let t = Trio::new()?;
    let (a, b, a2) = (&t.a, &t.b, &t.a2);
    let mutex = torture::lock_torture_mutex;
    let mmap = torture::lock_torture_mmap;
    let reclaim = torture::lock_torture_reclaim;
    let _file = File::open()?;
    let (inode, inode_shared) = (
        torture::lock_torture_inode,
        torture::lock_torture_inode_shared,
    );
    let (invalidate, invalidate_shared) = (
        torture::lock_torture_invalidate,
        torture::lock_torture_invalidate_shared,
    );
    // SAFETY: In process context; checks what user space passed.
    let copy = || unsafe { kernel::warn_on!(torture::lock_torture_copy() != 0) };
    // SAFETY: As above.
    let pin = || unsafe { kernel::warn_on!(torture::lock_torture_pin() != 0) };
    // SAFETY: In process context.
    let alloc = || unsafe { torture::lock_torture_alloc() };
    match name {
        "bad-recursion-add" => {
            let _first = a.add();
            let _second = a.add();
        }
        "bad-recursion-block" => {
            let _first = a.block();
            let _second = a.block();
        }
        // Would wait for ever; the time-out ends it, the report comes before.
        "bad-recursion-mixed" => {
            let _first = a.add();
            let _second = a.lock_timeout(Block, Delta::from_millis(1));
        }
        // Two objects of one class without a subclass.
        "bad-nesting" => {
            let _first = a.add();
            let _second = a2.block();
        }
        "good-recursion" => {
            for s in [Add, Block] {
                drop(a.lock(s));
                let _first = a.lock(s);
                let _second = a2.lock_nested(s, 1);
            }
        }
        "bad-abba-mixed" => {
            {
                let _first = a.add();
                let _second = b.block();
            }
            let _first = b.add();
            let _second = a.block();
        }
        "bad-abba-add" => {
            {
                let _first = a.add();
                let _second = b.add();
            }
            let _first = b.add();
            let _second = a.add();
        }
        "good-abba" => {
            for (x, y) in [(Add, Block), (Block, Add), (Add, Add), (Block, Block)] {
                let _first = a.lock(x);
                let _second = b.lock(y);
            }
            // A try_lock does not wait, so it may come in any order.
            let _first = b.add();
            let _second = a.try_lock(Add);
        }
        "bad-mutex" => {
            within(mutex, || drop(a.add()));
            let _first = a.block();
            within(mutex, || ());
        }
        "good-mutex" => {
            for s in [Add, Block] {
                within(mutex, || drop(a.lock(s)));
            }
        }
        // Who tries first teaches lockdep the order of who waits, if it says that it might.
        "bad-tried" => {
            within(mutex, || {
                a.might_lock();
                drop(a.try_lock(Add));
            });
            let _first = a.block();
            within(mutex, || ());
        }
        "good-tried" => {
            {
                let _first = a.block();
                within(mutex, || ());
            }
            within(mutex, || drop(a.try_lock(Add)));
        }
        "bad-mmap-lock" => {
            within(mmap, || drop(a.add()));
            let _first = a.block();
            within(mmap, || ());
        }
        "good-mmap-lock" => {
            for s in [Add, Block] {
                within(mmap, || drop(a.lock(s)));
            }
        }
        // What keeps additions out by other means is taken before the lock, whichever way.
        "bad-i-rwsem" => {
            within(inode, || drop(a.add()));
            let _first = a.block();
            within(inode, || ());
        }
        "bad-i-rwsem-shared" => {
            within(inode, || drop(a.block()));
            let _first = a.add();
            within(inode_shared, || ());
        }
        "good-i-rwsem" => {
            for s in [Add, Block] {
                within(inode, || drop(a.lock(s)));
                within(inode_shared, || drop(a.lock(s)));
            }
        }
        "bad-invalidate-lock" => {
            within(invalidate_shared, || drop(a.add()));
            let _first = a.block();
            within(invalidate, || ());
        }
        "bad-invalidate-lock-shared" => {
            within(invalidate, || drop(a.block()));
            let _first = a.add();
            within(invalidate_shared, || ());
        }
        "good-invalidate-lock" => {
            for s in [Add, Block] {
                within(inode, || {
                    within(invalidate, || drop(a.lock(s)));
                    within(invalidate_shared, || drop(a.lock(s)));
                });
            }
        }
        // Reported although the memory is there and nothing faults.
        "bad-user-copy" => {
            a.taken_in_faults();
            let _first = a.add();
            copy();
        }
        "bad-user-pin" => {
            a.taken_in_faults();
            let _first = a.block();
            pin();
        }
        "good-user" => {
            a.taken_in_faults();
            for s in [Add, Block] {
                copy();
                pin();
                drop(a.lock(s));
            }
        }
        // What completes a request takes a mutex, under which somebody waits for the request.
        "bad-hand-off-completion" => {
            within(mutex, || drop(a.add()));
            in_flight(a.block().hand_off(), |handed| {
                let _block = handed.take();
                within(mutex, || ());
            })?;
        }
        "bad-hand-off-completion-first" => {
            in_flight(a.block().hand_off(), |handed| {
                let _block = handed.take();
                within(mutex, || ());
            })?;
            within(mutex, || drop(a.add()));
        }
        // The same of what submits it.
        "bad-hand-off-submission" => {
            within(mutex, || drop(a.add()));
            a.block().hand_off_while(|handed| {
                in_flight(handed, |handed| drop(handed.take()))?;
                within(mutex, || ());
                Ok::<_, Error>(())
            })?;
        }
        "good-hand-off" => {
            for s in [Add, Block] {
                a.lock(s).hand_off_while(|handed| {
                    within(mutex, || ());
                    in_flight(handed, |handed| {
                        let _held = handed.take();
                        within(mutex, || ());
                    })
                })?;
                let _second = a.lock(s);
                within(mutex, || ());
            }
        }
        "bad-fs-reclaim" => {
            {
                let _first = a.block();
                alloc();
            }
            within(reclaim, || drop(a.add()));
        }
        "good-fs-reclaim" => {
            for s in [Add, Block] {
                let _first = a.lock(s);
                alloc();
            }
        }
        // SAFETY: Wrong, on purpose.
        "bad-release" => unsafe { a.release_forgotten(Add) },
        // Held, but in the other state: lockdep does not know, the lock does.
        "bad-release-state" => {
            let guard = a.add();
            // SAFETY: Wrong, on purpose.
            unsafe { a.release_forgotten(Block) };
            // The hold is still there, for lockdep as well.
            let _ = guard.hand_off().into_raw();
            ::core::mem::forget(t);
        }
        "good-release" => {
            let place = KeptHold::new();
            for s in [Add, Block] {
                let _ = place.keep(a.lock(s));
                drop(place.take(a));
                ::core::mem::forget(a.lock(s));
                // SAFETY: The forgotten hold.
                unsafe { a.release_forgotten(s) };
            }
        }
        // A hold that nobody takes back.
        "bad-kept" => {
            let place = KeptHold::new();
            let _ = place.keep(a.add());
            drop(place);
            // SAFETY: The hold that was left there.
            unsafe { a.release_forgotten(Add) };
        }
        "bad-dropped" => {
            let _ = a.add().hand_off().into_raw();
        }
        "bad-uninit" => {
            let zeroed = KBox::<Zeroed>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
            // SAFETY: Wrong, on purpose: nobody initialised the lock. It is all zero, which is
            // enough for it to work as a lock.
            let lock = unsafe { &*zeroed.as_ptr().cast::<TwoStateSharedLock>() };
            drop(lock.add());
        }
        "good-uninit" => drop(a.add()),
        "bad-assert" => a.assert_held(Add),
        "bad-assert-state" => {
            let _first = a.add();
            a.assert_held(Block);
        }
        "good-assert" => {
            for s in [Add, Block] {
                let guard = a.lock(s);
                a.assert_held(s);
                let guard = guard.hand_off().take();
                a.assert_held(s);
                drop(guard);
            }
        }
        // The task goes back to user space with a hold; handed off, it may.
        "bad-return-to-user" | "good-return-to-user" => {
            let guard = a.add();
            if name.starts_with("bad") {
                ::core::mem::forget(guard);
            } else {
                let _ = guard.hand_off().into_raw();
            }
            // The hold outlives the call.
            ::core::mem::forget(t);
        }
        _ => {
            pr_err!("no such mode: {}\n", name);
            return Err(EINVAL);
        }
    }
    pr_info!("case {} done\n", name);
    Ok(())
}

/// Room for a lock.
#[repr(C, align(8))]
struct Zeroed([u8; size_of::<TwoStateSharedLock>()]);

// ---------------------------------------------------------------------------

impl kernel::Module for LockTorture {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match module_parameters::grace_us.value() {
            us if us < -1 => lock::set_grace(lock::GRACE_OFF),
            us => lock::set_grace_us(us),
        }
        // SAFETY: The parameter is a string that lives as long as the module.
        let mode = unsafe { CStr::from_char_ptr(torture::lock_torture_mode()) };
        let report = Report {
            threads: (module_parameters::threads.value() as usize).clamp(2, MAX_THREADS),
            ns: u64::from(module_parameters::seconds.value()) * 1_000_000_000,
            rounds: (module_parameters::rounds.value() as usize).max(1),
            failures: Atomic::new(0),
        };
        match mode.to_str().map_err(|_| EINVAL)? {
            "none" => (),
            "torture" => torture_mode(&report)?,
            "starve" => measure::starve(&report)?,
            "grace" => measure::grace_curve(&report)?,
            "bench" => measure::bench(&report)?,
            name => lockdep_case(name)?,
        }
        Ok(LockTorture)
    }
}

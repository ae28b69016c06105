// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the lock: every operation and every error path, in both states.
//!
//! A test that needs the lock held while it goes on hands the hold off first. So lockdep does not
//! take the rest of the test for a recursion.

use super::*;
use ::core::cell::Cell;
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{c_int, c_void},
    macros::kunit_tests,
    str::CStrExt as _,
    sync::atomic::{Acquire, Atomic, Full},
    time::delay::fsleep,
};

const BOTH: [State; 2] = [State::Add, State::Block];

/// How long a test waits for something that should happen at once.
const SOON_MS: i64 = 10_000;

#[pin_data]
struct Owner {
    #[pin]
    lock: TwoStateSharedLock,
    /// What happened, counted by the threads of a test.
    events: [Atomic<u32>; 4],
}

impl Owner {
    fn new() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                lock <- new_two_state_shared_lock!("two_state_lock_kunit"),
                events: [const { Atomic::new(0) }; 4],
            }),
            GFP_KERNEL,
        )
    }

    fn count(&self, event: usize) -> u32 {
        self.events[event].load(Acquire)
    }

    fn note(&self, event: usize) {
        self.events[event].fetch_add(1, Full);
    }

    /// Waits until `f` holds.
    fn soon(&self, f: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..SOON_MS {
            if f(self) {
                return true;
            }
            sleep(1);
        }
        false
    }

    fn idle(&self) -> bool {
        let now = self.lock.snapshot();
        now.held.is_none() && now.waiting == [false; 2] && now.shut == [false; 2]
    }

    fn waiting(&self, s: State) -> bool {
        self.lock.snapshot().waiting[s as usize]
    }

    fn shut(&self, s: State) -> bool {
        self.lock.snapshot().shut[s as usize]
    }

    /// Number of waiters in the queues.
    fn queued(&self) -> usize {
        let mut seen = 0;
        let (_, n) = self.lock.raw.inspect(usize::MAX, |_| seen += 1);
        assert_eq!(seen, n);
        n as usize
    }
}

fn sleep(ms: i64) {
    fsleep(Delta::from_millis(ms));
}

/// Sets the grace period for one test.
struct WithGrace(u64);

impl WithGrace {
    fn new(ns: u64) -> Self {
        let before = grace();
        set_grace(ns);
        Self(before)
    }
}

impl Drop for WithGrace {
    fn drop(&mut self) {
        set_grace(self.0);
    }
}

/// A hold for the one thread that takes it.
struct Handed<'a>(Cell<Option<HandedOff<'a>>>);

// SAFETY: One thread takes it, and nobody else looks before that thread has been joined.
unsafe impl Sync for Handed<'_> {}

impl<'a> Handed<'a> {
    fn take(&self) -> Option<Guard<'a>> {
        self.0.take().map(HandedOff::take)
    }
}

type Body<'a> = &'a (dyn Fn() + Sync);

struct Job<'a> {
    body: Body<'a>,
    done: Atomic<u32>,
}

/// A kernel thread, joined when dropped.
struct Thread<'a> {
    task: *mut bindings::task_struct,
    job: KBox<Job<'a>>,
}

/// # Safety
///
/// `data` must be a `Job` that lives until the thread has been joined.
unsafe extern "C" fn entry(data: *mut c_void) -> c_int {
    // SAFETY: `data` is the thread's job, which lives until the thread was joined.
    let job = unsafe { &*data.cast::<Job<'_>>() };
    (job.body)();
    job.done.fetch_add(1, Full);
    0
}

impl<'a> Thread<'a> {
    fn spawn(body: Body<'a>) -> Result<Self> {
        let job = KBox::new(
            Job {
                body,
                done: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The job outlives the thread. The format has no arguments.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(entry),
                (&raw const *job).cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"two_state_lock_kunit".as_char_ptr(),
            )
        })?;
        // SAFETY: The thread has not run yet, so the task is there.
        unsafe {
            bindings::get_task_struct(task);
            bindings::wake_up_process(task);
        }
        Ok(Self { task, job })
    }

    /// Sends a fatal signal.
    fn kill(&self) {
        // SAFETY: `self` holds a reference to the task.
        unsafe { bindings::send_sig(bindings::SIGKILL as c_int, self.task, 1) };
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        // A thread that is stopped before it began would not run at all.
        while self.job.done.load(Acquire) == 0 {
            sleep(1);
        }
        // SAFETY: `self` holds a reference to the task, and gives it back here.
        unsafe { bindings::kthread_stop_put(self.task) };
    }
}

/// Lets fatal signals reach this kernel thread.
fn allow_kill() {
    // SAFETY: 2 is what `allow_signal()` passes: a handler that the kernel itself provides.
    unsafe {
        bindings::kernel_sigaction(
            bindings::SIGKILL as c_int,
            ::core::mem::transmute::<usize, bindings::__sighandler_t>(2),
        )
    };
}

#[kunit_tests(two_state_shared_lock)]
mod suite {
    use super::*;

    /// Whether the debug representation contains `what`. The text is made twice, first to measure
    /// it: where a wait has grown by a digit in between, it does not fit.
    fn shows(owner: &Owner, what: &str) -> bool {
        let text = || kernel::str::CString::try_from_fmt(fmt!("{:?}", &owner.lock)).ok();
        let Some(text) = (0..10).find_map(|_| text()) else {
            pr_info!("no text of {:?}\n", &owner.lock);
            return false;
        };
        let found = text.to_str().is_ok_and(|t| t.contains(what));
        if !found {
            pr_info!("{:?} does not contain {}\n", &owner.lock, what);
        }
        found
    }

    #[test]
    fn starts_idle() -> Result {
        let o = Owner::new()?;
        assert!(o.idle());
        assert!(!o.lock.is_contended());
        assert!(shows(&o, "not held, 0 waiting"));
        Ok(())
    }

    #[test]
    fn every_way_to_lock() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let held = |o: &Owner| o.lock.snapshot().held == Some(s);
            let guard = o.lock.lock(s);
            assert_eq!(guard.state(), s);
            assert!(held(&o) && ::core::ptr::eq(guard.lock(), &o.lock));
            drop(guard);
            assert!(o.idle());
            let guard = o.lock.lock_killable(s)?;
            assert!(held(&o));
            drop(guard);
            let guard = o.lock.lock_timeout(s, Delta::from_millis(1))?;
            assert!(held(&o));
            drop(guard);
            let guard = o.lock.lock_timeout(s, Delta::ZERO)?;
            assert!(held(&o));
            drop(guard);
            let guard = o.lock.try_lock(s).ok_or(EBUSY)?;
            assert!(held(&o));
            drop(guard);
            let guard = o.lock.lock_nested(s, 1);
            assert!(held(&o));
            drop(guard);
            let guard = o.lock.lock_killable_nested(s, 1)?;
            assert!(held(&o));
            drop(guard);
            assert!(o.idle());
        }
        drop(o.lock.add());
        drop(o.lock.block());
        assert!(o.idle());
        Ok(())
    }

    #[test]
    fn one_state_is_shared() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let first = o.lock.lock(s).hand_off();
            let second = o.lock.lock(s).hand_off();
            let third = o.lock.try_lock(s).ok_or(EBUSY)?;
            assert_eq!(o.lock.snapshot().holds, 3);
            assert!(shows(&o, "held 3 times"));
            drop(first);
            drop(third);
            assert_eq!(o.lock.snapshot().held, Some(s));
            drop(second);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn states_exclude_each_other() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let held = o.lock.lock(s).hand_off();
            assert!(o.lock.try_lock(s.other()).is_none());
            let late = o.lock.lock_timeout(s.other(), Delta::from_millis(5));
            assert_eq!(late.err(), Some(ETIMEDOUT));
            let late = o.lock.lock_timeout(s.other(), Delta::ZERO);
            assert_eq!(late.err(), Some(ETIMEDOUT));
            let late = o.lock.lock_timeout(s.other(), Delta::from_millis(-5));
            assert_eq!(late.err(), Some(ETIMEDOUT));
            assert_eq!(o.queued(), 0);
            assert_eq!(o.lock.snapshot().holds, 1);
            drop(held);
            assert!(o.idle());
            assert!(o.lock.try_lock(s.other()).is_some());
        }
        Ok(())
    }

    #[test]
    fn nesting() -> Result {
        let key = kernel::static_lock_class!();
        let pair = || KBox::pin_init(TwoStateSharedLock::new(c"kunit_pair", key), GFP_KERNEL);
        let (a, b) = (pair()?, pair()?);
        for s in BOTH {
            let _a = a.lock(s);
            let _b = b.lock_nested(s.other(), 1);
        }
        Ok(())
    }

    #[test]
    fn hand_off() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let handed = o.lock.lock(s).hand_off();
            assert_eq!(handed.state(), s);
            let guard = handed.take();
            assert_eq!(guard.state(), s);
            o.lock.assert_held(s);
            let handed = guard.hand_off_while(|handed| {
                o.lock.assert_held(s);
                handed
            });
            assert_eq!(o.lock.snapshot().holds, 1);
            drop(handed);
            assert!(o.idle());
            // The hold may be over before the task has let it go.
            o.lock.lock(s).hand_off_while(drop);
            assert!(o.idle());

            let raw = o.lock.lock(s).hand_off().into_raw();
            assert_eq!(o.lock.snapshot().holds, 1);
            // SAFETY: The lock is alive.
            drop(unsafe { raw.into_handed_off() });
            assert!(o.idle());
            let raw = o.lock.lock(s).hand_off().into_raw();
            // SAFETY: The lock is alive.
            unsafe { raw.release() };
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn hand_off_to_another_task() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let handed = Handed(Cell::new(Some(o.lock.lock(s).hand_off())));
            let body = || {
                let guard = handed.take();
                o.lock.assert_held(s);
                drop(guard);
            };
            drop(Thread::spawn(&body)?);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn forget() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            ::core::mem::forget(o.lock.lock(s));
            assert_eq!(o.lock.snapshot().holds, 1);
            o.lock.assert_held(s);
            // SAFETY: The hold that was just forgotten.
            unsafe { o.lock.release_forgotten(s) };
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn keep() -> Result {
        let o = Owner::new()?;
        let place = KeptHold::new();
        for s in BOTH {
            assert!(place.take(&o.lock).is_none());
            assert!(place.keep(o.lock.lock(s)).is_ok());
            assert_eq!(o.lock.snapshot().holds, 1);
            o.lock.assert_held(s);
            let guard = place.take(&o.lock).ok_or(EINVAL)?;
            assert_eq!(guard.state(), s);
            assert!(place.take(&o.lock).is_none());
            drop(guard);
            assert!(o.idle());
        }
        Ok(())
    }

    /// Nobody gets what somebody else has kept, or of another lock.
    #[test]
    fn keep_apart() -> Result {
        let key = kernel::static_lock_class!();
        let other = KBox::pin_init(
            TwoStateSharedLock::new(c"two_state_lock_kunit_other", key),
            GFP_KERNEL,
        )?;
        let o = Owner::new()?;
        let place = KeptHold::new();
        for s in BOTH {
            let wrong = o.count(0);
            assert!(place.keep(o.lock.lock(s)).is_ok());
            assert!(place.take(&other).is_none());
            assert!(place
                .keep(other.lock(s))
                .is_err_and(|guard| guard.state() == s));
            assert_eq!(other.snapshot().holds, 0);
            let body = || {
                if place.take(&o.lock).is_some() {
                    o.note(0);
                }
                if place.keep(other.lock(s)).is_ok() {
                    o.note(0);
                }
            };
            drop(Thread::spawn(&body)?);
            assert_eq!(o.count(0), wrong);
            assert_eq!(o.lock.snapshot().holds, 1);
            assert!(place.take(&o.lock).is_some());
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn release_without_hold() -> Result {
        let o = Owner::new()?;
        let raw = &o.lock.raw;
        for s in BOTH {
            assert_eq!(raw.release_checked(s), Err(NotHeld));
            assert_eq!(raw.release(s), Err(NotHeld));
            assert!(o.idle());
            let held = o.lock.lock(s.other()).hand_off();
            assert_eq!(raw.release_checked(s), Err(NotHeld));
            assert_eq!(raw.release(s), Err(NotHeld));
            assert_eq!(o.lock.snapshot().held, Some(s.other()));
            assert_eq!(o.lock.snapshot().holds, 1);
            drop(held);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn fatal_signal() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let held = o.lock.lock(s).hand_off();
            let killed = o.count(0);
            let body = || {
                allow_kill();
                if o.lock.lock_killable(s.other()).err() == Some(EINTR) {
                    o.note(0);
                }
                // A signal that is already there ends the wait, too, but is no reason not to take
                // what can be had.
                if o.lock.lock_killable(s.other()).err() == Some(EINTR) {
                    o.note(0);
                }
                if o.lock
                    .lock_timeout(s.other(), Delta::from_millis(SOON_MS))
                    .err()
                    == Some(EINTR)
                {
                    o.note(0);
                }
                if o.lock.lock_killable(s).is_ok() {
                    o.note(0);
                }
            };
            let thread = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.waiting(s.other())));
            thread.kill();
            drop(thread);
            assert_eq!(o.count(0) - killed, 4);
            assert_eq!(o.queued(), 0);
            assert!(!o.shut(s));
            drop(held);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn grace_shuts_the_door() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(20_000_000);
            let held = o.lock.lock(s).hand_off();
            let body = || drop(o.lock.lock(s.other()));
            let begin = env::now();
            let thread = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.waiting(s.other())));
            assert!(o.lock.is_contended());
            // The door is open for the time of grace.
            let open = o.lock.try_lock(s).is_some();
            assert!(open || env::now() - begin > 20_000_000);
            assert!(o.soon(|o| o.shut(s)));
            assert!(env::now() - begin >= 20_000_000);
            assert!(o.lock.try_lock(s).is_none());
            assert!(shows(&o, "shut, 1 waiting"));
            assert!(shows(&o, "overdue"));
            drop(held);
            drop(thread);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn no_grace() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(0);
            let held = o.lock.lock(s).hand_off();
            let body = || drop(o.lock.lock(s.other()));
            let thread = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.waiting(s.other())));
            assert!(o.shut(s));
            drop(held);
            drop(thread);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn endless_grace() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(GRACE_OFF);
            let held = o.lock.lock(s).hand_off();
            let body = || drop(o.lock.lock(s.other()));
            let thread = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.waiting(s.other())));
            sleep(30);
            assert!(!o.shut(s));
            assert!(o.lock.try_lock(s).is_some());
            drop(held);
            drop(thread);
            assert!(o.idle());
        }
        Ok(())
    }

    /// All waiters of one state enter together, before a waiter of the other state that came
    /// after the door was shut.
    #[test]
    fn batch() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(0);
            let inside = o.count(0);
            let behind = o.count(1);
            let early = o.count(2);
            let held = o.lock.lock(s).hand_off();
            let body = || {
                let _guard = o.lock.lock(s.other());
                o.note(0);
                // Nobody leaves before everybody is in.
                o.soon(|o| o.count(0) - inside == 3);
                if o.count(1) != behind {
                    o.note(2);
                }
            };
            let threads = [
                Thread::spawn(&body)?,
                Thread::spawn(&body)?,
                Thread::spawn(&body)?,
            ];
            assert!(o.soon(|o| o.queued() == 3));
            let body = || {
                let _guard = o.lock.lock(s);
                o.note(1);
            };
            let last = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.queued() == 4));
            assert!(shows(&o, "4 waiting"));
            drop(held);
            drop(threads);
            drop(last);
            assert_eq!(o.count(0) - inside, 3);
            assert_eq!(o.count(1) - behind, 1);
            assert_eq!(o.count(2), early);
            assert!(o.idle());
        }
        Ok(())
    }

    /// More waiters than are told in one go, some of which are killed before: the door stays shut for the rest, and all
    /// of it enters together.
    #[test]
    fn large_batch() -> Result {
        const N: u32 = 3 * env::PART as u32 + 5;
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(0);
            let (inside, together) = (o.count(0), o.count(1));
            let held = o.lock.lock(s).hand_off();
            let body = || {
                allow_kill();
                let Ok(_guard) = o.lock.lock_killable(s.other()) else {
                    return;
                };
                o.note(0);
                if o.soon(|o| o.count(0) - inside == N - N / 4) {
                    o.note(1);
                }
            };
            let mut stay = KVec::new();
            let mut quit = KVec::new();
            for n in 0..N {
                let waits = if n % 4 == 3 { &mut quit } else { &mut stay };
                waits.push(Thread::spawn(&body)?, GFP_KERNEL)?;
            }
            assert!(o.soon(|o| o.queued() == N as usize));
            for thread in &quit {
                thread.kill();
            }
            drop(quit);
            assert_eq!(o.queued(), stay.len());
            assert!(o.shut(s));
            drop(held);
            drop(stay);
            assert_eq!(o.count(0) - inside, N - N / 4);
            assert_eq!(o.count(1) - together, N - N / 4);
            assert!(o.idle());
        }
        Ok(())
    }

    /// Waiters that give up while their batch is being told hold the lock, or do not: never both, never neither.
    #[test]
    fn large_batch_gives_up() -> Result {
        const N: u32 = 2 * env::PART as u32 + 1;
        let o = Owner::new()?;
        for round in 0..8 {
            let s = BOTH[round % 2];
            let _grace = WithGrace::new(0);
            let ended = o.count(0);
            let held = o.lock.lock(s).hand_off();
            let since = env::now();
            let body = || {
                let left = 30_000_000 - (env::now() - since).min(29_000_000) as i64;
                if let Ok(guard) = o.lock.lock_timeout(s.other(), Delta::from_nanos(left)) {
                    assert_eq!(o.lock.snapshot().held, Some(s.other()));
                    drop(guard);
                }
                o.note(0);
            };
            let mut threads = KVec::new();
            for _ in 0..N {
                threads.push(Thread::spawn(&body)?, GFP_KERNEL)?;
            }
            o.soon(|_| env::now() - since >= 30_000_000);
            drop(held);
            drop(threads);
            assert_eq!(o.count(0) - ended, N);
            assert!(o.idle());
        }
        Ok(())
    }

    /// Who spins for a hold that no task has does so for nothing.
    #[test]
    fn handed_off_holds_are_not_spun_on() -> Result {
        let o = Owner::new()?;
        let before = o.lock.raw.futile_spins.get();
        let held = o.lock.block().hand_off();
        let after = o.lock.raw.futile_spins.get();
        assert!(before < 4 && after >= 4);
        assert!(o
            .lock
            .lock_timeout(State::Add, Delta::from_millis(1))
            .is_err());
        assert_eq!(o.lock.raw.futile_spins.get(), after + 1);
        drop(held);
        Ok(())
    }

    /// Who gives up opens the door it has shut, for those who wait in front of it.
    #[test]
    fn giving_up_opens_the_door() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(0);
            let inside = o.count(0);
            let held = o.lock.lock(s).hand_off();
            let quitter = || {
                let late = o.lock.lock_timeout(s.other(), Delta::from_millis(300));
                if late.err() == Some(ETIMEDOUT) {
                    o.note(1);
                }
            };
            let late = o.count(1);
            let quits = Thread::spawn(&quitter)?;
            assert!(o.soon(|o| o.shut(s)));
            let body = || {
                let _guard = o.lock.lock(s);
                o.note(0);
            };
            let waits = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.queued() == 2 || o.count(1) != late));
            // It enters although the first hold is still there.
            drop(waits);
            assert_eq!(o.count(0) - inside, 1);
            assert!(!o.shut(s));
            drop(quits);
            assert_eq!(o.count(1) - late, 1);
            drop(held);
            assert!(o.idle());
        }
        Ok(())
    }

    /// Of two waiters that shut the door, one gives up: the door stays shut for the other.
    #[test]
    fn door_stays_shut_for_the_rest() -> Result {
        let o = Owner::new()?;
        for s in BOTH {
            let _grace = WithGrace::new(0);
            let held = o.lock.lock(s).hand_off();
            let stay = || drop(o.lock.lock(s.other()));
            let quit = || drop(o.lock.lock_timeout(s.other(), Delta::from_millis(50)));
            let quits = Thread::spawn(&quit)?;
            let stays = Thread::spawn(&stay)?;
            drop(quits);
            assert!(o.soon(|o| o.queued() == 1));
            assert!(o.shut(s));
            assert!(o.lock.try_lock(s).is_none());
            drop(held);
            drop(stays);
            assert!(o.idle());
        }
        Ok(())
    }

    #[test]
    fn debug_shows_at_most_eight() -> Result {
        let o = Owner::new()?;
        let held = o.lock.add().hand_off();
        let body = || drop(o.lock.block());
        let mut threads = KVec::new();
        for _ in 0..SHOWN + 1 {
            threads.push(Thread::spawn(&body)?, GFP_KERNEL)?;
        }
        assert!(o.soon(|o| o.queued() == SHOWN + 1));
        assert!(shows(&o, "9 waiting"));
        assert!(shows(&o, "; ..."));
        drop(held);
        drop(threads);
        assert!(o.idle());
        Ok(())
    }

    /// Who waits for long says so, once, and goes on waiting.
    #[test]
    fn long_wait() -> Result {
        let o = Owner::new()?;
        let before = env::set_long(10_000_000);
        for s in BOTH {
            let held = o.lock.lock(s).hand_off();
            let body = || drop(o.lock.lock(s.other()));
            let thread = Thread::spawn(&body)?;
            assert!(o.soon(|o| o.waiting(s.other())));
            sleep(30);
            assert!(o.waiting(s.other()));
            drop(held);
            drop(thread);
            assert!(o.idle());
        }
        env::set_long(before);
        Ok(())
    }

    #[test]
    fn in_a_static() {
        // SAFETY: In a `static`.
        static LOCK: TwoStateSharedLock = unsafe { TwoStateSharedLock::new_static(c"LOCK") };
        for s in BOTH {
            let held = LOCK.lock(s).hand_off();
            let late = LOCK.lock_timeout(s.other(), Delta::from_millis(1));
            assert_eq!(late.err(), Some(ETIMEDOUT));
            LOCK.raw.inspect(0, |_| ());
            drop(held);
            assert_eq!(LOCK.snapshot().held, None);
        }
    }

    #[test]
    fn grace_is_settable() {
        let before = grace();
        for ns in [0, 1, 500_000, GRACE_OFF] {
            let _grace = WithGrace::new(ns);
            assert_eq!(grace(), ns);
        }
        assert_eq!(grace(), before);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the marker.
//!
//! The concurrent ones use a table of one line, where every task meets every other.
//!
//! `claim` fails, and often `claim_race`, if a slot is claimed by a test and a store
//! (`tests/mutants/marker_test_then_store.patch`). (`stress` would crash rather than fail: two tasks
//! in one slot follow each other's markers.)

use super::{
    table::{
        Line,
        Slot,
        SLOTS, //
    },
    *, //
};
use core::{
    ffi::{
        c_int,
        c_void, //
    },
    ptr, //
};
use kernel::{
    alloc::AllocError,
    bindings,
    error::from_err_ptr,
    macros::kunit_tests,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    task::Task,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// What the threads of a test share.
struct Shared {
    table: Table<1>,
    /// Threads that have begun, or are where the test wants them.
    ready: Atomic<u32>,
    /// Things done, to see that the test tests something.
    done: Atomic<u64>,
}

impl Shared {
    fn new() -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                table: Table::new(),
                ready: Atomic::new(0),
                done: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Waits, for 10 s at most, until so many threads are ready.
    fn wait_ready(&self, threads: usize) {
        for _ in 0..10_000 {
            if self.ready.load(Acquire) as usize >= threads {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
    }
}

type Body = fn(&Shared) -> c_int;

/// A thread and what it needs; not to be moved or dropped before the thread is stopped.
struct Thread<'a> {
    shared: &'a Shared,
    body: Body,
    task: *mut bindings::task_struct,
}

/// # Safety
///
/// `data` must point to a [`Thread`] that stays until the current kthread is stopped.
unsafe extern "C" fn entry(data: *mut c_void) -> c_int {
    // SAFETY: By the requirements of this function.
    let thread = unsafe { &*data.cast::<Thread<'_>>() };
    let result = (thread.body)(thread.shared);
    while !should_stop() {
        fsleep(Delta::from_millis(1));
    }
    result
}

/// Lets others run. User-mode Linux does not preempt a thread that is busy in the kernel.
fn relax() {
    // SAFETY: Always safe in process context.
    unsafe { bindings::yield_() };
}

fn should_stop() -> bool {
    // SAFETY: Only threads made by `run_threads()`, kthreads, come here.
    unsafe { bindings::kthread_should_stop() }
}

/// Runs `body` in `N` threads, and `during` while they run; stops them and returns the sum of what
/// they returned. `body` is to return soon once [`should_stop()`].
///
/// `during` must not use assertions, which would leave the threads behind.
fn run_threads<const N: usize, R>(
    shared: &Shared,
    body: Body,
    during: impl FnOnce() -> R,
) -> Result<(c_int, R)> {
    let mut threads = KVec::with_capacity(N, GFP_KERNEL)?;
    for _ in 0..N {
        threads.push(
            Thread {
                shared,
                body,
                task: ptr::null_mut(),
            },
            GFP_KERNEL,
        )?;
    }

    let mut result = Ok(());
    for thread in &mut threads {
        // SAFETY: `entry()` gets a `Thread`, in memory that is not moved until `kthread_stop()`
        // returns. The format takes no arguments.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(entry),
                ptr::from_mut(thread).cast(),
                bindings::NUMA_NO_NODE,
                c"marker_test".as_char_ptr(),
            )
        });
        match task {
            Ok(task) => {
                thread.task = task;
                // Some tests have threads that exit by themselves.
                // SAFETY: The new thread does not run yet, so it is there.
                unsafe { bindings::get_task_struct(task) };
            }
            Err(err) => result = Err(err),
        }
    }
    let started = threads.iter().filter(|thread| !thread.task.is_null());
    let mut during = Some(during);
    let value = result.map(|()| {
        for thread in started.clone() {
            // SAFETY: Created and referenced above.
            unsafe { bindings::wake_up_process(thread.task) };
        }
        during.take().map(|during| during())
    });

    let mut sum = 0;
    for thread in started {
        // SAFETY: Created and referenced above; the reference is given up once.
        unsafe {
            sum += bindings::kthread_stop(thread.task);
            bindings::put_task_struct(thread.task);
        }
    }
    Ok((sum, value?.ok_or(EINVAL)?))
}

fn mapping(n: usize) -> MappingId {
    MappingId::of(ptr::without_provenance::<u8>(n))
}

/// Sets a marker for good measure and looks around; returns the number of wrong answers.
///
/// `me` names a mapping that no other thread uses.
fn round(table: &Table<1>, me: usize, pause: bool) -> c_int {
    let mine = mapping(me);
    let mut wrong = 0;
    let mut expect = |verdict, expected| wrong += c_int::from(verdict != expected);

    expect(table.check(mine, 5), Verdict::Serve);
    let done = table.with(mine, 5..=6, |outer| {
        expect(table.check(mine, 5), Verdict::Refuse);
        expect(table.check(mine, 7), Verdict::Disjoint);
        expect(table.check(mapping(me + 1), 5), Verdict::Serve);
        let done = table.with(mapping(me + 1), 7..=7, |inner| {
            if pause {
                relax();
            }
            expect(table.check(mine, 6), Verdict::Refuse);
            expect(table.check(mapping(me + 1), 7), Verdict::Refuse);
            (inner.refusals(), outer.refusals())
        });
        expect(table.check(mine, 5), Verdict::Refuse);
        done == Ok((1, 2)) && outer.refusals() == 3
    });
    expect(table.check(mine, 5), Verdict::Serve);
    expect(table.check(mapping(me + 1), 7), Verdict::Serve);
    wrong + c_int::from(done != Ok(true))
}

fn stress_body(shared: &Shared) -> c_int {
    let me = 2 * shared.ready.fetch_add(1, Full) as usize;
    let mut wrong = 0;
    let mut n = 0u64;
    while !should_stop() {
        n += 1;
        // Mostly straight on, now and then with everybody else running while the marker is set.
        wrong += round(&shared.table, me, n % 64 == 0);
        // Markers of others, seen by a task that has none.
        wrong += c_int::from(shared.table.check(mapping((n % 16) as usize), 5) != Verdict::Serve);
        if n % 1024 == 0 {
            relax();
        }
    }
    shared.done.add(n, Relaxed);
    wrong
}

/// Claims slots and looks whether it keeps them.
fn claim_body(shared: &Shared) -> c_int {
    let home = &shared.table.lines[0];
    let task = Task::current_raw();
    let mut wrong = 0;
    let mut n = 0u64;
    shared.ready.fetch_add(1, Full);
    while !should_stop() {
        n += 1;
        let Ok(slot) = home.claim(task, Line::alloc) else {
            return 1;
        };
        for _ in 0..n % 64 {
            wrong += c_int::from(slot.task.load(Relaxed) != task);
        }
        wrong += c_int::from(slot.task.load(Relaxed) != task);
        slot.release();
        if n % 256 == 0 {
            relax();
        }
    }
    shared.done.add(n, Relaxed);
    wrong
}

/// Holds a marker until told to stop.
fn park_body(shared: &Shared) -> c_int {
    let me = 100 + shared.ready.load(Relaxed) as usize;
    let wrong = shared.table.with(mapping(me), 1..=1, |_| {
        let mut wrong = 0;
        shared.ready.fetch_add(1, Full);
        while !should_stop() {
            wrong += c_int::from(shared.table.check(mapping(me), 1) != Verdict::Refuse);
            wrong += c_int::from(shared.table.check(mapping(me), 2) != Verdict::Disjoint);
            shared.done.add(1, Relaxed);
            fsleep(Delta::from_millis(1));
        }
        wrong
    });
    wrong.unwrap_or(1)
}

/// Dies while it holds a marker.
fn die_body(shared: &Shared) -> c_int {
    let gone = shared.table.with(mapping(1), 0..=u64::MAX, |_| {
        shared.ready.fetch_add(1, Full);
        // SAFETY: Called by a kthread. Nobody waits for a destructor of this stack to run.
        unsafe { bindings::kthread_complete_and_exit(ptr::null_mut(), 0) }
    });
    c_int::from(gone.is_ok())
}

/// Looks whether it has a slot that it never claimed.
fn look_body(shared: &Shared) -> c_int {
    let found = shared.table.lines[0].find(Task::current_raw()).is_some();
    shared.ready.fetch_add(1, Full);
    c_int::from(found)
}

/// The number of overflow lines.
fn overflow_lines(table: &Table<1>) -> usize {
    let mut lines = 0;
    table.lines[0].search(|_| {
        lines += 1;
        None
    });
    lines - 1
}

#[kunit_tests(faults_disabled_mapping)]
mod suite {
    use super::*;

    #[test]
    fn nothing_set() {
        let table = Table::<4>::new();
        assert_eq!(table.check(mapping(1), 0), Verdict::Serve);
        assert_eq!(table.outstanding(), 0);
        assert_eq!(table.reclaim(), 0);
    }

    #[test]
    fn set_and_clear() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 10..=20, |_| {
            (table.check(mapping(1), 15), table.outstanding())
        })?;
        assert_eq!(seen, (Verdict::Refuse, 1));
        assert_eq!(table.check(mapping(1), 15), Verdict::Serve);
        assert_eq!(table.outstanding(), 0);
        Ok(())
    }

    /// The table of the module, through the functions that others use.
    #[test]
    fn global_table() -> Result {
        let before = outstanding();
        let object = 0u8;
        let id = MappingId::of(&object);
        let seen = with(id, 0..=0, |_| (check(id, 0), outstanding()))?;
        assert_eq!(seen.0, Verdict::Refuse);
        assert!(seen.1 >= 1);
        assert_eq!(check(id, 0), Verdict::Serve);
        assert_eq!(outstanding(), before);
        Ok(())
    }

    #[test]
    fn range_edges() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 10..=20, |_| {
            [0, 9, 10, 20, 21, u64::MAX].map(|index| table.check(mapping(1), index))
        })?;
        use Verdict::{Disjoint, Refuse};
        assert_eq!(
            seen,
            [Disjoint, Disjoint, Refuse, Refuse, Disjoint, Disjoint]
        );

        let seen = table.with(mapping(1), 0..=u64::MAX, |_| {
            [0, u64::MAX].map(|index| table.check(mapping(1), index))
        })?;
        assert_eq!(seen, [Refuse, Refuse]);

        // An empty range covers nothing; the task is inside direct I/O nevertheless.
        #[allow(clippy::reversed_empty_ranges)]
        let seen = table.with(mapping(1), 5..=4, |_| {
            [4, 5].map(|index| table.check(mapping(1), index))
        })?;
        assert_eq!(seen, [Disjoint, Disjoint]);
        Ok(())
    }

    #[test]
    fn other_mapping() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 0..=u64::MAX, |m| {
            (table.check(mapping(2), 0), m.refused())
        })?;
        assert_eq!(seen, (Verdict::Serve, false));
        Ok(())
    }

    #[test]
    fn refusals() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 1..=1, |m| {
            let served = [table.check(mapping(1), 0), table.check(mapping(2), 1)];
            let before = m.refused();
            let refused = [table.check(mapping(1), 1), table.check(mapping(1), 1)];
            let after = (m.refused(), m.refusals());
            m.clear_refused();
            (served, before, refused, after, m.refused(), m.bugs())
        })?;
        assert_eq!(seen.0, [Verdict::Disjoint, Verdict::Serve]);
        assert!(!seen.1);
        assert_eq!(seen.2, [Verdict::Refuse; 2]);
        assert_eq!(seen.3, (true, 2));
        assert!(!seen.4);
        assert_eq!(seen.5, 0);
        Ok(())
    }

    #[test]
    fn blocking() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 1..=1, |m| {
            m.set_blocking(true);
            let blocked = [
                table.check(mapping(1), 0),
                table.check(mapping(1), 1),
                table.check(mapping(2), 1),
            ];
            let counts = (m.bugs(), m.refusals());
            m.set_blocking(false);
            (blocked, counts, table.check(mapping(1), 0))
        })?;
        assert_eq!(seen.0, [Verdict::Bug, Verdict::Bug, Verdict::Serve]);
        assert_eq!(seen.1, (2, 1));
        assert_eq!(seen.2, Verdict::Disjoint);
        // The state does not outlive the marker.
        let seen = table.with(mapping(1), 1..=1, |_| table.check(mapping(1), 0))?;
        assert_eq!(seen, Verdict::Disjoint);
        Ok(())
    }

    #[test]
    fn nesting() -> Result {
        let table = Table::<4>::new();
        let seen = table.with(mapping(1), 1..=1, |outer| {
            let inside = table.with(mapping(2), 2..=2, |inner| {
                let seen = [
                    table.check(mapping(1), 1),
                    table.check(mapping(1), 2),
                    table.check(mapping(2), 2),
                    table.check(mapping(2), 1),
                    table.check(mapping(3), 1),
                ];
                (seen, inner.refusals(), table.outstanding())
            });
            // Same mapping twice: the stricter verdict counts, each marker keeps its own count.
            outer.set_blocking(true);
            let same = table.with(mapping(1), 5..=5, |inner| {
                (
                    table.check(mapping(1), 5),
                    inner.refusals(),
                    inner.bugs(),
                    outer.bugs(),
                )
            });
            outer.set_blocking(false);
            let gone = table.check(mapping(2), 2);
            (inside, same, gone, outer.refusals())
        })?;
        use Verdict::{Bug, Disjoint, Refuse, Serve};
        let (verdicts, inner, tasks) = seen.0?;
        assert_eq!(verdicts, [Refuse, Disjoint, Refuse, Disjoint, Serve]);
        assert_eq!((inner, tasks), (1, 1));
        assert_eq!(seen.1?, (Bug, 1, 0, 1));
        assert_eq!(seen.2, Serve);
        assert_eq!(seen.3, 1);
        assert_eq!(table.check(mapping(1), 1), Serve);
        Ok(())
    }

    /// More tasks than slots in a line, all at once.
    #[test]
    fn overflow() -> Result {
        const TASKS: usize = 10;
        let shared = Shared::new()?;
        let table = &shared.table;
        let (wrong, seen) = run_threads::<TASKS, _>(&shared, park_body, || {
            shared.wait_ready(TASKS);
            let others: usize = (100..100 + TASKS)
                .filter(|&n| table.check(mapping(n), 1) != Verdict::Serve)
                .count();
            let own = round(table, 1, true);
            (others, own, table.outstanding())
        })?;
        assert_eq!(wrong, 0);
        assert_eq!(seen, (0, 0, TASKS));
        assert_eq!(table.outstanding(), 0);
        assert!(overflow_lines(table) >= TASKS.div_ceil(SLOTS) - 1);

        // The lines can be given back and come again.
        assert_eq!(table.reclaim(), 0);
        assert_eq!(overflow_lines(table), 0);
        shared.ready.store(0, Relaxed);
        let (wrong, ()) = run_threads::<TASKS, _>(&shared, park_body, || shared.wait_ready(TASKS))?;
        assert_eq!(wrong, 0);
        assert!(overflow_lines(table) > 0);
        Ok(())
    }

    #[test]
    fn allocation_failure() -> Result {
        let shared = Shared::new()?;
        let table = &shared.table;
        let (wrong, seen) = run_threads::<SLOTS, _>(&shared, park_body, || {
            shared.wait_ready(SLOTS);
            let mut ran = false;
            let result = table.with_alloc(mapping(1), 1..=1, |_| ran = true, |_| Err(AllocError));
            (
                result,
                ran,
                table.check(mapping(1), 1),
                table.outstanding(),
                round(table, 1, false),
            )
        })?;
        assert_eq!(wrong, 0);
        assert_eq!(seen, (Err(ENOMEM), false, Verdict::Serve, SLOTS, 0));
        assert_eq!(table.outstanding(), 0);
        Ok(())
    }

    /// A marker whose task is gone is reported, and nobody else takes it for his own.
    #[test]
    fn left_behind() -> Result {
        let shared = Shared::new()?;
        let (_, ()) = run_threads::<1, _>(&shared, die_body, || shared.wait_ready(1))?;
        assert_eq!(shared.table.outstanding(), 1);
        assert_eq!(shared.table.reclaim(), 1);
        assert_eq!(shared.table.check(mapping(1), 0), Verdict::Serve);
        // New tasks, which would get the address of the dead one if it were free.
        for _ in 0..10 {
            shared.ready.store(0, Relaxed);
            let (wrong, ()) = run_threads::<4, _>(&shared, look_body, || shared.wait_ready(4))?;
            assert_eq!(wrong, 0);
        }
        Ok(())
    }

    /// Another task claims the slot right after it was seen free.
    #[test]
    fn claim() {
        let slot = Slot::new(ptr::null_mut());
        // Names of tasks, not followed.
        let (one, other) = (
            ptr::without_provenance_mut(64),
            ptr::without_provenance_mut(128),
        );
        let mut other_got_it = false;
        let one_got_it = slot.claim_with(one, || other_got_it = slot.claim(other));
        assert!(other_got_it);
        assert!(!one_got_it);
        assert_eq!(slot.task.load(Relaxed), other);
        assert!(!slot.claim(one));
        slot.release();
        assert!(slot.claim(one));
    }

    /// Of several tasks that want a slot, one gets it.
    #[test]
    fn claim_race() -> Result {
        let shared = Shared::new()?;
        let (wrong, ()) = run_threads::<4, _>(&shared, claim_body, || {
            shared.wait_ready(4);
            fsleep(Delta::from_millis(300));
        })?;
        assert_eq!(wrong, 0);
        assert!(shared.done.load(Relaxed) > 1000);
        assert_eq!(shared.table.reclaim(), 0);
        Ok(())
    }

    /// Nobody loses a marker, nobody sees a foreign one.
    #[test]
    fn stress() -> Result {
        const TASKS: usize = 8;
        let mut done = 0;
        // A new table each time: its first moments, when lines are added, matter most.
        for _ in 0..5 {
            let shared = Shared::new()?;
            let (wrong, ()) = run_threads::<TASKS, _>(&shared, stress_body, || {
                shared.wait_ready(TASKS);
                fsleep(Delta::from_millis(100));
            })?;
            assert_eq!(wrong, 0);
            assert_eq!(shared.table.outstanding(), 0);
            assert_eq!(shared.table.reclaim(), 0);
            done += shared.done.load(Relaxed);
        }
        pr_info!("faults_disabled_mapping: stress: {done} rounds\n");
        assert!(done > 1000);
        Ok(())
    }
}

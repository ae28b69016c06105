// SPDX-License-Identifier: GPL-2.0

//! How a module in Rust takes the two-state shared lock and the marker: a cache of numbers in front of an array that
//! plays the device, a fault that fills the cache, and a direct write that shuts the cache out.
//!
//! Loading it runs the whole for a moment, and fails if something came out wrong. `example.c` is the same in C.

#[path = "../../rust/lock/mod.rs"]
pub mod lock;
#[path = "../../rust/marker/mod.rs"]
pub mod marker;

use kernel::{
    bindings, impl_has_work, new_spinlock, new_work,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLock,
    },
    workqueue::{self, Work, WorkItem},
};
use lock::{new_two_state_shared_lock, RawHold, State, TwoStateSharedLock};
use marker::{MappingId, Verdict};

module! {
    type: Example,
    name: "example_rust",
    authors: ["The toyfs developers"],
    description: "How the two-state shared lock and the marker are used in Rust",
    license: "GPL",
}

const PAGES: usize = 64;
const ROUNDS: usize = 2000;

/// A file: its cache, and the device behind it.
#[pin_data]
struct File {
    /// Add: fills a page. Block: the device changes, and nobody fills.
    #[pin]
    lock: TwoStateSharedLock,
    device: [Atomic<u64>; PAGES],
    /// 0: not in the cache.
    cached: [Atomic<u64>; PAGES],
    wrong: Atomic<u32>,
    refused: Atomic<u32>,
    fills: Atomic<u32>,
    writes: Atomic<u32>,
}

impl File {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                lock <- new_two_state_shared_lock!("example_rust::File::lock"),
                device: core::array::from_fn(|i| Atomic::new(i as u64 + 1)),
                cached: [const { Atomic::new(0) }; PAGES],
                wrong: Atomic::new(0),
                refused: Atomic::new(0),
                fills: Atomic::new(0),
                writes: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The name of this cache, for the marker.
    fn id(&self) -> MappingId {
        MappingId::of(self)
    }

    fn expect(&self, right: bool) {
        if !right {
            self.wrong.add(1, Relaxed);
        }
    }

    /// What `->fault` and the read path do: brings a page in.
    fn fill(&self, page: usize) -> Result<u64> {
        // First of all: this task may be inside of `direct_write()` on this file.
        match marker::check(self.id(), page as u64) {
            Verdict::Serve | Verdict::Disjoint => (),
            verdict => {
                kernel::warn_on!(verdict == Verdict::Bug);
                return Err(EFAULT);
            }
        }
        let _adding = self.lock.lock_killable(State::Add)?;
        let on_device = self.device[page].load(Relaxed);
        if self.cached[page].load(Relaxed) == 0 {
            self.cached[page].store(on_device, Relaxed);
        }
        let value = self.cached[page].load(Relaxed);
        // Nobody changes the device while somebody holds Add.
        self.expect(value == self.device[page].load(Relaxed));
        self.fills.add(1, Relaxed);
        Ok(value)
    }

    /// Writes to the device. With Block held.
    fn change(&self, page: usize, value: u64) {
        self.lock.assert_held(State::Block);
        self.cached[page].store(0, Relaxed);
        self.device[page].store(value, Relaxed);
        // Nobody fills while somebody holds Block.
        self.expect(self.cached[page].load(Relaxed) == 0);
        self.writes.add(1, Relaxed);
    }

    /// Writes to `page` what is in page `buffer` of `from`, which plays the user's memory, and may be this file.
    fn direct_write(&self, page: usize, from: &File, buffer: usize) -> Result {
        let range = page as u64..=page as u64;
        marker::with(self.id(), range, |m| {
            // The buffer is brought in with nothing held: it may fault, on this file, too.
            let value = from.fill(buffer).inspect_err(|_| {
                if m.refused() {
                    self.refused.add(1, Relaxed);
                }
            })?;
            let _blocking = self.lock.lock_killable(State::Block)?;
            // Whoever faults from here on would wait for itself.
            m.set_blocking(true);
            self.change(page, value + 1);
            m.set_blocking(false);
            Ok(())
        })?
    }

    /// Hands the hold to the completion, which runs in another task.
    fn direct_write_async(self: &Arc<Self>, page: usize) -> Result<Arc<Request>> {
        let blocking = self.lock.lock_killable(State::Block)?;
        // Whatever may fail comes first: a hold that is a value without a lifetime is held until somebody takes it.
        let request = Request::new(self.clone(), page)?;
        // Submitted with the lock held, for lockdep; it may be released before `hand_off_while()` returns.
        blocking.hand_off_while(|handed| {
            *request.hold.lock() = Some(handed.into_raw());
            let _ = workqueue::system_unbound().enqueue(request.clone());
        });
        Ok(request)
    }
}

/// An asynchronous write.
#[pin_data]
struct Request {
    file: Arc<File>,
    page: usize,
    #[pin]
    hold: SpinLock<Option<RawHold>>,
    #[pin]
    work: Work<Request>,
}

impl_has_work! {
    impl HasWork<Self> for Request { self.work }
}

impl Request {
    fn new(file: Arc<File>, page: usize) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                file,
                page,
                hold <- new_spinlock!(None),
                work <- new_work!("Request::work"),
            }),
            GFP_KERNEL,
        )
    }
}

impl WorkItem for Request {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let hold = this.hold.lock().take();
        if let Some(hold) = hold {
            // SAFETY: The file lives as long as the request, and its lock with it. The hold is the one that was turned
            // into this value.
            let blocking = unsafe { hold.into_handed_off() }.take();
            this.file.change(this.page, 1);
            drop(blocking);
        }
    }
}

/// Somebody who reads, or writes, for a while.
#[pin_data]
struct Task {
    file: Arc<File>,
    other: Arc<File>,
    number: usize,
    #[pin]
    work: Work<Task>,
}

impl_has_work! {
    impl HasWork<Self> for Task { self.work }
}

impl Task {
    fn start(file: &Arc<File>, other: &Arc<File>, number: usize) -> Result<Arc<Self>> {
        let (file, other) = (file.clone(), other.clone());
        let task = Arc::pin_init(
            pin_init!(Self {
                file,
                other,
                number,
                work <- new_work!("Task::work"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(task.clone());
        Ok(task)
    }

    fn read(&self) {
        for i in 0..ROUNDS {
            self.file.expect(self.file.fill(i % PAGES).is_ok());
        }
    }

    fn write(&self) {
        // A page of its own for each writer: the order of writes to one page is nobody's business here.
        let (file, page) = (&self.file, self.number);
        for i in 0..ROUNDS {
            // From another file, from another page of this one, from itself.
            file.expect(file.direct_write(page, &self.other, page).is_ok());
            file.expect(file.direct_write(page, file, (page + 1) % PAGES).is_ok());
            file.expect(file.direct_write(page, file, page) == Err(EFAULT));
            if i % 64 == 0 {
                match file.direct_write_async(page) {
                    Ok(request) => finish(&request.work),
                    Err(_) => file.expect(false),
                }
            }
        }
    }
}

impl WorkItem for Task {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.number % 2 == 0 {
            this.read();
        } else {
            this.write();
        }
    }
}

/// Waits until the work is done, and its function has returned: from then on the module may go.
fn finish<T>(work: &Work<T>) {
    // SAFETY: The work was initialised; this is a task that may sleep.
    unsafe { bindings::flush_work(Work::raw_get(work)) };
}

/// Four tasks on one file, and how many answers were wrong.
fn run() -> Result<u32> {
    let (file, other) = (File::new()?, File::new()?);
    file.lock.taken_in_faults();
    let mut tasks = KVec::with_capacity(4, GFP_KERNEL)?;
    let mut started = Ok(());
    for number in 0..4 {
        match Task::start(&file, &other, number) {
            Ok(task) => tasks.push(task, GFP_KERNEL)?,
            Err(e) => started = Err(e),
        }
    }
    // Also of those who were started before it failed.
    for task in &tasks {
        finish(&task.work);
    }
    started?;
    let wrong = file.wrong.load(Relaxed) + other.wrong.load(Relaxed);
    pr_info!(
        "{} fills, {} writes, {} refused, {} wrong\n",
        file.fills.load(Relaxed) + other.fills.load(Relaxed),
        file.writes.load(Relaxed),
        file.refused.load(Relaxed),
        wrong
    );
    Ok(wrong)
}

struct Example;

impl kernel::Module for Example {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // From here on, whatever happens, nothing is left of the markers.
        let this = Example;
        match run()? {
            0 => Ok(this),
            _ => Err(EINVAL),
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Nothing sets a marker any more.
        marker::exit();
    }
}

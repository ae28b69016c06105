// SPDX-License-Identifier: GPL-2.0

//! Statistics: numbers of things that exist at the moment, zero when nothing is going on, and numbers of what has happened.
//!
//! What is counted for each request must not cost the requests of one CPU the cache lines of another one's. So each number
//! is a sum: a CPU counts in a cell of its own, and who wants to know adds them up. The addition is atomic all the same:
//! interrupts count as well, and CPUs beyond the number of cells share them.

use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};
use pin_init::init_array_from_fn;

/// CPUs with the same remainder share a cell.
const CELLS: usize = 16;

/// A cache line of its own.
#[repr(align(64))]
struct Cell(Atomic<i64>);

impl Cell {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }
}

/// A number that is counted without a cache line that all CPUs write. Too large for the stack, so made where it stays.
struct Sum {
    cells: [Cell; CELLS],
}

impl Sum {
    fn new() -> impl Init<Self> {
        init!(Self {
            cells <- init_array_from_fn(|_| Cell::new()),
        })
    }

    #[inline]
    fn add(&self, n: i64) {
        // Which cell makes no difference to the sum.
        let cell = CpuId::current().as_u32() as usize % CELLS;
        self.cells[cell].0.add(n, Relaxed);
    }

    fn get(&self) -> i64 {
        self.cells.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

/// How many of something there are.
pub(crate) struct Gauge {
    sum: Sum,
}

impl Gauge {
    /// None, for a static.
    pub(crate) const fn new() -> Self {
        Self {
            sum: Sum {
                cells: [const { Cell::new() }; CELLS],
            },
        }
    }

    /// None, where it is to stay.
    pub(crate) fn init() -> impl Init<Self> {
        init!(Self { sum <- Sum::new() })
    }

    /// Adds `n`, which may be negative. In any context.
    #[inline]
    pub(crate) fn add(&self, n: i64) {
        self.sum.add(n);
    }

    /// Counts one until the returned value is dropped, in any context.
    #[inline]
    pub(crate) fn count(&self) -> Counted<'_> {
        self.add(1);
        Counted(self)
    }

    /// How many there are. Exact when nothing changes meanwhile.
    pub(crate) fn get(&self) -> i64 {
        self.sum.get()
    }
}

/// One that is counted.
#[must_use = "counted only until this is dropped"]
pub(crate) struct Counted<'a>(&'a Gauge);

impl Drop for Counted<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// How often something has happened.
pub(crate) struct Counter {
    sum: Sum,
}

impl Counter {
    /// Never, where it is to stay.
    pub(crate) fn init() -> impl Init<Self> {
        init!(Self { sum <- Sum::new() })
    }

    /// Counts one, in any context.
    #[inline]
    pub(crate) fn inc(&self) {
        self.sum.add(1);
    }

    /// The count so far: at least what it was when this was called, at most what it is when it returns.
    pub(crate) fn get(&self) -> u64 {
        self.sum.get() as u64
    }
}

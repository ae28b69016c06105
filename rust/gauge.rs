// SPDX-License-Identifier: GPL-2.0

//! Numbers of things that exist at the moment, for statistics: zero when nothing is going on.

use kernel::{
    cpu::CpuId,
    sync::atomic::{Atomic, Relaxed},
};

/// CPUs with the same remainder share a cell.
const CELLS: usize = 16;

/// A cache line of its own.
#[repr(align(64))]
struct Cell(Atomic<i64>);

/// How many of something there are, counted without a cache line that all CPUs write.
pub(crate) struct Gauge([Cell; CELLS]);

impl Gauge {
    /// None.
    pub(crate) const fn new() -> Self {
        Self([const { Cell(Atomic::new(0)) }; CELLS])
    }

    /// Adds `n`, which may be negative. In any context.
    #[inline]
    pub(crate) fn add(&self, n: i64) {
        // Which cell makes no difference to the sum.
        let cell = CpuId::current().as_u32() as usize % CELLS;
        self.0[cell].0.add(n, Relaxed);
    }

    /// Counts one until the returned value is dropped, in any context.
    #[inline]
    pub(crate) fn count(&self) -> Counted<'_> {
        self.add(1);
        Counted(self)
    }

    /// How many there are. Exact when nothing changes meanwhile.
    pub(crate) fn get(&self) -> i64 {
        self.0.iter().map(|cell| cell.0.load(Relaxed)).sum()
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

// SPDX-License-Identifier: GPL-2.0

//! Sets of numbers.

use toyfs_format::{bits, Region};

/// A set of block or inode numbers, in the bit order of the bitmaps on disk.
pub(crate) struct Bits(pub(crate) Vec<u8>);

impl Bits {
    pub(crate) fn new(len: u64) -> Self {
        Self(vec![0; len.div_ceil(8) as usize])
    }

    pub(crate) fn get(&self, i: u64) -> bool {
        let bytes = self.0.get((i / 8) as usize..).unwrap_or_default();
        bits::get(bytes, (i % 8) as usize) == Some(true)
    }

    /// Adds `i` and returns whether it was there already.
    pub(crate) fn set(&mut self, i: u64) -> bool {
        let was = self.get(i);
        if let Some(bytes) = self.0.get_mut((i / 8) as usize..) {
            bits::assign(bytes, (i % 8) as usize, 1, true);
        }
        was
    }

    /// All numbers in it.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        // Most of it is empty.
        let bytes = self.0.iter().enumerate().filter(|(_, &byte)| byte != 0);
        bytes
            .flat_map(|(i, _)| i as u64 * 8..i as u64 * 8 + 8)
            .filter(|&i| self.get(i))
    }

    /// Takes `i` out.
    pub(crate) fn clear(&mut self, i: u64) {
        if let Some(bytes) = self.0.get_mut((i / 8) as usize..) {
            bits::assign(bytes, (i % 8) as usize, 1, false);
        }
    }

    /// Adds `len` numbers from `start` on.
    pub(crate) fn set_range(&mut self, start: u64, len: u64) {
        bits::assign(&mut self.0, start as usize, len as usize, true);
    }

    /// The maximal runs in `0..end` of numbers for which `wanted` of the bit here and the bit in
    /// `other` holds.
    pub(super) fn runs(
        &self,
        other: &Self,
        end: u64,
        wanted: impl Fn(bool, bool) -> bool,
    ) -> Vec<Region> {
        let mut runs: Vec<Region> = Vec::new();
        let mut i = 0;
        while i < end {
            let byte = (i / 8) as usize;
            // Most of both is equal and uniform.
            if i % 8 == 0 && end - i >= 8 && !wanted(false, false) && !wanted(true, true) {
                if self.0.get(byte) == other.0.get(byte) {
                    i += 8;
                    continue;
                }
            }
            if wanted(self.get(i), other.get(i)) {
                match runs.last_mut() {
                    Some(last) if last.end() == i => last.len += 1,
                    _ => runs.push(Region { start: i, len: 1 }),
                }
            }
            i += 1;
        }
        runs
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Numbers at an offset, little-endian unless it is the journal's. Out of bounds there are zeroes, and nothing is stored.

/// Returns the `N` bytes at `off`, or zeroes if they do not exist.
pub(super) fn bytes<const N: usize>(b: &[u8], off: usize) -> [u8; N] {
    match b.get(off..).and_then(|s| s.first_chunk::<N>()) {
        Some(c) => *c,
        None => [0; N],
    }
}

/// Stores `v` at `off`, if those bytes exist.
pub(super) fn put<const N: usize>(b: &mut [u8], off: usize, v: [u8; N]) {
    if let Some(c) = b.get_mut(off..).and_then(|s| s.first_chunk_mut::<N>()) {
        *c = v;
    }
}

/// Reads a 16-bit number; 0 if out of bounds.
pub fn get16(b: &[u8], off: usize) -> u16 {
    u16::from_le_bytes(bytes(b, off))
}

/// Reads a 32-bit number; 0 if out of bounds.
pub fn get32(b: &[u8], off: usize) -> u32 {
    u32::from_le_bytes(bytes(b, off))
}

/// Reads a 64-bit number; 0 if out of bounds.
pub fn get64(b: &[u8], off: usize) -> u64 {
    u64::from_le_bytes(bytes(b, off))
}

/// Stores a 16-bit number; ignored if out of bounds.
pub fn put16(b: &mut [u8], off: usize, v: u16) {
    put(b, off, v.to_le_bytes());
}

/// Stores a 32-bit number; ignored if out of bounds.
pub fn put32(b: &mut [u8], off: usize, v: u32) {
    put(b, off, v.to_le_bytes());
}

/// Stores a 64-bit number; ignored if out of bounds.
pub fn put64(b: &mut [u8], off: usize, v: u64) {
    put(b, off, v.to_le_bytes());
}

/// Reads a big-endian 16-bit number, as jbd2 has them; 0 if out of bounds.
pub(super) fn get16_be(b: &[u8], off: usize) -> u16 {
    u16::from_be_bytes(bytes(b, off))
}

/// Reads a big-endian 32-bit number; 0 if out of bounds.
pub(super) fn get32_be(b: &[u8], off: usize) -> u32 {
    u32::from_be_bytes(bytes(b, off))
}

/// Reads a big-endian 64-bit number; 0 if out of bounds.
pub(super) fn get64_be(b: &[u8], off: usize) -> u64 {
    u64::from_be_bytes(bytes(b, off))
}

/// Stores a big-endian 32-bit number; ignored if out of bounds.
pub(super) fn put32_be(b: &mut [u8], off: usize, v: u32) {
    put(b, off, v.to_be_bytes());
}

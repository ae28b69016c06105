// SPDX-License-Identifier: GPL-2.0

//! CRC-32C, which seals every structure.
//!
//! Written by hand because this crate is also that of the host's tools, and has neither the kernel nor `std` in it. The module
//! comes here for metadata only; 8 bytes at a time are fast enough for that.

use super::bytes::get32;

/// Tables for CRC-32C eight bytes at a time: `CRC[k][b]` is byte `b` followed by `k` zero bytes.
static CRC: [[u32; 256]; 8] = crc_tables();

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 {
                (c >> 1) ^ 0x82f6_3b78
            } else {
                c >> 1
            };
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let prev = t[k - 1][i];
            t[k][i] = (prev >> 8) ^ t[0][(prev & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// One table step. The mask keeps the index in bounds, which the compiler sees.
fn crc_at(k: usize, word: u32, shift: u32) -> u32 {
    CRC[k & 7][((word >> shift) & 0xff) as usize]
}

/// Continues the CRC-32C `crc` over `data`.
///
/// Without the customary inversions, so that the CRC of a concatenation is the CRC of its second
/// part seeded with that of the first.
pub fn crc32c_update(mut crc: u32, data: &[u8]) -> u32 {
    let mut words = data.chunks_exact(8);
    for w in &mut words {
        let lo = get32(w, 0) ^ crc;
        let hi = get32(w, 4);
        crc = crc_at(7, lo, 0)
            ^ crc_at(6, lo, 8)
            ^ crc_at(5, lo, 16)
            ^ crc_at(4, lo, 24)
            ^ crc_at(3, hi, 0)
            ^ crc_at(2, hi, 8)
            ^ crc_at(1, hi, 16)
            ^ crc_at(0, hi, 24);
    }
    for &b in words.remainder() {
        crc = (crc >> 8) ^ crc_at(0, crc ^ u32::from(b), 0);
    }
    crc
}

/// The CRC-32C of `data`, as everybody else computes it.
pub fn crc32c(data: &[u8]) -> u32 {
    !crc32c_update(!0, data)
}

/// CRC-32C over `data` with the four bytes at `hole`, where the result is stored, taken as zero.
pub fn checksum(seed: u32, data: &[u8], hole: usize) -> u32 {
    let (head, rest) = data.split_at_checked(hole).unwrap_or((data, &[]));
    let tail = rest.get(4..).unwrap_or(&[]);
    let crc = crc32c_update(seed, head);
    let crc = crc32c_update(crc, &[0; 4]);
    !crc32c_update(crc, tail)
}

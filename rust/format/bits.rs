// SPDX-License-Identifier: GPL-2.0

//! Bits of the bitmaps: bit `i` of a block is bit `i % 8`, counted from the least significant one, of its byte `i / 8`.

/// Value of bit `i`, if the buffer has so many.
pub fn get(buf: &[u8], i: usize) -> Option<bool> {
    buf.get(i / 8).map(|b| b & (1 << (i % 8)) != 0)
}

/// Sets or clears `len` bits from `from` on, as far as the buffer has them.
pub fn assign(buf: &mut [u8], from: usize, len: usize, value: bool) {
    let end = from + len;
    let mut i = from;
    while i < end {
        let n = (8 - i % 8).min(end - i);
        let mask = (((1u16 << n) - 1) << (i % 8)) as u8;
        if let Some(b) = buf.get_mut(i / 8) {
            if value {
                *b |= mask;
            } else {
                *b &= !mask;
            }
        }
        i += n;
    }
}

/// First bit in `from..end` whose value is `value`, or `end`. Bits that the buffer does not have are set.
pub fn next(buf: &[u8], from: usize, end: usize, value: bool) -> usize {
    let skip = if value { 0 } else { 0xff };
    let mut i = from;
    while i < end {
        if i % 8 == 0 && end - i >= 8 && buf.get(i / 8) == Some(&skip) {
            i += 8;
        } else if get(buf, i).unwrap_or(true) == value {
            return i;
        } else {
            i += 1;
        }
    }
    end
}

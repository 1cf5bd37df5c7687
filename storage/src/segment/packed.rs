//! Numbers as they are packed in the pages of dense files: runs of small ones (which rows hold a
//! value, places in a dictionary) and differences of large ones. Parquet's names for the two are
//! the RLE and bit-packing hybrid, and DELTA_BINARY_PACKED (Parquet format, Encodings).
//!
//! Not here: pages, compression, other encodings; the crate `parquet` writes these.
//! Invariants: nothing panics; what is cut or contradicts itself is none; no more numbers are made
//! than were asked for.

use std::ops::Range;

/// The most values of a miniblock that are understood; the encoder writes 64.
const MOST_EACH: usize = 64;
/// A miniblock of 64 numbers of 64 bits, and room to read eight octets from any of them.
const SCRATCH: usize = MOST_EACH * 8 + 16;

/// Adds the numbers at the places `range` of a hybrid of numbers with `width` bits (8 at most),
/// and answers how many of those before the range are not 0.
pub fn runs(octets: &[u8], width: u32, range: Range<usize>, out: &mut Vec<u8>) -> Option<usize> {
    if width == 0 {
        out.resize(out.len() + range.len(), 0);
        return Some(0);
    }
    let (mut rest, mut at, mut before) = (octets, 0_usize, 0);
    let bits = usize::try_from(width).ok().filter(|bits| *bits <= 8)?;
    while at < range.end {
        let head = varint(&mut rest)?;
        let count = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let value = *take(&mut rest, 1)?.first()?;
            let end = at.saturating_add(count).min(range.end);
            let from = range.start.clamp(at, end);
            before += if value == 0 { 0 } else { from - at };
            out.resize(out.len() + (end - from), value);
            at = end;
        } else {
            // Groups of eight numbers.
            let packed = take(&mut rest, count.checked_mul(bits)?)?;
            let end = at.saturating_add(count.checked_mul(8)?).min(range.end);
            for place in at..end {
                let value = small(packed, (place - at) * bits, bits)?;
                if place < range.start {
                    before += usize::from(value != 0);
                } else {
                    out.push(value);
                }
            }
            at = end;
        }
    }
    Some(before)
}

/// A number of at most eight bits.
fn small(packed: &[u8], bit: usize, bits: usize) -> Option<u8> {
    let low = u16::from(*packed.get(bit / 8)?);
    let high = u16::from(packed.get(bit / 8 + 1).copied().unwrap_or_default());
    let [value, _] = ((low | high << 8) >> (bit % 8)).to_le_bytes();
    Some(value & (u8::MAX >> (8 - bits)))
}

/// Adds the first `wanted` of numbers that are packed as differences.
pub fn differences(octets: &[u8], wanted: usize, out: &mut Vec<i64>) -> Option<()> {
    let Some(mut left) = wanted.checked_sub(1) else { return Some(()) };
    let mut rest = octets;
    let mut number = || usize::try_from(varint(&mut rest)?).ok();
    let (block, minis, count) = (number()?, number()?, number()?);
    let each = block.checked_div(minis)?;
    if count < wanted || !(1..=MOST_EACH).contains(&each) || !each.is_multiple_of(8) {
        return None;
    }
    let mut value = zigzag(varint(&mut rest)?);
    out.reserve(wanted);
    out.push(value);
    let mut scratch = [0; SCRATCH];
    while left > 0 {
        let least = zigzag(varint(&mut rest)?);
        for width in take(&mut rest, minis)? {
            let width = usize::from(*width);
            let now = left.min(each);
            let packed = take(&mut rest, if now == 0 { 0 } else { each / 8 * width })?;
            scratch.get_mut(..packed.len())?.copy_from_slice(packed);
            unpack(&scratch, width, now, |difference| {
                value = value.wrapping_add(least).wrapping_add(difference.cast_signed());
                out.push(value);
            })?;
            left -= now;
        }
    }
    Some(())
}

/// Shows `count` numbers of `width` bits.
fn unpack(
    packed: &[u8; SCRATCH],
    width: usize,
    count: usize,
    mut show: impl FnMut(u64),
) -> Option<()> {
    if width == 0 {
        (0..count).for_each(|_| show(0));
        return Some(());
    }
    let mask = u64::MAX >> 64_usize.checked_sub(width)?;
    for bit in (0..count * width).step_by(width) {
        let word = u64::from_le_bytes(*packed.get(bit / 8..)?.first_chunk()?);
        let mut number = word >> (bit % 8);
        if width > 57 {
            // It may reach into a ninth octet.
            let ninth = u64::from(*packed.get(bit / 8 + 8)?);
            number |= ninth.checked_shl(u32::try_from(64 - bit % 8).ok()?).unwrap_or(0);
        }
        show(number & mask);
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let octet = *take(rest, 1)?.first()?;
        value |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::{differences, runs};

    #[test]
    fn runs_are_read_from_any_place() {
        // 5 times 1; then 8 packed: 1 0 1 1 0 0 0 1; then 3 times 0.
        let octets = [10, 1, 3, 0b1000_1101, 6, 0];
        let all = [1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0];
        for from in 0..all.len() {
            for to in from..=all.len() {
                let mut out = Vec::new();
                let before = runs(&octets, 1, from..to, &mut out).unwrap();
                let ones = all[..from].iter().filter(|one| **one == 1).count();
                // Of an empty range nothing is looked at but what leads there.
                assert_eq!((out.as_slice(), before), (&all[from..to], ones), "{from}..{to}");
            }
        }
        assert_eq!(runs(&octets, 1, 0..17, &mut Vec::new()), None, "they are 16");
    }

    #[test]
    fn wider_numbers_cross_octets() {
        // The example of the format: 0 to 7 with three bits.
        let octets = [3, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let mut out = Vec::new();
        runs(&octets, 3, 0..8, &mut out).unwrap();
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(runs(&octets, 9, 0..8, &mut out), None);
    }

    #[test]
    fn the_examples_of_the_format() {
        // Encodings, DELTA_BINARY_PACKED, example 1 (1 to 5) and 2 (7 5 3 1 2 3 4 5), here in
        // blocks of 128 and four miniblocks of 32.
        let one = [0x80, 1, 4, 5, 2, 2, 0, 0, 0, 0];
        let mut out = Vec::new();
        differences(&one, 5, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 5]);
        let two = [0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0];
        let mut out = Vec::new();
        differences(&two, 8, &mut out).unwrap();
        assert_eq!(out, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert_eq!(differences(&two, 9, &mut out), None);
    }

    #[test]
    fn cut_and_mad_octets_are_refused() {
        let two = [0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0];
        for end in 0..two.len() {
            assert_eq!(differences(&two[..end], 8, &mut Vec::new()), None, "{end}");
        }
        for mad in [
            [0x80, 1, 0, 8, 14, 3].as_slice(),
            &[0, 4, 8, 14, 3, 2],
            &[0x80, 0x80, 0x80, 0x80, 0x10, 4, 8, 14, 3, 2, 0, 0, 0],
            &[0x80, 1, 4, 8, 14, 3, 65, 0, 0, 0],
            &[0xff; 64],
            &[],
        ] {
            assert_eq!(differences(mad, 8, &mut Vec::new()), None, "{mad:?}");
        }
        for mad in [[0xff; 64].as_slice(), &[], &[0, 1], &[10], &[3, 1], &[0xfe, 0xff]] {
            assert_eq!(runs(mad, 8, 0..1000, &mut Vec::new()), None, "{mad:?}");
        }
    }
}

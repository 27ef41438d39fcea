//! Multiples of the generator: public keys, and R of signatures.
//!
//! An odd scalar is the sum of 43 digits `dᵢ·64ⁱ`, each odd and between -63 and 63. So its multiple is the sum of 43
//! points from a table, and no digit is zero. An even scalar has no such form. Its negative has one, because the order
//! is odd, and the sign of the point is changed at the end.
//!
//! Scalars and digits are secret: each look-up reads its whole row, and no branch or address depends on either.

use core::hint::black_box;

use k256::Scalar;
use subtle::{Choice, ConditionallySelectable as _};

use crate::xyzz::{Affine, FieldElement, Sum};

/// Bits of a digit. Six is the fastest of four, five and six: fewer additions, although the rows are longer
/// (benches/README.md).
const DIGIT_BITS: usize = 6;

/// Digits of 256 bits.
const ROWS: usize = 43;

/// Magnitudes of a digit.
const ROW_POINTS: usize = 32;

/// Big-endian words of x, then those of y.
type Entry = [u64; 8];

/// `(2j + 1)·64ⁱ·G` in row `i` at `j`: 86 KiB that build.rs computes with k256. Public values.
static TABLE: [[Entry; ROW_POINTS]; ROWS] = include!(concat!(env!("OUT_DIR"), "/generator_table.rs"));

/// A multiple of the generator, from which signatures and keys are made.
pub(crate) struct Multiple {
    pub(crate) x: [u8; 32],
    pub(crate) y_is_odd: Choice,
}

/// `scalar·G` of a scalar that is not zero. Its time reveals nothing else of the scalar.
pub(crate) fn multiply(scalar: &Scalar) -> Multiple {
    let is_even = !Choice::from(scalar.to_bytes().last().copied().unwrap_or(0) & 1);
    let odd = Scalar::conditional_select(scalar, &-*scalar, is_even);
    let point = multiply_odd(&odd);
    Multiple { x: point.x.to_bytes().into(), y_is_odd: point.y.is_odd() ^ is_even }
}

/// The digits are added from the least significant on. Before row `i` the sum is `a·G` with an odd `a` below `64ⁱ` in
/// magnitude, and the row's point is `b·G` with `64ⁱ ≤ |b| < 64·64ⁱ`. So `a` is neither `b` nor `-b`, and not modulo
/// the order either, as long as `64ⁱ⁺¹` is below it, which is so in all rows but the last. There, `a + b` is the
/// scalar, which is not zero; but `a - b` is minus the order for one scalar, `30·2²⁵² - n`, so that the last addition
/// is a doubling.
fn multiply_odd(odd: &Scalar) -> Affine {
    let windows = Windows::of(odd);
    let [first, others @ .., last] = &TABLE;
    let mut sum = Sum::from(look_up(first, windows.get(0)));
    for (position, row) in (1..).zip(others) {
        sum.add_other(&look_up(row, windows.get(position)));
    }
    sum.add(&look_up(last, windows.get(ROWS - 1)));
    sum.to_affine()
}

/// `k = Σ (2bⱼ - 1)·2ʲ` for `0 ≤ j < 258`, where `bⱼ` are the bits of `(k + 2²⁵⁸ - 1)/2`: each six of these are a
/// digit.
struct Windows([u64; 5]);

impl Windows {
    fn of(odd: &Scalar) -> Self {
        let bytes = odd.to_bytes();
        let (words, _) = bytes.as_chunks();
        let mut halved = [0; 5];
        let mut shifted_out = 0;
        // The most significant word comes first there and last here.
        for (place, word) in halved.iter_mut().rev().skip(1).zip(words) {
            let word = u64::from_be_bytes(*word);
            *place = word >> 1 | shifted_out;
            shifted_out = word << 63;
        }
        // 2^257, which is half of 2^258.
        let [.., top] = &mut halved;
        *top = 1 << 1;
        Self(halved)
    }

    /// Six bits. The position is public.
    fn get(&self, position: usize) -> u8 {
        let low_bit = position * DIGIT_BITS;
        let word = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let (index, shift) = (low_bit / 64, low_bit % 64);
        // In two steps, because a shift by 64 is none.
        let bits = word(index) >> shift | word(index + 1) << 1 << (63 - shift);
        #[allow(clippy::cast_possible_truncation, reason = "six bits")]
        let window = bits as u8 & 0x3F;
        window
    }
}

/// The row's entry for the digit `2·window - 63`.
#[inline]
fn look_up(row: &[Entry; ROW_POINTS], window: u8) -> Affine {
    let is_negative = window >> 5 ^ 1;
    // From 32 on, the digit is 2·(window - 32) + 1; below, -(2·(31 - window) + 1).
    let [x0, x1, x2, x3, y @ ..] = select(row, (window ^ is_negative.wrapping_neg()) & 0x1F);
    let (x, y) = (field_element([x0, x1, x2, x3]), field_element(y));
    Affine { x, y: FieldElement::conditional_select(&y, &y.negate(1), Choice::from(is_negative)) }
}

/// Reads every entry and keeps one. Not inlined, because then its loop is not vectorised.
#[inline(never)]
fn select(row: &[Entry; ROW_POINTS], wanted: u8) -> Entry {
    let wanted = u64::from(wanted);
    let mut found = [0; 8];
    for (index, entry) in (0_u64..).zip(row) {
        // All ones where both are the same: only zero becomes negative when one is taken from it.
        let mask = ((index ^ wanted).wrapping_sub(1) >> 63).wrapping_neg();
        // If the optimiser knew that it is all or nothing, it would branch: rustc 1.95 does.
        let mask = black_box(mask);
        for (found, word) in found.iter_mut().zip(entry) {
            *found |= word & mask;
        }
    }
    found
}

#[inline]
fn field_element(words: [u64; 4]) -> FieldElement {
    let mut bytes = [0; 32];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    // A coordinate in the table is below the field's modulus.
    FieldElement::from_bytes(&bytes.into()).unwrap_or(FieldElement::ZERO)
}

#[cfg(test)]
mod tests {
    use k256::elliptic_curve::sec1::ToSec1Point as _;
    use k256::elliptic_curve::{Field as _, PrimeField as _};
    use k256::{ProjectivePoint, Scalar};
    use proptest::prelude::*;

    use super::{ROWS, TABLE, Windows, multiply};

    fn scalar(hex: &str) -> Scalar {
        let mut bytes = [0; 32];
        base16ct::lower::decode(hex, &mut bytes).unwrap();
        Scalar::from_repr(bytes.into()).unwrap()
    }

    fn power_of_two(exponent: usize) -> Scalar {
        (0..exponent).fold(Scalar::ONE, |power, _| power.double())
    }

    /// Against k256's double-and-add, which knows no table.
    fn check(scalar: &Scalar) {
        let ours = multiply(scalar);
        let theirs = (ProjectivePoint::GENERATOR * scalar).to_affine().to_sec1_point(true);
        let [tag, x @ ..] = theirs.as_bytes() else { panic!("infinity") };
        assert_eq!((ours.x.as_slice(), 2 + ours.y_is_odd.unwrap_u8()), (x, *tag), "{scalar:?}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn each_entry_is_its_multiple() {
        for (position, row) in TABLE.iter().enumerate() {
            let unit = power_of_two(6 * position);
            for (entry, magnitude) in row.iter().zip((1_u64..).step_by(2)) {
                let multiple = ProjectivePoint::GENERATOR * (unit * Scalar::from(magnitude));
                let expected = multiple.to_affine().to_sec1_point(false);
                let entry: Vec<u8> = entry.iter().flat_map(|word| word.to_be_bytes()).collect();
                assert_eq!(entry, expected.as_bytes()[1..], "{position} {magnitude}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn edge_scalars_agree_with_k256() {
        let mut scalars: Vec<Scalar> = (1..200_u64).map(Scalar::from).collect();
        for exponent in 0..256 {
            let power = power_of_two(exponent);
            scalars.extend([power, power + Scalar::ONE, power - Scalar::ONE]);
        }
        // All windows ones, all zeros but the first bit, alternating.
        for pattern in [
            "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "8000000000000000000000000000000000000000000000000000000000000001",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "5555555555555555555555555555555555555555555555555555555555555555",
            "fffffffefffffffefffffffefffffffefffffffefffffffefffffffefffffffe",
        ] {
            scalars.push(scalar(pattern));
        }
        // Each digit alone at its smallest, its largest and either side of where its sign changes.
        for position in 0..ROWS - 1 {
            let unit = power_of_two(6 * position);
            scalars.extend([1_u64, 31, 32, 33, 62, 63].map(|digit| unit * Scalar::from(digit)));
        }
        for scalar in scalars.iter().filter(|scalar| !bool::from(scalar.is_zero())) {
            check(scalar);
            check(&-*scalar);
        }
    }

    /// `30·2^252 - n`, of which the last addition adds a point to itself.
    #[test]
    fn the_one_doubling_agrees_with_k256() {
        let doubling = power_of_two(252) * Scalar::from(30_u64);
        // Fifteen, the half of thirty.
        assert_eq!(Windows::of(&doubling).get(ROWS - 1), (15 + 63) / 2);
        for scalar in [doubling, -doubling, doubling + Scalar::ONE, doubling - Scalar::from(2_u64)] {
            check(&scalar);
        }
    }

    proptest! {
        #[test]
        fn any_scalar_agrees_with_k256(bytes: [u8; 32]) {
            let scalar = Scalar::from_repr(bytes.into()).unwrap_or(Scalar::ONE);
            if !bool::from(scalar.is_zero()) {
                check(&scalar);
            }
        }
    }
}

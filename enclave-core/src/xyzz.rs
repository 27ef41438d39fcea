//! A running sum of points, in a form that takes ten field multiplications to add an affine point to.
//!
//! `(X, Y, ZZ, ZZZ)` stands for `(X/ZZ, Y/ZZZ)`, where `ZZ³ = ZZZ²`. k256's own addition takes any two points and costs
//! a fourth more; the one here leaves out the cases that its caller can rule out. The field is k256's: its elements
//! are reduced lazily, and the comments carry each one's magnitude, which debug builds check.

use k256::Secp256k1;
use k256::elliptic_curve::hazmat::FieldArithmetic;
use subtle::{Choice, ConditionallySelectable};

/// An element of the field that the curve is over.
pub(crate) type FieldElement = <Secp256k1 as FieldArithmetic>::FieldElement;

/// A point by its coordinates, which is not infinity. Magnitudes: 1 and at most 2.
///
/// As secret as the digit or scalar that it is the multiple of, and `Copy` all the same, as the field's elements are:
/// what lies on the stack is overwritten when the operation ends.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    pub(crate) x: FieldElement,
    pub(crate) y: FieldElement,
}

/// A sum that is not infinity. Magnitudes: at most 5, 3, 1, 1.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    x: FieldElement,
    y: FieldElement,
    zz: FieldElement,
    zzz: FieldElement,
}

impl From<Affine> for Sum {
    fn from(point: Affine) -> Self {
        Self { x: point.x, y: point.y, zz: FieldElement::ONE, zzz: FieldElement::ONE }
    }
}

impl Sum {
    /// Adds a point that is neither this one nor its negative.
    ///
    /// "madd-2008-s" of <https://hyperelliptic.org/EFD/g1p/auto-shortw-xyzz.html>.
    #[inline]
    pub(crate) fn add_other(&mut self, point: &Affine) {
        let (p, r) = self.differences(point);
        self.add_by_differences(&p, &r);
    }

    /// Adds a point that may be this one, but not its negative. Takes the same time either way.
    pub(crate) fn add(&mut self, point: &Affine) {
        let (p, r) = self.differences(point);
        self.add_by_differences(&p, &r);
        self.conditional_assign(&Self::double(point), p.normalizes_to_zero());
    }

    /// How far `point` is from this in x and y, times ZZ and ZZZ: magnitudes 7 and 5.
    #[inline]
    fn differences(&self, point: &Affine) -> (FieldElement, FieldElement) {
        (point.x * self.zz + self.x.negate(5), point.y * self.zzz + self.y.negate(3))
    }

    #[inline]
    fn add_by_differences(&mut self, p: &FieldElement, r: &FieldElement) {
        let pp = p.square();
        let ppp = pp * *p;
        let q = self.x * pp;
        self.x = r.square() + (ppp + q.double()).negate(3); // 5
        self.y = (q + self.x.negate(5)) * *r + (self.y * ppp).negate(1); // 3
        self.zz *= pp;
        self.zzz *= ppp;
    }

    /// "mdbl-2008-s-1" of the same page.
    fn double(point: &Affine) -> Self {
        let u = point.y.double(); // 4
        let v = u.square();
        let w = u * v;
        let s = point.x * v;
        let m = point.x.square().mul_single(3); // 3
        let x = m.square() + s.double().negate(2); // 4
        let y = m * (s + x.negate(4)) + (w * point.y).negate(1); // 3
        Self { x, y, zz: v, zzz: w }
    }

    /// The coordinates, fully reduced.
    pub(crate) fn to_affine(self) -> Affine {
        // Never zero, because the sum is not infinity.
        let inverse_zzz = self.zzz.invert().unwrap_or(FieldElement::ZERO);
        let inverse_z = self.zz * inverse_zzz;
        let x = self.x * inverse_z.square();
        let y = self.y * inverse_zzz;
        Affine { x: x.normalize(), y: y.normalize() }
    }
}

impl ConditionallySelectable for Sum {
    fn conditional_select(a: &Self, b: &Self, choice: Choice) -> Self {
        Self {
            x: FieldElement::conditional_select(&a.x, &b.x, choice),
            y: FieldElement::conditional_select(&a.y, &b.y, choice),
            zz: FieldElement::conditional_select(&a.zz, &b.zz, choice),
            zzz: FieldElement::conditional_select(&a.zzz, &b.zzz, choice),
        }
    }
}

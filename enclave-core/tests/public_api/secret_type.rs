//! Traits that a secret type must not have. The runtime's tests use this module too.

use std::fmt::Debug;

/// The secret of every type under test: easy to recognise, and a key.
pub(crate) const SECRET: [u8; 32] = [0xA7; 32];

/// Asserts that `value`, made of [`SECRET`], prints as `expected`, and nothing of its secret on one line or many.
pub(crate) fn assert_prints(value: &impl Debug, expected: &str) {
    assert_eq!(format!("{value:?}"), expected);
    assert!(!shows_secret(value), "{value:#?}");
}

/// Whether a byte of [`SECRET`] is printed, as hex, as a number or in text.
pub(crate) fn shows_secret(value: &impl Debug) -> bool {
    [format!("{value:?}"), format!("{value:#?}")]
        .iter()
        .any(|printed| ["a7", "A7", "167", "\u{a7}", "\u{fffd}"].iter().any(|trace| printed.contains(trace)))
}

/// Whether a type implements a trait: an inherent constant, which exists if it does, comes before a trait's.
macro_rules! implements {
    ($type:ty: $trait:path) => {{
        #[allow(dead_code, reason = "one of the two constants is never asked")]
        trait Otherwise {
            const HOLDS: bool = false;
        }
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code, reason = "one of the two constants is never asked")]
        impl<T: ?Sized + $trait> Probe<T> {
            const HOLDS: bool = true;
        }
        <Probe<$type>>::HOLDS
    }};
}
pub(crate) use implements;

/// Asserts that types can be neither copied unseen nor compared in a time that tells of them.
macro_rules! assert_neither_clone_nor_eq {
    ($($type:ty),+ $(,)?) => {$(
        assert!(!$crate::secret_type::implements!($type: Clone), "{} is Clone", stringify!($type));
        assert!(!$crate::secret_type::implements!($type: PartialEq), "{} is PartialEq", stringify!($type));
    )+};
}
pub(crate) use assert_neither_clone_nor_eq;

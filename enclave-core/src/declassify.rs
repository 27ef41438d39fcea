//! The one way from constant time to a decision.

use core::hint::black_box;

use subtle::Choice;

/// Makes public whether a key is one, a MAC fits, or a nonce came out zero: what the reply says anyway.
///
/// The branch is here and nowhere else, so that the check of constant time can forgive this function by its name and
/// report every other branch that depends on a secret. Each arm makes its own value: one value
/// for both arms would still depend on the secret, as that check sees it.
#[inline(never)]
pub(crate) fn declassify(choice: Choice) -> bool {
    if bool::from(choice) { black_box(true) } else { black_box(false) }
}

//! `[rate_limits]`: the limits for signatures and generated keys.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::InvalidConfiguration;
use super::table::{self, Source, error};

/// More than a machine reaches. To remove a limit, omit its key.
const TIMES: RangeInclusive<u32> = 1..=1_000_000;

/// The limits for signatures and generated keys. `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Signatures of each identity a second: a burst of that many, then an even rate.
    pub signatures_per_second_per_identity: Option<NonZeroU32>,
    /// Signatures of all identities a second, likewise. Not less than the limit of one identity.
    pub signatures_per_second: Option<NonZeroU32>,
    /// Generated keys a minute, likewise.
    pub keys_generated_per_minute: Option<NonZeroU32>,
}

pub(super) fn rate_limits(table: &table::RateLimits) -> Result<RateLimits, InvalidConfiguration> {
    const PER_IDENTITY: &str = "rate_limits.signatures_per_second_per_identity";
    let times =
        |source: &Source, key| source.number(key, TIMES).map(|number| number.and_then(NonZeroU32::new));
    let limits = RateLimits {
        signatures_per_second_per_identity: times(&table.signatures_per_second_per_identity, PER_IDENTITY)?,
        signatures_per_second: times(&table.signatures_per_second, "rate_limits.signatures_per_second")?,
        keys_generated_per_minute: times(
            &table.keys_generated_per_minute,
            "rate_limits.keys_generated_per_minute",
        )?,
    };
    match (limits.signatures_per_second_per_identity, limits.signatures_per_second) {
        (Some(one), Some(all)) if one > all => {
            Err(error(PER_IDENTITY, "more than rate_limits.signatures_per_second"))
        }
        _ => Ok(limits),
    }
}

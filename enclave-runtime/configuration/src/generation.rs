//! The generations of boot secrets, and which of them an image opens.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The number of a generation of boot secrets, from 1. A generation that replaces leaked secrets has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(NonZeroU32);

/// The text is not the canonical form of a whole number from 1 to 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidGeneration;

/// The generations of boot secrets that an image opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generations {
    /// The generation of the image, and the highest. `None` opens only secrets without a generation.
    pub own: Option<Generation>,
    /// The lowest. `None` also opens all lower generations, and secrets without a generation.
    pub oldest: Option<Generation>,
}

/// Why the boot secrets of a generation are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongGeneration {
    /// The secrets are for a later image.
    TooHigh {
        /// The generation of the secrets.
        sealed: Generation,
        /// The generation of the image.
        own: Option<Generation>,
    },
    /// The secrets are retired.
    TooLow {
        /// The generation of the secrets.
        sealed: Option<Generation>,
        /// The lowest generation that the image opens.
        oldest: Generation,
    },
}

impl Generation {
    /// The generation `number`; `None` for 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Generation {
    type Err = InvalidGeneration;

    fn from_str(text: &str) -> Result<Self, InvalidGeneration> {
        let number: NonZeroU32 = text.parse().map_err(|_| InvalidGeneration)?;
        // A sign or a leading zero would be a second spelling.
        if number.to_string() == text { Ok(Self(number)) } else { Err(InvalidGeneration) }
    }
}

impl fmt::Display for InvalidGeneration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a whole number from 1 to {}", u32::MAX)
    }
}

impl std::error::Error for InvalidGeneration {}

impl fmt::Display for WrongGeneration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooHigh { sealed, own: Some(own) } => {
                write!(formatter, "of generation {sealed}, and the image's is {own}")
            }
            Self::TooHigh { sealed, own: None } => {
                write!(formatter, "of generation {sealed}, and nitro.toml has none")
            }
            Self::TooLow { sealed: Some(sealed), oldest } => {
                write!(formatter, "of generation {sealed}, and the oldest allowed is {oldest}")
            }
            Self::TooLow { sealed: None, oldest } => {
                write!(formatter, "of no generation, and the oldest allowed is {oldest}")
            }
        }
    }
}

impl std::error::Error for WrongGeneration {}

impl Generations {
    /// Checks that the image opens secrets of the generation `sealed`. `None` stands for secrets without a generation.
    ///
    /// # Errors
    /// [`WrongGeneration`]
    pub fn check(self, sealed: Option<Generation>) -> Result<(), WrongGeneration> {
        match (sealed, self.own, self.oldest) {
            (Some(sealed), own, _) if Some(sealed) > own => Err(WrongGeneration::TooHigh { sealed, own }),
            (sealed, _, Some(oldest)) if sealed < Some(oldest) => {
                Err(WrongGeneration::TooLow { sealed, oldest })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Generation, Generations, InvalidGeneration};

    #[test]
    fn opens_from_the_oldest_to_its_own() {
        let generation = |number: u32| Generation::new(number);
        // The image's generation, the oldest allowed, and the generations that are opened (0 stands for none).
        for (own, oldest, opened) in [
            (0, 0, [true, false, false, false, false]),
            (3, 0, [true, true, true, true, false]),
            (3, 1, [false, true, true, true, false]),
            (3, 2, [false, false, true, true, false]),
            (3, 3, [false, false, false, true, false]),
        ] {
            let generations = Generations { own: generation(own), oldest: generation(oldest) };
            for (sealed, is_opened) in (0..).zip(opened) {
                assert_eq!(
                    generations.check(generation(sealed)).is_ok(),
                    is_opened,
                    "{sealed} by {generations:?}"
                );
            }
        }
    }

    #[test]
    fn is_read_in_one_spelling() {
        for good in ["1", "7", "10", "4294967295"] {
            assert_eq!(good.parse::<Generation>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "0x1", "1e1", "4294967296", "\u{661}"]
        {
            assert_eq!(bad.parse::<Generation>(), Err(InvalidGeneration), "{bad:?}");
        }
    }
}

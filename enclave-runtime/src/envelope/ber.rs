//! The Basic Encoding Rules of X.690, read element by element as the reader's caller expects them.
//!
//! Lengths are what BER allows: short, long with or without leading zeros, and of a constructed element also
//! indefinite, which only the two octets `00 00` end. Tags are of one octet. Nothing is read twice.

/// The longest lengths in use take three octets; more than four could only be leading zeros, or of something over the
/// limit.
const MAX_LENGTH_OCTETS: u8 = 4;

/// The length of an element that ends where its end is marked; the highest bit of long lengths.
const INDEFINITE: u8 = 0x80;

/// The unread rest of one element.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    depth_left: usize,
}

enum Length {
    Octets(usize),
    Indefinite,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, in which elements are within at most `max_depth` others.
    pub(super) fn new(bytes: &'a [u8], max_depth: usize) -> Self {
        Self { rest: bytes, depth_left: max_depth }
    }

    pub(super) fn next_is(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// The contents of the next element, if it is this primitive one.
    pub(super) fn primitive(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.tag(tag)?;
        let Length::Octets(length) = self.length()? else { return None };
        self.take(length)
    }

    /// The result of `read` on the contents of the next element, if it is this constructed one and `read` leaves
    /// nothing of it.
    pub(super) fn constructed<T>(
        &mut self,
        tag: u8,
        read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Option<T> {
        self.tag(tag)?;
        let depth_left = self.depth_left.checked_sub(1)?;
        match self.length()? {
            Length::Octets(length) => {
                let mut contents = Reader { rest: self.take(length)?, depth_left };
                let value = read(&mut contents)?;
                contents.end()?;
                Some(value)
            }
            Length::Indefinite => {
                let mut contents = Reader { rest: self.rest, depth_left };
                let value = read(&mut contents)?;
                self.rest = contents.rest.strip_prefix(&[0, 0])?;
                Some(value)
            }
        }
    }

    /// Whether all is read.
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn tag(&mut self, tag: u8) -> Option<()> {
        (self.octet()? == tag).then_some(())
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.octet()?;
        match first ^ INDEFINITE {
            0 => Some(Length::Indefinite),
            octets @ 1..=MAX_LENGTH_OCTETS => {
                let octets = self.take(usize::from(octets))?;
                let length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
                Some(Length::Octets(length))
            }
            _ => (first < INDEFINITE).then_some(Length::Octets(usize::from(first))),
        }
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

//! Facts about a certificate that webpki does not give: the validity of a root, and the key usage.
//!
//! Only certificates that webpki has read come here; for a root, webpki skips the validity. This reads them once more,
//! in the same strict DER.

use std::ops::RangeInclusive;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-ce-keyUsage, 2.5.29.15.
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];

/// The needed facts about a certificate.
pub(crate) struct Certificate {
    pub(crate) validity_unix_s: RangeInclusive<u64>,
    /// The first octet of the bits; none without the extension.
    key_usage: Option<u8>,
}

impl Certificate {
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (outer, []) = expect(der, SEQUENCE)? else { return None };
        let (tbs, _signature) = expect(outer, SEQUENCE)?;
        let (_version, rest) = expect(tbs, VERSION)?;
        let (_serial, rest) = expect(rest, INTEGER)?;
        let (_algorithm, rest) = expect(rest, SEQUENCE)?;
        let (_issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (_subject, rest) = expect(rest, SEQUENCE)?;
        let (_public_key, rest) = expect(rest, SEQUENCE)?;
        Some(Self { validity_unix_s: read_validity(validity)?, key_usage: read_key_usage(rest)? })
    }

    /// `digitalSignature`, said outright.
    pub(crate) fn may_sign_documents(&self) -> bool {
        self.key_usage.is_some_and(|bits| bits & 0x80 != 0)
    }

    /// `keyCertSign`, said outright.
    pub(crate) fn may_sign_certificates(&self) -> bool {
        self.key_usage.is_some_and(|bits| bits & 0x04 != 0)
    }
}

fn read_validity(validity: &[u8]) -> Option<RangeInclusive<u64>> {
    let (not_before, rest) = time_unix_s(validity)?;
    let (not_after, []) = time_unix_s(rest)? else { return None };
    Some(not_before..=not_after)
}

/// The outer `None` is an error, the inner one a certificate without key usage.
fn read_key_usage(extensions: &[u8]) -> Option<Option<u8>> {
    if extensions.is_empty() {
        return Some(None);
    }
    let (tagged, []) = expect(extensions, EXTENSIONS)? else { return None };
    let (mut list, []) = expect(tagged, SEQUENCE)? else { return None };
    let mut key_usage = None;
    while !list.is_empty() {
        let (extension, rest) = expect(list, SEQUENCE)?;
        list = rest;
        let (identifier, rest) = expect(extension, OBJECT_IDENTIFIER)?;
        if identifier != KEY_USAGE {
            continue;
        }
        let rest = expect(rest, BOOLEAN).map_or(rest, |(_critical, rest)| rest);
        let (value, []) = expect(rest, OCTET_STRING)? else { return None };
        let (&[_unused, first, ..], []) = expect(value, BIT_STRING)? else { return None };
        if key_usage.replace(first).is_some() {
            return None;
        }
    }
    Some(key_usage)
}

/// The content of the element with `tag` that `input` begins with, and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *input.strip_prefix(&[tag])? {
        [short @ 0..=0x7f, ref rest @ ..] => (usize::from(short), rest),
        [0x81, length @ 0x80..=0xff, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5); none before 1970.
fn time_unix_s(input: &[u8]) -> Option<(u64, &[u8])> {
    let (year, digits, rest) = if let Some((text, rest)) = expect(input, UTC_TIME) {
        let (year, digits) = text.split_first_chunk::<2>()?;
        let year = number(year)?;
        (if year < 50 { 2000 + year } else { 1900 + year }, digits, rest)
    } else {
        let (text, rest) = expect(input, GENERALIZED_TIME)?;
        let (century, text) = text.split_first_chunk::<2>()?;
        let (year, digits) = text.split_first_chunk::<2>()?;
        (100 * number(century)? + number(year)?, digits, rest)
    };
    let &[m1, m0, d1, d0, h1, h0, min1, min0, s1, s0, b'Z'] = digits else { return None };
    let (month, day) = (number(&[m1, m0])?, number(&[d1, d0])?);
    let (hour, minute, second) = (number(&[h1, h0])?, number(&[min1, min0])?, number(&[s1, s0])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if year < 1970 || !in_range {
        return None;
    }
    let days = (1970..year).map(days_in_year).sum::<u64>()
        + (1..month).map(|month| days_in_month(year, month)).sum::<u64>()
        + (day - 1);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

fn number(digits: &[u8; 2]) -> Option<u64> {
    let [tens, ones] = digits.map(|digit| u64::from(digit.wrapping_sub(b'0')));
    (tens < 10 && ones < 10).then_some(10 * tens + ones)
}

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::{GENERALIZED_TIME, UTC_TIME, time_unix_s};

    fn time(tag: u8, text: &str) -> Option<u64> {
        let length = u8::try_from(text.len()).unwrap();
        let input = [&[tag, length], text.as_bytes(), b"rest"].concat();
        time_unix_s(&input).map(|(time, rest)| {
            assert_eq!(rest, b"rest");
            time
        })
    }

    /// Numbers as `date -u -d … +%s` tells them.
    #[test]
    fn times_are_those_of_date() {
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "191028132805Z"), Some(1_572_269_285));
        assert_eq!(time(UTC_TIME, "491028142805Z"), Some(2_519_044_085));
        assert_eq!(time(UTC_TIME, "000229235959Z"), Some(951_868_799));
        assert_eq!(time(GENERALIZED_TIME, "20500301000000Z"), Some(2_529_705_600));
        assert_eq!(time(GENERALIZED_TIME, "21000301000000Z"), Some(4_107_542_400));
        assert_eq!(time(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "691231235959Z", // 1969
            "210229000000Z",
            "211301000000Z",
            "210001000000Z",
            "210100000000Z",
            "210101240000Z",
            "210101006000Z",
            "210101000060Z",
            "2101010000Z",
            "210101000000",
            "2/0101000000Z",
            "/90101000000Z",
            "\n\x7f0101000000Z",
            "210101000000+",
            "210101000000+0000",
            "21010100000:Z",
            "21010100000/Z",
        ] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(time(GENERALIZED_TIME, "21000229000000Z"), None);
        assert_eq!(time(0x19, "210101000000Z"), None);
    }
}

//! PEM (RFC 7468). The reader wipes secrets, and overlooks no section.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A section between two lines of dashes.
#[derive(Clone, Copy)]
pub(super) struct Section<'p> {
    /// Such as `CERTIFICATE`.
    pub(super) label: &'p str,
    body: &'p str,
}

/// A line of dashes lacks its counterpart, or the content is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPem;

/// The sections of `text`, in order. Text outside of sections is ignored, as RFC 7468 permits.
pub(super) fn sections(text: &str) -> Result<Vec<Section<'_>>, NotPem> {
    let mut sections = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let mut position = 0;
    // A line may end in CR alone (RFC 7468 §3). A reader that ignored this would overlook a line of dashes.
    for line in text.split_inclusive(['\n', '\r']) {
        let start = position;
        position += line.len();
        let line = line.trim_end();
        if !line.starts_with(DASHES) {
            continue;
        }
        let label = |begin: &str| line.strip_prefix(begin).and_then(|rest| rest.strip_suffix(DASHES));
        match (open.take(), label(BEGIN), label(END)) {
            (None, Some(label), _) => open = Some((label, position)),
            (Some((label, body)), _, Some(end)) if label == end => {
                sections.push(Section { label, body: text.get(body..start).ok_or(NotPem)? });
            }
            _ => return Err(NotPem),
        }
    }
    if open.is_some() { Err(NotPem) } else { Ok(sections) }
}

impl Section<'_> {
    /// Whether the section needs a password (RFC 1421 §4.6.1.1), as in OpenSSL's traditional formats.
    pub(super) fn is_encrypted(&self) -> bool {
        self.body.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    }

    /// The decoded content.
    pub(super) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, NotPem> {
        let mut base64 = Zeroizing::new(Vec::with_capacity(self.body.len()));
        base64.extend(self.body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut bytes = Zeroizing::new(vec![0; base64.len()]);
        let length = Base64::decode(base64.as_slice(), &mut bytes).map_err(|_| NotPem)?.len();
        bytes.truncate(length);
        if length == 0 { Err(NotPem) } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotPem, sections};

    fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, NotPem> {
        let sections = sections(text)?;
        sections.iter().map(|it| Ok((it.label.to_owned(), it.decode()?.to_vec()))).collect()
    }

    #[test]
    fn sections_are_found_between_other_text() {
        let text = "Bag Attributes\n-----BEGIN A B-----\nAQ\nID\r\n-----END A B-----  \n\nmore\n\
                    -----BEGIN C-----\nBA==\n-----END C-----";
        let expected = [("A B".to_owned(), vec![1, 2, 3]), ("C".to_owned(), vec![4])];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("nothing at all").unwrap(), []);
        let carriage_returns =
            "B\r-----BEGIN A B-----\rAQ\rID\r-----END A B-----\r-----BEGIN C-----\rBA==\n-----END C-----";
        assert_eq!(read(carriage_returns).unwrap(), expected);
    }

    #[test]
    fn incomplete_sections_are_refused() {
        for text in [
            "-----BEGIN A-----\nAQID\n",
            "-----END A-----\n",
            "-----BEGIN A-----\nAQID\n-----END B-----\n",
            "-----BEGIN A-----\n-----BEGIN A-----\nAQID\n-----END A-----\n",
            "-----BEGIN A----\nAQID\n-----END A-----\n",
            "-----BEGIN A-----\n-----END A-----\n",
            "-----BEGIN A-----\nAQI\n-----END A-----\n",
            "-----BEGIN A-----\nAQJ=\n-----END A-----\n",
            "-----BEGIN A-----\nName: value\n\nAQID\n-----END A-----\n",
            "-----BEGIN A-----\nAQID\r-----BEGIN B-----\nAQID\n-----END A-----\n",
        ] {
            assert_eq!(read(text), Err(NotPem), "{text:?}");
        }
    }
}

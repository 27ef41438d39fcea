//! A reply of a signer: JSON with a document in base64.

use attestation::MAX_DOCUMENT_BYTES;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;

use crate::doubt::Doubt;
use crate::key_proof::{Origin, PublicKey};

/// Longest reply: a document of 16 KiB is 21,848 characters, and a key proof has 150 more.
pub const MAX_REPLY_BYTES: usize = 24 * 1024;

/// Of `GET /.well-known/attestation`. Other members are ignored; one of these twice is refused.
#[derive(Deserialize)]
struct EndpointReply {
    attestation_doc: String,
}

/// Of `POST /internal/attest`.
#[derive(Deserialize)]
struct KeyReply {
    attestation_doc: String,
    public_key: String,
    origin: String,
}

/// The reply's claims about a key, besides its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) public_key: PublicKey,
    pub(crate) origin: Origin,
}

/// The document in the endpoint's reply.
pub(crate) fn document(reply: &[u8]) -> Result<Vec<u8>, Doubt> {
    let reply: EndpointReply = read(reply)?;
    decode(&reply.attestation_doc)
}

/// The document in the reply about a key, and what the reply says.
pub(crate) fn document_and_claim(reply: &[u8]) -> Result<(Vec<u8>, Claim), Doubt> {
    let reply: KeyReply = read(reply)?;
    let public_key = reply.public_key.parse().map_err(|_| Doubt::NotJson)?;
    let origin = Origin::from_name(&reply.origin).ok_or(Doubt::NotJson)?;
    Ok((decode(&reply.attestation_doc)?, Claim { public_key, origin }))
}

fn read<'r, T: Deserialize<'r>>(reply: &'r [u8]) -> Result<T, Doubt> {
    if reply.len() > MAX_REPLY_BYTES {
        return Err(Doubt::TooLong);
    }
    // To serde, a list of the members' values in their order is one of these, too.
    if reply.trim_ascii_start().first() != Some(&b'{') {
        return Err(Doubt::NotJson);
    }
    serde_json::from_slice(reply).map_err(|_| Doubt::NotJson)
}

/// Padded, without line breaks, in its one spelling.
pub(crate) fn decode(base64: &str) -> Result<Vec<u8>, Doubt> {
    let document = Base64::decode_vec(base64).map_err(|_| Doubt::NotBase64)?;
    if document.len() > MAX_DOCUMENT_BYTES { Err(Doubt::TooLong) } else { Ok(document) }
}

#[cfg(test)]
mod tests {
    use super::{MAX_REPLY_BYTES, document, document_and_claim};
    use crate::doubt::Doubt;
    use crate::key_proof::Origin;

    #[test]
    fn a_reply_is_read_one_way() {
        assert_eq!(document(br#"{"attestation_doc":"hEQ="}"#), Ok(vec![0x84, 0x44]));
        assert_eq!(document(br#" {"new": [1], "attestation_doc": "hEQ="} "#), Ok(vec![0x84, 0x44]));
        for (reply, doubt) in [
            ("", Doubt::NotJson),
            ("<html>", Doubt::NotJson),
            ("{}", Doubt::NotJson),
            (r#"{"error":"Not found"}"#, Doubt::NotJson),
            (r#"{"attestation_doc":null}"#, Doubt::NotJson),
            (r#"{"attestation_doc":"hEQ="}x"#, Doubt::NotJson),
            (r#"{"attestation_doc":"hEQ=","attestation_doc":"hEQ="}"#, Doubt::NotJson),
            (r#"["hEQ="]"#, Doubt::NotJson),
            (r#"{"attestation_doc":"hEQ"}"#, Doubt::NotBase64),
            (r#"{"attestation_doc":"hER="}"#, Doubt::NotBase64),
            (r#"{"attestation_doc":"hEQ=\n"}"#, Doubt::NotBase64),
            (r#"{"attestation_doc":"_-Q="}"#, Doubt::NotBase64),
        ] {
            assert_eq!(document(reply.as_bytes()), Err(doubt), "{reply}");
        }
        assert_eq!(document(&vec![b' '; MAX_REPLY_BYTES + 1]), Err(Doubt::TooLong));
        let long = format!(r#"{{"attestation_doc":"{}"}}"#, "AAAA".repeat(16 * 1024 / 3 + 1));
        assert_eq!(document(long.as_bytes()), Err(Doubt::TooLong));
    }

    #[test]
    fn a_reply_about_a_key_says_which_and_whence() {
        let key = format!("02{}", "ab".repeat(32));
        let reply = |key: &str, origin: &str| {
            let reply = format!(r#"{{"attestation_doc":"hEQ=","public_key":"{key}","origin":"{origin}"}}"#);
            document_and_claim(reply.as_bytes())
        };
        let (document, claim) = reply(&key, "imported").unwrap();
        assert_eq!(
            (document, claim.public_key.to_string(), claim.origin),
            (vec![0x84, 0x44], key.clone(), Origin::Imported)
        );
        assert_eq!(reply(&key[2..], "imported"), Err(Doubt::NotJson));
        assert_eq!(reply(&key, "born"), Err(Doubt::NotJson));
        assert_eq!(document_and_claim(br#"{"attestation_doc":"hEQ="}"#), Err(Doubt::NotJson));
    }
}

//! Documents about signing keys.

use base64ct::{Base64, Encoding as _};
use verification::{AttestedKey, Doubt, KeyProof, Nonce, Origin, PublicKey, verify_key};

use crate::draft::Draft;
use crate::{NONCE, NOW_UNIX_MS, TLS_KEY, cbor, document, expectation, good, reply, verdict};

const IDENTITY: [u8; 16] = [0x22; 16];

fn public_key() -> PublicKey {
    format!("03{}", "5c".repeat(32)).parse().unwrap()
}

/// A document about this key, with what else the endpoint's would have.
pub(crate) fn about(origin: Origin) -> Draft {
    let proof = KeyProof { identity: IDENTITY, public_key: public_key() };
    good().with("user_data", cbor::bytes(&proof.digest(origin)))
}

fn verdict_on(draft: &Draft, origin: &str, identity: [u8; 16], tls_key: &[u8]) -> Result<AttestedKey, Doubt> {
    let reply = format!(
        r#"{{"attestation_doc":"{}","public_key":"{}","origin":"{origin}"}}"#,
        Base64::encode_string(&document(draft)),
        public_key()
    );
    let nonce = Nonce::from_bytes(NONCE);
    verify_key(reply.as_bytes(), identity, &nonce, Some(tls_key), &expectation(), NOW_UNIX_MS)
}

#[test]
fn an_enclave_says_where_a_key_is_from() {
    for origin in [Origin::Generated, Origin::Imported] {
        let key = verdict_on(&about(origin), origin.as_str(), IDENTITY, TLS_KEY).unwrap();
        assert_eq!((key.public_key, key.origin), (public_key(), origin));
    }
}

#[test]
fn what_is_not_said_of_this_key_is_doubted() {
    let doubt =
        |draft: &Draft, origin, identity, tls_key| verdict_on(draft, origin, identity, tls_key).unwrap_err();
    let imported = about(Origin::Imported);
    assert_eq!(doubt(&imported, "generated", IDENTITY, TLS_KEY), Doubt::OriginMisstated(Origin::Imported));
    assert_eq!(doubt(&imported, "imported", [0x23; 16], TLS_KEY), Doubt::NotOfThisKey);
    assert_eq!(doubt(&imported, "imported", IDENTITY, b"another"), Doubt::OtherTlsKey);
    assert_eq!(doubt(&good(), "imported", IDENTITY, TLS_KEY), Doubt::NotOfThisKey, "the endpoint's");
    let old = imported.with("nonce", cbor::bytes(&[1; 32]));
    assert_eq!(doubt(&old, "imported", IDENTITY, TLS_KEY), Doubt::Replayed);
}

/// A holder of the API key chooses identity and nonce. With them it cannot pass for the endpoint.
#[test]
fn a_document_about_a_key_is_not_the_endpoints() {
    let shown = verdict(&reply(&document(&about(Origin::Generated))), Some(TLS_KEY), &expectation());
    assert_eq!(shown, Err(Doubt::NotOfTheEndpoint));
}

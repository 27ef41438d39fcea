//! The P-256 key of the ACME account, which signs requests (RFC 8555 §6.2, RFC 7515, RFC 7638).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::AcmeError;

/// The length of a P-256 coordinate.
const COORDINATE_BYTES: usize = 32;

/// A holder of the key can order certificates in the signer's name, for names whose validation it can answer.
pub struct AccountKey(EcdsaKeyPair);

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AccountKey").finish_non_exhaustive()
    }
}

/// How a request names its key: by the key itself before the account exists, then by the account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signer<'a> {
    /// Puts the public key into each request.
    Key(&'a AccountKey),
    /// Puts the account's URL into each request.
    Account(&'a AccountKey, &'a str),
}

impl AccountKey {
    /// Generates a key.
    pub(crate) fn generate() -> Result<Self, AcmeError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| AcmeError::Ourselves("the key of the acme account cannot be generated"))
    }

    /// Parses a stored key. `None` if it is invalid.
    #[must_use]
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok().map(Self)
    }

    /// The key in PKCS#8, to store. `None` if it cannot be encoded.
    pub(crate) fn pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.to_pkcs8v1().ok().map(|document| Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The SHA-256 of the key authorization (RFC 8555 §8.1), which TLS-ALPN-01 presents (RFC 8737 §3).
    pub(crate) fn key_authorization_digest(&self, token: &str) -> [u8; 32] {
        Sha256::digest(format!("{token}.{}", self.thumbprint())).into()
    }

    fn coordinates(&self) -> [String; 2] {
        // 4 ‖ x ‖ y
        let point = self.0.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len().min(COORDINATE_BYTES));
        [x, y].map(Base64UrlUnpadded::encode_string)
    }

    fn jwk(&self) -> Value {
        let [x, y] = self.coordinates();
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    }

    /// RFC 7638: members in alphabetical order, without blanks.
    fn thumbprint(&self) -> String {
        let [x, y] = self.coordinates();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Base64UrlUnpadded::encode_string(&Sha256::digest(text))
    }
}

impl Signer<'_> {
    /// A request to `url`: a flattened JWS. Without a payload it is a POST-as-GET (RFC 8555 §6.3).
    pub(crate) fn request(
        &self,
        url: &str,
        nonce: &str,
        payload: Option<&Value>,
    ) -> Result<String, AcmeError> {
        let (key, protected) = match self {
            Self::Key(key) => (key, json!({"alg": "ES256", "jwk": key.jwk(), "nonce": nonce, "url": url})),
            Self::Account(key, account) => {
                (key, json!({"alg": "ES256", "kid": account, "nonce": nonce, "url": url}))
            }
        };
        let protected = Base64UrlUnpadded::encode_string(protected.to_string().as_bytes());
        let payload = payload.map(Value::to_string).unwrap_or_default();
        let payload = Base64UrlUnpadded::encode_string(payload.as_bytes());
        let signature = key
            .0
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .map_err(|_| AcmeError::Ourselves("the key of the acme account cannot sign"))?;
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        Ok(json!({"protected": protected, "payload": payload, "signature": signature}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    use serde_json::{Value, json};

    use super::{AccountKey, Signer};

    /// By OpenSSL: `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -outform DER |
    /// base64 -w0`
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHYQ2n+EDtyrPwSV39ZK/piHSxcI6sCjNe4y6h+yj+I6hRANCAARRZfyh33YOTKXS8vJ0pd9VkhS3zFxziqfO3A5SJEr61fVM7aLpxYBxFjmKnXYVAo2jhtOlQqR+B7aIEfI6o5Jf";

    /// Python's `hashlib` over the output of `openssl pkey -pubout`, per RFC 7638 §3.
    const THUMBPRINT: &str = "yVPxGPa15aGrlcomOAuFaUE9YdbaUPD0sf7Sjt-gPa8";

    fn key() -> AccountKey {
        AccountKey::from_pkcs8(&base64ct::Base64::decode_vec(KEY).unwrap()).unwrap()
    }

    #[test]
    fn a_thumbprint_equals_that_of_another_implementation() {
        assert_eq!(key().thumbprint(), THUMBPRINT);
        assert_eq!(
            hex::encode(key().key_authorization_digest("token")),
            "d617db3dd3def2cace993ca63e5bbb9940641f6b848148ba55b9ff05c68924dd"
        );
    }

    #[test]
    fn a_request_is_a_jws_over_its_header_and_payload() {
        let key = key();
        let payload = json!({"a": 1});
        for (signer, member) in [(Signer::Key(&key), "jwk"), (Signer::Account(&key, "https://a/1"), "kid")] {
            for payload in [None, Some(&payload)] {
                let text = signer.request("https://a/x", "nonce", payload).unwrap();
                let jws: Value = serde_json::from_str(&text).unwrap();
                let part = |name: &str| jws[name].as_str().unwrap().to_owned();
                let decoded = |name: &str| Base64UrlUnpadded::decode_vec(&part(name)).unwrap();
                let header: Value = serde_json::from_slice(&decoded("protected")).unwrap();
                assert_eq!(header["alg"], "ES256");
                assert_eq!((&header["nonce"], &header["url"]), (&json!("nonce"), &json!("https://a/x")));
                assert_eq!(header.as_object().unwrap().len(), 4);
                assert!(header.get(member).is_some());
                assert_eq!(decoded("payload"), payload.map(Value::to_string).unwrap_or_default().as_bytes());
                let signed = format!("{}.{}", part("protected"), part("payload"));
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.0.public_key())
                    .verify(signed.as_bytes(), &decoded("signature"))
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        let new = AccountKey::generate().unwrap();
        let kept = AccountKey::from_pkcs8(&new.pkcs8().unwrap()).unwrap();
        assert_eq!(kept.thumbprint(), new.thumbprint());
        assert!(AccountKey::from_pkcs8(b"").is_none());
        assert!(AccountKey::from_pkcs8(&new.pkcs8().unwrap()[1..]).is_none());
    }
}

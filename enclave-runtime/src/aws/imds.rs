//! The instance metadata service, version 2, spoken by the enclave itself; the parent moves its bytes
//! (AWS, EC2 user guide, "Use the Instance Metadata Service to access instance metadata").
//!
//! What comes back is the parent's to choose: it can hand us any credentials. They only let us ask KMS, and what KMS
//! answers is decided by the key policy and by what our attestation document says.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

use super::http_client::HttpClient;
use crate::relay::Relay;

/// For everything: it is a service of the same machine.
const DEADLINE: Duration = Duration::from_secs(3);

const ADDRESS: &str = "169.254.169.254";

const TOKEN_PATH: &str = "/latest/api/token";

/// A token is for one visit.
const TOKEN_TTL_S: &str = "60";

const ROLES_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// IAM's limit for the name of a role.
const MAX_ROLE_NAME_BYTES: usize = 64;

/// IAM's limit for the id of an access key.
const MAX_KEY_ID_BYTES: usize = 128;

/// IAM's keys are 40 bytes; this is only to have a limit.
const MAX_SECRET_BYTES: usize = 256;

/// STS sets no limit and warns that tokens grow; those of instances are about 1 KiB.
const MAX_SESSION_TOKEN_BYTES: usize = 16 * 1024;

/// IMDS says 56 bytes of base64; more than this is something else.
const MAX_TOKEN_BYTES: usize = 1024;

/// Why there are no credentials, in words for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoCredentials(pub(crate) &'static str);

impl std::fmt::Display for NoCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for NoCredentials {}

/// Credentials of the instance's role, and until when.
pub(crate) struct Issued {
    pub(crate) credentials: Credentials,
    pub(crate) expiry: SystemTime,
}

/// The metadata service behind `relay`.
#[derive(Debug)]
pub(crate) struct Imds {
    relay: Relay,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsDocument {
    code: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

impl Imds {
    pub(crate) const fn new(relay: Relay) -> Self {
        Self { relay }
    }

    /// Asks for the role's name, which can change, and for its credentials.
    pub(crate) async fn credentials(&self) -> Result<Issued, NoCredentials> {
        timeout(DEADLINE, self.visit())
            .await
            .unwrap_or(Err(NoCredentials("the metadata service does not answer in time")))
    }

    async fn visit(&self) -> Result<Issued, NoCredentials> {
        let stream = self
            .relay
            .dial()
            .await
            .map_err(|_| NoCredentials("the relay to the metadata service cannot be reached"))?;
        let mut client = HttpClient::over(stream)
            .await
            .map_err(|_| NoCredentials("the relay to the metadata service cannot be used"))?;

        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_S);
        let token = ask(&mut client, Method::PUT, TOKEN_PATH, ttl).await?;
        let token = text(&token, MAX_TOKEN_BYTES).ok_or(NoCredentials("its token is no text"))?;
        let token = ("x-aws-ec2-metadata-token", token);
        let roles = ask(&mut client, Method::GET, ROLES_PATH, token).await?;
        let role = text(roles.trim_ascii(), MAX_ROLE_NAME_BYTES)
            .filter(|role| role.bytes().all(is_of_role_names))
            .ok_or(NoCredentials("the instance has no role"))?;
        let document = ask(&mut client, Method::GET, &format!("{ROLES_PATH}{role}"), token).await?;
        parse(&document)
    }
}

async fn ask(
    client: &mut HttpClient,
    method: Method,
    path: &str,
    (name, value): (&str, &str),
) -> Result<Bytes, NoCredentials> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, ADDRESS)
        .header(name, value)
        .body(Full::default())
        .map_err(|_| NoCredentials("its answer cannot be asked with"))?;
    let response = client
        .exchange(request)
        .await
        .map_err(|_| NoCredentials("the connection to the metadata service was cut"))?;
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        StatusCode::FORBIDDEN => Err(NoCredentials("the metadata service is disabled")),
        StatusCode::NOT_FOUND => Err(NoCredentials("the instance has no role")),
        StatusCode::UNAUTHORIZED => Err(NoCredentials("the metadata service refuses its own token")),
        _ => Err(NoCredentials("the metadata service answers with an error")),
    }
}

fn parse(document: &[u8]) -> Result<Issued, NoCredentials> {
    const INCOMPLETE: NoCredentials = NoCredentials("the credentials document is not as documented");
    let document: CredentialsDocument = serde_json::from_slice(document).map_err(|_| INCOMPLETE)?;
    if document.code != "Success" {
        return Err(NoCredentials("the instance's role cannot be assumed"));
    }
    let expiry = document.expiration.as_deref().ok_or(INCOMPLETE)?;
    let expiry: SystemTime = OffsetDateTime::parse(expiry, &Rfc3339).map_err(|_| INCOMPLETE)?.into();
    // Id and token become headers: the signing crate panics on an id that cannot.
    let checked = |member: Option<String>, max_bytes| {
        member.filter(|member| text(member.as_bytes(), max_bytes).is_some()).ok_or(INCOMPLETE)
    };
    let credentials = Credentials::new(
        checked(document.access_key_id, MAX_KEY_ID_BYTES)?,
        checked(document.secret_access_key, MAX_SECRET_BYTES)?,
        Some(checked(document.token, MAX_SESSION_TOKEN_BYTES)?),
        Some(expiry),
        "imds",
    );
    Ok(Issued { credentials, expiry })
}

/// Visible ASCII, so that it may stand in a header.
fn text(bytes: &[u8], max_bytes: usize) -> Option<&str> {
    let is_text = !bytes.is_empty() && bytes.len() <= max_bytes && bytes.iter().all(u8::is_ascii_graphic);
    is_text.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// `[\w+=,.@-]`, IAM's rule.
fn is_of_role_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{is_of_role_names, parse, text};

    /// From the user guide, "Retrieve security credentials from instance metadata".
    const FROM_THE_GUIDE: &str = r#"{
        "Code" : "Success",
        "LastUpdated" : "2012-04-26T16:39:16Z",
        "Type" : "AWS-HMAC",
        "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
        "SecretAccessKey" : "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "Token" : "token",
        "Expiration" : "2017-05-17T15:09:54Z"
    }"#;

    #[test]
    fn reads_the_documented_answer() {
        let issued = parse(FROM_THE_GUIDE.as_bytes()).unwrap();
        assert_eq!(issued.expiry, UNIX_EPOCH + Duration::from_secs(1_495_033_794));
        assert_eq!(issued.credentials.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
        assert_eq!(issued.credentials.session_token(), Some("token"));
    }

    #[test]
    fn what_is_not_as_documented_is_refused() {
        for (part, instead) in [
            ("\"Success\"", "\"AssumeRoleUnauthorizedAccess\""),
            ("AccessKeyId", "accesskeyid"),
            ("SecretAccessKey", "Secret"),
            ("\"Token\" :", "\"Tokens\" :"),
            ("\"Expiration\" :", "\"Expires\" :"),
            ("2017-05-17T15:09:54Z", "2017-05-17"),
            ("\"token\"", "7"),
            ("\"token\"", "\"\""),
            ("\"token\"", "\"a\\u0001b\""),
            ("ASIAIOSFODNN7EXAMPLE", "AKIA\\u0001X"),
            ("ASIAIOSFODNN7EXAMPLE", "AKIA\\r\\nx-evil: 1"),
            ("ASIAIOSFODNN7EXAMPLE", "\u{e4}"),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", " "),
            ("{", "["),
        ] {
            assert!(parse(FROM_THE_GUIDE.replacen(part, instead, 1).as_bytes()).is_err(), "{part}");
        }
    }

    #[test]
    fn a_token_or_a_role_cannot_break_out_of_its_place() {
        for bad in ["", "a b", "a\r\nx: y", "a\0", "\u{e4}"] {
            assert_eq!(text(bad.as_bytes(), 64), None, "{bad:?}");
        }
        assert_eq!(text(b"abc", 2), None);
        assert!("role-1_+=,.@".bytes().all(is_of_role_names));
        assert!(!"../x?#%".bytes().any(|byte| is_of_role_names(byte) && byte != b'.' && byte != b'x'));
    }
}

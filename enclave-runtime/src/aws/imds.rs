//! A client of the instance metadata service, version 2 (AWS, EC2 user guide, "Use the Instance Metadata Service to
//! access instance metadata"). The parent moves its bytes. The service closes each connection after its answer, and
//! some instances answer in HTTP/1.0: `infra/tests/transcripts/imds` has the bytes.
//!
//! The parent chooses the answer: it can hand out any credentials. They only permit requests to KMS. The key policy and
//! the attestation document decide the answers of KMS.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
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

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

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
        let mut session = Session { imds: self, token: self.token().await?, renewed: false };
        let roles = session.get(ROLES_PATH).await?;
        let role = text(roles.trim_ascii(), MAX_ROLE_NAME_BYTES)
            .filter(|role| role.bytes().all(is_of_role_names))
            .ok_or(NoCredentials("the metadata service's answer is not the name of a role"))?;
        let document = session.get(&format!("{ROLES_PATH}{role}")).await?;
        parse(&document)
    }

    async fn token(&self) -> Result<String, NoCredentials> {
        let answer = self.ask(Method::PUT, TOKEN_PATH, (TTL_HEADER, TOKEN_TTL_S)).await?;
        let token = body_of(answer)?;
        let token = text(&token, MAX_TOKEN_BYTES);
        token.map(str::to_owned).ok_or(NoCredentials("the metadata service's answer is not a token"))
    }

    /// Sends one request on a connection of its own: the service closes it after the answer, whatever the request asks
    /// for.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        (name, value): (&str, &str),
    ) -> Result<Response<Bytes>, NoCredentials> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, ADDRESS)
            .header(name, value)
            .body(Full::default())
            .map_err(|_| NoCredentials("the metadata service's answer cannot be used in a request"))?;
        let stream = self
            .relay
            .dial()
            .await
            .map_err(|_| NoCredentials("the relay to the metadata service cannot be reached"))?;
        let mut client = HttpClient::over(stream)
            .await
            .map_err(|_| NoCredentials("the relay to the metadata service cannot be used"))?;
        client.exchange(request).await.map_err(|_| {
            NoCredentials(
                "the connection to the metadata service ended before a whole answer, or it is not HTTP",
            )
        })
    }
}

/// A visit with a token, which is renewed once: it may have expired on the way.
struct Session<'a> {
    imds: &'a Imds,
    token: String,
    renewed: bool,
}

impl Session<'_> {
    async fn get(&mut self, path: &str) -> Result<Bytes, NoCredentials> {
        let mut answer = self.imds.ask(Method::GET, path, (TOKEN_HEADER, &self.token)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && !self.renewed {
            self.renewed = true;
            self.token = self.imds.token().await?;
            answer = self.imds.ask(Method::GET, path, (TOKEN_HEADER, &self.token)).await?;
        }
        body_of(answer)
    }
}

fn body_of(answer: Response<Bytes>) -> Result<Bytes, NoCredentials> {
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        StatusCode::UNAUTHORIZED => {
            Err(NoCredentials("the metadata service refused two tokens that it issued"))
        }
        StatusCode::FORBIDDEN => Err(NoCredentials("the metadata service is disabled for this instance")),
        StatusCode::NOT_FOUND => Err(NoCredentials("the instance has no role")),
        _ => Err(NoCredentials("the metadata service answered with an unexpected status")),
    }
}

fn parse(document: &[u8]) -> Result<Issued, NoCredentials> {
    const INCOMPLETE: NoCredentials = NoCredentials("the credentials document is not as documented");
    let document: CredentialsDocument = serde_json::from_slice(document).map_err(|_| INCOMPLETE)?;
    if document.code != "Success" {
        return Err(NoCredentials(
            "EC2 cannot assume the instance's role; its trust policy has to name ec2.amazonaws.com",
        ));
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

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use transport::{Address, Listener};

    use super::{Imds, Issued, NoCredentials, TOKEN_HEADER, is_of_role_names, parse, text};
    use crate::relay::Relay;

    /// The names of files in `infra/tests/transcripts/imds`, and what is in them.
    macro_rules! transcripts {
        ($($name:ident: $file:literal,)*) => {
            $(const $name: &str = include_str!(concat!("../../../infra/tests/transcripts/imds/", $file));)*
        };
    }

    transcripts! {
        TOKEN: "token-200.http",
        ROLE: "role-200.http",
        ROLE_1_0: "role-200-http-1.0.http",
        CREDENTIALS: "credentials-200.http",
        CREDENTIALS_1_0: "credentials-200-http-1.0.http",
        NOT_ASSUMABLE: "role-not-assumable-200.http",
        NO_ROLE: "no-role-404.http",
        UNAUTHORIZED: "unauthorized-401.http",
        UNAUTHORIZED_PAGE: "unauthorized-401-page.http",
        FORBIDDEN: "forbidden-403.http",
    }

    fn on_the_wire(transcript: &str) -> Vec<u8> {
        let (head, body) = transcript.split_once("\n\n").unwrap();
        // The file ends in a line break, which the body does not.
        let body = if body.starts_with("<?xml") { body } else { body.trim_end() };
        format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
    }

    /// The result of a visit with these answers, one on each connection, and the requests that it sent.
    async fn visit(answers: &[Vec<u8>]) -> (Result<Issued, NoCredentials>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("imds").display()).parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let serve = async {
            let mut requests = Vec::new();
            for answer in answers {
                let mut stream = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer).await.unwrap();
                requests.push(String::from_utf8(request).unwrap());
            }
            requests
        };
        let imds = Imds::new(Relay::at(address));
        tokio::pin!(serve);
        let mut requests = None;
        let outcome = {
            let asked = imds.credentials();
            tokio::pin!(asked);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut asked => break outcome,
                    served = &mut serve, if requests.is_none() => requests = Some(served),
                }
            }
        };
        (outcome, requests.expect("each answer is asked for"))
    }

    async fn visit_transcripts(transcripts: &[&str]) -> (Result<Issued, NoCredentials>, Vec<String>) {
        visit(&transcripts.iter().map(|transcript| on_the_wire(transcript)).collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn a_service_that_closes_every_connection_gives_credentials() {
        for answers in [[TOKEN, ROLE, CREDENTIALS], [TOKEN, ROLE_1_0, CREDENTIALS_1_0]] {
            let (issued, requests) = visit_transcripts(&answers).await;
            assert_eq!(issued.unwrap().credentials.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
            assert!(requests[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{}", requests[0]);
            assert!(
                requests[2].starts_with("GET /latest/meta-data/iam/security-credentials/s3-test-role-1 ")
            );
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_once() {
        for refusal in [UNAUTHORIZED, UNAUTHORIZED_PAGE] {
            let (issued, requests) = visit_transcripts(&[TOKEN, refusal, TOKEN, ROLE, CREDENTIALS]).await;
            issued.unwrap();
            assert!(requests[3].contains(TOKEN_HEADER), "{}", requests[3]);
            for refused_twice in
                [&[TOKEN, refusal, TOKEN, refusal][..], &[TOKEN, refusal, TOKEN, ROLE, refusal]]
            {
                let (outcome, _) = visit_transcripts(refused_twice).await;
                assert!(outcome.err().unwrap().0.contains("refused two tokens"));
            }
        }
    }

    #[tokio::test]
    async fn each_way_to_have_no_credentials_has_its_own_words() {
        let page = format!("HTTP/1.1 200 OK\n{}", NO_ROLE.split_once('\n').unwrap().1);
        for (answers, words) in [
            (&[FORBIDDEN][..], "disabled"),
            (&[TOKEN, FORBIDDEN], "disabled"),
            (&[TOKEN, NO_ROLE], "has no role"),
            (&[TOKEN, ROLE, NO_ROLE], "has no role"),
            (&[TOKEN, ROLE, NOT_ASSUMABLE], "cannot assume"),
            (&[&page], "not a token"),
            (&[TOKEN, &page], "not the name of a role"),
            (&[TOKEN, ROLE, &page], "not as documented"),
            (&["SSH-2.0-OpenSSH_8.7\n\n"], "not HTTP"),
        ] {
            let (outcome, _) = visit_transcripts(answers).await;
            let said = outcome.err().unwrap().0;
            assert!(said.contains(words), "{said}, not {words}");
        }
    }

    #[tokio::test]
    async fn an_answer_cut_at_any_byte_gives_no_credentials() {
        let whole = [TOKEN, ROLE, CREDENTIALS].map(on_the_wire);
        for cut in 0..whole.len() {
            for at in 0..whole[cut].len() {
                let mut answers = whole[..=cut].to_vec();
                answers[cut].truncate(at);
                let (outcome, _) = visit(&answers).await;
                assert!(outcome.is_err(), "answer {cut}, cut at {at}");
            }
        }
    }

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

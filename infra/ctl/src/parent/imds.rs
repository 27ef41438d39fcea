//! A client of the instance metadata service on the parent. The service closes each connection after its answer:
//! `infra/tests/transcripts/imds` has the bytes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde::Deserialize;
use tokio::time::timeout;

use crate::connection::{Answer, Client, Unreachable};
use crate::endpoint::Endpoint;
use crate::tls_trust::TlsTrust;

/// It is a service of the same machine.
const DEADLINE: Duration = Duration::from_secs(3);

/// A token is for one visit.
const TOKEN_TTL_S: &str = "60";

/// A token has 56 characters, the name of a role 64, a list of security groups 5 times 21.
const MAX_VALUE_BYTES: usize = 1024;

/// The token of a visit.
pub const TOKEN_PATH: &str = "/latest/api/token";

/// The names of the roles of this instance: one, or a 404.
pub const ROLES_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// Why the service gave no value.
#[derive(Debug)]
pub enum ImdsError {
    /// It was not reached, or its bytes are no HTTP.
    Unreachable(&'static str, Unreachable),
    /// It does not answer in time: packets get lost.
    Late(&'static str),
    /// It refused with this status.
    Status(String, u16),
    /// It answered 200 with an unexpected text.
    Unexpected(String, &'static str),
}

impl fmt::Display for ImdsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(method, error) => write!(formatter, "{method}: {error}"),
            Self::Late(method) => write!(formatter, "{method}: no answer within {} s", DEADLINE.as_secs()),
            Self::Status(request, status) => write!(formatter, "{request}: status {status}"),
            Self::Unexpected(request, wanted) => {
                write!(formatter, "{request}: expected {wanted}, got another text")
            }
        }
    }
}

impl std::error::Error for ImdsError {}

impl ImdsError {
    /// The status, if it refused with one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(_, status) => Some(*status),
            _ => None,
        }
    }
}

/// The role of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has credentials.
    Usable(String),
    /// The service has this code instead of credentials.
    Broken {
        /// The role.
        name: String,
        /// Such as `AssumeRoleUnauthorizedAccess`.
        code: String,
    },
}

/// The metadata service.
pub struct Imds {
    client: Client,
}

/// The token that permits a visit.
pub struct Token(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsDocument {
    code: String,
}

impl Imds {
    /// The one at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { client: Client::new(endpoint, &TlsTrust::WebPki) }
    }

    /// Asks for a token, as IMDSv2 has it.
    ///
    /// # Errors
    /// [`ImdsError`]
    pub async fn token(&self) -> Result<Token, ImdsError> {
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_S);
        let answer = self.ask(Method::PUT, TOKEN_PATH, Some(header)).await?;
        value("PUT", TOKEN_PATH, answer, "a token").map(Token)
    }

    /// The status of a request without a token: 401 where IMDSv2 is required.
    ///
    /// # Errors
    /// [`ImdsError`]
    pub async fn status_without_token(&self) -> Result<u16, ImdsError> {
        Ok(self.ask(Method::GET, "/latest/meta-data/", None).await?.status)
    }

    /// The words at `path`, one a line; `wanted` describes them for errors.
    ///
    /// # Errors
    /// [`ImdsError`]
    pub async fn get(&self, token: &Token, path: &str, wanted: &'static str) -> Result<String, ImdsError> {
        value("GET", path, self.get_answer(token, path).await?, wanted)
    }

    /// The role of the instance, and whether it has credentials.
    ///
    /// # Errors
    /// [`ImdsError`]; without a role, its status is 404.
    pub async fn role(&self, token: &Token) -> Result<Role, ImdsError> {
        let name = self.get(token, ROLES_PATH, "the name of a role").await?;
        let path = format!("{ROLES_PATH}{name}");
        let answer = self.get_answer(token, &path).await?;
        let answer = success("GET", &path, answer)?;
        let document: Result<CredentialsDocument, _> = serde_json::from_slice(&answer.body);
        let wanted = "JSON with the credentials of a role";
        let document = document.map_err(|_| ImdsError::Unexpected(format!("GET {path}"), wanted))?;
        if document.code == "Success" {
            Ok(Role::Usable(name))
        } else {
            Ok(Role::Broken { name, code: crate::printable::printable(&document.code, 100) })
        }
    }

    async fn get_answer(&self, token: &Token, path: &str) -> Result<Answer, ImdsError> {
        self.ask(Method::GET, path, Some(("x-aws-ec2-metadata-token", &token.0))).await
    }

    /// Sends one request on a connection of its own.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        header: Option<(&'static str, &str)>,
    ) -> Result<Answer, ImdsError> {
        let name = if method == Method::PUT { "PUT" } else { "GET" };
        let mut request = Request::builder().method(method).uri(path);
        if let Some((key, value)) = header {
            request = request.header(key, value);
        }
        let not_sent = |error| ImdsError::Unreachable(name, error);
        let request = request.body(Full::<Bytes>::default()).map_err(|_| not_sent(Unreachable::Cut))?;
        let exchange = async { self.client.connect().await?.exchange(request).await };
        timeout(DEADLINE, exchange).await.map_err(|_| ImdsError::Late(name))?.map_err(not_sent)
    }
}

fn success(method: &str, path: &str, answer: Answer) -> Result<Answer, ImdsError> {
    match answer.status {
        200 => Ok(answer),
        status => Err(ImdsError::Status(format!("{method} {path}"), status)),
    }
}

/// The body, if each of its lines is a word: no HTML, and nothing that could not be part of a path or a header.
fn value(method: &str, path: &str, answer: Answer, wanted: &'static str) -> Result<String, ImdsError> {
    let answer = success(method, path, answer)?;
    let is_of_words = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_:/-\n".contains(&byte);
    let text = std::str::from_utf8(answer.body.trim_ascii()).ok();
    let text =
        text.filter(|text| (1..=MAX_VALUE_BYTES).contains(&text.len()) && text.bytes().all(is_of_words));
    let unexpected = || ImdsError::Unexpected(format!("{method} {path}"), wanted);
    text.map(str::to_owned).ok_or_else(unexpected)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::{Imds, ImdsError, Role};

    fn transcript(name: &str) -> Vec<u8> {
        let path = format!("{}/../tests/transcripts/imds/{name}.http", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let body = if body.starts_with("<?xml") { body } else { body.trim_end_matches('\n') };
        format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
    }

    /// A service that gives these answers, one for each connection.
    pub(in super::super) fn serving(answers: Vec<Vec<u8>>) -> Imds {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    let length = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..length]);
                }
                stream.write_all(&answer).unwrap();
            }
        });
        Imds::new(url.parse().unwrap())
    }

    pub(in super::super) fn playing(names: &[&str]) -> Imds {
        serving(names.iter().map(|name| transcript(name)).collect())
    }

    async fn role(imds: Imds) -> Result<Role, ImdsError> {
        let token = imds.token().await?;
        imds.role(&token).await
    }

    #[tokio::test]
    async fn a_role_with_credentials_is_found() {
        for names in [
            ["token-200", "role-200", "credentials-200"],
            ["token-200", "role-200-http-1.0", "credentials-200-http-1.0"],
        ] {
            assert_eq!(role(playing(&names)).await.unwrap(), Role::Usable("s3-test-role-1".into()));
        }
    }

    #[tokio::test]
    async fn each_way_to_have_no_credentials_is_told_apart() {
        let broken = role(playing(&["token-200", "role-200", "role-not-assumable-200"])).await.unwrap();
        let code = "AssumeRoleUnauthorizedAccess".to_owned();
        assert_eq!(broken, Role::Broken { name: "s3-test-role-1".into(), code });
        let status = |result: Result<Role, ImdsError>| result.unwrap_err().status();
        assert_eq!(status(role(playing(&["token-200", "no-role-404"])).await), Some(404));
        assert_eq!(status(role(playing(&["forbidden-403"])).await), Some(403));
        for page in ["unauthorized-401", "unauthorized-401-page"] {
            assert_eq!(status(role(playing(&["token-200", page])).await), Some(401));
        }
    }

    #[tokio::test]
    async fn html_is_neither_a_token_nor_a_role_nor_credentials() {
        let page = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>".to_vec();
        let all = ["token-200", "role-200"].map(transcript);
        for (place, wanted) in [(0, "a token"), (1, "the name of a role"), (2, "JSON with the credentials")] {
            let mut answers = all[..place].to_vec();
            answers.push(page.clone());
            let error = role(serving(answers)).await.unwrap_err().to_string();
            assert!(error.contains(&format!("expected {wanted}")), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_none() {
        for names in [
            ["token-200", "role-200", "credentials-200"],
            ["token-200", "role-200-http-1.0", "credentials-200-http-1.0"],
            ["token-200", "role-200", "role-not-assumable-200"],
        ] {
            let whole = names.map(transcript);
            for (place, answer) in whole.iter().enumerate() {
                for length in 0..answer.len() {
                    let mut answers = whole[..place].to_vec();
                    answers.push(answer[..length].to_vec());
                    assert!(role(serving(answers)).await.is_err(), "{}: {length}", names[place]);
                }
            }
        }
    }
}

//! The credentials of requests to AWS: from the environment, or from the AWS CLI, which knows profiles, roles and
//! single sign-on.

use std::fmt;
use std::io::{self, Read as _};
use std::process::{Command, Stdio};

use aws_credential_types::Credentials;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::printable::printable;

/// The variables that every tool of AWS's reads.
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A session token has some 2 KiB.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// Longest explanation of the AWS CLI that is repeated.
const MAX_REASON_CHARS: usize = 300;

/// Why there are none.
#[derive(Debug)]
pub enum NoCredentials {
    /// The first variable is set, and this one is not.
    Half(&'static str),
    /// There are no variables, and no AWS CLI that could be asked.
    NoCommand(io::Error),
    /// The AWS CLI has none, and says this.
    Refused(String),
    /// The output of the AWS CLI holds no credentials.
    Unintelligible,
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Half(name) => write!(formatter, "no credentials: {name} is not set"),
            Self::NoCommand(error) => write!(
                formatter,
                "no credentials: set {} and {}, or install the AWS CLI, version 2, and log in ({error})",
                VARIABLES[0], VARIABLES[1]
            ),
            Self::Refused(reason) => write!(
                formatter,
                "no credentials: {} is not set, and `aws configure export-credentials` says: {reason}",
                VARIABLES[0]
            ),
            Self::Unintelligible => formatter.write_str(
                "no credentials: what `aws configure export-credentials` prints is not understood",
            ),
        }
    }
}

impl std::error::Error for NoCredentials {}

/// Takes those of the environment, or asks the AWS CLI.
///
/// # Errors
/// [`NoCredentials`]
pub fn find() -> Result<Credentials, NoCredentials> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let [access_key_id, secret_access_key, session_token] = VARIABLES.map(variable);
    match (access_key_id, secret_access_key) {
        (Some(id), Some(secret)) => Ok(Credentials::new(id, secret, session_token, None, "environment")),
        (Some(_), None) => Err(NoCredentials::Half(VARIABLES[1])),
        (None, Some(_)) => Err(NoCredentials::Half(VARIABLES[0])),
        (None, None) => ask_the_command(),
    }
}

fn ask_the_command() -> Result<Credentials, NoCredentials> {
    let mut child = Command::new("aws")
        .args(["configure", "export-credentials", "--format", "process"])
        // Ours may hold a secret.
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NoCredentials::NoCommand)?;
    // Of its final size at once: growing would leave copies behind.
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT_BYTES + 1));
    let mut reason = Vec::new();
    // It prints either, and both fit into a pipe's buffer.
    if let Some(pipe) = child.stdout.take() {
        let read = pipe.take(MAX_OUTPUT_BYTES as u64 + 1).read_to_end(&mut output);
        read.map_err(|_| NoCredentials::Unintelligible)?;
    }
    if let Some(pipe) = child.stderr.take() {
        let read = pipe.take(MAX_OUTPUT_BYTES as u64).read_to_end(&mut reason);
        read.map_err(|_| NoCredentials::Unintelligible)?;
    }
    let status = child.wait().map_err(NoCredentials::NoCommand)?;
    if !status.success() {
        return Err(NoCredentials::Refused(last_line(&reason)));
    }
    read(&output).ok_or(NoCredentials::Unintelligible)
}

/// The last line that is not empty.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
    printable(last, MAX_REASON_CHARS)
}

/// The output of `credential_process` (AWS SDKs and tools reference guide, "Process credential provider").
#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "Version")]
    version: u32,
    #[serde(rename = "AccessKeyId")]
    access_key_id: String,
    #[serde(rename = "SecretAccessKey")]
    secret_access_key: String,
    #[serde(rename = "SessionToken")]
    session_token: Option<String>,
}

impl Drop for Printed {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
        self.session_token.zeroize();
    }
}

fn read(output: &[u8]) -> Option<Credentials> {
    let mut printed: Printed = serde_json::from_slice(output).ok()?;
    if printed.version != 1 || printed.access_key_id.is_empty() || printed.secret_access_key.is_empty() {
        return None;
    }
    let take = std::mem::take::<String>;
    let (id, secret) = (take(&mut printed.access_key_id), take(&mut printed.secret_access_key));
    Some(Credentials::new(id, secret, printed.session_token.take(), None, "aws configure"))
}

#[cfg(test)]
mod tests {
    use super::{last_line, read};

    #[test]
    fn what_the_command_prints_is_read() {
        let text = r#"{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C",
            "Expiration": "2030-01-01T00:00:00Z"}"#;
        let credentials = read(text.as_bytes()).unwrap();
        assert_eq!((credentials.access_key_id(), credentials.secret_access_key()), ("A", "B"));
        assert_eq!(credentials.session_token(), Some("C"));
        assert!(!format!("{credentials:?}").contains("\"B\""));
        let long_term = r#"{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B"}"#;
        assert_eq!(read(long_term.as_bytes()).unwrap().session_token(), None);
        for wrong in ["", "{}", &long_term.replace('1', "2"), &long_term.replace("\"B\"", "\"\"")] {
            assert!(read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_eq!(
            last_line(b"\nOne\nThe SSO session has expired\x1b[0m\n\n"),
            r"The SSO session has expired\u{1b}[0m"
        );
        assert_eq!(last_line(b""), "nothing");
    }
}

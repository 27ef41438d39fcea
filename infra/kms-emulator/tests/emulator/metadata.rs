//! The metadata service beside what EC2's sends: `infra/tests/transcripts/imds`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::Fixture;
use crate::process::Emulator;

const TOKEN: &str = include_str!("../../../tests/transcripts/imds/token-200.http");
const ROLE: &str = include_str!("../../../tests/transcripts/imds/role-200.http");
const ROLE_1_0: &str = include_str!("../../../tests/transcripts/imds/role-200-http-1.0.http");
const CREDENTIALS: &str = include_str!("../../../tests/transcripts/imds/credentials-200.http");
const CREDENTIALS_1_0: &str = include_str!("../../../tests/transcripts/imds/credentials-200-http-1.0.http");
const NOT_ASSUMABLE: &str = include_str!("../../../tests/transcripts/imds/role-not-assumable-200.http");
const NO_ROLE: &str = include_str!("../../../tests/transcripts/imds/no-role-404.http");
const UNAUTHORIZED: &str = include_str!("../../../tests/transcripts/imds/unauthorized-401.http");
const UNAUTHORIZED_PAGE: &str = include_str!("../../../tests/transcripts/imds/unauthorized-401-page.http");
const FORBIDDEN: &str = include_str!("../../../tests/transcripts/imds/forbidden-403.http");

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Values that are another at each answer.
const VARYING: [&str; 4] =
    ["Date", "Last-Modified", "Content-Length", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"];

struct Answer {
    status_line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or_else(|| panic!("no end of the head: {text:?}"));
        let (status_line, headers) = head.split_once('\n').unwrap();
        let headers = headers.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Self { status_line: status_line.to_owned(), headers: headers.collect(), body: body.to_owned() }
    }

    /// Header names as they are spelled, their values where these do not vary, and the status line.
    fn shape(&self) -> (&str, BTreeMap<&str, Option<&str>>) {
        let headers = self.headers.iter().map(|(name, value)| {
            let value = Some(value.as_str()).filter(|_| !VARYING.contains(&name.as_str()));
            (name.as_str(), value)
        });
        (&self.status_line, headers.collect())
    }
}

struct Service(Emulator);

impl Service {
    fn behave(&self, behaviour: &str) {
        let request = format!(
            "POST /imds HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{behaviour}",
            behaviour.len()
        );
        let answer = exchange(&self.0.control_address, &request);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Sends one request that asks to keep the connection, and reads until the service closes it.
    fn ask(&self, method: &str, path: &str, header: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: keep-alive\r\n{header}\r\n\r\n"
        );
        Answer::parse(&exchange(&self.0.imds_address, &request))
    }

    fn token(&self) -> String {
        let answer = self.ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600");
        assert_eq!(answer.shape(), Answer::parse(TOKEN).shape());
        answer.body
    }

    fn get(&self, path: &str) -> Answer {
        let token = self.token();
        self.ask("GET", path, &format!("X-aws-ec2-metadata-token: {token}"))
    }
}

fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address.strip_prefix("tcp:").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the service closes the connection");
    answer
}

/// Each line of a document without what stands between the quotes of its value.
fn layout(document: &str) -> Vec<String> {
    let lines = document.trim_end().lines();
    let layout = lines.map(|line| match line.split_once(" : ") {
        Some((name, value)) => format!("{name} : {}", value.ends_with(',')),
        None => line.to_owned(),
    });
    layout.collect()
}

#[test]
fn the_metadata_service_answers_as_ec2s() {
    let fixture = Fixture::new();
    let service = Service(Emulator::start(&fixture, &[]));
    let credentials = format!("{ROLES}nitro-signer-instance");
    for (behaviour, role, document) in
        [("{}", ROLE, CREDENTIALS), (r#"{"http_1_0":true}"#, ROLE_1_0, CREDENTIALS_1_0)]
    {
        service.behave("{}");
        let token = service.token();
        service.behave(behaviour);
        let header = format!("X-aws-ec2-metadata-token: {token}");
        let answer = service.ask("GET", ROLES, &header);
        assert_eq!(answer.shape(), Answer::parse(role).shape());
        assert_eq!(answer.body, "nitro-signer-instance");
        let answer = service.ask("GET", &credentials, &header);
        let transcript = Answer::parse(document);
        assert_eq!(answer.shape(), transcript.shape());
        assert_eq!(layout(&answer.body), layout(&transcript.body));
        assert!(!answer.body.ends_with('\n'));
    }
    for (behaviour, path, transcript) in [
        (r#"{"refused_tokens":1}"#, ROLES, UNAUTHORIZED),
        (r#"{"refused_tokens":1,"unauthorized_page":true}"#, ROLES, UNAUTHORIZED_PAGE),
        (r#"{"trouble":"no_role"}"#, ROLES, NO_ROLE),
        (r#"{"trouble":"no_role"}"#, credentials.as_str(), NO_ROLE),
        ("{}", "/latest/meta-data/iam/security-credentials/another", NO_ROLE),
    ] {
        service.behave(behaviour);
        let answer = service.get(path);
        let transcript = Answer::parse(transcript);
        assert_eq!(answer.shape(), transcript.shape(), "{behaviour}");
        assert_eq!(answer.body, transcript.body, "{behaviour}");
    }
    service.behave(r#"{"trouble":"role_not_assumable"}"#);
    let answer = service.get(&credentials);
    let transcript = Answer::parse(NOT_ASSUMABLE);
    assert_eq!(answer.shape(), transcript.shape());
    assert_eq!(layout(&answer.body), layout(&transcript.body));
    service.behave(r#"{"trouble":"disabled"}"#);
    let answer = service.ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    assert_eq!(answer.shape(), Answer::parse(FORBIDDEN).shape());
}

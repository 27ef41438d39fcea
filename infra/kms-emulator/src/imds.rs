//! The instance metadata service, version 2, as far as credentials go. `infra/tests/transcripts/imds` has what EC2's
//! sends; this one sends the same headers, pages and layouts.

mod issuer;
mod tokens;

use std::sync::PoisonError;

use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_TYPE, DATE, HeaderValue, LAST_MODIFIED, LOCATION, SERVER,
};
use hyper::{Method, Request, StatusCode, Version};
use serde::Deserialize;

use crate::emulator::Emulator;
pub(crate) use crate::imds::issuer::Issuer;
use crate::imds::tokens::Tokens;
use crate::reply::{Dropped, Reply, with_body};

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

const TOKEN_PATH: &str = "/latest/api/token";
const ROLES_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// The answer of the service instead of credentials.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// It closes connections without an answer.
    Outage,
    /// It is switched off for this instance.
    Disabled,
    /// The instance has no instance profile.
    NoRole,
    /// The role does not trust EC2.
    RoleNotAssumable,
}

/// How the service behaves; a test sets all of it at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    trouble: Option<Trouble>,
    /// So many of the next requests with a token are refused, as if the token had expired.
    refused_tokens: u32,
    /// A refusal has the page that older instances send.
    unauthorized_page: bool,
    /// Answers are in HTTP/1.0, as on a share of instances.
    http_1_0: bool,
    /// Connections stay open, which EC2 never does after a success.
    keep_alive: bool,
}

/// The credentials of the instance, and the sessions that ask for them.
#[derive(Debug)]
pub(crate) struct Imds {
    issuer: Issuer,
    tokens: Tokens,
}

impl Imds {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Self { issuer, tokens: Tokens::default() }
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// During an outage.
    pub(crate) fn answer(&self, emulator: &Emulator, request: &Request<Incoming>) -> Result<Reply, Dropped> {
        let mut behaviour = emulator.imds.lock().unwrap_or_else(PoisonError::into_inner);
        if behaviour.trouble == Some(Trouble::Outage) {
            return Err(Dropped);
        }
        let mut reply = self.reply(emulator, &mut behaviour, request);
        let headers = reply.headers_mut();
        headers.insert(DATE, http_time(emulator));
        headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
        // Of a wrong path below that of the token, EC2 leaves the connection open.
        let is_left_open = *request.method() == Method::PUT && request.uri().path() != TOKEN_PATH;
        if !behaviour.keep_alive && !is_left_open {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if behaviour.http_1_0 {
            *reply.version_mut() = Version::HTTP_10;
        }
        Ok(reply)
    }

    fn reply(&self, emulator: &Emulator, behaviour: &mut Behaviour, request: &Request<Incoming>) -> Reply {
        if behaviour.trouble == Some(Trouble::Disabled) {
            return empty(StatusCode::FORBIDDEN);
        }
        match (request.method().clone(), request.uri().path()) {
            (Method::PUT, TOKEN_PATH) => self.token(emulator, request),
            (Method::PUT, _) => empty(StatusCode::FORBIDDEN),
            (Method::GET, TOKEN_PATH) => {
                let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
                reply.extensions_mut().insert(ReasonPhrase::from_static(b"Not Allowed"));
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS, PUT"));
                reply
            }
            (Method::GET, path) => self.metadata(emulator, behaviour, request, path),
            _ => empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn token(&self, emulator: &Emulator, request: &Request<Incoming>) -> Reply {
        if request.headers().contains_key("x-forwarded-for") {
            return empty(StatusCode::FORBIDDEN);
        }
        let ttl = header(request, TTL_HEADER);
        let issued = ttl.and_then(|ttl| Some((ttl, self.tokens.issue(ttl, emulator.clock.now())?)));
        let Some((ttl, token)) = issued else { return empty(StatusCode::BAD_REQUEST) };
        let mut reply = with_body(StatusCode::OK, TEXT, token);
        if let Ok(ttl) = HeaderValue::from_str(ttl) {
            reply.headers_mut().insert(TTL_HEADER, ttl);
        }
        reply
    }

    fn metadata(
        &self,
        emulator: &Emulator,
        behaviour: &mut Behaviour,
        request: &Request<Incoming>,
        path: &str,
    ) -> Reply {
        let now = emulator.clock.now();
        let token = header(request, TOKEN_HEADER);
        let Some(remaining_s) = token.and_then(|token| self.tokens.remaining_s(token, now)) else {
            return unauthorized(behaviour);
        };
        if behaviour.refused_tokens > 0 {
            behaviour.refused_tokens -= 1;
            return unauthorized(behaviour);
        }
        let role = self.issuer.role_name();
        let has_role = behaviour.trouble != Some(Trouble::NoRole);
        let body = match path {
            ROLES_PATH if has_role => role.to_owned(),
            path if has_role && path == ROLES_PATH.trim_end_matches('/') => {
                let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
                let location = HeaderValue::from_static(
                    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
                );
                reply.headers_mut().insert(LOCATION, location);
                return reply;
            }
            path if has_role && path.strip_prefix(ROLES_PATH) == Some(role) => {
                if behaviour.trouble == Some(Trouble::RoleNotAssumable) {
                    self.issuer.not_assumable(now)
                } else {
                    self.issuer.credentials_document(&emulator.credentials, now)
                }
            }
            "/latest/meta-data/placement/availability-zone"
            | "/latest/meta-data/placement/availability-zone/" => format!("{}a", emulator.region),
            "/latest/meta-data/placement/region" => emulator.region.clone(),
            "/latest/meta-data/instance-id" => issuer::INSTANCE_ID.to_owned(),
            "/latest/dynamic/instance-identity/document" => self.issuer.identity_document(&emulator.region),
            _ => return page(StatusCode::NOT_FOUND, "\t\t "),
        };
        let mut reply = with_body(StatusCode::OK, TEXT, body);
        let headers = reply.headers_mut();
        headers.insert(TTL_HEADER, remaining_s.into());
        let ranges = if behaviour.http_1_0 { "bytes" } else { "none" };
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static(ranges));
        headers.insert(LAST_MODIFIED, http_time(emulator));
        reply
    }
}

/// Of everything, JSON too.
const TEXT: &str = "text/plain";

fn empty(status: StatusCode) -> Reply {
    with_body(status, TEXT, "")
}

fn unauthorized(behaviour: &Behaviour) -> Reply {
    if behaviour.unauthorized_page {
        page(StatusCode::UNAUTHORIZED, "\t")
    } else {
        empty(StatusCode::UNAUTHORIZED)
    }
}

/// The page for a status, whose third line begins with `indent`.
fn page(status: StatusCode, indent: &str) -> Reply {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut reply = with_body(
        status,
        TEXT,
        format!(
            r#"<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
{indent}"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"#
        ),
    );
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    reply
}

fn http_time(emulator: &Emulator) -> HeaderValue {
    let text = httpdate::fmt_http_date(emulator.clock.now().into());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A header that occurs once and is text.
fn header<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

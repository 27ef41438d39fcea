//! The instance metadata service, version 2, as far as credentials go.

mod issuer;
mod tokens;

use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use crate::emulator::Emulator;
pub(crate) use crate::imds::issuer::Issuer;
use crate::imds::tokens::Tokens;
use crate::reply::{Dropped, Reply, json as json_reply, text};

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// A credential process of the instance and the sessions that talk to it.
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
        if emulator.imds_is_out.load(Ordering::Relaxed) {
            return Err(Dropped);
        }
        let path = request.uri().path();
        Ok(match *request.method() {
            Method::PUT if path == "/latest/api/token" => self.token(emulator, request),
            Method::GET => self.metadata(emulator, request),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
        })
    }

    fn token(&self, emulator: &Emulator, request: &Request<Incoming>) -> Reply {
        if request.headers().contains_key("x-forwarded-for") {
            return text(StatusCode::FORBIDDEN, "");
        }
        let ttl = header(request, TTL_HEADER);
        let issued = ttl.and_then(|ttl| Some((ttl, self.tokens.issue(ttl, emulator.clock.now())?)));
        let Some((ttl, token)) = issued else { return text(StatusCode::BAD_REQUEST, "") };
        let mut reply = text(StatusCode::OK, token);
        if let Ok(ttl) = HeaderValue::from_str(ttl) {
            reply.headers_mut().insert(TTL_HEADER, ttl);
        }
        reply
    }

    fn metadata(&self, emulator: &Emulator, request: &Request<Incoming>) -> Reply {
        let now = emulator.clock.now();
        if !header(request, TOKEN_HEADER).is_some_and(|token| self.tokens.is_valid(token, now)) {
            return text(StatusCode::UNAUTHORIZED, "");
        }
        let role = self.issuer.role_name();
        match request.uri().path() {
            "/latest/meta-data/iam/security-credentials/" | "/latest/meta-data/iam/security-credentials" => {
                text(StatusCode::OK, role.to_owned())
            }
            "/latest/meta-data/placement/availability-zone"
            | "/latest/meta-data/placement/availability-zone/" => {
                text(StatusCode::OK, format!("{}a", emulator.region))
            }
            "/latest/meta-data/placement/region" => text(StatusCode::OK, emulator.region.clone()),
            "/latest/meta-data/instance-id" => text(StatusCode::OK, issuer::INSTANCE_ID),
            "/latest/dynamic/instance-identity/document" => {
                let identity = json!({
                    "accountId": self.issuer.account(),
                    "architecture": "x86_64",
                    "availabilityZone": format!("{}a", emulator.region),
                    "instanceId": issuer::INSTANCE_ID,
                    "region": emulator.region,
                    "version": "2017-09-30",
                });
                json_reply(StatusCode::OK, &identity)
            }
            path if path.strip_prefix("/latest/meta-data/iam/security-credentials/") == Some(role) => {
                json_reply(StatusCode::OK, &self.issuer.credentials_json(&emulator.credentials, now))
            }
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }
}

/// A header that occurs once and is text.
fn header<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

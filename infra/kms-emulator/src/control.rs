//! The control port: tests set faults here, and read the calls.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::blob::Blob;
use crate::emulator::Emulator;
use crate::envelope::EnvelopeShape;
use crate::fault::Fault;
use crate::reply::{Dropped, Reply, json as json_reply, read_body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyName {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encryption {
    key: String,
    #[serde(default)]
    context: BTreeMap<String, String>,
    plaintext: Blob,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockState {
    offset_s: i64,
}

/// Answers one request.
///
/// # Errors
///
/// None: the type is that of the other ports.
pub(crate) async fn answer(emulator: &Emulator, request: Request<Incoming>) -> Result<Reply, Dropped> {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(reply) => return Ok(reply),
    };
    Ok(match act(emulator, &parts.method, parts.uri.path(), &body) {
        Ok(json) => json_reply(StatusCode::OK, &json),
        Err((status, reason)) => json_reply(status, &json!({ "error": reason })),
    })
}

fn act(emulator: &Emulator, method: &Method, path: &str, body: &[u8]) -> Result<Value, (StatusCode, String)> {
    let done = json!({ "ok": true });
    match (method, path) {
        (&Method::POST, "/faults") => {
            let fault: Fault = read(body)?;
            if !fault.is_possible() {
                return Err(bad("no such operation or status"));
            }
            emulator.faults.add(fault);
        }
        (&Method::DELETE, "/faults") => emulator.faults.clear(),
        (&Method::POST, "/forget" | "/restore") => {
            let KeyName { key } = read(body)?;
            if !emulator.service.keys.set_forgotten(&key, path == "/forget") {
                return Err(bad("no such key"));
            }
        }
        (&Method::POST, "/encrypt") => {
            let Encryption { key, context, plaintext } = read(body)?;
            let key = emulator.service.keys.by_arn(&key).ok_or_else(|| bad("no such key"))?;
            return Ok(json!({ "ciphertext_blob": Blob(key.seal(&plaintext.0, &context)) }));
        }
        (&Method::POST, "/imds") => {
            *emulator.imds.lock().unwrap_or_else(PoisonError::into_inner) = read(body)?;
        }
        (&Method::POST, "/clock") => {
            let ClockState { offset_s } = read(body)?;
            emulator.clock.shift(offset_s);
        }
        (&Method::POST, "/envelope") => {
            let shape: EnvelopeShape = read(body)?;
            if !shape.is_possible() {
                return Err(bad("chunks cannot be empty"));
            }
            *emulator.service.envelope_shape.lock().unwrap_or_else(PoisonError::into_inner) = shape;
        }
        (&Method::GET, "/calls") => return Ok(emulator.calls.to_json()),
        (&Method::DELETE, "/calls") => emulator.calls.clear(),
        _ => return Err((StatusCode::NOT_FOUND, "no such route".into())),
    }
    Ok(done)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

fn bad(reason: impl Into<String>) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, reason.into())
}

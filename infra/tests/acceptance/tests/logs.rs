//! The output of both processes: no bytes of a client, and no secret.

use std::time::Duration;

use acceptance::contract::{KEY_NOT_FOUND, MALFORMED_SEALED_KEY, REPLAY, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::local_seal::seal;
use acceptance::signer::{new_identity, sign_body};
use acceptance::{Failure, Request, Rows, Server, Ticket, bip340};
use rand::distr::{Alphanumeric, SampleString};

/// Whether `needle` occurs in `text`, in any case.
fn occurs(text: &str, needle: &str) -> bool {
    text.to_ascii_lowercase().contains(&needle.to_ascii_lowercase())
}

#[test]
fn neither_process_writes_what_a_client_sent_or_a_secret() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let marker = Alphanumeric.sample_string(&mut rand::rng(), 24);
    let identity = new_identity();
    let digest: [u8; 32] = rand::random();
    let scalar = bip340::random_scalar();
    let ticket = Ticket::new(&identity, &digest).also("x", &format!(r#""{marker}""#));
    let nonce: String = serde_json::from_str(ticket.claim_json("nonce").unwrap_or_default())?;
    let compact = ticket.mint(&server.secrets.ticket_secret);
    let sealed = seal(&server.secrets.sealing_key, &scalar).blob();
    let text = hex::encode(digest);

    // Good requests, and each of their failures.
    let mut signer = server.signer();
    signer.sign(&identity, &text, &compact).is_error(404, KEY_NOT_FOUND)?;
    signer.imported(&identity, &sealed)?;
    let signature = signer.signed(&identity, &digest, &compact)?;
    signer.sign(&identity, &text, &compact).is_error(409, REPLAY)?;
    let exported = signer.exported(&identity)?;
    signer.import(&identity, &marker).is_error(400, MALFORMED_SEALED_KEY)?;
    signer.import(&identity, &sealed[1..]).is_error(500, UNABLE_TO_OPEN)?;
    for path in ["generate", "sign", "destroy", "backup/export", "backup/import"] {
        let path = format!("/internal/{path}");
        for body in [
            marker.clone(),
            format!(r#"{{"{marker}":1,"{marker}":2}}"#),
            format!(
                r#"{{"identity_id":"{marker}","alg":"{marker}","digest":"{marker}","ticket":"{marker}{marker}","sealed_key":["{marker}"]}}"#
            ),
            sign_body(&identity, &text, &format!("{marker}.{compact}")),
            format!("{marker}{}", "x".repeat(40_000)),
        ] {
            signer.post(&path, body).response()?;
        }
    }

    // Requests that are wrong in every other way.
    let key = server.api_key().to_owned();
    let marked = Request::new("GET", &format!("/{marker}?{marker}")).header(&format!("x-{marker}"), &marker);
    for request in [
        marked.clone(),
        marked.clone().header("x-internal-api-key", &key),
        marked.clone().header("x-internal-api-key", &marker),
        marked.clone().method(&marker),
        marked.clone().version(&format!("HTTP/{marker}")),
        marked.clone().header("content-length", &marker),
        marked.clone().header("transfer-encoding", &marker),
        marked.clone().header(&format!("x {marker}"), &marker),
        marked.clone().header("x-padding", &marker.repeat(1000)),
        marked.clone().header("expect", &marker),
        marked.clone().without("host"),
        marked.target(&marker),
        Request::post("/internal/sign", &key, &marker).header("content-encoding", &marker),
        Request::post("/internal/sign", &key, &marker)
            .without("content-type")
            .header("content-type", &marker),
        Request::post("/internal/sign", &key, &marker).header("transfer-encoding", "chunked"),
        Request::new("PUT", &format!("/internal/sign?{marker}")).header("x-internal-api-key", &key),
    ] {
        let mut connection = server.connect()?;
        connection.send_what_it_takes(&request.bytes());
        connection.finish_sending().ok();
        drop(connection.drain(Duration::from_secs(2)));
    }
    for part in ["", "G", &marker, "POST /internal/sign HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n"] {
        server.connect()?.send(part)?;
    }
    let broken_chunks = Request::post("/internal/sign", &key, "")
        .without("content-length")
        .header("transfer-encoding", "chunked");
    drop(server.raw([broken_chunks.head(), marker.clone().into_bytes(), b"\r\n\r\n".to_vec()].concat()));
    server.is_well()?;

    let secrets = server.secrets.clone();
    let mut parts: Vec<(&str, String)> = vec![
        ("the marker", marker),
        ("the API key", secrets.api_key),
        ("the ticket secret", secrets.ticket_secret),
        ("the sealing key", hex::encode(secrets.sealing_key)),
        ("the private key", hex::encode(scalar)),
        ("the identity", identity.clone()),
        ("the identity without dashes", identity.replace('-', "")),
        ("the digest", text),
        ("the nonce", nonce),
        ("the signature", signature),
        ("a panic", "panicked".to_owned()),
    ];
    for (name, blob) in [("the sealed key", &sealed), ("the exported key", &exported)] {
        parts.extend(blob.split(':').map(|part| (name, part.to_owned())));
    }
    parts.extend(compact.split('.').map(|part| ("the ticket", part.to_owned())));

    let stack = server.stack();
    stack.enclave.terminate()?;
    stack.enclave.ended_within(Duration::from_secs(15))?;
    stack.proxy.terminate()?;
    stack.proxy.ended_within(Duration::from_secs(15))?;
    let mut rows = Rows::new("Logs");
    for (process, output) in [("enclave-dev", stack.enclave.stop()), ("proxy", stack.proxy.stop())] {
        let output = String::from_utf8_lossy(&output).into_owned();
        rows.check(format!("{process} wrote something"), ensure(!output.is_empty(), String::new));
        for (name, part) in &parts {
            rows.check(
                format!("{name} in the output of {process}"),
                ensure(!occurs(&output, part), || {
                    let line = output.lines().find(|line| occurs(line, part));
                    format!("{part:?} in {line:?}")
                }),
            );
        }
    }
    rows.finish();
    Ok(())
}

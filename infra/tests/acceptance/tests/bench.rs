//! `signerctl bench`: its numbers add up, and it leaves no key behind.

use std::thread;
use std::time::Duration;

use acceptance::contract::{AT_CAPACITY, TICKET};
use acceptance::failure::ensure;
use acceptance::stack::Secrets;
use acceptance::{Failure, Operator, Server};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Room for the keys of one run: a run that leaves keys behind leaves no room for the next.
const ROOM: [&str; 2] = ["--max-keys", "16"];

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or(u64::MAX)
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", url, "--warm-up-s", "0", "--json"], more].concat()
}

fn adds_up(report: &Value) -> Result<(), Failure> {
    let by_kind = report["errors_by_kind"].as_object().into_iter().flatten();
    let errors: u64 = by_kind.filter_map(|(_, times)| times.as_u64()).sum();
    let [requests, signatures] = ["requests", "signatures"].map(|name| number(report, name));
    ensure(requests == signatures + errors && errors == number(report, "errors"), || report.to_string())?;
    ensure(requests > 0 && report["not_verified"] == 0, || report.to_string())?;
    let rate = report["signatures_per_second"].as_f64().unwrap_or(-1.0);
    let seconds = report["seconds"].as_f64().unwrap_or(0.0);
    // Both are rounded, to a millisecond and to a tenth.
    let at = |seconds: f64| signatures as f64 / seconds.max(0.000_1);
    let expected = at(seconds + 0.001) - 0.1..=at(seconds - 0.001) + 0.1;
    ensure(expected.contains(&rate), || format!("{expected:?}: {report}"))?;
    for times in ["latency_us", "connecting_us"] {
        let times: Vec<u64> =
            ["p50", "p90", "p99", "p99.9", "max"].map(|name| number(&report[times], name)).into();
        ensure(times.is_sorted(), || report.to_string())?;
    }
    Ok(())
}

#[test]
fn every_request_gets_its_signature() -> Result<(), Failure> {
    let server = Server::own(&ROOM);
    let url = server.url();
    for _ in 0..2 {
        let more = ["--connections", "8", "--requests", "1000", "--identities", "16"];
        let report = Operator::runs(&arguments(&url, &more), &server.secrets)?.json(0)?;
        adds_up(&report)?;
        ensure(report["requests"] == 1000 && report["signatures"] == 1000, || report.to_string())?;
        ensure(report["connections_opened"] == 8, || report.to_string())?;
        // Up to 32 of each client's; one may have made fewer requests.
        ensure((32..=8 * 32).contains(&number(&report, "verified")), || report.to_string())?;
        ensure(number(&report["latency_us"], "p50") > 0, || report.to_string())?;
        // An answer is {"signature":"…"}, a request at least identity, digest and MAC.
        ensure(report["received_body_bytes"] == 1000 * (128 + 16), || report.to_string())?;
        ensure(number(&report, "sent_body_bytes") > 1000 * (36 + 64 + 43), || report.to_string())?;
    }
    let more = ["--connections", "3", "--requests", "100", "--new-connection-per-request"];
    let report = Operator::runs(&arguments(&url, &more), &server.secrets)?.json(0)?;
    adds_up(&report)?;
    ensure(report["signatures"] == 100 && report["connections_opened"] == 100, || report.to_string())?;
    let more = ["--duration-s", "1"];
    let report = Operator::runs(&arguments(&url, &more), &server.secrets)?.json(0)?;
    adds_up(&report)?;
    ensure(report["seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0), || report.to_string())?;

    let arguments = ["bench", &url, "--requests", "50"];
    let ended = Operator::runs(&arguments, &server.secrets)?;
    ended.is(0, &["50 requests in ", "50 signatures, 0 errors", "p99.9 ", "of them wrong"])
}

#[test]
fn what_gets_no_signature_is_told() -> Result<(), Failure> {
    let server = Server::own(&ROOM);
    let url = server.url();
    let more = ["--requests", "200"];
    let mut wrong = server.secrets.clone();
    wrong.ticket_secret.push('x');
    let ended = Operator::runs(&arguments(&url, &more), &wrong)?;
    ended.is(1, &["200 requests got no signature"])?;
    let report = ended.json(1)?;
    adds_up(&report)?;
    ensure(report["errors_by_kind"] == json!({ format!("401 {TICKET}"): 200 }), || report.to_string())?;
    ensure(report["signatures"] == 0 && report["verified"] == 0, || report.to_string())?;

    // No room for that many keys. Those that were made are gone again.
    let ended = Operator::runs(&arguments(&url, &["--identities", "17"]), &server.secrets)?;
    ended.is(69, &["the signer makes no key", AT_CAPACITY])?;
    Operator::runs(&arguments(&url, &["--identities", "16", "--requests", "20"]), &server.secrets)?
        .is(0, &[])?;

    // No room for that many nonces.
    let server = Server::own(&["--max-nonces", "300"]);
    let ended = Operator::runs(&arguments(&server.url(), &["--requests", "1000"]), &server.secrets)?;
    ended.is(1, &["limits.max_nonces"])?;
    let report = ended.json(1)?;
    adds_up(&report)?;
    let refused = number(&report["errors_by_kind"], &format!("503 {AT_CAPACITY}"));
    ensure((500..=700).contains(&refused), || report.to_string())
}

#[test]
fn it_can_be_stopped_and_leaves_no_key() -> Result<(), Failure> {
    let server = Server::own(&ROOM);
    let url = server.url();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let more = ["--duration-s", "600"];
        let mut operator = Operator::starts(&arguments(&url, &more), &server.secrets)?;
        // Its keys are made by then.
        operator.says(" of 600 s")?;
        thread::sleep(Duration::from_millis(500));
        operator.gets(signal)?;
        let ended = operator.ends()?;
        ended.is(1, &["stopped"])?;
        adds_up(&ended.json(1)?)?;
    }
    Operator::runs(&arguments(&url, &["--identities", "16", "--requests", "20"]), &server.secrets)?.is(0, &[])
}

#[test]
fn a_signer_that_goes_away_is_told() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let url = server.url();
    let more = ["--duration-s", "3", "--connections", "4"];
    let mut operator = Operator::starts(&arguments(&url, &more), &server.secrets)?;
    operator.says(" of 3 s")?;
    thread::sleep(Duration::from_millis(1000));
    let _ = server.stack().enclave.stop();
    let ended = operator.ends()?;
    ended.is(1, &["requests got no signature"])?;
    let report = ended.json(1)?;
    adds_up(&report)?;
    ensure(number(&report, "signatures") > 0 && number(&report, "errors") > 0, || report.to_string())
}

#[test]
fn nonsense_is_refused() -> Result<(), Failure> {
    let secrets = Secrets::random();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nobody = format!("http://{closed}");
    for more in [
        &["--connections", "0"][..],
        &["--connections", "1025"],
        &["--connections", "-1"],
        &["--duration-s", "0"],
        &["--requests", "0"],
        &["--requests", "1", "--duration-s", "1"],
        &["--identities", "0"],
        &["--ticket-ttl-s", "0"],
        &["--ticket-ttl-s", "3601"],
        &["--ca", "/dev/null"],
    ] {
        Operator::runs(&arguments(&nobody, more), &secrets)?.is(64, &[])?;
    }
    Operator::runs(&arguments("localhost", &[]), &secrets)?.is(64, &["http://"])?;
    Operator::runs(&arguments(&nobody, &[]), &secrets)?.is(69, &["cannot connect"])?;
    let server = Server::own(&[]);
    Operator::runs(&arguments(&server.url(), &[]), &secrets)?.is(65, &["refuses the API key"])
}

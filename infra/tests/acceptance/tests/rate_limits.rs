//! Rate limits: what is refused, what that costs, and when to come back.
//!
//! The answers are those of `docs/api.md`, "8. Sign".

use std::time::Duration;

use acceptance::attested::Parent;
use acceptance::contract::{EXISTS, REPLAY, TICKET, TOO_MANY_REQUESTS};
use acceptance::exchange::Exchange;
use acceptance::failure::ensure;
use acceptance::signer::new_identity;
use acceptance::{Failure, Operator, Server, Ticket};

fn with(limits: &'static str) -> Result<Parent, Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.tables = limits;
    Ok(parent)
}

/// Checks that it is 429; gives the whole seconds that the client is told to wait.
fn refused(exchange: &Exchange) -> Result<u64, Failure> {
    exchange.is_error(429, TOO_MANY_REQUESTS)?;
    let told = exchange.response()?.header("retry-after").and_then(|value| value.parse().ok());
    told.ok_or_else(|| Failure::new("no whole seconds in retry-after".to_owned()))
}

/// Asks for a signature with a ticket that has this nonce.
fn sign(server: &Server, identity: &str, nonce: &str) -> Exchange {
    let digest = [7; 32];
    let ticket = Ticket::new(identity, &digest).text("nonce", nonce).mint(&server.secrets.ticket_secret);
    server.signer().sign(identity, &hex::encode(digest), &ticket)
}

#[test]
fn a_refused_signature_uses_up_no_ticket() -> Result<(), Failure> {
    let parent = with("[rate_limits]\nsignatures_per_second_per_identity = 1")?;
    let attested = parent.ready()?;
    let server = attested.server();
    let [identity, other] = [new_identity(), new_identity()];
    server.signer().generated(&identity)?;
    server.signer().generated(&other)?;
    // A request that is refused for another reason costs nothing of the limit.
    let forged = Ticket::new(&identity, &[7; 32]).mint("another ticket secret");
    for _ in 0..5 {
        server.signer().sign(&identity, &hex::encode([7; 32]), &forged).is_error(401, TICKET)?;
    }
    let mut nonces = (0..20).map(|number| format!("n{number}"));
    let refused_nonce = nonces.find(|nonce| {
        let exchange = sign(&server, &identity, nonce);
        refused(&exchange).is_ok()
    });
    let nonce = refused_nonce.ok_or_else(|| Failure::new("nothing was refused".to_owned()))?;
    ensure(nonce != "n0", || "the first signature was refused".to_owned())?;
    let (url, digest) = (server.url(), "ab".repeat(32));
    let command = ["sign", &url, "--identity", &identity, "--digest", &digest];
    let told = (0..5).any(|_| {
        let ended = Operator::runs(&command, &server.secrets);
        ended.and_then(|ended| ended.is(69, &["a rate limit of the signer is reached"])).is_ok()
    });
    ensure(told, || "signerctl does not tell the rate limit".to_owned())?;
    // Another identity is not held up.
    ensure(sign(&server, &other, "other").response()?.status == 200, || "the other waits".to_owned())?;
    std::thread::sleep(Duration::from_millis(1100));
    // The very ticket that was refused.
    ensure(sign(&server, &identity, &nonce).response()?.status == 200, || "it is used up".to_owned())?;
    sign(&server, &identity, &nonce).is_error(409, REPLAY)?;
    sign(&server, &identity, "n0").is_error(409, REPLAY)
}

#[test]
fn all_identities_share_what_there_is_in_all() -> Result<(), Failure> {
    let parent = with("[rate_limits]\nsignatures_per_second = 1")?;
    let attested = parent.ready()?;
    let server = attested.server();
    let identities = [new_identity(), new_identity()];
    for identity in &identities {
        server.signer().generated(identity)?;
    }
    let answers: Vec<Exchange> =
        (0..20).map(|number| sign(&server, &identities[number % 2], &format!("n{number}"))).collect();
    let refusals: Vec<&Exchange> = answers
        .iter()
        .filter(|exchange| exchange.response().is_ok_and(|response| response.status == 429))
        .collect();
    ensure(!refusals.is_empty(), || "nothing was refused".to_owned())?;
    refusals.into_iter().try_for_each(|exchange| {
        let told_s = refused(exchange)?;
        ensure(told_s == 1, || format!("retry-after: {told_s}"))
    })
}

#[test]
fn keys_are_generated_at_the_pace_of_the_limit() -> Result<(), Failure> {
    let parent = with("[rate_limits]\nkeys_generated_per_minute = 2")?;
    let attested = parent.ready()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    // An identity with a key costs nothing of the limit.
    for _ in 0..5 {
        server.signer().generate(&identity).is_error(409, EXISTS)?;
    }
    server.signer().generated(&new_identity())?;
    let third = new_identity();
    let told_s = refused(&server.signer().generate(&third))?;
    ensure((1..=30).contains(&told_s), || format!("retry-after: {told_s}"))?;
    // Backups come back all the same, and so do signatures.
    let sealed = server.signer().exported(&identity)?;
    server.signer().destroyed(&identity)?;
    server.signer().imported(&identity, &sealed)?;
    ensure(sign(&server, &identity, "n").response()?.status == 200, || "no signature".to_owned())
}

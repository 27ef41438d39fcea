//! `docs/api.md`, "7. State": which identities exist, and what happens when there is no room.

use std::thread;
use std::time::Duration;

use acceptance::bip340::{self, x_only};
use acceptance::contract::{EXISTS, KEY_NOT_FOUND, OK, REPLAY, SCOPE, TICKET};
use acceptance::local_seal;
use acceptance::signer::new_identity;
use acceptance::ticket::now_s;
use acceptance::{Failure, Rows, Server, Ticket};

#[test]
fn an_identity_is_generated_once() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("State, 409");
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    rows.check("generated", signer.generate(&identity).is_error(409, EXISTS));
    let upper = identity.to_ascii_uppercase();
    rows.check("generated, in upper case", signer.generate(&upper).is_error(409, EXISTS));
    rows.check("the key is the first one", signer.signs_under(&identity, x_only(&public_key)));

    let imported = new_identity();
    let blob = local_seal::seal(&server.secrets.sealing_key, &bip340::random_scalar()).blob();
    signer.imported(&imported, &blob)?;
    rows.check("imported", signer.generate(&imported).is_error(409, EXISTS));

    signer.destroyed(&identity)?;
    let again = signer.generated(&identity)?;
    rows.check(
        "after destroy, a new key",
        if again == public_key {
            acceptance::failure::fail("the old key came back")
        } else {
            signer.signs_under(&identity, x_only(&again))
        },
    );
    rows.finish();
    Ok(())
}

#[test]
fn what_is_unknown_or_destroyed_is_404() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("State, 404");
    let (unknown, destroyed) = (new_identity(), new_identity());
    signer.generated(&destroyed)?;
    signer.destroyed(&destroyed)?;
    let digest = rand::random();
    for (kind, identity) in [("unknown", &unknown), ("destroyed", &destroyed)] {
        let good = signer.ticket(identity, &digest);
        let other = signer.ticket(&new_identity(), &digest);
        let expired =
            Ticket::new(identity, &digest).claim("exp", &(now_s() - 10).to_string()).mint(signer.secret());
        for (row, ticket) in [
            ("a good ticket", good.as_str()),
            ("no ticket at all", "this-is-not-a-ticket-but-long-enough"),
            ("a wrong MAC", &Ticket::new(identity, &digest).mint("another secret")),
            ("an expired ticket", &expired),
            ("another's ticket", &other),
        ] {
            let exchange = signer.sign(identity, &hex::encode(digest), ticket);
            rows.check(format!("sign, {kind}, {row}"), exchange.is_error(404, KEY_NOT_FOUND));
        }
        rows.check(format!("export, {kind}"), signer.export(identity).is_error(404, KEY_NOT_FOUND));
        rows.check(format!("destroy, {kind}"), signer.destroy(identity).is_error(404, KEY_NOT_FOUND));
        // The 404 left the nonce free: the client sends the same ticket again.
        signer.generated(identity)?;
        let same = signer.signed(identity, &digest, &good).map(drop);
        rows.check(format!("then the same ticket, {kind}"), same);
    }
    rows.finish();
    Ok(())
}

#[test]
fn an_identity_is_its_bytes_in_either_case() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("State, upper and lower case");
    let lower = new_identity();
    let upper = lower.to_ascii_uppercase();
    for (made_as, used_as) in [(&lower, &upper), (&upper, &lower)] {
        let public_key = signer.generated(made_as)?;
        let x_only = x_only(&public_key);
        for body in [&lower, &upper] {
            for claim in [&lower, &upper] {
                let digest = rand::random();
                let ticket = signer.ticket(claim, &digest);
                let outcome = signer
                    .signed(body, &digest, &ticket)
                    .and_then(|signature| bip340::verify(&signature, &digest, x_only));
                rows.check(format!("made {made_as}, body {body}, ticket {claim}"), outcome);
                let replay = if *body == lower { &upper } else { &lower };
                let exchange = signer.sign(replay, &hex::encode(digest), &ticket);
                rows.check(format!("replay as {replay}"), exchange.is_error(409, REPLAY));
            }
        }
        let sealed = signer.exported(used_as)?;
        rows.check(format!("destroy {used_as}"), signer.destroy(used_as).is(200, OK));
        rows.check(format!("export {made_as}"), signer.export(made_as).is_error(404, KEY_NOT_FOUND));
        rows.check(format!("import {used_as}"), signer.import(used_as, &sealed).is(200, OK));
        rows.check(format!("{made_as} signs"), signer.signs_under(made_as, x_only));
        rows.check(format!("destroy {made_as}"), signer.destroy(made_as).is(200, OK));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_full_key_store_refuses_and_evicts_nothing() -> Result<(), Failure> {
    let server = Server::own(&["--max-keys", "3"]);
    let mut signer = server.signer();
    let mut rows = Rows::new("State, 503, key store");
    let mut keys = Vec::new();
    for _ in 0..3 {
        let identity = new_identity();
        let public_key = signer.generated(&identity)?;
        keys.push((identity, public_key));
    }
    let blob = local_seal::seal(&server.secrets.sealing_key, &bip340::random_scalar()).blob();
    let refused = new_identity();
    for _ in 0..3 {
        rows.check("generate", signer.generate(&refused).is_at_capacity());
        rows.check("import", signer.import(&refused, &blob).is_at_capacity());
    }
    rows.check("nothing half done", signer.export(&refused).is_error(404, KEY_NOT_FOUND));
    rows.check("one that exists", signer.generate(&keys[0].0).is_error(409, EXISTS));
    rows.check("another key over one that exists", signer.import(&keys[0].0, &blob).is_error(409, EXISTS));
    for (identity, public_key) in &keys {
        rows.check("each key signs", signer.signs_under(identity, x_only(public_key)));
        let sealed = signer.exported(identity)?;
        rows.check("import of the live key", signer.import(identity, &sealed).is(200, OK));
    }
    signer.destroyed(&keys[1].0)?;
    rows.check("a place is free", signer.import(&refused, &blob).is(200, OK));
    rows.check("and taken", signer.generate(&new_identity()).is_at_capacity());
    rows.finish();
    Ok(())
}

#[test]
fn a_full_nonce_ledger_refuses_and_evicts_nothing() -> Result<(), Failure> {
    let server = Server::own(&["--max-nonces", "3"]);
    let mut signer = server.signer();
    let mut rows = Rows::new("State, 503, nonce ledger");
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let digest: [u8; 32] = rand::random();
    let text = hex::encode(digest);
    let expiry = now_s() + 4;
    let mut used = Vec::new();
    for _ in 0..3 {
        let ticket = Ticket::new(&identity, &digest).claim("exp", &expiry.to_string());
        let ticket = ticket.mint(signer.secret());
        signer.signed(&identity, &digest, &ticket)?;
        used.push(ticket);
    }
    let waiting = signer.ticket(&identity, &digest);
    for _ in 0..3 {
        rows.check("a fourth", signer.sign(&identity, &text, &waiting).is_at_capacity());
    }
    for ticket in &used {
        rows.check("a used one", signer.sign(&identity, &text, ticket).is_error(409, REPLAY));
    }
    let scope = Ticket::new(&identity, &digest).text("scope", "none").mint(signer.secret());
    rows.check("a wrong scope", signer.sign(&identity, &text, &scope).is_error(403, SCOPE));
    rows.check("a key may still be made", signer.generated(&new_identity()).map(drop));

    // Room comes with the expiry of what is in the ledger, and with nothing else.
    while now_s() <= expiry + 1 {
        thread::sleep(Duration::from_millis(100));
    }
    rows.check("a used one, expired", signer.sign(&identity, &text, &used[0]).is_error(401, TICKET));
    rows.check(
        "the fourth, once there is room",
        signer
            .signed(&identity, &digest, &waiting)
            .and_then(|signature| bip340::verify(&signature, &digest, x_only(&public_key))),
    );
    rows.check("and only once", signer.sign(&identity, &text, &waiting).is_error(409, REPLAY));
    rows.finish();
    Ok(())
}

//! The time that tickets are judged by: the NSM's, whatever the system clock or KMS says.
//!
//! The answers are those of `docs/api.md`, "8. Sign".

use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::contract::TICKET;
use acceptance::failure::ensure;
use acceptance::signer::new_identity;
use acceptance::ticket::now_s;
use acceptance::{Failure, Rows, Server, Ticket};
use serde_json::json;

/// Ten parts in a million for a week.
const DRIFT_OF_A_WEEK_S: i32 = 6;

/// A ticket that the API, whose clock is right, makes at `now_s` for 90 s, and one that has run out there.
fn judges_by(server: &Server, now_s: u64) -> Result<(), Failure> {
    let (mut signer, identity, digest) = (server.signer(), new_identity(), rand::random());
    signer.generated(&identity)?;
    let expires = |exp_s: u64| Ticket::new(&identity, &digest).claim("exp", &exp_s.to_string());
    signer.signed(&identity, &digest, &expires(now_s + 90).mint(signer.secret()))?;
    let expired = expires(now_s - 1).mint(signer.secret());
    signer.sign(&identity, &hex::encode(digest), &expired).is_error(401, TICKET)
}

#[test]
fn a_system_clock_that_is_off_makes_no_difference_to_a_ticket() {
    let mut rows = Rows::new("Ticket, with a system clock that is off");
    for system_ahead_s in [91, -91, DRIFT_OF_A_WEEK_S, -DRIFT_OF_A_WEEK_S, 86_400, -86_400] {
        let offset = (-system_ahead_s).to_string();
        let mut server = Server::own(&["--nsm-clock-offset-s", &offset]);
        let now_s = now_s().checked_add_signed((-system_ahead_s).into()).expect("a time");
        let judged = judges_by(&server, now_s).and_then(|()| {
            let log = String::from_utf8_lossy(&server.stack().enclave.stop()).into_owned();
            ensure(log.contains("the system clock differs from the NSM's time"), || log)
        });
        rows.check(format!("{system_ahead_s} s ahead"), judged);
    }
    rows.finish();
}

/// KMS would refuse a signature that is five minutes off, and the signer goes by KMS's time then, for signatures alone.
#[test]
fn a_kms_whose_clock_is_off_is_noticed_and_changes_no_ticket() -> Result<(), Failure> {
    for (offset_s, line) in [
        (10, "the clock and the Date of KMS differ by more than 2 s"),
        (-10, "the clock and the Date of KMS differ by more than 2 s"),
        (360, "requests are signed with the time of KMS"),
        (-360, "requests are signed with the time of KMS"),
    ] {
        let parent = Parent::new()?;
        parent.kms.tell("POST", "/clock", &json!({"offset_s": offset_s}))?;
        let mut attested = parent.ready()?;
        attested.says(line)?;
        judges_by(&attested.server(), now_s())?;
    }
    Ok(())
}

/// A minute in which the NSM's clock gains what a week of ten parts in a million comes to.
#[test]
fn drift_is_made_up_for_each_minute() -> Result<(), Failure> {
    let mut server = Server::own(&["--nsm-clock-drift-ppm", "100000"]);
    let started = Instant::now();
    let (mut signer, identity, digest) = (server.signer(), new_identity(), rand::random());
    signer.generated(&identity)?;
    // Of a minute later, when it has expired by the NSM's clock and has not by the system's.
    let mut expired = || {
        let ticket = Ticket::new(&identity, &digest).claim("exp", &(now_s() + 3).to_string());
        signer.sign(&identity, &hex::encode(digest), &ticket.mint(signer.secret())).is_error(401, TICKET)
    };
    ensure(expired().is_err(), || "refused before there is any drift".to_owned())?;
    std::thread::sleep(Duration::from_secs(60).saturating_sub(started.elapsed()));
    while let Err(failure) = expired() {
        ensure(started.elapsed() < Duration::from_secs(90), || failure.to_string())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    judges_by(&server, now_s() + 6)?;
    let log = String::from_utf8_lossy(&server.stack().enclave.stop()).into_owned();
    ensure(log.contains("the clock differed from the NSM's time by more than 2 s, and is corrected"), || log)
}

/// The monotonic clock goes on: an expired ticket stays expired, and a fresh one is taken.
#[test]
fn an_nsm_that_fails_while_the_signer_runs_changes_no_ticket() {
    let faults = [
        (
            // A minute after the start, it tells a time from before the start. Until then it has lost some of the 2 s.
            &["--nsm-clock-drift-ppm", "-1100000", "--nsm-clock-offset-s", "2"][..],
            "the NSM's time is refused, because no drift explains it; the clock runs on without it",
        ),
        (
            &["--nsm-refuses-after-s", "30"],
            "the clock runs on without the NSM's time error=the NSM gives no document to take the time from",
        ),
    ];
    // Side by side, because the minute to the first anchor is the same.
    let servers = faults.map(|(options, line)| (Server::own(options), options, line));
    let started = Instant::now();
    let mut rows = Rows::new("Ticket, with an NSM that fails");
    for (mut server, options, line) in servers {
        let log =
            |server: &mut Server| String::from_utf8_lossy(&server.stack().enclave.output()).into_owned();
        let mut judged = judges_by(&server, now_s());
        while judged.is_ok() && !log(&mut server).contains(line) {
            judged = ensure(started.elapsed() < Duration::from_secs(90), || log(&mut server));
            std::thread::sleep(Duration::from_millis(100));
        }
        rows.check(options.join(" "), judged.and_then(|()| judges_by(&server, now_s())));
    }
    rows.finish();
}

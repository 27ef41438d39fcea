//! Attacks of a hostile parent: the two that shape the configuration (its own KMS key, its own ticket secret), and a
//! relay that does worse than moving bytes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::{Attested, Parent};
use acceptance::contract::{KEY_SERVICE, NOT_READY, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::hostile_relay::{Direction, HostileRelay, Meddling};
use acceptance::kms::{INSTANCE_ROLE, Kms};
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows};
use serde_json::json;

const EX_CONFIG: i32 = 78;

const ATTACKERS_ROLE: &str = "arn:aws:iam::666666666666:role/attacker";

const OTHER_SEALING_KEY: &str = "KMS_KEY_ARN is not kms.sealing_key_arn of nitro.toml: if it names the newer key, \
                                 put that key into kms.sealing_key_arn and build again; otherwise remove the line";

const NOT_FOR_BOOT_SECRETS: &str = "TICKET_SIGNING_SECRET_CIPHERTEXT is encrypted under a key that nitro.toml does not allow for boot secrets: \
     seal it again with signerctl secret seal";

/// Signers among which the places to meddle at are divided.
const PARALLEL: usize = 12;

#[test]
fn a_parent_cannot_have_backups_sealed_under_its_own_key() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let arn = parent.attackers_key.arn.clone();
    parent.set("KMS_KEY_ARN", Some(&arn));
    parent.start()?.refuses(EX_CONFIG, OTHER_SEALING_KEY)?;

    // Credentials of its own account do not change which key is asked for: ours, whose policy does not know them.
    let mut parent = Parent::with(ATTACKERS_ROLE, &[])?;
    parent.nitro_toml.ticket_signing_secret = "env";
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", None);
    let secret = parent.secrets.ticket_secret.clone();
    parent.set("TICKET_SIGNING_SECRET", Some(&secret));
    let attested = parent.ready()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    parent.kms.forget_calls()?;
    server.signer().export(&identity).is_error(502, KEY_SERVICE)?;
    let calls = parent.kms.tell("GET", "/calls", &json!(null))?;
    let calls = calls["calls"].as_array().cloned().unwrap_or_default();
    ensure(!calls.is_empty() && calls.iter().all(|call| call["key_arn"] == json!(parent.key.arn)), || {
        format!("{calls:?}")
    })
}

#[test]
fn a_parent_cannot_bring_its_own_ticket_secret() -> Result<(), Failure> {
    let secret = "a ticket secret of the parent's choice";
    let mut parent = Parent::new()?;
    parent.set("TICKET_SIGNING_SECRET", Some(secret));
    let line = "TICKET_SIGNING_SECRET is refused in plaintext: nitro.toml asks for it from KMS";
    parent.start()?.refuses(EX_CONFIG, line)?;

    // Encrypted under its own key, which lets everybody decrypt: KMS does, and says under which key.
    for role in [INSTANCE_ROLE, ATTACKERS_ROLE] {
        let mut parent = Parent::with(role, &[])?;
        let blob = parent.kms.encrypt_boot_secret(&parent.attackers_key, "TICKET_SIGNING_SECRET", secret)?;
        parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
        parent.start()?.refuses(EX_CONFIG, NOT_FOR_BOOT_SECRETS)?;
    }
    Ok(())
}

/// An older key is listed to open backups, and the attacker may encrypt under it.
#[test]
fn a_ticket_secret_under_a_key_that_only_opens_backups_is_refused() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let weak = parent.next_key.arn.clone();
    parent.nitro_toml.opening_key_arns = vec![weak.clone()];
    let secret = "a ticket secret of the attacker's choice";
    let forged = parent.kms.encrypt_boot_secret(&parent.next_key, "TICKET_SIGNING_SECRET", secret)?;
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&forged));
    parent.start()?.refuses(EX_CONFIG, NOT_FOR_BOOT_SECRETS)?;

    // The same ciphertext is taken where nitro.toml lists its key for boot secrets, and then that of the sealing key is
    // not.
    let of_the_sealing_key = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", secret)?;
    parent.nitro_toml.boot_secret_key_arns = Some(vec![weak]);
    drop(parent.ready()?);
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&of_the_sealing_key));
    parent.start()?.refuses(EX_CONFIG, NOT_FOR_BOOT_SECRETS)
}

/// Not if the parent names it, and not if it is listed for boot secrets too.
#[test]
fn a_key_that_only_opens_backups_never_seals() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let (sealing, weak) = (parent.key.arn.clone(), parent.next_key.arn.clone());
    parent.nitro_toml.opening_key_arns = vec![weak.clone()];
    parent.nitro_toml.boot_secret_key_arns = Some(vec![weak.clone(), sealing.clone()]);
    parent.set("KMS_KEY_ARN", Some(&weak));
    parent.start()?.refuses(EX_CONFIG, OTHER_SEALING_KEY)?;

    for named in [None, Some(sealing.as_str())] {
        parent.set("KMS_KEY_ARN", named);
        let attested = parent.ready()?;
        let server = attested.server();
        // A key opened under the weak key is sealed under the other.
        let identity = new_identity();
        let blob = parent.kms.encrypt(&parent.next_key, &json!({}), &[3; 32])?;
        server.signer().imported(&identity, &format!("kms:{blob}"))?;
        parent.kms.forget_calls()?;
        server.signer().exported(&identity)?;
        let answer = parent.kms.tell("GET", "/calls", &json!(null))?;
        let calls: Vec<_> = answer["calls"].as_array().into_iter().flatten().collect();
        let is_right = |call: &&serde_json::Value| {
            call["operation"] == "GenerateDataKey" && call["key_arn"] == json!(sealing)
        };
        ensure(calls.len() == 1 && calls.iter().all(is_right), || answer.to_string())?;
    }
    Ok(())
}

/// The key policy lists images of generations 6 and 7, and the parent starts either with any ciphertext.
#[test]
fn an_image_opens_no_boot_secret_of_another_generation_than_it_may() -> Result<(), Failure> {
    const NAME: &str = "TICKET_SIGNING_SECRET";
    const NOT_OF_KMS: &str = "TICKET_SIGNING_SECRET_CIPHERTEXT is not what KMS encrypts with the context \
                              nitro-signer=boot-secret, name=TICKET_SIGNING_SECRET";
    let mut parent = Parent::new()?;
    let secret = parent.secrets.ticket_secret.clone();
    let without = parent.kms.encrypt_boot_secret(&parent.key, NAME, &secret)?;
    let [sixth, seventh] = [6, 7].map(|it| parent.kms.encrypt_boot_secret_of(it, &parent.key, NAME, &secret));
    let (sixth, seventh) = (sixth?, seventh?);
    let seventh_as_sixth = seventh.replacen('7', "6", 1);
    let sixth_as_seventh = sixth.replacen('6', "7", 1);
    let seventh_as_none = seventh.replacen("generation-7:", "", 1);

    let (none, of_6, of_7) = ("", "generation = 6", "generation = 7");
    let (of_7_down_to_6, of_7_alone) =
        ("generation = 7\noldest_generation = 6", "generation = 7\noldest_generation = 7");
    let mut rows = Rows::new("Generations");
    for (row, generations, ciphertext, refusal) in [
        ("none of no generation", none, &without, None),
        ("a higher one for none", none, &seventh, Some("is of generation 7, and nitro.toml has none")),
        ("a higher one", of_6, &seventh, Some("is of generation 7, and the image's is 6")),
        ("a higher one called its own", of_6, &seventh_as_sixth, Some(", generation=6")),
        ("a higher one called none", of_6, &seventh_as_none, Some("")),
        ("its own", of_7, &seventh, None),
        ("a lower one", of_7, &sixth, None),
        ("none for an image with one", of_7, &without, None),
        ("a lower one that is allowed", of_7_down_to_6, &sixth, None),
        (
            "none where there is an oldest",
            of_7_down_to_6,
            &without,
            Some("is of no generation, and the oldest allowed is 6"),
        ),
        (
            "a lower one that is out of use",
            of_7_alone,
            &sixth,
            Some("is of generation 6, and the oldest allowed is 7"),
        ),
        ("a lower one called its own", of_7_alone, &sixth_as_seventh, Some(", generation=7")),
    ] {
        parent.nitro_toml.generations = generations;
        parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(ciphertext));
        rows.check(
            row,
            match refusal {
                None => parent.ready().map(drop),
                Some(fault) if fault.starts_with("is of") => {
                    parent.start()?.refuses(EX_CONFIG, &format!("TICKET_SIGNING_SECRET_CIPHERTEXT {fault}"))
                }
                Some(context) => parent.start()?.refuses(EX_CONFIG, &format!("{NOT_OF_KMS}{context}")),
            },
        );
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_backup_under_somebody_elses_key_does_not_open() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let blob = parent.kms.encrypt(&parent.attackers_key, &json!({}), &[3; 32])?;
    let server = attested.server();
    server.signer().import(&new_identity(), &format!("kms:{blob}")).is_error(500, UNABLE_TO_OPEN)
}

/// Another server with the name of KMS, vouched for by an authority that nobody measured.
#[test]
fn another_tls_server_is_not_kms() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let elsewhere = tempfile::tempdir()?;
    let root = parent.directory().join("nsm/root.pem");
    let impostor = Kms::start(elsewhere.path(), &[&parent.key], INSTANCE_ROLE, &root, &[])?;
    let relay = HostileRelay::start(parent.directory(), &impostor.address)?;
    parent.kms_relay = Some(relay.address.clone());
    let mut attested = parent.start()?;
    attested.says("the server has no certificate for KMS's name")?;
    attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
    ensure(impostor.calls()?.is_empty(), || "the impostor was asked".to_owned())?;
    relay.redirect(&parent.kms.address);
    attested.becomes_ready().map(|_| ())
}

/// A signer behind a relay that meddles when told, and a backup each import of which asks KMS.
struct RelayedSigner {
    parent: Parent,
    attested: Attested,
    relay: HostileRelay,
    backup: String,
    identity: String,
}

impl RelayedSigner {
    fn new() -> Result<Self, Failure> {
        let mut parent = Parent::new()?;
        let relay = HostileRelay::start(parent.directory(), &parent.kms.address)?;
        parent.kms_relay = Some(relay.address.clone());
        let attested = parent.ready()?;
        let backup = format!("kms:{}", parent.kms.encrypt(&parent.key, &json!({}), &[3; 32])?);
        Ok(Self { parent, attested, relay, backup, identity: new_identity() })
    }

    /// Has KMS asked on a new connection, which gets `meddling`. The client sees nothing of it.
    fn survives(&self, meddling: Meddling) -> Result<(), Failure> {
        self.relay.hang_up();
        // The enclave notices; else this costs it one of its three tries.
        thread::sleep(Duration::from_millis(5));
        self.relay.plan([meddling]);
        let outcome = self.attested.server().signer().imported(&self.identity, &self.backup);
        ensure(self.relay.plan_is_done(), || "the relay had nothing to meddle with".to_owned())?;
        outcome
    }

    /// The bytes of one whole conversation.
    fn conversation(&self, direction: Direction) -> Result<Vec<u8>, Failure> {
        self.relay.hang_up();
        // Long enough for the enclave to see that the connection is gone.
        thread::sleep(Duration::from_millis(50));
        self.relay.hang_up();
        self.attested.server().signer().imported(&self.identity, &self.backup)?;
        Ok(self.relay.recorded(direction))
    }
}

/// Meddles at each of the places, divided among a few signers.
fn survives_all(places: &[Meddling]) -> Result<(), Failure> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL)
            .map(|worker| {
                scope.spawn(move || {
                    let relayed = RelayedSigner::new()?;
                    let mut rows = Rows::new("Meddling");
                    for place in places.iter().skip(worker).step_by(PARALLEL) {
                        rows.check(format!("{place:?}"), relayed.survives(place.clone()));
                    }
                    rows.finish();
                    let output = relayed.attested.enclave.output();
                    let panicked = String::from_utf8_lossy(&output).contains("panicked");
                    ensure(!panicked, || String::from_utf8_lossy(&output).into_owned())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a failed row says which"))
    })
}

/// Bytes from one place to the next, unless `MEDDLE_EVERY_BYTES` gives another number. Bytes inside a record are alike:
/// its authentication covers them all. A prime number meets different places in records of the same length.
const MEDDLE_EVERY_BYTES: usize = 11;

/// The first bytes, in which TLS is agreed on in clear text.
const HELLO_BYTES: usize = 300;

/// Of a record of TLS: its type, version and length (RFC 8446, section 5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// The places to meddle at in `conversation`: every byte of the hello, every record's header and the byte after it, and
/// some of every record's body.
fn places(conversation: &[u8]) -> Result<BTreeSet<usize>, Failure> {
    let every = match std::env::var("MEDDLE_EVERY_BYTES") {
        Ok(bytes) => bytes
            .parse::<NonZeroUsize>()
            .map_err(|error| {
                Failure::new(format!("MEDDLE_EVERY_BYTES is {bytes:?}, not a number of bytes: {error}"))
            })?
            .get(),
        Err(_) => MEDDLE_EVERY_BYTES,
    };
    let mut places: BTreeSet<_> = (0..conversation.len()).step_by(every).collect();
    places.extend(0..HELLO_BYTES.min(conversation.len()));
    let mut record = 0;
    while let Some(&[_, _, _, high, low]) = conversation.get(record..record + RECORD_HEADER_BYTES) {
        let next = record + RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        ensure(next <= conversation.len(), || {
            format!("a record from {record} ends at {next}, after the last byte")
        })?;
        places.extend(record..=record + RECORD_HEADER_BYTES);
        record = next;
    }
    ensure(record == conversation.len(), || format!("{record} bytes are records"))?;
    ensure(places.len() > HELLO_BYTES, || "the conversation is its hello alone".to_owned())?;
    Ok(places)
}

#[test]
fn a_conversation_cut_at_any_byte_is_repeated() -> Result<(), Failure> {
    survives_at_all_places(Meddling::Cut)
}

#[test]
fn a_conversation_changed_at_any_byte_is_repeated() -> Result<(), Failure> {
    survives_at_all_places(Meddling::Flip)
}

fn survives_at_all_places(meddling: fn(Direction, usize) -> Meddling) -> Result<(), Failure> {
    let relayed = RelayedSigner::new()?;
    let mut all = Vec::new();
    for direction in [Direction::ToKms, Direction::ToEnclave] {
        let places = places(&relayed.conversation(direction)?)?;
        all.extend(places.into_iter().map(|at| meddling(direction, at)));
    }
    drop(relayed);
    survives_all(&all)
}

/// One connection serves call after call; and a KMS that takes it and stays silent is given up in time.
#[test]
fn a_connection_is_kept_and_a_silent_one_is_not() -> Result<(), Failure> {
    let relayed = RelayedSigner::new()?;
    let before = relayed.relay.connections();
    for _ in 0..5 {
        relayed.attested.server().signer().imported(&relayed.identity, &relayed.backup)?;
    }
    ensure(relayed.relay.connections() == before, || format!("{} connections", relayed.relay.connections()))?;

    relayed.relay.hang_up();
    relayed.relay.plan(vec![Meddling::Replay(Arc::default()); 20]);
    let started = Instant::now();
    relayed
        .attested
        .server()
        .signer()
        .import(&relayed.identity, &relayed.backup)
        .is_error(502, KEY_SERVICE)?;
    let took = started.elapsed();
    // A try may find out that the old connection is gone.
    ensure((4..14).contains(&took.as_secs()), || format!("three times 2 s took {took:?}"))
}

/// An answer of KMS is not accepted on another connection.
#[test]
fn an_old_reply_is_not_taken_for_a_new_one() -> Result<(), Failure> {
    let relayed = RelayedSigner::new()?;
    let old = Arc::new(relayed.conversation(Direction::ToEnclave)?);
    ensure(old.len() > 1000, || format!("{} bytes", old.len()))?;
    relayed.survives(Meddling::Replay(Arc::clone(&old)))?;
    relayed.relay.hang_up();
    relayed.relay.plan(vec![Meddling::Replay(old); 20]);
    let identity = new_identity();
    relayed.attested.server().signer().import(&identity, &relayed.backup).is_error(502, KEY_SERVICE)?;
    relayed.relay.plan([]);
    // Over the rest that follows.
    thread::sleep(Duration::from_millis(1100));
    relayed.attested.server().signer().imported(&identity, &relayed.backup)?;
    ensure(relayed.parent.kms.calls()?.iter().all(|call| call == "Decrypt"), || "other calls".to_owned())
}

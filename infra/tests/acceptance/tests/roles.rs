//! API keys with roles, and secrets that change without an outage.
//!
//! The answers are those of `docs/api.md`, "4. Order of checks before the body".

use acceptance::attested::{Attested, Parent};
use acceptance::contract::{
    HEALTHY, METHOD_NOT_ALLOWED, NOT_ALLOWED, NOT_FOUND, REPLAY, ROUTES, TICKET, UNAUTHORIZED,
};
use acceptance::failure::{ensure, fail};
use acceptance::signer::{new_identity, sign_body};
use acceptance::{Failure, Operator, Request, Rows, Server, Ticket};

/// The exit code for what is configured wrong.
const EX_CONFIG: i32 = 78;

const KEYS: [(&str, &str); 3] = [
    ("INTERNAL_API_KEY", "a-full-key-8121-aeb3"),
    ("INTERNAL_API_KEY_WORKER", "a-worker-key-8121-aeb3"),
    ("INTERNAL_API_KEY_ARCHIVE", "an-archive-key-8121-aeb3"),
];

const ROLES: &str = "[api_keys]\nINTERNAL_API_KEY_WORKER = \"sign\"\nINTERNAL_API_KEY_ARCHIVE = \"backup\"";

/// A parent whose signer knows three API keys, in the clear or from KMS.
fn with_three_keys(source: &'static str) -> Result<Parent, Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.tables = ROLES;
    parent.nitro_toml.internal_api_key = source;
    KEYS[0].1.clone_into(&mut parent.secrets.api_key);
    for (variable, key) in KEYS {
        if source == "kms" {
            let sealed = match variable.strip_prefix("INTERNAL_API_KEY_") {
                None => parent.kms.encrypt_boot_secret(&parent.key, variable, key)?,
                Some(name) => parent.kms.encrypt_api_key(&parent.key, name, key)?,
            };
            parent.set(variable, None);
            parent.set(&format!("{variable}_CIPHERTEXT"), Some(&sealed));
        } else {
            parent.set(variable, Some(key));
        }
    }
    Ok(parent)
}

/// The same server, for a client with another API key.
fn with_key(attested: &Attested, api_key: &str) -> Server {
    let server = attested.server();
    let mut secrets = server.secrets.clone();
    api_key.clone_into(&mut secrets.api_key);
    Server::at_address(server.address(), secrets)
}

#[test]
fn each_role_reaches_its_routes_and_no_other() -> Result<(), Failure> {
    let allowed: [&[&str]; 3] = [
        &ROUTES.map(|(route, _)| route),
        &["/internal/sign"],
        &["/internal/backup/export", "/internal/backup/import"],
    ];
    for source in ["env", "kms"] {
        let parent = with_three_keys(source)?;
        let mut attested = parent.ready()?;
        attested.says("the API key INTERNAL_API_KEY_WORKER is known role=Sign")?;
        let mut rows = Rows::new("Roles");
        for ((variable, api_key), allowed) in KEYS.into_iter().zip(allowed) {
            let server = with_key(&attested, api_key);
            for (route, _) in ROUTES {
                let row = format!("{source} {variable} {route}");
                let exchange = server.post(route, r#"{"identity_id":1}"#);
                let outcome = match allowed.contains(&route) {
                    true => exchange.response().and_then(|response| {
                        ensure(response.status == 400, || format!("status {}", response.status))
                    }),
                    false => exchange.is_error(403, NOT_ALLOWED),
                };
                rows.check(&row, outcome);
                let get = Request::post(route, api_key, "{}").method("GET");
                rows.check(format!("{row}, GET"), server.send(&get).is_error(405, METHOD_NOT_ALLOWED));
                // The role counts before anything that is said of the body.
                let no_json = Request::post(route, api_key, "{}").without("content-type");
                if !allowed.contains(&route) {
                    let exchange = server.send(&no_json);
                    rows.check(format!("{row}, no JSON"), exchange.is_error(403, NOT_ALLOWED));
                }
            }
            let exchange = server.post("/internal/unknown", "{}");
            rows.check(format!("{variable}, unknown path"), exchange.is_error(404, NOT_FOUND));
            rows.check(variable, server.send(&Request::new("GET", "/health")).is(200, HEALTHY));
            let document = server.send(&Request::new("GET", "/.well-known/attestation"));
            let status = document.response().map(|response| response.status);
            rows.check(
                format!("{variable}, attestation"),
                ensure(matches!(status, Ok(200)), || format!("{status:?}")),
            );
        }
        let stranger = with_key(&attested, "a-worker-key-8121-aeb4");
        for (route, _) in ROUTES {
            rows.check(
                format!("unknown key {route}"),
                stranger.post(route, "{}").is_error(401, UNAUTHORIZED),
            );
        }
        rows.finish();
    }
    Ok(())
}

#[test]
fn the_roles_work_together_on_one_key() -> Result<(), Failure> {
    let parent = with_three_keys("env")?;
    let attested = parent.ready()?;
    let [full, worker, archive] = KEYS.map(|(_, key)| with_key(&attested, key));
    let identity = new_identity();
    let public_key = full.signer().generated(&identity)?;
    worker.signer().signs_under(&identity, &public_key[2..])?;
    let sealed = archive.signer().exported(&identity)?;
    worker.signer().destroy(&identity).is_error(403, NOT_ALLOWED)?;
    archive.signer().destroy(&identity).is_error(403, NOT_ALLOWED)?;
    full.signer().destroyed(&identity)?;
    archive.signer().imported(&identity, &sealed)?;
    worker.signer().signs_under(&identity, &public_key[2..])
}

#[test]
fn a_backup_key_reseals_if_keys_stay_loaded() -> Result<(), Failure> {
    let parent = with_three_keys("env")?;
    let attested = parent.ready()?;
    let [full, _, archive] = KEYS.map(|(_, key)| with_key(&attested, key));
    let identity = new_identity();
    full.signer().generated(&identity)?;
    let sealed = full.signer().exported(&identity)?;
    full.signer().destroyed(&identity)?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("in.csv"), format!("identity_id,sealed_key\r\n{identity},{sealed}\r\n"))?;
    let (url, [input, output]) = (archive.url(), [path("in.csv"), path("out.csv")]);
    let arguments = ["backup", "reseal", &url, "--input", &input, "--output", &output];
    let refused = Operator::runs(&arguments, &archive.secrets)?;
    refused.is(65, &["the role of the API key does not allow /internal/destroy", "--keep-loaded"])?;
    let resealed = Operator::runs(&[&arguments[..], &["--keep-loaded"]].concat(), &archive.secrets)?;
    resealed.is(0, &[])?;
    full.signer().exported(&identity)?;

    let digest = "ab".repeat(32);
    let sign = ["sign", &url, "--identity", &identity, "--digest", &digest];
    Operator::runs(&sign, &archive.secrets)?
        .is(1, &["the role of the API key does not allow signatures (403"])
}

/// The steps of `docs/operate.md`, "Change the API key without an outage". At each moment the signer knows a key that
/// the API may use.
#[test]
fn an_api_key_is_rotated_without_an_outage() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.tables = "[api_keys]\nINTERNAL_API_KEY_SECOND = \"full\"";
    let old = parent.secrets.api_key.clone();
    let [second, new] = ["a-second-key-8121-aeb3", "another-first-key-8121-aeb3"];
    parent.set("INTERNAL_API_KEY_SECOND", Some(second));
    let attested = parent.ready()?;
    for key in [old.as_str(), second] {
        with_key(&attested, key).signer().generated(&new_identity())?;
    }
    with_key(&attested, new).signer().generate(&new_identity()).is_error(401, UNAUTHORIZED)?;
    drop(attested);
    // The API sends the second key by now.
    parent.set("INTERNAL_API_KEY", Some(new));
    second.clone_into(&mut parent.secrets.api_key);
    let attested = parent.ready()?;
    for key in [second, new] {
        with_key(&attested, key).signer().generated(&new_identity())?;
    }
    with_key(&attested, &old).signer().generate(&new_identity()).is_error(401, UNAUTHORIZED)
}

/// A ticket of `secret` with this nonce.
fn ticket(secret: &str, identity: &str, digest: &[u8; 32], nonce: &str) -> String {
    Ticket::new(identity, digest).text("nonce", nonce).mint(secret)
}

#[test]
fn the_ticket_secret_is_rotated_without_an_outage() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let (old, new) = (parent.secrets.ticket_secret.clone(), "a-new-ticket-secret-8121-aeb3");
    let sealed_before = parent
        .boot_file
        .iter()
        .find(|(name, _)| name == "TICKET_SIGNING_SECRET_CIPHERTEXT")
        .map(|(_, value)| value.clone());
    let sealed_before = sealed_before.ok_or_else(|| Failure::new("no ciphertext".to_owned()))?;
    // The ciphertext of before, as it was sealed, under the name of the previous one.
    parent.set("TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT", Some(&sealed_before));
    let sealed = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", new)?;
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&sealed));
    let mut attested = parent.ready()?;
    attested.says(
        "tickets verify under TICKET_SIGNING_SECRET, and under TICKET_SIGNING_SECRET_PREVIOUS until that is removed",
    )?;
    let (server, identity, digest) = (attested.server(), new_identity(), [7; 32]);
    server.signer().generated(&identity)?;
    for (nonce, first, second) in [("a", old.as_str(), new), ("b", new, old.as_str())] {
        server.signer().signed(&identity, &digest, &ticket(first, &identity, &digest, nonce))?;
        // One ledger: which secret a ticket is of does not make its nonce another.
        for secret in [second, first] {
            let again = ticket(secret, &identity, &digest, nonce);
            server.signer().sign(&identity, &hex::encode(digest), &again).is_error(409, REPLAY)?;
        }
    }
    let third = ticket("a-third-ticket-secret-8121", &identity, &digest, "c");
    server.signer().sign(&identity, &hex::encode(digest), &third).is_error(401, TICKET)?;
    drop(attested);

    parent.set("TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT", None);
    let mut attested = parent.ready()?;
    attested.says("tickets verify under TICKET_SIGNING_SECRET\n")?;
    let server = attested.server();
    server.signer().generated(&identity)?;
    let late = ticket(&old, &identity, &digest, "d");
    server.post("/internal/sign", sign_body(&identity, &hex::encode(digest), &late)).is_error(401, TICKET)?;
    server.signer().signed(&identity, &digest, &ticket(new, &identity, &digest, "d")).map(drop)
}

/// Changes a parent.
type Change = fn(&mut Parent) -> Result<(), Failure>;

#[test]
fn keys_and_roles_that_do_not_fit_are_refused_in_one_line() {
    let mut rows = Rows::new("Roles, refused");
    let cases: &[(&str, Change, &str)] = &[
        (
            "two keys with one value",
            |parent| {
                parent.nitro_toml.tables = "[api_keys]\nINTERNAL_API_KEY_WORKER = \"sign\"";
                let key = parent.secrets.api_key.clone();
                parent.set("INTERNAL_API_KEY_WORKER", Some(&key));
                Ok(())
            },
            "INTERNAL_API_KEY_WORKER has the same value as INTERNAL_API_KEY: make a new one",
        ),
        (
            "a role for a key that does not come",
            |parent| {
                parent.nitro_toml.tables = "[api_keys]\nINTERNAL_API_KEY_WORKER = \"sign\"";
                Ok(())
            },
            "INTERNAL_API_KEY_WORKER is missing",
        ),
        (
            "a key without a role",
            |parent| {
                parent.set("INTERNAL_API_KEY_WORKER", Some("a-worker-key-8121-aeb3"));
                Ok(())
            },
            "INTERNAL_API_KEY_WORKER has no role: list the key under [api_keys] in nitro.toml and build again, or \
             remove the line",
        ),
        (
            "a key that was sealed under another name",
            |parent| {
                *parent = with_three_keys("kms")?;
                let key = parent.kms.encrypt_api_key(&parent.key, "WORKER", "a-worker-key-8121-aeb3")?;
                parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&key));
                Ok(())
            },
            "INTERNAL_API_KEY_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
             name=INTERNAL_API_KEY",
        ),
        (
            "a named key that was sealed as the first one",
            |parent| {
                *parent = with_three_keys("kms")?;
                let key = parent.kms.encrypt_boot_secret(&parent.key, "INTERNAL_API_KEY", KEYS[1].1)?;
                parent.set("INTERNAL_API_KEY_WORKER_CIPHERTEXT", Some(&key));
                Ok(())
            },
            "INTERNAL_API_KEY_WORKER_CIPHERTEXT is not what KMS encrypts with the context \
             nitro-signer=boot-secret, name=INTERNAL_API_KEY, key=WORKER",
        ),
        (
            "a named key that no client can send",
            |parent| {
                *parent = with_three_keys("kms")?;
                let key = parent.kms.encrypt_api_key(&parent.key, "WORKER", "0123456789\nabcdefgh")?;
                parent.set("INTERNAL_API_KEY_WORKER_CIPHERTEXT", Some(&key));
                Ok(())
            },
            "INTERNAL_API_KEY_WORKER cannot stand in a header: it has control characters or blanks around it",
        ),
        (
            "the same ticket secret twice",
            |parent| {
                let secret = parent.secrets.ticket_secret.clone();
                let sealed = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", &secret)?;
                parent.set("TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT", Some(&sealed));
                Ok(())
            },
            "TICKET_SIGNING_SECRET_PREVIOUS has the same value as TICKET_SIGNING_SECRET: make a new one",
        ),
        (
            "a previous ticket secret in the clear",
            |parent| {
                parent.set("TICKET_SIGNING_SECRET_PREVIOUS", Some("a ticket secret of the parent's choice"));
                Ok(())
            },
            "TICKET_SIGNING_SECRET_PREVIOUS is refused in plaintext: nitro.toml asks for it from KMS",
        ),
    ];
    for (row, change, line) in cases {
        let refused = || {
            let mut parent = Parent::new()?;
            change(&mut parent)?;
            parent.start()?.refuses(EX_CONFIG, line)
        };
        rows.check(row, refused());
    }
    rows.finish();
}

/// The log reaches the parent, so it must not have what a client presents.
#[test]
fn the_log_names_the_keys_and_tells_none() -> Result<(), Failure> {
    let parent = with_three_keys("env")?;
    let mut attested = parent.ready()?;
    for (variable, _) in KEYS {
        attested.says(&format!("the API key {variable} is known"))?;
    }
    let output = String::from_utf8_lossy(&attested.enclave.output()).into_owned();
    match KEYS.into_iter().find(|(_, key)| output.contains(key)) {
        None => Ok(()),
        Some((variable, _)) => fail(format!("{variable} is in the log")),
    }
}

//! Boot: which boot files are refused and in which words, and what is waited for.

use std::time::{Duration, Instant};

use acceptance::attested::{Parent, software_pcrs};
use acceptance::contract::{KEY_SERVICE, NOT_READY};
use acceptance::failure::ensure;
use acceptance::kms::INSTANCE_ROLE;
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows, Server};
use serde_json::json;

/// The exit code for what is configured wrong.
const EX_CONFIG: i32 = 78;

/// Changes a parent.
type Change = fn(&mut Parent) -> Result<(), Failure>;

fn refused(change: Change, line: &str) -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    change(&mut parent)?;
    parent.start()?.refuses(EX_CONFIG, line)
}

#[test]
fn a_wrong_boot_file_is_refused_in_one_line() {
    let mut rows = Rows::new("Boot, refused");
    let cases: &[(&str, Change, &str)] = &[
        (
            "no API key",
            |parent| {
                parent.set("INTERNAL_API_KEY", None);
                Ok(())
            },
            "INTERNAL_API_KEY is missing",
        ),
        (
            "no ticket secret",
            |parent| {
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", None);
                Ok(())
            },
            "TICKET_SIGNING_SECRET_CIPHERTEXT is missing",
        ),
        (
            "a plaintext beside the ciphertext",
            |parent| {
                parent.set("TICKET_SIGNING_SECRET", Some("a ticket secret of the parent's choice"));
                Ok(())
            },
            "TICKET_SIGNING_SECRET is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            "a short API key",
            |parent| {
                parent.set("INTERNAL_API_KEY", Some("fifteen-bytes-x"));
                Ok(())
            },
            "INTERNAL_API_KEY is shorter than 16 bytes",
        ),
        (
            "a placeholder",
            |parent| {
                parent.set("INTERNAL_API_KEY", Some("change-me-in-production"));
                Ok(())
            },
            "INTERNAL_API_KEY is a placeholder, not a secret",
        ),
        (
            "another region",
            |parent| {
                parent.set("AWS_REGION", Some("us-east-1"));
                Ok(())
            },
            "AWS_REGION is not the region of nitro.toml",
        ),
        (
            "another key than the sealing key",
            |parent| {
                let arn = parent.next_key.arn.clone();
                parent.set("KMS_KEY_ARN", Some(&arn));
                Ok(())
            },
            "KMS_KEY_ARN is not kms.sealing_key_arn of nitro.toml: if it names the newer key, put that key into \
                           kms.sealing_key_arn and build again; otherwise remove the line",
        ),
        (
            "a ciphertext for another variable",
            |parent| {
                let blob = parent.kms.encrypt_boot_secret(
                    &parent.key,
                    "INTERNAL_API_KEY",
                    "0123456789abcdef-secret",
                )?;
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "TICKET_SIGNING_SECRET_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
             name=TICKET_SIGNING_SECRET",
        ),
        (
            "a ciphertext of a backup",
            |parent| {
                let context = json!({"nitro-signer": "sealed-key"});
                let blob = parent.kms.encrypt(&parent.key, &context, &[7; 32])?;
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "TICKET_SIGNING_SECRET_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
             name=TICKET_SIGNING_SECRET",
        ),
        (
            "an encrypted placeholder",
            |parent| {
                let secret = "change-me-in-production";
                let blob = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", secret)?;
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "TICKET_SIGNING_SECRET is a placeholder, not a secret",
        ),
        (
            "an encrypted secret that is short",
            |parent| {
                let short = "fifteen-bytes-x";
                let blob = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", short)?;
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "TICKET_SIGNING_SECRET is shorter than 16 bytes",
        ),
        (
            "half a ciphertext",
            |parent| {
                let secret = "0123456789abcdef";
                let blob = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", secret)?;
                parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob[..(blob.len() / 2) | 1]));
                Ok(())
            },
            "TICKET_SIGNING_SECRET_CIPHERTEXT is not standard base64",
        ),
        (
            "an API key that no client can send",
            |parent| {
                parent.nitro_toml.internal_api_key = "kms";
                let lines = "0123456789\nabcdefgh";
                let blob = parent.kms.encrypt_boot_secret(&parent.key, "INTERNAL_API_KEY", lines)?;
                parent.set("INTERNAL_API_KEY", None);
                parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "INTERNAL_API_KEY cannot stand in a header: it has control characters or blanks around it",
        ),
    ];
    for (row, change, line) in cases {
        rows.check(row, refused(*change, line));
    }
    rows.finish();
}

#[test]
fn an_api_key_from_kms_works_too() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.internal_api_key = "kms";
    let api_key = parent.secrets.api_key.clone();
    let blob = parent.kms.encrypt_boot_secret(&parent.key, "INTERNAL_API_KEY", &api_key)?;
    parent.set("INTERNAL_API_KEY", None);
    parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&blob));
    let attested = parent.ready()?;
    attested.server().signer().generated(&new_identity()).map(|_| ())
}

/// `/health` says 503, everything else 502, and nothing is made up, until KMS answers; then it all works.
#[test]
fn a_kms_that_is_down_is_waited_for() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let mut attested = parent.start_without_kms()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generate(&identity).is_error(502, KEY_SERVICE)?;
    server.signer().export(&identity).is_error(502, KEY_SERVICE)?;
    server.signer().attest(&identity, None).is_error(502, KEY_SERVICE)?;
    ensure(attested.enclave.is_running(), || "it gave up".to_owned())?;
    parent.kms.recover()?;
    attested.becomes_ready()?;
    server.signer().generated(&identity).map(|_| ())
}

/// Each is down at first, and the signer finds it later without being started again.
#[test]
fn whatever_is_not_there_yet_is_waited_for() -> Result<(), Failure> {
    let parent = Parent::new()?;
    parent.kms.tell("POST", "/imds", &json!({"trouble": "outage"}))?;
    let mut attested = parent.start()?;
    attested.says("no credentials")?;
    parent.kms.tell("POST", "/imds", &json!({}))?;
    attested.becomes_ready()?;
    drop(attested);

    // A boot file that is empty, or cut anywhere by a proxy that was stopped: its last line is not whole.
    let mut parent = Parent::new()?;
    let whole = parent.boot_file.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
    let api_key = whole.find("INTERNAL_API_KEY=").unwrap_or_default() + "INTERNAL_API_KEY=".len();
    for cut in [0, 5, api_key + 17, whole.len() - 1] {
        parent.boot_file_on_disk = Some(whole.as_bytes()[..cut].to_vec());
        let mut attested = parent.start()?;
        attested.says("the parent does not send a boot file whose last line is whole")?;
        attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
        parent.write_boot_file()?;
        attested.becomes_ready()?;
    }

    // No way to KMS: nobody listens on the relay.
    let mut parent = Parent::new()?;
    parent.boot_file_on_disk = None;
    let socket = parent.directory().join("later.sock");
    parent.kms_relay = Some(format!("unix:{}", socket.display()));
    let mut attested = parent.start()?;
    attested.says("the relay does not answer")?;
    std::os::unix::fs::symlink(parent.directory().join("kms.sock"), socket)?;
    attested.becomes_ready().map(|_| ())
}

/// A policy that does not know this image yet: KMS refuses until it does.
#[test]
fn an_image_that_the_policy_does_not_know_gets_nothing() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.options = vec!["--pcr0".to_owned(), "ab".repeat(48)];
    let mut attested = parent.start()?;
    attested.says("AccessDeniedException")?;
    attested.says("KMS does not give a boot secret yet")?;
    attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
    ensure(attested.enclave.is_running(), || "it gave up".to_owned())
}

/// A debugger's enclave measures nothing, and gets nothing.
#[test]
fn debug_mode_gets_nothing() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.options = vec!["--pcr0".to_owned(), "00".repeat(48)];
    let mut attested = parent.start()?;
    attested.says("PCR0 is all zeros, as in debug mode")?;
    attested.says("AccessDeniedException")?;
    attested.says("KMS does not give a boot secret yet")?;
    attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)
}

#[test]
fn a_wrong_clock_is_corrected_by_that_of_kms() -> Result<(), Failure> {
    // KMS takes five minutes.
    for offset_s in [360, -360, 3600, -3600] {
        let parent = Parent::new()?;
        parent.kms.tell("POST", "/clock", &json!({"offset_s": offset_s}))?;
        let mut attested = parent.start()?;
        attested.becomes_ready()?;
        attested.says("signed with the time of KMS")?;
    }
    Ok(())
}

#[test]
fn a_clock_that_is_days_off_is_not_taken_over() -> Result<(), Failure> {
    let parent = Parent::new()?;
    parent.kms.tell("POST", "/clock", &json!({"offset_s": 3 * 86_400}))?;
    let mut attested = parent.start()?;
    attested.says("KMS does not give a boot secret yet")?;
    attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)
}

/// A backup of another kind asks KMS each time.
fn asks_kms(parent: &Parent, server: &Server) -> Result<(), Failure> {
    let backup = parent.kms.encrypt(&parent.key, &json!({}), &[3; 32])?;
    server.signer().imported(&new_identity(), &format!("kms:{backup}"))
}

#[test]
fn credentials_are_renewed_before_they_expire() -> Result<(), Failure> {
    let parent = Parent::with(INSTANCE_ROLE, &["--imds-credential-lifetime-s", "8"])?;
    let attested = parent.ready()?;
    std::thread::sleep(Duration::from_secs(9));
    asks_kms(&parent, &attested.server())
}

/// EC2 closes each connection, and answers in HTTP/1.0 on some instances. A token may be refused once.
#[test]
fn the_metadata_service_may_answer_in_each_way_that_ec2s_does() -> Result<(), Failure> {
    for behaviour in [
        json!({"http_1_0": true}),
        json!({"keep_alive": true}),
        json!({"refused_tokens": 1}),
        json!({"http_1_0": true, "refused_tokens": 1, "unauthorized_page": true}),
    ] {
        let parent = Parent::new()?;
        parent.kms.tell("POST", "/imds", &behaviour)?;
        parent.ready()?;
    }
    Ok(())
}

/// The log names what an operator has to mend, and the signer goes on once that is done.
#[test]
fn credentials_that_cannot_be_had_are_waited_for() -> Result<(), Failure> {
    for (trouble, says) in [
        ("disabled", "the metadata service is disabled"),
        ("no_role", "the instance has no role"),
        ("role_not_assumable", "EC2 cannot assume the instance's role"),
    ] {
        let parent = Parent::new()?;
        parent.kms.tell("POST", "/imds", &json!({ "trouble": trouble }))?;
        let mut attested = parent.start()?;
        attested.says(says)?;
        parent.kms.tell("POST", "/imds", &json!({}))?;
        attested.becomes_ready()?;
    }
    Ok(())
}

/// The credentials are not renewed. They are still valid, and KMS accepts them.
#[test]
fn an_outage_of_the_metadata_service_is_survived() -> Result<(), Failure> {
    let parent = Parent::with(INSTANCE_ROLE, &["--imds-credential-lifetime-s", "100"])?;
    let mut attested = parent.ready()?;
    parent.kms.tell("POST", "/imds", &json!({"trouble": "outage"}))?;
    // Credentials that end soon are renewed, but not every time.
    std::thread::sleep(Duration::from_secs(6));
    asks_kms(&parent, &attested.server())?;
    attested.says("going on with the old ones")
}

/// The parent sees every line of the log; it gets it over its own port, and no secret is in it.
#[test]
fn the_log_reaches_the_parent_and_tells_no_secret() -> Result<(), Failure> {
    let parent = Parent::new()?;
    parent.kms.fail_next("GenerateDataKey", "throttle", 1, 0)?;
    let mut attested = parent.ready()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    let sealed = server.signer().exported(&identity)?;
    attested.says("ThrottlingException")?;
    let started = Instant::now();
    while !String::from_utf8_lossy(&attested.proxy.output()).contains("ThrottlingException") {
        ensure(started.elapsed() < Duration::from_secs(20), || "the parent is told nothing".to_owned())?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = [attested.enclave.stop(), attested.proxy.stop()]
        .map(|said| String::from_utf8_lossy(&said).into_owned());
    for (index, pcr) in software_pcrs().iter().enumerate() {
        ensure(said[1].contains(&format!("PCR{index} is {pcr}")), || format!("no PCR{index}:\n{}", said[1]))?;
    }
    ensure(said[1].contains("ready") && said[1].contains("ThrottlingException"), || {
        format!("the parent was told:\n{}", said[1])
    })?;
    let secrets = [&parent.secrets.ticket_secret, &parent.secrets.api_key, &sealed, &identity];
    for said in said {
        for secret in secrets {
            ensure(!said.contains(secret.as_str()), || format!("{secret} is in the log:\n{said}"))?;
        }
        // Nor one that this test does not know: a key of 32 bytes takes so many digits, and an AWS secret 40.
        let long = said
            .split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c))
            .filter(|word| !software_pcrs().iter().any(|pcr| pcr == word))
            .find(|word| word.len() >= 40 && !word.contains("/nitro-signer") && !word.starts_with('/'));
        ensure(long.is_none(), || format!("{long:?} is in the log:\n{said}"))?;
    }
    Ok(())
}

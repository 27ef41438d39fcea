//! The image itself: its kernel, init, `/dev/nsm` and vsock, in QEMU's `nitro-enclave` machine, behind the real proxy,
//! with a KMS that checks what it measures. Run by `infra/emulator/image.test.sh`, which builds the image.
//!
//! The device between guest and host knows no half-close and drops a connection that it cannot place
//! (`infra/emulator/README.md`): those cases of `docs/api.md` are in `connections.rs`, over Unix sockets.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use acceptance::bip340::x_only;
use acceptance::contract::{HEALTHY, KEY_NOT_FOUND, KEY_SERVICE, REPLAY, TICKET};
use acceptance::emulated::EmulatedImage;
use acceptance::failure::{ensure, fail};
use acceptance::key_proof::{KeyProof, binding};
use acceptance::signer::new_identity;
use acceptance::test_ca::TestCa;
use acceptance::ticket::now_s;
use acceptance::{Connection, Failure, Request, Server, Signer, Ticket};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sha2::{Digest as _, Sha256};

/// The KMS key of the emulated image is that of its policy. Nobody has another one.
const NOBODYS_KEY: &str = "00000000aaaa";

/// The payload of the attestation document for this nonce, by name; QEMU signs none.
fn attested(server: &Server, nonce: &str) -> Result<Vec<(String, Value)>, Failure> {
    let target = format!("/.well-known/attestation?nonce={nonce}");
    let document = server.send(&Request::new("GET", &target)).response()?.member("attestation_doc")?;
    payload(&STANDARD.decode(document)?)
}

/// With the image of `NITRO_EMULATED_TLS_IMAGE`, which differs in its `tls.mode` alone.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn the_image_ends_tls_and_vouches_for_its_key() -> Result<(), Failure> {
    let folder = std::env::var_os("NITRO_EMULATED_TLS_IMAGE");
    let emulated = EmulatedImage::at(folder.expect("it is set by infra/emulator/image.test.sh").into());
    let parent = emulated.parent()?;
    let _enclave = parent.ready()?;
    let server = parent.server();
    signs(&mut server.signer())?;

    let ca = TestCa::new()?;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut connection = server.connect()?;
        let certificates = connection.tls().certificates();
        let key = ca.spki(certificates.first().ok_or_else(|| Failure::new("no certificate"))?)?;
        connection.send(Request::new("GET", "/.well-known/attestation?nonce=0a0b").bytes())?;
        let payload = payload(&STANDARD.decode(connection.receive()?.member("attestation_doc")?)?)?;
        ensure(*member(&payload, "public_key") == Value::Bytes(key.clone()), || format!("{payload:?}"))?;
        let digest = Sha256::digest(&key).to_vec();
        ensure(*member(&payload, "user_data") == Value::Bytes(digest), || format!("{payload:?}"))?;
        let [pcr0, ..] = emulated.measurements()?;
        ensure(pcr(&payload, 0).as_ref() == Some(&pcr0), || format!("{payload:?}"))?;
        keys.push(key);
    }
    ensure(keys[0] == keys[1], || "another key on each connection".to_owned())?;

    let mut clear = Connection::open(server.address())?;
    clear.send(Request::new("GET", "/health").bytes())?;
    let response = clear.receive()?;
    ensure(response.status == 400, || format!("{} {}", response.status, response.text()))
}

/// QEMU's NSM tells this machine's time, in whole seconds. The guest reads its own from an RTC that is off.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn a_clock_that_starts_off_makes_no_difference_to_a_ticket() -> Result<(), Failure> {
    // 91 s is more than the life of a ticket of the API; 6 s is a week's drift of 10 ppm.
    for ahead_s in [91, -6] {
        let mut parent = EmulatedImage::of_environment().parent()?;
        let rtc_unix_s = now_s().checked_add_signed(ahead_s).expect("a time");
        let rtc =
            Command::new("date").args(["-u", "-d", &format!("@{rtc_unix_s}"), "+base=%FT%T"]).output()?;
        parent.options = vec!["-rtc".to_owned(), String::from_utf8(rtc.stdout)?.trim_end().to_owned()];
        let _enclave = parent.ready()?;
        parent.says("the system clock differs from the NSM's time")?;
        let server = parent.server();
        signs(&mut server.signer())?;
        let (mut signer, identity, digest) = (server.signer(), new_identity(), rand::random());
        signer.generated(&identity)?;
        // Whole seconds make the clock up to one behind.
        let expired = Ticket::new(&identity, &digest).claim("exp", &(now_s() - 2).to_string());
        let expired = expired.mint(signer.secret());
        signer.sign(&identity, &hex::encode(digest), &expired).is_error(401, TICKET)?;
    }
    Ok(())
}

fn payload(document: &[u8]) -> Result<Vec<(String, Value)>, Failure> {
    let envelope: Value = ciborium::from_reader(document)?;
    let parts = envelope.as_array().cloned().unwrap_or_default();
    let payload = parts.get(2).and_then(Value::as_bytes).ok_or_else(|| Failure::new("no payload"))?;
    let payload: Value = ciborium::from_reader(payload.as_slice())?;
    let members = payload.as_map().cloned().unwrap_or_default();
    Ok(members.into_iter().filter_map(|(name, value)| Some((name.as_text()?.to_owned(), value))).collect())
}

fn member<'p>(payload: &'p [(String, Value)], name: &str) -> &'p Value {
    payload.iter().find(|(known, _)| known == name).map_or(&Value::Null, |(_, value)| value)
}

fn pcr(payload: &[(String, Value)], index: u8) -> Option<String> {
    let pcrs = member(payload, "pcrs").as_map()?;
    let (_, pcr) = pcrs.iter().find(|(key, _)| *key == Value::from(index))?;
    pcr.as_bytes().map(hex::encode)
}

/// Generates a key, signs with it, and uses the ticket up.
fn signs(signer: &mut Signer<'_>) -> Result<(), Failure> {
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let digest = rand::random();
    let ticket = signer.ticket(&identity, &digest);
    let signature = signer.signed(&identity, &digest, &ticket)?;
    acceptance::bip340::verify(&signature, &digest, x_only(&public_key))?;
    signer.sign(&identity, &hex::encode(digest), &ticket).is_error(409, REPLAY)?;
    signer.destroyed(&identity)
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn the_image_signs_and_its_measurements_are_the_builds() -> Result<(), Failure> {
    let emulated = EmulatedImage::of_environment();
    let parent = emulated.parent()?;
    let enclave = parent.ready()?;
    signs(&mut parent.server().signer())?;
    println!("first signature {:.1} s after QEMU was started", enclave.age().as_secs_f32());
    ensure(parent.heartbeats() == 1, || format!("{} heartbeats", parent.heartbeats()))?;

    let nonce = "00ff10";
    let payload = attested(&parent.server(), nonce)?;
    let measurements = emulated.measurements()?;
    for (index, expected) in (0_u8..).zip(&measurements) {
        // By /dev/nsm, which the signer asks when it starts, and by the document.
        parent.says(&format!("PCR{index} is {expected}"))?;
        ensure(pcr(&payload, index).as_ref() == Some(expected), || format!("PCR{index}: {payload:?}"))?;
    }
    ensure(*member(&payload, "nonce") == Value::Bytes(vec![0, 0xff, 0x10]), || "nonce".to_owned())?;
    ensure(member(&payload, "digest").as_text() == Some("SHA384"), || "digest".to_owned())?;
    let module = member(&payload, "module_id").as_text().unwrap_or_default();
    ensure(module == "i-0123456789abcdef0-enc0123456789abcdef", || module.to_owned())?;
    let timestamp = member(&payload, "timestamp").as_integer().and_then(|it| u64::try_from(it).ok());
    let off = timestamp.unwrap_or(0).abs_diff(now_s() * 1000);
    ensure(off < 60_000, || format!("the document is {off} ms off"))?;
    for name in ["public_key", "user_data"] {
        ensure(member(&payload, name).is_null(), || name.to_owned())?;
    }
    for (name, is_there) in [("certificate", true), ("cabundle", true), ("pcrs", true), ("signature", false)]
    {
        ensure(member(&payload, name).is_null() != is_there, || name.to_owned())?;
    }
    // 16 registers are locked at the start; others may change and stand in no document.
    ensure(member(&payload, "pcrs").as_map().map(Vec::len) == Some(16), || "16 registers".to_owned())?;

    let server = parent.server();
    let (mut signer, identity) = (server.signer(), new_identity());
    let public_key = signer.generated(&identity)?;
    let proof = KeyProof::of(&signer.attest(&identity, Some(nonce)))?;
    let payload = self::payload(&proof.document)?;
    let born = binding(&identity, &public_key, "generated")?;
    ensure(*member(&payload, "user_data") == Value::Bytes(born.to_vec()), || format!("{payload:?}"))?;
    ensure(*member(&payload, "nonce") == Value::Bytes(vec![0, 0xff, 0x10]), || format!("{payload:?}"))
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn a_bent_image_gets_nothing_of_kms() -> Result<(), Failure> {
    let emulated = EmulatedImage::of_environment();
    let measurements = emulated.measurements()?;
    let image = std::fs::read(emulated.image())?;
    // A letter of the kernel's command line, and the byte of gzip's header that names a system. Neither changes what
    // the image does.
    let letter = find(&image, b"quiet")?;
    let system = find(&image, &[0x1f, 0x8b])? + 9;
    let application = system + find(&image[system..], &[0x1f, 0x8b])? + 9;
    for (at, measured) in [(letter, [true, true, false]), (application, [true, false, true])] {
        let mut parent = emulated.parent()?;
        let mut bent = image.clone();
        bent[at] ^= 1;
        set_checksum(&mut bent);
        parent.image = parent.directory().join("bent.eif");
        std::fs::write(&parent.image, bent)?;
        let _enclave = parent.start()?;
        parent.waits_saying("KMS does not give a boot secret yet")?;
        parent.says("AccessDenied")?;
        let payload = attested(&parent.server(), "aa")?;
        for (index, (expected, changed)) in (0_u8..).zip(measurements.iter().zip(measured)) {
            let is_other = pcr(&payload, index).as_ref() != Some(expected);
            ensure(is_other == changed, || format!("byte {at}, PCR{index}: {payload:?}"))?;
        }
    }
    Ok(())
}

/// Where `needle` is for the first time, after the header.
fn find(image: &[u8], needle: &[u8]) -> Result<usize, Failure> {
    // The kernel has everything in it, so it is passed over where the whole image is searched.
    let from = if image.starts_with(b".eif") { offset(image, 1) } else { 0 };
    let at = image[from..].windows(needle.len()).position(|window| window == needle);
    at.map(|at| from + at).ok_or_else(|| Failure::new("the image is not as expected"))
}

/// Where the section of this number starts, by the header.
fn offset(image: &[u8], section: usize) -> usize {
    let field = &image[28 + 8 * section..][..8];
    field.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The last four bytes of the header are the checksum of all others.
fn set_checksum(image: &mut [u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&image[..544]);
    crc.update(&image[548..]);
    image[544..548].copy_from_slice(&crc.finalize().to_be_bytes());
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn a_wrong_policy_or_key_gives_nothing() -> Result<(), Failure> {
    let emulated = EmulatedImage::of_environment();
    let policy = emulated.key_policy()?;
    let [pcr0, ..] = emulated.measurements()?;
    let other = emulated.parent_with(&policy.replace(&pcr0, &"a0".repeat(48)), 0)?;
    let _enclave = other.start()?;
    other.waits_saying("AccessDenied")?;
    drop(_enclave);

    // The parent names another key than the measured one.
    let parent = emulated.parent()?;
    let boot_file = parent.directory().join("env");
    let text = std::fs::read_to_string(&boot_file)?;
    let arn = parent.key.arn.clone();
    let foreign = format!("{}{NOBODYS_KEY}", &arn[..arn.len() - NOBODYS_KEY.len()]);
    std::fs::write(&boot_file, text.replace(&arn, &foreign))?;
    let mut enclave = parent.start()?;
    parent.says("cannot start: KMS_KEY_ARN")?;
    enclave.restarts()
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn it_waits_for_a_kms_that_is_down_and_opens_when_it_is_up() -> Result<(), Failure> {
    let mut parent = EmulatedImage::of_environment().parent()?;
    parent.stop_kms();
    let mut enclave = parent.start()?;
    parent.waits_saying("KMS does not give a boot secret yet")?;
    parent.start_kms()?;
    parent.becomes_ready(&mut enclave)?;
    signs(&mut parent.server().signer())?;

    // Down again, it costs only what needs it.
    let server = parent.server();
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    parent.kms.fail_next("GenerateDataKey", "internal", 1000, 0)?;
    signer.export(&identity).is_error(502, KEY_SERVICE)?;
    signer.signs_under(&identity, x_only(&public_key))
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn what_is_fatal_is_said_and_ends_the_machine() -> Result<(), Failure> {
    let emulated = EmulatedImage::of_environment();
    let parent = emulated.parent()?;
    std::fs::write(parent.directory().join("env"), "INTERNAL_API_KEY=\n")?;
    let mut enclave = parent.start()?;
    enclave.restarts()?;
    let line = "cannot start: INTERNAL_API_KEY";
    parent.says(line)?;
    ensure(enclave.console().contains(line), || enclave.console())?;
    ensure(!enclave.console().contains("Kernel panic"), || enclave.console())?;

    // nitro-cli does not answer: there would be no enclave for long.
    let parent = emulated.parent()?;
    parent.ignore_heartbeats()?;
    let mut enclave = parent.start()?;
    enclave.restarts()?;
    let line = "cannot start: the parent does not take the heartbeat";
    parent.says(line)?;
    ensure(enclave.console().contains(line), || enclave.console())
}

/// The API's reaction to an enclave that has lost its keys: 404, import of the backup, the same ticket again.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn power_off_under_load_loses_nothing() -> Result<(), Failure> {
    const KEYS: usize = 24;
    let parent = EmulatedImage::of_environment().parent()?;
    let mut enclave = parent.ready()?;
    let server = parent.server();
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        let mut signer = server.signer();
        let identity = new_identity();
        let public_key = signer.generated(&identity)?;
        let backup = signer.exported(&identity)?;
        keys.push((identity, public_key, backup));
    }

    let is_off = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), Failure> {
        let clients: Vec<_> = keys
            .chunks(KEYS / 4)
            .map(|keys| {
                let (server, is_off) = (&server, &is_off);
                scope.spawn(move || sign_until_it_is_off(server, keys, is_off))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        // The power goes; nothing is told.
        drop(enclave.qemu.stop());
        is_off.store(true, Ordering::SeqCst);
        let mut signed = 0;
        for client in clients {
            signed += client.join().expect("no panic")?;
        }
        ensure(signed > 0, || "no signature before the power went".to_owned())
    })?;

    parent.kms.forget_calls()?;
    let _enclave = parent.ready()?;
    for (identity, public_key, backup) in &keys {
        let mut signer = server.signer();
        let digest = rand::random();
        let ticket = signer.ticket(identity, &digest);
        signer.sign(identity, &hex::encode(digest), &ticket).is_error(404, KEY_NOT_FOUND)?;
        signer.imported(identity, backup)?;
        let signature = signer.signed(identity, &digest, &ticket)?;
        acceptance::bip340::verify(&signature, &digest, x_only(public_key))?;
    }
    // The ticket secret, and the one data key of all backups.
    let calls = parent.kms.calls()?;
    ensure(calls.iter().filter(|call| *call == "Decrypt").count() == 2, || format!("{calls:?}"))
}

/// Signs with one key after the other; gives how often. A signature that came has to be good.
fn sign_until_it_is_off(
    server: &Server,
    keys: &[(String, String, String)],
    is_off: &AtomicBool,
) -> Result<usize, Failure> {
    let mut signed = 0;
    for (identity, public_key, _) in keys.iter().cycle() {
        if is_off.load(Ordering::SeqCst) {
            break;
        }
        let mut signer = server.signer();
        let digest = rand::random();
        let ticket = signer.ticket(identity, &digest);
        let answer = signer.sign(identity, &hex::encode(digest), &ticket);
        // None, when the power is gone.
        let Ok(response) = answer.response() else { continue };
        ensure(response.status == 200, || format!("{} {}", response.status, response.text()))?;
        acceptance::bip340::verify(&response.member("signature")?, &digest, x_only(public_key))?;
        signed += 1;
    }
    Ok(signed)
}

#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn hundreds_of_connections_and_a_soak_in_constant_memory() -> Result<(), Failure> {
    /// Fewer than the three quarters of 1,024 that the signer keeps open while they are idle.
    const CONNECTIONS: usize = 760;
    /// Long enough for some hundred rounds under emulation. `SOAK_S` makes it longer: a minute in
    /// `infra/test.sh --thorough`.
    const SOAK: Duration = Duration::from_secs(15);
    /// Pages that the guest touches stay with the machine. The host's own buffers come and go.
    const GROWTH_MAX_KIB: u64 = 8 * 1024;
    let soak = match std::env::var("SOAK_S") {
        Ok(seconds) => Duration::from_secs(seconds.parse()?),
        Err(_) => SOAK,
    };
    let parent = EmulatedImage::of_environment().parent()?;
    let enclave = parent.ready()?;
    let server = parent.server();

    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.connect()?);
    }
    let health = Request::new("GET", "/health").bytes();
    for connection in &mut connections {
        connection.send(&health)?;
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        let response = connection.receive()?;
        ensure(response.status == 200 && response.text() == HEALTHY, || format!("connection {index}"))?;
    }
    drop(connections);
    signs(&mut server.signer())?;

    // Each client keeps its connection: the device has numbers for 8,000 of them, and takes none back.
    let load = |duration: Duration| -> Result<usize, Failure> {
        let end = Instant::now() + duration;
        std::thread::scope(|scope| {
            let client = || {
                let (mut signer, mut rounds) = (server.signer(), 0);
                while Instant::now() < end {
                    signs(&mut signer)?;
                    rounds += 1;
                }
                Ok::<usize, Failure>(rounds)
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            clients.into_iter().map(|client| client.join().expect("no panic")).sum()
        })
    };
    // Memory that is used for the first time is not growth.
    load(soak / 4)?;
    let before = resident_kib(&enclave_status(&enclave.qemu)?)?;
    let rounds = load(soak)?;
    let after = resident_kib(&enclave_status(&enclave.qemu)?)?;
    println!("{rounds} keys born, used and destroyed; resident {before} KiB before, {after} KiB after");
    ensure(rounds > 100, || format!("{rounds} rounds"))?;
    ensure(after < before + GROWTH_MAX_KIB, || format!("{before} KiB grew to {after} KiB"))?;
    ensure(parent.log().lines().filter(|line| line.contains("ERROR")).count() == 0, || parent.log())
}

/// Past the proxy, which reads no more from such clients: what fills is the enclave's memory.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn a_thousand_clients_that_read_no_answers_take_no_more_memory_than_is_stated() -> Result<(), Failure> {
    const CONNECTIONS: usize = 1000;
    /// The bytes that `nitro.toml` states for each of `max_connections`: heads, and the kernel's part.
    const GROWTH_MAX_KIB: u64 = CONNECTIONS as u64 * (32 + 144);
    /// Linux copies a packet of up to 128 bytes into the one before it. A longer one keeps a page of its own.
    const PACKET_BYTES: usize = 130;
    /// Under emulation, for answers to fill what is between the signer and a client, and packets what is behind.
    const FILLING: Duration = Duration::from_secs(60);
    const SIGNATURES: u32 = 10;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let parent = EmulatedImage::of_environment().parent()?;
    let enclave = parent.ready()?;
    // It keeps its connection: the device ends when the proxy gives up a dial, as it does while the guest is this busy.
    let server = parent.server();
    let mut signer = server.signer();
    signs(&mut signer)?;
    let before = resident_kib(&enclave_status(&enclave.qemu)?)?;

    // The longest answer that a client without a key gets.
    let line = "GET /.well-known/attestation HTTP/1.1\r\nhost: a\r\nx: ";
    let padding = "x".repeat(PACKET_BYTES - line.len() - "\r\n\r\n".len());
    let request = format!("{line}{padding}\r\n\r\n");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = parent.dial()?;
        connection.set_nonblocking(true)?;
        connections.push(connection);
    }
    let (mut signatures, mut sent, mut most) = (0, 0, before);
    let started = Instant::now();
    while started.elapsed() < FILLING {
        // One for each in turn, so that no two arrive as one packet. One that is full, or that the signer has closed,
        // takes none.
        for connection in &mut connections {
            sent += usize::from(connection.write_all(request.as_bytes()).is_ok());
        }
        most = most.max(resident_kib(&enclave_status(&enclave.qemu)?)?);
        if started.elapsed() > FILLING * signatures / SIGNATURES {
            signs(&mut signer).map_err(|failure| {
                let console = enclave.console();
                Failure::new(format!(
                    "{sent} requests, resident {before} KiB and {most} KiB: {failure}\n{console}"
                ))
            })?;
            signatures += 1;
        }
    }
    println!(
        "{sent} requests, {signatures} rounds of signing; resident {before} KiB before, {most} KiB at most"
    );
    ensure(sent > 100 * CONNECTIONS, || format!("only {sent} requests were sent"))?;
    ensure(most < before + GROWTH_MAX_KIB, || format!("{before} KiB grew to {most} KiB"))?;
    drop(connections);
    signs(&mut signer)
}

/// As when the proxy is restarted while it has thousands of connections.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn thousands_of_connections_cut_at_once_leave_vsock_working() -> Result<(), Failure> {
    /// More than the signer keeps: it closes those that were silent for longest. And fewer than the 8,000 that the
    /// device has numbers for.
    const CONNECTIONS: usize = 6000;
    const DIALERS: usize = 8;
    /// A guest without KVM takes a few seconds.
    const SETTLED: Duration = Duration::from_secs(120);
    // Each is a descriptor here, and more than one in the device, which inherits the limit.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let parent = EmulatedImage::of_environment().parent()?;
    let _enclave = parent.ready()?;
    // The device has one or more for each connection.
    let descriptors = || -> Result<usize, Failure> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", parent.device.pid()))?.count())
    };
    let before = descriptors()?;

    let started = Instant::now();
    let mut connections = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        let dial = || (0..CONNECTIONS / DIALERS).map(|_| parent.dial()).collect::<Result<Vec<_>, _>>();
        let dialers: Vec<_> = (0..DIALERS).map(|_| scope.spawn(dial)).collect();
        for dialer in dialers {
            connections.extend(dialer.join().expect("no panic")?);
        }
        Ok(())
    })?;
    println!("{CONNECTIONS} connections in {:.1} s", started.elapsed().as_secs_f32());
    // Packets meet in both directions: requests, their answers, and the ends of connections.
    let request = Request::new("GET", "/health").bytes();
    for connection in &mut connections {
        // Fails where the signer has closed one that was silent.
        let _ = connection.write_all(&request);
    }
    drop(connections);
    let cut = Instant::now();
    // The device ends where a client leaves before the guest has answered, as the proxy does after its deadline. So
    // nobody dials until the guest has answered nearly all that was cut.
    while descriptors()? > before + CONNECTIONS / 10 {
        ensure(cut.elapsed() < SETTLED, || "the guest does not answer what was cut".to_owned())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    signs(&mut parent.server().signer())?;
    println!("the next signature {:.1} s after they were cut", cut.elapsed().as_secs_f32());
    Ok(())
}

/// With the image of `NITRO_BRING_UP_IMAGE`, which differs in its command line alone.
#[test]
#[ignore = "needs an emulated image: infra/emulator/image.test.sh"]
fn a_bring_up_image_tells_its_boot_from_the_first_line() -> Result<(), Failure> {
    let mut parent = EmulatedImage::of_environment().parent()?;
    let image = std::env::var_os("NITRO_BRING_UP_IMAGE");
    parent.image = image.expect("it is set by infra/emulator/image.test.sh").into();
    let enclave = parent.start()?;
    // It measures something else, so KMS gives it nothing; all of it runs.
    parent.waits_saying("AccessDenied")?;
    let console = enclave.console();
    let mut rest = console.as_str();
    // The milestones of docs/first-boot-on-hardware.md, in this order.
    for milestone in [
        "Linux version 6.12.",
        "earlycon: uart8250 at I/O port 0x3f8",
        "smp: Brought up 1 node, 2 CPUs",
        "Unpacking initramfs",
        "Run /init as init process",
        "KMS does not give a boot secret yet",
    ] {
        let Some(at) = rest.find(milestone) else {
            return fail(format!("`{milestone}` is missing or too early in\n{console}"));
        };
        rest = &rest[at..];
    }
    Ok(())
}

fn enclave_status(qemu: &acceptance::process::Process) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(format!("/proc/{}/status", qemu.pid()))?)
}

fn resident_kib(status: &str) -> Result<u64, Failure> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    match line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()) {
        Some(kib) => Ok(kib),
        None => fail("no VmRSS"),
    }
}

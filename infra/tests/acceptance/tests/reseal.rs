//! `signerctl backup reseal`: nothing is lost, whatever is killed, and a signer is left as it was found.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::contract::{EXISTS, KEY_NOT_FOUND, MALFORMED_SEALED_KEY, UNABLE_TO_OPEN};
use acceptance::failure::{ensure, fail};
use acceptance::local_seal::{open, seal};
use acceptance::signer::new_identity;
use acceptance::stack::Secrets;
use acceptance::{Failure, Operator, Server};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows of the great run.
const MANY: usize = 10_000;

/// A row, and the scalar that its sealed key holds.
struct Backup {
    identity: String,
    scalar: [u8; 32],
    sealed_key: String,
}

fn local_backup(secrets: &Secrets) -> Backup {
    let mut scalar: [u8; 32] = rand::random();
    // Below the order, and not zero.
    scalar[0] = 0x7f;
    Backup { identity: new_identity(), scalar, sealed_key: seal(&secrets.sealing_key, &scalar).blob() }
}

/// Files of one run.
struct RunFiles {
    folder: TempDir,
    input: PathBuf,
    output: PathBuf,
}

impl RunFiles {
    fn new(extension: &str, input: &str) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("reseal-").tempdir()?;
        let input_path = folder.path().join(format!("backups.{extension}"));
        std::fs::write(&input_path, input)?;
        let output = folder.path().join(format!("resealed.{extension}"));
        Ok(Self { folder, input: input_path, output })
    }

    fn arguments<'a>(&'a self, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let path = |path: &'a Path| path.to_str().expect("a path of ours");
        let mut arguments = vec!["backup", "reseal", url, "--input", path(&self.input)];
        arguments.extend(["--output", path(&self.output), "--json"]);
        arguments.extend(more);
        arguments
    }

    fn beside_output(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{}{extension}", self.output.display()))
    }

    /// Rows that the journal has as done.
    fn done(&self) -> usize {
        let journal = std::fs::read_to_string(self.beside_output(".journal")).unwrap_or_default();
        journal.lines().filter(|line| line.contains(r#"{"done":"#)).count()
    }

    /// Waits until the journal has so many rows as done.
    fn reaches(&self, done: usize, operator: &mut Operator) -> Result<(), Failure> {
        let started = Instant::now();
        while self.done() < done {
            if !operator.is_running() || started.elapsed() > Duration::from_secs(120) {
                return fail(format!("{} rows are done, not {done}", self.done()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for entry in self.folder.path().read_dir()? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn csv(backups: &[Backup]) -> String {
    let rows = backups.iter().enumerate().map(|(row, backup)| {
        format!("{row},{},\"note, \"\"{row}\"\"\",{}\r\n", backup.identity, backup.sealed_key)
    });
    std::iter::once("id,identity_id,note,sealed_key\r\n".to_owned()).chain(rows).collect()
}

/// Checks that `output` is `input` with other sealed keys, which hold the same scalars.
fn is_resealed(output: &str, backups: &[Backup], secrets: &Secrets) -> Result<(), Failure> {
    let lines: Vec<&str> = output.split_terminator("\r\n").collect();
    ensure(lines.len() == backups.len() + 1 && lines[0] == "id,identity_id,note,sealed_key", || {
        format!("{} lines, {}", lines.len(), lines[0])
    })?;
    for (row, (backup, line)) in backups.iter().zip(&lines[1..]).enumerate() {
        let rest = format!("{row},{},\"note, \"\"{row}\"\"\",", backup.identity);
        let sealed_key =
            line.strip_prefix(&rest).ok_or_else(|| Failure::new(format!("{line} has not {rest}")))?;
        ensure(sealed_key != backup.sealed_key, || format!("row {row} is as it was"))?;
        ensure(open(&secrets.sealing_key, sealed_key)? == hex::encode(backup.scalar), || {
            format!("row {row} holds another key")
        })?;
    }
    Ok(())
}

/// Ten thousand keys, in spite of kills of the command, of an interruption, and of a signer that is killed and comes
/// back without its keys.
#[test]
fn ten_thousand_keys_through_kills() -> Result<(), Failure> {
    let mut server = Server::own(&["--max-keys", "1000"]);
    let secrets = server.secrets.clone();
    let backups: Vec<Backup> = (0..MANY).map(|_| local_backup(&secrets)).collect();
    let input = csv(&backups);
    let files = RunFiles::new("csv", &input)?;
    let url = server.url();

    let mut done_before = 0;
    for at in [1, 700, 1500, 3300] {
        let mut operator = Operator::starts(&files.arguments(&url, &[]), &secrets)?;
        files.reaches(at, &mut operator)?;
        operator.gets(Signal::SIGKILL)?;
        let ended = operator.ends()?;
        ensure(ended.code.is_none(), || format!("{ended:?}"))?;
        ensure(!files.output.exists(), || "there is an output already".to_owned())?;
        ensure(files.done() >= at.max(done_before), || format!("{} rows are done", files.done()))?;
        done_before = files.done();
    }

    // The signer goes and comes back; the command waits. Then somebody interrupts it.
    let mut operator = Operator::starts(&files.arguments(&url, &["--in-flight", "32"]), &secrets)?;
    files.reaches(5000, &mut operator)?;
    server.stack().restart(&secrets)?;
    files.reaches(7000, &mut operator)?;
    operator.gets(Signal::SIGINT)?;
    let said = operator.ends()?.json(1)?;
    let interrupted_at = files.done();
    ensure(said["resealed_before"] == done_before && said["resealed"] == interrupted_at, || {
        said.to_string()
    })?;
    ensure(said["ended_by"] == "stopped" && said["output"].is_null(), || said.to_string())?;
    ensure(said["failed"] == 0 && said["left"] == MANY - interrupted_at, || said.to_string())?;

    let said = Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(0)?;
    ensure(said["resealed_before"] == interrupted_at && said["resealed"] == MANY, || said.to_string())?;
    println!("{} rows/s", said["rows_per_second"]);
    is_resealed(&std::fs::read_to_string(&files.output)?, &backups, &secrets)?;
    let mode = files.output.metadata()?.permissions().mode() & 0o777;
    ensure(mode == 0o600, || format!("mode {mode:o}"))?;
    ensure(std::fs::read_to_string(&files.input)? == input, || "the input has changed".to_owned())?;
    ensure(files.names()? == ["backups.csv", "resealed.csv"], || format!("{:?}", files.names()))?;
    // Not one key is left behind, by those that were killed neither.
    let mut signer = server.signer();
    for backup in &backups {
        signer.export(&backup.identity).is_error(404, KEY_NOT_FOUND)?;
    }
    Ok(())
}

/// Keys that are live stay live; what cannot be resealed is named, and the rest is done all the same.
#[test]
fn what_fails_is_named_and_what_is_live_stays() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let secrets = server.secrets.clone();
    let mut signer = server.signer();
    let backups: Vec<Backup> = (0..60).map(|_| local_backup(&secrets)).collect();
    let mut rows: Vec<Value> = Vec::new();
    for (row, backup) in backups.iter().enumerate() {
        rows.push(json!({"n": row, "sealed_key": backup.sealed_key, "identity_id": backup.identity}));
        if row < 20 {
            signer.imported(&backup.identity, &backup.sealed_key)?;
        }
    }
    // The API's quotation marks, and a second backup of the same key.
    rows[3]["sealed_key"] = json!(format!("\"{}\"", backups[3].sealed_key));
    rows.push(json!({"identity_id": backups[4].identity.to_uppercase(),
        "sealed_key": seal(&secrets.sealing_key, &backups[4].scalar).blob()}));
    rows.push(json!({"identity_id": backups[50].identity,
        "sealed_key": seal(&secrets.sealing_key, &backups[50].scalar).blob()}));
    let good = rows.len();
    let other = local_backup(&secrets);
    let live_other = new_identity();
    signer.generated(&live_other)?;
    let bad = [
        (
            backups[50].identity.as_str(),
            other.sealed_key.as_str(),
            Some((409, EXISTS)),
            "row 51 has the same identity and another key",
        ),
        (
            &live_other,
            &other.sealed_key,
            Some((409, EXISTS)),
            "the signer holds another key of this identity",
        ),
        (
            &other.identity,
            "aaaa:bbbb:cccc",
            Some((500, UNABLE_TO_OPEN)),
            "the signer does not take the sealed key",
        ),
        (
            &new_identity(),
            "what is this",
            Some((400, MALFORMED_SEALED_KEY)),
            "the signer does not take the sealed key",
        ),
        ("not-a-uuid", &other.sealed_key, None, "identity_id is not a UUID that the signer takes"),
        (&new_identity(), "", None, "no sealed_key"),
    ];
    for (identity, sealed_key, ..) in bad {
        rows.push(json!({"identity_id": identity, "sealed_key": sealed_key}));
    }
    let input: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let files = RunFiles::new("ndjson", &input)?;
    let url = server.url();

    let said = Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(1)?;
    ensure(said["resealed"] == good && said["failed"] == bad.len() && said["left"] == 0, || {
        said.to_string()
    })?;
    ensure(!files.output.exists() && files.done() == good, || "an output, in spite of failures".to_owned())?;
    let listed = std::fs::read_to_string(files.beside_output(".failures.ndjson"))?;
    let listed: Vec<Value> = listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure(said["failures"] == json!(listed) && listed.len() == bad.len(), || said.to_string())?;
    for (failure, (index, (identity, _, answer, cause))) in listed.iter().zip(bad.iter().enumerate()) {
        let expected = json!({
            "row": good + index + 1,
            "line": good + index + 1,
            "identity_id": answer.map(|_| identity),
            "cause": cause,
            "status": answer.map(|(status, _)| status),
            "answer": answer.map(|(_, words)| words),
        });
        ensure(*failure == expected, || format!("{failure} is not {expected}"))?;
    }

    // The same again, and then it is taken as it is.
    let said = Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(1)?;
    ensure(said["resealed_before"] == good && said["failed"] == bad.len(), || said.to_string())?;
    let said = Operator::runs(&files.arguments(&url, &["--keep-failed"]), &secrets)?.json(1)?;
    ensure(said["output"] == files.output.display().to_string(), || said.to_string())?;
    let output = std::fs::read_to_string(&files.output)?;
    let written: Vec<Value> = output.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let scalars: HashMap<&str, &[u8; 32]> =
        backups.iter().map(|backup| (backup.identity.as_str(), &backup.scalar)).collect();
    for (index, (row, new)) in rows.iter().zip(&written).enumerate() {
        if index >= good {
            ensure(row == new, || format!("{new} was {row}"))?;
            continue;
        }
        let (old_key, new_key) = (row["sealed_key"].as_str(), new["sealed_key"].as_str());
        let new_key = new_key.filter(|_| old_key != new_key).unwrap_or_default();
        ensure(new_key.starts_with('"') == (index == 3), || new_key.to_owned())?;
        let identity = row["identity_id"].as_str().unwrap_or_default().to_lowercase();
        let opened = open(&secrets.sealing_key, new_key.trim_matches('"'))?;
        ensure(opened == hex::encode(scalars[identity.as_str()]), || format!("row {index}"))?;
        let mut as_it_was = new.clone();
        as_it_was["sealed_key"] = row["sealed_key"].clone();
        ensure(as_it_was == *row, || format!("{new} was {row}"))?;
    }

    for (row, backup) in backups.iter().enumerate() {
        let exported = signer.export(&backup.identity);
        if row < 20 {
            let sealed_key = exported.response()?.member("sealed_key")?;
            let scalar = open(&secrets.sealing_key, &sealed_key)?;
            ensure(scalar == hex::encode(backup.scalar), || format!("row {row}: another key is live"))?;
        } else {
            exported.is_error(404, KEY_NOT_FOUND)?;
        }
    }
    signer.export(&other.identity).is_error(404, KEY_NOT_FOUND)?;
    signer.exported(&live_other).map(drop)
}

/// A run that was killed right after it loaded a key, as its journal says, unloads it the next time. Only with
/// `--keep-loaded` a key stays.
#[test]
fn keys_stay_loaded_only_if_asked() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let secrets = server.secrets.clone();
    let backups = [local_backup(&secrets)];
    let files = RunFiles::new("csv", &csv(&backups))?;
    let url = server.url();
    let mut signer = server.signer();
    Operator::runs(&files.arguments(&url, &["--keep-loaded"]), &secrets)?.json(0)?;
    signer.exported(&backups[0].identity)?;
    signer.destroyed(&backups[0].identity)?;
    std::fs::remove_file(&files.output)?;
    Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(0)?;
    signer.export(&backups[0].identity).is_error(404, KEY_NOT_FOUND)
}

/// Inputs that are refused before anything is done, each with its own message.
#[test]
fn what_cannot_go_well_is_refused() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let secrets = server.secrets.clone();
    let url = server.url();
    let backups: Vec<Backup> = (0..3).map(|_| local_backup(&secrets)).collect();
    let input = csv(&backups);
    let run = |files: &RunFiles, more: &[&str]| Operator::runs(&files.arguments(&url, more), &secrets);

    let files = RunFiles::new("csv", &input)?;
    std::fs::write(&files.output, "mine")?;
    run(&files, &[])?.is(73, &["signerctl overwrites none"])?;
    std::fs::remove_file(&files.output)?;
    std::os::unix::fs::symlink(&files.input, &files.output)?;
    run(&files, &[])?.is(64, &["this is the input"])?;
    std::fs::remove_file(&files.output)?;

    // The journal of a run that was stopped by failures, and then by another input.
    let mut other_input = input.clone();
    other_input.push_str(&format!("4,{},,broken\r\n", new_identity()));
    std::fs::write(&files.input, &other_input)?;
    run(&files, &[])?.is(1, &["a row failed", "nothing is written yet"])?;
    std::fs::write(&files.input, &input)?;
    run(&files, &[])?.is(65, &["the journal of another input"])?;
    std::fs::write(files.beside_output(".journal"), "id,mine\n")?;
    run(&files, &[])?.is(65, &["not a journal"])?;
    ensure(std::fs::read_to_string(files.beside_output(".journal"))? == "id,mine\n", || {
        "changed".to_owned()
    })?;

    let files = RunFiles::new("csv", &input)?;
    let mut wrong = secrets.clone();
    wrong.api_key.push('x');
    Operator::runs(&files.arguments(&url, &[]), &wrong)?.is(65, &["refuses the API key"])?;
    run(&RunFiles::new("txt", &input)?, &[])?.is(64, &["--format"])?;
    run(&RunFiles::new("txt", &input)?, &["--format", "csv"])?.is(0, &[])?;
    run(&RunFiles::new("csv", "identity_id,key\nx,y\n")?, &[])?
        .is(65, &["line 1: no column `sealed_key`"])?;
    run(&files, &["--in-flight", "0"])?.is(64, &["--in-flight"])?;
    run(&files, &["--in-flight", "257"])?.is(64, &["--in-flight"])?;

    // Nothing to reach: at the start, and in the middle.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nobody = format!("http://{closed}");
    Operator::runs(&files.arguments(&nobody, &[]), &secrets)?.is(69, &["cannot connect"])?;
    ensure(files.names()? == ["backups.csv", "resealed.csv.journal"], || format!("{:?}", files.names()))?;
    server.is_well()
}

/// The signer does not come back: the command gives up, and goes on when there is one again.
#[test]
fn a_signer_that_is_gone_is_given_up() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let secrets = server.secrets.clone();
    let backups: Vec<Backup> = (0..2000).map(|_| local_backup(&secrets)).collect();
    let files = RunFiles::new("csv", &csv(&backups))?;
    let url = server.url();
    let mut operator = Operator::starts(&files.arguments(&url, &["--patience-s", "1"]), &secrets)?;
    files.reaches(100, &mut operator)?;
    let _ = server.stack().enclave.stop();
    let said = operator.ends()?.json(69)?;
    ensure(said["ended_by"].as_str().is_some_and(|why| why.contains("gone")), || said.to_string())?;

    server.stack().restart(&secrets)?;
    Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(0)?;
    is_resealed(&std::fs::read_to_string(&files.output)?, &backups, &secrets)
}

#[test]
fn a_dry_run_asks_nobody() -> Result<(), Failure> {
    let secrets = Secrets::random();
    let backups: Vec<Backup> = (0..3).map(|_| local_backup(&secrets)).collect();
    let mut input = csv(&backups);
    input.push_str(&format!("4,{},,ns1.AAAA\r\n5,{},,kms:AAAA\r\n", backups[0].identity, new_identity()));
    let files = RunFiles::new("csv", &input)?;
    let said = Operator::runs(&files.arguments("http://127.0.0.1:1", &["--dry-run"]), &secrets)?.json(0)?;
    let expected = json!({"rows": 5, "identities": 4, "forms": {"ns1": 1, "kms": 1, "other": 3}, "faulty": 0, "failures": []});
    ensure(said == expected, || said.to_string())?;
    ensure(files.names()? == ["backups.csv"], || format!("{:?}", files.names()))?;
    input.push_str("6,nobody,,ns1.AAAA\r\n");
    let files = RunFiles::new("csv", &input)?;
    let said = Operator::runs(&files.arguments("http://127.0.0.1:1", &["--dry-run"]), &secrets)?.json(1)?;
    ensure(said["faulty"] == 1 && said["failures"][0]["line"] == 7, || said.to_string())
}

/// From the older service's backups to ours, with KMS: killed in the middle, and gone on with after a restart.
#[test]
fn legacy_backups_move_to_ours() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let secrets = parent.secrets.clone();
    let mut backups = Vec::new();
    for _ in 0..150 {
        let scalar = local_backup(&secrets).scalar;
        let sealed_key = format!("kms:{}", parent.kms.encrypt(&parent.key, &json!({}), &scalar)?);
        backups.push(Backup { identity: new_identity(), scalar, sealed_key });
    }
    let files = RunFiles::new("csv", &csv(&backups))?;
    let attested = parent.ready()?;
    let url = attested.server().url();
    let mut operator = Operator::starts(&files.arguments(&url, &["--in-flight", "4"]), &secrets)?;
    files.reaches(30, &mut operator)?;
    operator.gets(Signal::SIGKILL)?;
    operator.ends()?;
    drop(attested);

    // Another signer, with a data key of its own; and KMS stumbles.
    let attested = parent.ready()?;
    parent.kms.fail_next("Decrypt", "throttle", 20, 0)?;
    let url = attested.server().url();
    let said = Operator::runs(&files.arguments(&url, &[]), &secrets)?.json(0)?;
    ensure(said["resealed_before"].as_u64().is_some_and(|before| before >= 30), || said.to_string())?;
    drop(attested);

    let attested = parent.ready()?;
    let server = attested.server();
    let mut signer = server.signer();
    let output = std::fs::read_to_string(&files.output)?;
    for (backup, line) in backups.iter().zip(output.lines().skip(1)) {
        let sealed_key = line.rsplit(',').next().unwrap_or_default();
        ensure(sealed_key.starts_with("ns1."), || line.to_owned())?;
        signer.export(&backup.identity).is_error(404, KEY_NOT_FOUND)?;
        signer.imported(&backup.identity, sealed_key)?;
        let x_only = acceptance::bip340::public_key(&backup.scalar)?[2..].to_owned();
        signer.signs_under(&backup.identity, &x_only)?;
    }
    ensure(output.lines().count() == backups.len() + 1, || output.clone())
}

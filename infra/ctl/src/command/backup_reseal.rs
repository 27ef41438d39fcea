//! `signerctl backup reseal`

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};
use signerctl::api_key::ApiKey;
use signerctl::backup_table::{BackupTable, Format, MAX_TABLE_BYTES, Row};
use signerctl::connection::Client;
use signerctl::output_file;
use signerctl::reseal::{Cause, Halt, Journal, JournalError, Outcome, Reseal, RowFailure, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::server::{Key, Server};
use crate::failure::{
    EX_CANTCREAT, EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure, NOT_GOOD, print, read, write_private,
};
use crate::progress::Progress;
use crate::wait::wait_for;

/// A signer that was told nothing has 512 places for backups: the API keeps nearly all of them.
const DEFAULT_IN_FLIGHT: u64 = 16;

/// Half of those 512: the API's own backups need some.
const MAX_IN_FLIGHT: u64 = 256;

/// A signer that is started again is back by then.
const DEFAULT_PATIENCE_S: u64 = 30;

/// The longest wait for one answer that makes sense: a change of images.
const MAX_PATIENCE_S: u64 = 3600;

/// More failures than that have one cause, which is to be found first.
const DEFAULT_MAX_FAILURES: u64 = 100;

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How often the journal is brought to disk. What a machine that fails loses of it is done again.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Each backup is imported, exported and compared within the signer; a key that was not loaded before is destroyed again.
The input is never changed. The output is written when all rows are done, in the input's order, mode 0600; nothing is
overwritten. Until then what is done is in OUTPUT.journal: the same command goes on where the last one ended, however it
ended, Ctrl-C included. Rows that failed are listed in OUTPUT.failures.ndjson, and tried again by the same command.

Exit status: 0 all rows resealed and the output written, 1 rows failed, it was stopped or the signer is not the attested
one, 64 wrong command line or no API key, 65 the input, the journal or another file is not what it should be or the API
key is refused, 66 a file cannot be read, 69 the signer does not answer, 73 a file cannot be written.

Examples:
  signerctl backup reseal http://127.0.0.1:7001 --input backups.csv --dry-run
  signerctl backup reseal http://127.0.0.1:7001 --input backups.csv --output resealed.csv
  signerctl backup reseal https://signer.example.com --input backups.ndjson --output resealed.ndjson \\
      --api-key-file api-key --in-flight 64 --attested-by infra/nitro.toml --json")]
pub(crate) struct BackupReseal {
    #[command(flatten)]
    server: Server,

    #[command(flatten)]
    key: Key,

    /// Rows with identity_id and sealed_key: CSV with a header, or a JSON object a line
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// Where the same rows go, with new sealed keys; must not be there
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,

    /// csv or ndjson, if the extension (.csv, .ndjson, .jsonl) does not say so
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Backups that are worked on at one time; the signer serves half of its limits.max_requests_in_flight
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_IN_FLIGHT,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_IN_FLIGHT))]
    in_flight: u64,

    /// How long to ask again while the signer is busy, its key service is in trouble, or it does not answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_PATIENCE_S,
          value_parser = RangedU64ValueParser::<u64>::new().range(..=MAX_PATIENCE_S))]
    patience_s: u64,

    /// Stops when more rows than this have failed
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_MAX_FAILURES)]
    max_failures: u64,

    /// Leaves every key loaded in the signer
    #[arg(long)]
    keep_loaded: bool,

    /// Writes the output even if rows failed, with their old sealed keys
    #[arg(long)]
    keep_failed: bool,

    /// Reads and checks the input, and does nothing
    #[arg(long)]
    dry_run: bool,

    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
}

impl BackupReseal {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let format = self.format.or_else(|| Format::of_path(&self.input)).ok_or_else(|| {
            Failure::of_file(EX_USAGE, &self.input, "the extension names no format: give --format")
        })?;
        let table = BackupTable::read(read(&self.input, MAX_TABLE_BYTES)?, format)
            .map_err(|error| Failure::of_file(EX_DATAERR, &self.input, error))?;
        if self.dry_run {
            return self.check(&table);
        }
        let output = self.output.as_deref().expect("clap asks for it unless it is a dry run");
        let files = Files::beside(output);
        files.stand_apart(&self.input)?;
        let (client, api_key) = (self.server.client()?, self.key.read()?);
        wait_for(async {
            self.server.is_ready(&client).await?;
            let journal = files.open_journal(&table)?;
            self.reseal(&client, Arc::new(api_key), Reseal::new(table, journal), &files).await
        })?
    }

    /// The dry run.
    fn check(&self, table: &BackupTable) -> Result<(), Failure> {
        let failures: Vec<RowFailure> = table
            .rows()
            .iter()
            .enumerate()
            .filter_map(|(row, said)| {
                Some(RowFailure { row, cause: Cause::Row(*said.backup.as_ref().err()?) })
            })
            .collect();
        let backups = || table.rows().iter().filter_map(|row| row.backup.as_ref().ok());
        let mut identities: Vec<_> = backups().map(|backup| *backup.identity.as_bytes()).collect();
        identities.sort_unstable();
        identities.dedup();
        let of_form = |prefix: &str| backups().filter(|it| it.sealed_key.starts_with(prefix)).count();
        let (v1, legacy) = (of_form("ns1."), of_form("kms:"));
        let others = backups().count() - v1 - legacy;
        let rows = table.rows().len();
        if self.json {
            print(json!({
                "rows": rows,
                "identities": identities.len(),
                "forms": { "ns1": v1, "kms": legacy, "other": others },
                "faulty": failures.len(),
                "failures": failures.iter().map(|failure| failure_json(table.rows(), failure)).collect::<Value>(),
            }))?;
        } else {
            print(format_args!(
                "{rows} rows, {} identities; sealed keys: {v1} ns1, {legacy} kms, {others} of other forms; {} faulty rows",
                identities.len(),
                failures.len()
            ))?;
            for failure in &failures {
                print(format_args!("line {}: {}", table.rows()[failure.row].line, failure.cause))?;
            }
        }
        match failures.len() {
            0 => Ok(()),
            count => Err(Failure::new(NOT_GOOD, format_args!("{count} of {rows} rows have no backup"))),
        }
    }

    async fn reseal(
        &self,
        client: &Client,
        api_key: Arc<ApiKey>,
        reseal: Reseal,
        files: &Files<'_>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let rows = reseal.table().rows().len();
        let done_before = reseal.progress().done();
        let reseal = Arc::new(reseal);
        let Outcome { mut halt, failures } = self.attend(&reseal, client, &api_key).await?;
        let done = reseal.progress().done();
        let reseal = Arc::into_inner(reseal).ok_or_else(stopped_at_once)?;
        let (table, journal) = reseal.into_parts();
        if let Err(error) = journal.syncer().and_then(|sync| sync()) {
            halt.get_or_insert(Halt::Journal(error));
        }

        let listed: Vec<Value> = failures.iter().map(|failure| failure_json(table.rows(), failure)).collect();
        files.list_failures(&listed)?;
        let is_written = halt.is_none() && (failures.is_empty() || self.keep_failed);
        if is_written {
            files.finish(&table, journal)?;
        }

        let seconds = started.elapsed().as_secs_f64();
        // Shown to a tenth.
        let rate = (done - done_before) as f64 / seconds.max(0.001);
        let left = rows - done - failures.len();
        let end = match (&halt, failures.len()) {
            (Some(halt), _) => Some((code_of(halt), halt.to_string())),
            (None, 0) => None,
            (None, 1) => Some((NOT_GOOD, "a row failed".to_owned())),
            (None, count) => Some((NOT_GOOD, format!("{count} rows failed"))),
        };
        if self.json {
            print(json!({
                "rows": rows,
                "resealed": done,
                "resealed_before": done_before,
                "failed": failures.len(),
                "left": left,
                "seconds": (seconds * 1000.0).round() / 1000.0,
                "rows_per_second": (rate * 10.0).round() / 10.0,
                "output": is_written.then(|| files.output.display().to_string()),
                "journal": (!is_written).then(|| files.journal.display().to_string()),
                "ended_by": halt.as_ref().map(ToString::to_string),
                "failures": listed,
            }))?;
        } else {
            let before =
                if done_before == 0 { String::new() } else { format!(" ({done_before} of them before)") };
            print(format_args!(
                "{rows} rows: {done} resealed{before}, {} failed, {left} left; {seconds:.1} s, {rate:.1} rows/s",
                failures.len()
            ))?;
        }
        let Some((code, reason)) = end else { return Ok(()) };
        let mut line = reason;
        if !failures.is_empty() {
            line.push_str(&format!("; {} says which, and why", files.failures.display()));
        }
        line.push_str(&if is_written {
            format!("; {} has their old sealed keys", files.output.display())
        } else {
            format!(
                "; nothing is written yet, {} has what is done: the same command goes on",
                files.journal.display()
            )
        });
        Err(Failure::new(code, line))
    }

    /// Runs it, shows its progress, writes the journal to disk, and ends at a signal.
    async fn attend(
        &self,
        reseal: &Arc<Reseal>,
        client: &Client,
        api_key: &Arc<ApiKey>,
    ) -> Result<Outcome, Failure> {
        let settings = Settings {
            in_flight: usize::try_from(self.in_flight).unwrap_or(usize::MAX),
            patience: Duration::from_secs(self.patience_s),
            keeps_loaded: self.keep_loaded,
            max_failures: usize::try_from(self.max_failures).unwrap_or(usize::MAX),
        };
        let no_signals = |error| Failure::new(EX_UNAVAILABLE, error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        let (stop, _) = watch::channel(false);
        let mut progress =
            Progress::new(reseal.table().rows().len() as u64, reseal.progress().done() as u64, "rows");
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_sync = Instant::now();
        let mut syncing = None;
        let mut run = std::pin::pin!(reseal.run(client, api_key, settings, &stop));
        let outcome = loop {
            let is_told = tokio::select! {
                outcome = &mut run => break outcome,
                _ = ticks.tick() => false,
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
            };
            progress.show(reseal.progress().done() as u64, reseal.progress().failed() as u64);
            if is_told && stop.send_replace(true) {
                progress.finish();
                return Err(stopped_at_once());
            }
            if is_told {
                progress.say("finishing what is under way; once more to end at once");
            }
            if last_sync.elapsed() >= SYNC_INTERVAL && syncing.as_ref().is_none_or(is_over) {
                last_sync = Instant::now();
                // An error is met again at the end.
                syncing = reseal.journal().syncer().ok().map(tokio::task::spawn_blocking);
            }
        };
        progress.finish();
        Ok(outcome)
    }
}

fn is_over<T>(task: &tokio::task::JoinHandle<T>) -> bool {
    task.is_finished()
}

fn stopped_at_once() -> Failure {
    Failure::new(NOT_GOOD, "stopped at once; the same command goes on")
}

const fn code_of(halt: &Halt) -> u8 {
    match halt {
        Halt::Stopped | Halt::TooManyFailures => NOT_GOOD,
        Halt::Gone(_) | Halt::NoSigner(_) => EX_UNAVAILABLE,
        Halt::KeyRefused | Halt::NotAllowed(_) => EX_DATAERR,
        Halt::Journal(_) => EX_CANTCREAT,
    }
}

fn failure_json(rows: &[Row], failure: &RowFailure) -> Value {
    let row = &rows[failure.row];
    let refusal = failure.cause.refusal();
    json!({
        "row": failure.row + 1,
        "line": row.line,
        "identity_id": row.backup.as_ref().ok().map(|backup| backup.identity.to_string()),
        "cause": failure.cause.to_string(),
        "status": refusal.map(|refusal| refusal.status),
        "answer": refusal.map(|refusal| refusal.words.as_str()),
    })
}

/// The files that a run writes.
struct Files<'p> {
    output: &'p Path,
    journal: PathBuf,
    failures: PathBuf,
}

impl<'p> Files<'p> {
    fn beside(output: &'p Path) -> Self {
        let with = |extension: &str| {
            let mut name = OsString::from(output);
            name.push(extension);
            PathBuf::from(name)
        };
        Self { output, journal: with(".journal"), failures: with(".failures.ndjson") }
    }

    /// Checks that none of them is the input, and that the output does not exist, or is that of a run that was killed
    /// when it had written it.
    fn stand_apart(&self, input: &Path) -> Result<(), Failure> {
        let input = input.canonicalize().ok();
        for path in [self.output, &self.journal, &self.failures] {
            if path.canonicalize().is_ok_and(|path| Some(path) == input) {
                return Err(Failure::of_file(EX_USAGE, path, "this is the input, which is not changed"));
            }
        }
        // A link to nowhere exists too.
        if self.output.symlink_metadata().is_ok() && self.journal.symlink_metadata().is_err() {
            return Err(Failure::of_file(
                EX_CANTCREAT,
                self.output,
                "the file exists, and signerctl overwrites none: name another",
            ));
        }
        Ok(())
    }

    fn open_journal(&self, table: &BackupTable) -> Result<Journal, Failure> {
        Journal::open(&self.journal, &table.sha256(), table.rows().len()).map_err(|error| {
            let code = match error {
                JournalError::Io(_) | JournalError::InUse => EX_CANTCREAT,
                _ => EX_DATAERR,
            };
            Failure::of_file(code, &self.journal, error)
        })
    }

    /// Writes the failures, or removes those of an earlier run.
    fn list_failures(&self, failures: &[Value]) -> Result<(), Failure> {
        if failures.is_empty() {
            // Usually it does not exist.
            let _ = fs::remove_file(&self.failures);
            return Ok(());
        }
        let lines: String = failures.iter().map(|failure| format!("{failure}\n")).collect();
        write_private(&self.failures, lines.as_bytes())
    }

    /// Writes the output, and then takes the journal away.
    fn finish(&self, table: &BackupTable, journal: Journal) -> Result<(), Failure> {
        let not_written = |error| Failure::of_file(EX_CANTCREAT, self.output, error);
        let past = journal.past();
        let mut bytes = Vec::new();
        table.write(&mut bytes, |row| past.sealed_key(row)).map_err(not_written)?;
        match fs::read(self.output) {
            // A run was killed before it took the journal away.
            Ok(written) if written == bytes => {}
            Ok(_) => {
                let error = "the file exists with other rows, and signerctl overwrites none: name another";
                return Err(Failure::of_file(EX_CANTCREAT, self.output, error));
            }
            Err(_) => output_file::write_new(self.output, &bytes).map_err(not_written)?,
        }
        journal.remove().map_err(|error| Failure::of_file(EX_CANTCREAT, &self.journal, error))
    }
}

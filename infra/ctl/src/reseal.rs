//! Reseals backups: each goes into a running signer and comes out again, sealed as the signer seals now.
//!
//! ```text
//! BackupTable ─▶ tasks, one an identity ─▶ workers ─▶ the signer
//!                                             ├─▶ Journal ─▶ after a kill: the rows that are left
//!                                             └─▶ RowFailure
//! ```
//!
//! For each row that is done:
//!
//! * Its new sealed key opens to the same key as the old one. The signer compared both with one live key: an import
//!   over a live key succeeds only if it is the same (`reseal/task.rs` has the calls).
//! * The signer holds the same live keys as before. A key that was loaded for the comparison is destroyed again only
//!   while it is known to be the backup's. The same holds for rows that fail. A row whose key may have stayed is
//!   reported.
//! * It is in the journal before it is done.

mod api;
mod journal;
mod task;

pub use api::Refusal;
pub use journal::{Journal, JournalError, Past};

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::api::Caller;
use self::task::Task;
use crate::api_key::ApiKey;
use crate::backup_table::{BackupTable, RowError};
use crate::connection::{Client, Unreachable};

/// Why a run ends before all rows were looked at.
#[derive(Debug)]
pub enum Halt {
    /// It was told to.
    Stopped,
    /// More rows than it was told to bear have failed.
    TooManyFailures,
    /// The signer was not reached in all that time.
    Gone(Unreachable),
    /// The signer takes another API key.
    KeyRefused,
    /// The role of the API key does not allow this route.
    NotAllowed(&'static str),
    /// The server that answers, with this status, is no signer.
    NoSigner(u16),
    /// The journal cannot be written.
    Journal(io::Error),
}

impl fmt::Display for Halt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => formatter.write_str("stopped"),
            Self::TooManyFailures => formatter.write_str("too many rows failed"),
            Self::Gone(error) => write!(formatter, "the signer is gone: {error}"),
            Self::KeyRefused => formatter.write_str("the signer refuses the API key"),
            Self::NotAllowed(route) => write!(
                formatter,
                "the role of the API key does not allow {route}: use a key with the role `full`, or one with `backup` and \
                 --keep-loaded; a key that was imported may still be loaded"
            ),
            Self::NoSigner(status) => write!(formatter, "what answers is no signer: status {status}"),
            Self::Journal(error) => write!(formatter, "the journal cannot be written: {error}"),
        }
    }
}

impl std::error::Error for Halt {}

/// Why a row has no new sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has no backup.
    Row(RowError),
    /// The signer does not take the old sealed key, or not now.
    Signer(Refusal),
    /// Another row of the same identity, before this one, holds another key.
    OtherKeyThan {
        /// The index of that row.
        row: usize,
        /// The signer's words.
        refusal: Refusal,
    },
    /// Another key is live under this identity.
    LiveKeyDiffers(Refusal),
    /// The new sealed key does not open.
    NewOneDoesNotOpen(Refusal),
    /// Its key could not be taken out of the signer again.
    StaysLive(Refusal),
    /// It failed for this, and its key may still be in the signer, where it was not before.
    MayStayLive(Box<Cause>),
    /// Another client kept changing the identity's key.
    Contended,
}

impl Cause {
    /// The signer's answer, if it got a request.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Signer(refusal)
            | Self::OtherKeyThan { refusal, .. }
            | Self::LiveKeyDiffers(refusal)
            | Self::NewOneDoesNotOpen(refusal)
            | Self::StaysLive(refusal) => Some(refusal),
            Self::MayStayLive(cause) => cause.refusal(),
            Self::Row(_) | Self::Contended => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(error) => write!(formatter, "{error}"),
            Self::Signer(_) => formatter.write_str("the signer does not take the sealed key"),
            Self::OtherKeyThan { row, .. } => {
                write!(formatter, "row {} has the same identity and another key", row + 1)
            }
            Self::LiveKeyDiffers(_) => formatter.write_str("the signer holds another key of this identity"),
            Self::NewOneDoesNotOpen(_) => formatter.write_str("the new sealed key does not open"),
            Self::StaysLive(_) => formatter.write_str("the key could not be destroyed in the signer again"),
            Self::MayStayLive(cause) => write!(formatter, "{cause}, and its key may still be in the signer"),
            Self::Contended => formatter.write_str("another client keeps changing the key"),
        }
    }
}

/// A row that has no new sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// The row's index, from 0.
    pub row: usize,
    /// Why.
    pub cause: Cause,
}

/// How a run goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Identities that are looked after at one time, each over a connection of its own.
    pub in_flight: usize,
    /// How long the signer is asked again for one answer, while it is busy or does not answer.
    pub patience: Duration,
    /// Leaves all keys in the signer.
    pub keeps_loaded: bool,
    /// More failed rows end the run.
    pub max_failures: usize,
}

/// How far a run is; to be looked at from elsewhere.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    failed: AtomicUsize,
}

impl Progress {
    /// Rows with a new sealed key, those of earlier runs included.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Rows that failed in this run.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The result of a run. Its new sealed keys are in the journal.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended early, if it did.
    pub halt: Option<Halt>,
    /// In the table's order.
    pub failures: Vec<RowFailure>,
}

/// A run over one table.
pub struct Reseal {
    table: BackupTable,
    /// Rows of one identity, for each identity, in the table's order.
    groups: Vec<Vec<usize>>,
    journal: Mutex<Journal>,
    progress: Progress,
    failures: Mutex<Vec<RowFailure>>,
}

impl Reseal {
    /// A run over the rows of `table` that the journal leaves.
    #[must_use]
    pub fn new(table: BackupTable, journal: Journal) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut group_of = HashMap::new();
        let mut failures = Vec::new();
        for (row, said) in table.rows().iter().enumerate() {
            match &said.backup {
                Ok(backup) => {
                    let group = *group_of.entry(*backup.identity.as_bytes()).or_insert(groups.len());
                    if group == groups.len() {
                        groups.push(Vec::new());
                    }
                    groups[group].push(row);
                }
                Err(error) => failures.push(RowFailure { row, cause: Cause::Row(*error) }),
            }
        }
        let is_left = |group: &Vec<usize>| group.iter().any(|row| journal.past().sealed_key(*row).is_none());
        groups.retain(is_left);
        let progress = Progress::default();
        progress.done.store(journal.past().done_count(), Ordering::Relaxed);
        progress.failed.store(failures.len(), Ordering::Relaxed);
        Self { table, groups, journal: Mutex::new(journal), progress, failures: Mutex::new(failures) }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &BackupTable {
        &self.table
    }

    /// How far it is.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The journal.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        // Its content was written whole before a panic could happen.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal, when all workers have ended.
    #[must_use]
    pub fn into_parts(self) -> (BackupTable, Journal) {
        (self.table, self.journal.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks after all rows that are left, until there are none or `stop` is true. A worker then finishes the
    /// identity at hand.
    pub async fn run(
        self: &Arc<Self>,
        client: &Client,
        api_key: &Arc<ApiKey>,
        settings: Settings,
        stop: &watch::Sender<bool>,
    ) -> Outcome {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..settings.in_flight.min(self.groups.len()) {
            let (reseal, next) = (Arc::clone(self), Arc::clone(&next));
            let caller =
                Caller::new(client.clone(), Arc::clone(api_key), settings.patience, stop.subscribe());
            let stop = stop.subscribe();
            workers.spawn(async move { reseal.work(caller, &next, settings, &stop).await });
        }
        let mut halt = None;
        while let Some(ended) = workers.join_next().await {
            let Err(error) = ended.unwrap_or(Err(Halt::Stopped)) else { continue };
            // The first says why; the others stop because of it.
            halt.get_or_insert(error);
            stop.send_replace(true);
        }
        let mut failures = std::mem::take(&mut *self.failures());
        failures.sort_by_key(|failure| failure.row);
        if halt.is_none() && failures.len() > settings.max_failures {
            halt = Some(Halt::TooManyFailures);
        }
        Outcome { halt, failures }
    }

    async fn work(
        &self,
        mut caller: Caller,
        next: &AtomicUsize,
        settings: Settings,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Halt> {
        loop {
            if *stop.borrow() {
                return Err(Halt::Stopped);
            }
            if self.progress.failed() > settings.max_failures {
                return Err(Halt::TooManyFailures);
            }
            let Some(group) = self.groups.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            let mut task = Task::new(&self.table, group, &self.journal);
            let failures = task.run(&mut caller, settings.keeps_loaded).await?;
            let done = task.open_rows() - failures.len();
            self.progress.done.fetch_add(done, Ordering::Relaxed);
            self.progress.failed.fetch_add(failures.len(), Ordering::Relaxed);
            self.failures().extend(failures);
        }
    }

    fn failures(&self) -> MutexGuard<'_, Vec<RowFailure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

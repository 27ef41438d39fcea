//! The rows of one identity, usually one.
//!
//! | call | says, when it goes well |
//! |---|---|
//! | export | 404: the key is not live. 200: it is, and this is the new sealed key |
//! | import of the old one | it opens; the key is live now, or was already |
//! | export, if the key was not live | this is the new sealed key |
//! | import of the new one | it opens, to the key that is live |
//! | import of the old one, if the key was not live | that key is still the old one's |
//! | destroy, if the key was not live | the signer is as it was |
//!
//! An import over a live key succeeds only if it is that key, so no other comparison is needed: three calls for a live
//! key, six for another. The assumption: no other client changes the key of an identity to another one and back within
//! the time of these calls. A key that others destroy meanwhile is live again for a moment, or, if it was live before,
//! until they destroy it again. A key that the API imports meanwhile may be destroyed: the API then gets a 404, and
//! imports again.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::api::{BackupApi, Destroy, Export, Import};
use super::journal::Journal;
use super::{Cause, Halt, RowFailure};
use crate::backup_table::BackupTable;
use crate::identity::Identity;

/// How often all calls are repeated because another client changed the key between them.
const MAX_ATTEMPTS: usize = 5;

pub(super) struct Task<'t> {
    identity: &'t Identity,
    /// Index and old sealed key of each row that is left.
    open: Vec<(usize, &'t str)>,
    /// A row that was done earlier, and its new sealed key.
    anchor: Option<(usize, String)>,
    /// It was not live, and may be live through us.
    has_begun: bool,
    journal: &'t Mutex<Journal>,
}

/// The result of all calls together.
enum Attempt {
    /// The rows that `sealed_key` holds for, and those that failed.
    Settled { sealed_key: String, accepted: Vec<usize>, failures: Vec<RowFailure> },
    /// All rows have failed.
    Failed { failures: Vec<RowFailure>, left: Left },
    /// Another client changed the key.
    Changed,
}

/// The key that is live when all rows have failed, as far as is known, if it was not before.
#[derive(Clone, Copy)]
enum Left {
    /// Nothing of ours.
    Nothing,
    /// The key of a row.
    OfBackup,
    /// The key of a row, none, or another client's.
    Unknown,
}

impl<'t> Task<'t> {
    /// A task for these rows of `table`, all of one identity; at least one.
    pub(super) fn new(table: &'t BackupTable, rows: &[usize], journal: &'t Mutex<Journal>) -> Self {
        let guard = lock(journal);
        let past = guard.past();
        let backups: Vec<_> =
            rows.iter().filter_map(|row| Some((*row, table.rows()[*row].backup.as_ref().ok()?))).collect();
        let is_open = |row: &usize| past.sealed_key(*row).is_none();
        Self {
            identity: &backups[0].1.identity,
            open: backups
                .iter()
                .filter(|(row, _)| is_open(row))
                .map(|(row, backup)| (*row, backup.sealed_key.as_str()))
                .collect(),
            anchor: rows.iter().find_map(|row| Some((*row, past.sealed_key(*row)?.to_owned()))),
            has_begun: rows.iter().any(|row| is_open(row) && past.has_begun(*row)),
            journal,
        }
    }

    pub(super) fn open_rows(&self) -> usize {
        self.open.len()
    }

    /// Makes all calls, notes their results, and returns the rows that have failed.
    pub(super) async fn run(
        &mut self,
        api: &mut impl BackupApi,
        keeps_loaded: bool,
    ) -> Result<Vec<RowFailure>, Halt> {
        for _ in 0..MAX_ATTEMPTS {
            let (sealed_key, accepted, failures) = match self.attempt(api).await? {
                Attempt::Settled { sealed_key, accepted, failures } => (sealed_key, accepted, failures),
                Attempt::Failed { failures, .. } if !self.has_begun || keeps_loaded => return Ok(failures),
                Attempt::Failed { failures, left } => {
                    let may_stay = match left {
                        Left::Nothing => false,
                        Left::OfBackup => api.destroy(self.identity).await? != Destroy::Done,
                        // A key that may be another client's stays.
                        Left::Unknown => true,
                    };
                    return Ok(if may_stay {
                        failures.into_iter().map(may_stay_live).collect()
                    } else {
                        failures
                    });
                }
                Attempt::Changed => continue,
            };
            // The last call has shown that it is the key of a backup. No other is destroyed.
            if self.has_begun && !keeps_loaded {
                if let Destroy::Refused(refusal) = api.destroy(self.identity).await? {
                    return Ok(self.all_failed(&Cause::StaysLive(refusal)));
                }
                self.has_begun = false;
            }
            for row in accepted {
                self.note(|journal| journal.note_done(row, &sealed_key))?;
            }
            return Ok(failures);
        }
        Ok(self.all_failed(&Cause::Contended))
    }

    async fn attempt(&mut self, api: &mut impl BackupApi) -> Result<Attempt, Halt> {
        let live = match api.export(self.identity).await? {
            Export::Sealed(sealed_key) => Some(sealed_key),
            Export::NotLive => None,
            // Of an earlier run, it may be.
            Export::Refused(refusal) => return Ok(self.failed(&Cause::Signer(refusal), Left::Unknown)),
        };
        // After an import that was refused.
        let left_by = |is_lost| if live.is_some() || is_lost { Left::Unknown } else { Left::Nothing };
        if live.is_none() {
            let first = self.open[0].0;
            self.note(|journal| journal.note_beginning(first))?;
            self.has_begun = true;
        }

        // The key that the others are compared with.
        let mut first = None;
        if let Some((row, sealed_key)) = &self.anchor {
            match api.import(self.identity, sealed_key).await? {
                Import::Done => first = Some(*row),
                Import::OtherKey(refusal) => {
                    return Ok(self.failed(&Cause::LiveKeyDiffers(refusal), Left::Nothing));
                }
                Import::Refused { refusal, is_lost } => {
                    return Ok(self.failed(&Cause::NewOneDoesNotOpen(refusal), left_by(is_lost)));
                }
            }
        }
        let (mut accepted, mut failures) = (Vec::new(), Vec::new());
        let mut left = if first.is_some() { Left::OfBackup } else { Left::Nothing };
        for (row, sealed_key) in &self.open {
            let cause = match api.import(self.identity, sealed_key).await? {
                Import::Done => {
                    first.get_or_insert(*row);
                    left = Left::OfBackup;
                    accepted.push((*row, *sealed_key));
                    continue;
                }
                Import::OtherKey(refusal) => match first {
                    Some(row) => Cause::OtherKeyThan { row, refusal },
                    None => Cause::LiveKeyDiffers(refusal),
                },
                Import::Refused { refusal, is_lost } => {
                    if matches!(left, Left::Nothing) {
                        left = left_by(is_lost);
                    }
                    Cause::Signer(refusal)
                }
            };
            failures.push(RowFailure { row: *row, cause });
        }
        let Some((_, old)) = accepted.first() else {
            return Ok(Attempt::Failed { failures, left });
        };

        let sealed_key = match (&self.anchor, live) {
            // It was looked at in the same way, and has been compared right now.
            (Some((_, sealed_key)), _) => sealed_key.clone(),
            (None, Some(sealed_key)) => match self.opens(api, &sealed_key).await? {
                Ok(()) => sealed_key,
                Err(attempt) => return Ok(attempt),
            },
            (None, None) => {
                let sealed_key = match api.export(self.identity).await? {
                    Export::Sealed(sealed_key) => sealed_key,
                    Export::NotLive => return Ok(Attempt::Changed),
                    Export::Refused(refusal) => return Ok(self.failed(&Cause::Signer(refusal), left)),
                };
                if let Err(attempt) = self.opens(api, &sealed_key).await? {
                    return Ok(attempt);
                }
                match api.import(self.identity, old).await? {
                    Import::Done => sealed_key,
                    Import::OtherKey(_) => return Ok(Attempt::Changed),
                    Import::Refused { refusal, .. } => return Ok(self.failed(&Cause::Signer(refusal), left)),
                }
            }
        };
        let accepted = accepted.into_iter().map(|(row, _)| row).collect();
        Ok(Attempt::Settled { sealed_key, accepted, failures })
    }

    /// Whether the new sealed key opens to the live key; otherwise the attempt's result.
    async fn opens(&self, api: &mut impl BackupApi, sealed_key: &str) -> Result<Result<(), Attempt>, Halt> {
        Ok(match api.import(self.identity, sealed_key).await? {
            Import::Done => Ok(()),
            Import::OtherKey(_) => Err(Attempt::Changed),
            Import::Refused { refusal, .. } => {
                Err(self.failed(&Cause::NewOneDoesNotOpen(refusal), Left::OfBackup))
            }
        })
    }

    fn note(&self, what: impl FnOnce(&mut Journal) -> io::Result<()>) -> Result<(), Halt> {
        what(&mut lock(self.journal)).map_err(Halt::Journal)
    }

    fn failed(&self, cause: &Cause, left: Left) -> Attempt {
        Attempt::Failed { failures: self.all_failed(cause), left }
    }

    fn all_failed(&self, cause: &Cause) -> Vec<RowFailure> {
        self.open.iter().map(|(row, _)| RowFailure { row: *row, cause: cause.clone() }).collect()
    }
}

fn may_stay_live(failure: RowFailure) -> RowFailure {
    RowFailure { row: failure.row, cause: Cause::MayStayLive(Box::new(failure.cause)) }
}

fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

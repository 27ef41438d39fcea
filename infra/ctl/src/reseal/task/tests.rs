use std::collections::HashMap;
use std::sync::Mutex;

use super::{MAX_ATTEMPTS, Task};
use crate::backup_table::{BackupTable, Format};
use crate::identity::Identity;
use crate::reseal::api::{BackupApi, Destroy, Export, Import, Refusal};
use crate::reseal::{Cause, Halt, Journal};

const IDENTITY: &str = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";

/// Sealed keys are the key's letter after a form.
const OLD_A: &str = "kms:A";
const OTHER_A: &str = "kms:also-A";
const OLD_B: &str = "kms:B";
const BROKEN: &str = "kms:";

/// The actions of others.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Destroy,
    /// They destroy the key and make another.
    Replace,
    /// They import this backup of the table.
    Import,
}

/// A signer that holds one identity, and others that use it too.
#[derive(Default)]
struct Model {
    live: Option<char>,
    /// The sealed key that was exported.
    sealed: HashMap<String, char>,
    calls: usize,
    /// The actions of others just before the call of that number.
    deeds: Vec<(usize, Deed)>,
    /// The calls that are refused.
    refused: Vec<usize>,
    /// The imports that are made, and answered by a proxy that did not wait.
    lost: Vec<usize>,
    /// Keys that we destroyed.
    destroyed: Vec<char>,
    /// The signer's new sealed keys do not open.
    is_broken: bool,
}

impl Model {
    fn key_of(&self, sealed_key: &str) -> Option<char> {
        let known = self.sealed.get(sealed_key).copied();
        known.or_else(|| sealed_key.strip_prefix("kms:")?.chars().last())
    }

    /// Counts a call, after the actions of others before it.
    fn begin(&mut self) -> Result<(), Refusal> {
        for (at, deed) in &self.deeds {
            if *at == self.calls {
                self.live = match deed {
                    Deed::Destroy => None,
                    Deed::Replace => Some('X'),
                    Deed::Import => Some(self.live.unwrap_or('A')),
                };
            }
        }
        self.calls += 1;
        if self.refused.contains(&(self.calls - 1)) {
            return Err(Refusal { status: 502, words: "Key service unavailable".to_owned() });
        }
        Ok(())
    }
}

impl BackupApi for Model {
    async fn export(&mut self, _: &Identity) -> Result<Export, Halt> {
        if let Err(refusal) = self.begin() {
            return Ok(Export::Refused(refusal));
        }
        let Some(key) = self.live else { return Ok(Export::NotLive) };
        let sealed_key = format!("ns1.{}", self.sealed.len());
        if !self.is_broken {
            self.sealed.insert(sealed_key.clone(), key);
        }
        Ok(Export::Sealed(sealed_key))
    }

    async fn import(&mut self, _: &Identity, sealed_key: &str) -> Result<Import, Halt> {
        if let Err(refusal) = self.begin() {
            return Ok(Import::Refused { refusal, is_lost: false });
        }
        let is_lost = self.lost.contains(&(self.calls - 1));
        let refusal = |status| Refusal { status, words: String::new() };
        let refused = |status, is_lost| Ok(Import::Refused { refusal: refusal(status), is_lost });
        let Some(key) = self.key_of(sealed_key) else { return refused(500, false) };
        match *self.live.get_or_insert(key) == key {
            _ if is_lost => refused(502, true),
            true => Ok(Import::Done),
            false => Ok(Import::OtherKey(refusal(409))),
        }
    }

    async fn destroy(&mut self, _: &Identity) -> Result<Destroy, Halt> {
        if let Err(refusal) = self.begin() {
            return Ok(Destroy::Refused(refusal));
        }
        self.destroyed.extend(self.live.take());
        Ok(Destroy::Done)
    }
}

struct TableAndJournal {
    table: BackupTable,
    journal: Mutex<Journal>,
    _folder: tempfile::TempDir,
}

impl TableAndJournal {
    fn new(sealed_keys: &[&str]) -> Self {
        let rows: String = sealed_keys.iter().map(|key| format!("{IDENTITY},{key}\n")).collect();
        let text = format!("identity_id,sealed_key\n{rows}");
        let table = BackupTable::read(text.into_bytes(), Format::Csv).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Mutex::new(Journal::open(&path, &table.sha256(), sealed_keys.len()).unwrap());
        Self { table, journal, _folder: folder }
    }

    /// Runs the task over all rows, and returns the failures.
    fn run(&self, signer: &mut Model, keeps_loaded: bool) -> Vec<(usize, Cause)> {
        let rows: Vec<usize> = (0..self.table.rows().len()).collect();
        self.run_rows(&rows, signer, keeps_loaded)
    }

    fn run_rows(&self, rows: &[usize], signer: &mut Model, keeps_loaded: bool) -> Vec<(usize, Cause)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut task = Task::new(&self.table, rows, &self.journal);
        let failures = runtime.block_on(task.run(signer, keeps_loaded)).unwrap();
        failures.into_iter().map(|failure| (failure.row, failure.cause)).collect()
    }

    fn new_key(&self, row: usize) -> Option<String> {
        self.journal.lock().unwrap().past().sealed_key(row).map(str::to_owned)
    }

    fn has_begun(&self, row: usize) -> bool {
        self.journal.lock().unwrap().past().has_begun(row)
    }
}

#[test]
fn a_signer_is_left_as_it_was() {
    for (live, keeps_loaded, calls, live_after) in [
        (None, false, 6, None),
        (None, true, 5, Some('A')),
        (Some('A'), false, 3, Some('A')),
        (Some('A'), true, 3, Some('A')),
    ] {
        let run = TableAndJournal::new(&[OLD_A]);
        let mut signer = Model { live, ..Model::default() };
        assert_eq!(run.run(&mut signer, keeps_loaded), []);
        assert_eq!((signer.calls, signer.live), (calls, live_after), "{live:?}");
        assert_eq!(signer.key_of(&run.new_key(0).unwrap()), Some('A'));
        assert_eq!(run.has_begun(0), live.is_none());
    }
}

#[test]
fn another_live_key_is_not_touched() {
    let run = TableAndJournal::new(&[OLD_A]);
    let mut signer = Model { live: Some('B'), ..Model::default() };
    let failures = run.run(&mut signer, false);
    assert!(matches!(&failures[..], [(0, Cause::LiveKeyDiffers(refusal))] if refusal.status == 409));
    assert_eq!((signer.live, run.new_key(0)), (Some('B'), None));
    assert!(signer.destroyed.is_empty());
}

#[test]
fn what_does_not_open_fails_alone() {
    let run = TableAndJournal::new(&[BROKEN]);
    let mut signer = Model::default();
    let failures = run.run(&mut signer, false);
    assert!(matches!(&failures[..], [(0, Cause::Signer(refusal))] if refusal.status == 500));
    assert_eq!((signer.live, signer.calls), (None, 2));

    let run = TableAndJournal::new(&[OLD_A]);
    let mut signer = Model { is_broken: true, ..Model::default() };
    let failures = run.run(&mut signer, false);
    assert!(matches!(&failures[..], [(0, Cause::NewOneDoesNotOpen(refusal))] if refusal.status == 500));
    assert_eq!((signer.live, run.new_key(0)), (None, None));
}

/// Of rows with one identity, those with the first one's key are done, and no other.
#[test]
fn an_identity_has_one_key() {
    for live in [None, Some('A')] {
        let run = TableAndJournal::new(&[BROKEN, OLD_A, OLD_B, OTHER_A]);
        let mut signer = Model { live, ..Model::default() };
        let failures = run.run(&mut signer, false);
        assert!(
            matches!(&failures[..], [(0, Cause::Signer(_)), (2, Cause::OtherKeyThan { row: 1, .. })]),
            "{failures:?}"
        );
        assert_eq!(signer.live, live);
        assert_eq!([0, 2].map(|row| run.new_key(row)), [None, None]);
        let new_keys = [1, 3].map(|row| run.new_key(row).unwrap());
        assert_eq!(new_keys[0], new_keys[1]);
        assert_eq!(signer.key_of(&new_keys[0]), Some('A'));

        // The next run knows which key it is, and makes no other.
        let failures = run.run(&mut signer, false);
        assert!(matches!(&failures[..], [(0, _), (2, Cause::OtherKeyThan { row: 1, .. })]), "{failures:?}");
        assert_eq!(signer.live, live);
    }
}

/// A run that was killed before it destroyed the key left it live: the next one takes it for its own.
#[test]
fn what_a_killed_run_put_in_is_taken_out() {
    let run = TableAndJournal::new(&[OLD_A]);
    run.journal.lock().unwrap().note_beginning(0).unwrap();
    let mut signer = Model { live: Some('A'), ..Model::default() };
    assert_eq!(run.run(&mut signer, false), []);
    assert_eq!((signer.live, signer.destroyed), (None, vec!['A']));

    // A key that differs by now is another client's.
    let run = TableAndJournal::new(&[OLD_A]);
    run.journal.lock().unwrap().note_beginning(0).unwrap();
    let mut signer = Model { live: Some('X'), ..Model::default() };
    assert!(matches!(&run.run(&mut signer, false)[..], [(0, Cause::LiveKeyDiffers(_))]));
    assert_eq!((signer.live, signer.destroyed), (Some('X'), vec![]));
}

/// Whichever call is refused for good: nothing is noted as done, and our key is taken out while that can be.
#[test]
fn a_refusal_leaves_no_key_behind() {
    for refused in 0..6 {
        let run = TableAndJournal::new(&[OLD_A]);
        let mut signer = Model { refused: vec![refused], ..Model::default() };
        let failures = run.run(&mut signer, false);
        assert_eq!((failures.len(), run.new_key(0)), (1, None), "{refused}");
        let stays = matches!(failures[0].1, Cause::StaysLive(_));
        assert_eq!((stays, signer.live.is_some()), (refused == 5, refused == 5), "{refused}");
        // The next run goes well, and then it is out.
        signer.refused.clear();
        assert_eq!(run.run(&mut signer, false), []);
        assert_eq!(signer.live, None, "{refused}");
    }
}

/// The row fails, or the destruction of its key, or the result of the import is unknown.
#[test]
fn a_key_that_may_have_stayed_is_told() {
    let run = |live, refused: &[usize], lost: &[usize], keeps_loaded| {
        let run = TableAndJournal::new(&[OLD_A]);
        if live == Some('A') {
            run.journal.lock().unwrap().note_beginning(0).unwrap();
        }
        let (refused, lost) = (refused.to_vec(), lost.to_vec());
        let mut signer = Model { live, refused, lost, ..Model::default() };
        let mut failures = run.run(&mut signer, keeps_loaded);
        assert_eq!((failures.len(), run.new_key(0)), (1, None), "{:?} {:?}", signer.refused, signer.lost);
        (failures.remove(0).1, signer.live)
    };
    for (live, refused, lost) in [
        (None, &[2, 3][..], &[][..]),
        (None, &[3, 4], &[]),
        (None, &[4, 5], &[]),
        (None, &[], &[1]),
        // A killed run left it, and no call says whose it is.
        (Some('A'), &[0], &[]),
        (Some('A'), &[1], &[]),
        (Some('A'), &[2, 3], &[]),
    ] {
        let (cause, live_after) = run(live, refused, lost, false);
        assert_eq!(live_after, Some('A'), "{refused:?} {lost:?}");
        assert_eq!(cause.refusal().map(|refusal| refusal.status), Some(502), "{refused:?} {lost:?}");
        let words = cause.to_string();
        assert!(words.ends_with(", and its key may still be in the signer"), "{refused:?} {lost:?}: {words}");
    }
    // A key that the signer itself refused does not exist, and a caller that wants it to stay gets no note that it
    // does.
    assert!(matches!(run(None, &[1], &[], false), (Cause::Signer(_), None)));
    assert!(matches!(run(None, &[2, 3], &[], true), (Cause::Signer(_), Some('A'))));
}

/// Others do up to two things, at any two moments.
#[test]
fn whatever_others_do_a_new_sealed_key_holds_the_old_ones_key() {
    let deeds = [Deed::Destroy, Deed::Replace, Deed::Import];
    let events: Vec<(usize, Deed)> =
        (0..12).flat_map(|at| deeds.into_iter().map(move |deed| (at, deed))).collect();
    let mut cases = Vec::new();
    for (live, first) in
        [None, Some('A')].into_iter().flat_map(|live| events.iter().map(move |it| (live, it)))
    {
        for second in &events {
            // Changed and changed back, or destroyed, between two calls: the assumption excludes it.
            if !matches!((first.1, second.1), (Deed::Replace, Deed::Destroy) | (Deed::Destroy, Deed::Replace))
            {
                cases.push((live, vec![*first, *second]));
            }
        }
    }
    // A row for each, with a journal for all: each journal costs two waits for the disk.
    let run = TableAndJournal::new(&vec![OLD_A; cases.len()]);
    let mut done = 0;
    for (row, (live, deeds)) in cases.iter().enumerate() {
        let mut signer = Model { live: *live, deeds: deeds.clone(), ..Model::default() };
        let failures = run.run_rows(&[row], &mut signer, false);
        let what = format!("{live:?} {deeds:?} {failures:?}");
        match run.new_key(row) {
            Some(new_key) => {
                assert_eq!(signer.key_of(&new_key), Some('A'), "{what}");
                assert!(failures.is_empty(), "{what}");
                done += 1;
            }
            None => assert_eq!(failures.len(), 1, "{what}"),
        }
    }
    // Before the last call, most changes come in time to be seen.
    assert!(done > cases.len() / 2, "{done} of {}", cases.len());
}

#[test]
fn who_keeps_changing_a_key_is_not_waited_for() {
    let run = TableAndJournal::new(&[OLD_A]);
    // Each attempt ends with the second export.
    let deeds = (0..3 * MAX_ATTEMPTS).map(|at| (at, Deed::Destroy)).collect();
    let mut signer = Model { deeds, ..Model::default() };
    assert_eq!(run.run(&mut signer, false), [(0, Cause::Contended)]);
}

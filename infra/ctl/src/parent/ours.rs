//! The signer's enclaves among all: those whose IDs are recorded, and those with the signer's name.
//!
//! nitro-cli renames an enclave whose name is taken, so a name alone decides nothing.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::failed::{Failed, Kind};
use super::machine::Machine;
use super::nitro_cli::{Enclave, Listing, Started};
use super::report;
use crate::output_file;

/// Root's alone to write, in a folder that is root's.
const RECORD_FILE: &str = "/var/lib/nitro-signer/enclaves.json";

/// Bytes that are read of it: an enclave takes 200, and two run at once.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// The state of an enclave that is recorded, while a process that nitro-cli asked did not answer.
const SILENT: &str = "SILENT";

/// An enclave that was started here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    id: String,
    cid: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Records {
    enclaves: Vec<Record>,
}

/// The marks that tell the signer's enclaves from others.
#[derive(Debug)]
pub(super) struct Ours {
    path: PathBuf,
    /// None, if no release tells it.
    name: Option<String>,
    records: Records,
}

impl Ours {
    /// Those that were recorded on `machine`, and those named `name`. Records that cannot be read are reported, and
    /// names have to do.
    pub(super) fn read(machine: &Machine, name: Option<&str>) -> Self {
        let path = machine.path(RECORD_FILE);
        let records = match read(&path) {
            Ok(records) => records,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Records::default(),
            Err(error) => {
                let path = path.display();
                report(format_args!("WARNING: {path}: {error}; our enclaves are known by their names only"));
                Records::default()
            }
        };
        Self { path, name: name.map(str::to_owned), records }
    }

    /// Our enclaves of `listing`. Where a process did not answer, a recorded enclave that is not listed may be its.
    pub(super) fn of(&self, listing: Listing) -> Vec<Enclave> {
        let is_recorded = |id: &str| self.records.enclaves.iter().any(|record| record.id == id);
        let mut ours: Vec<_> = listing.enclaves;
        ours.retain(|enclave| is_recorded(&enclave.id) || self.is_our_name(&enclave.name));
        if !listing.is_complete {
            for record in &self.records.enclaves {
                if ours.iter().all(|enclave| enclave.id != record.id) {
                    ours.push(silent(record));
                }
            }
        }
        ours
    }

    /// The signer's name, or the name that nitro-cli makes of it when it is taken.
    fn is_our_name(&self, name: &str) -> bool {
        let Some(ours) = &self.name else { return false };
        match name.strip_prefix(ours.as_str()) {
            Some("") => true,
            Some(rest) => rest
                .strip_prefix('_')
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())),
            None => false,
        }
    }

    /// Whether any enclave is recorded.
    pub(super) fn has_records(&self) -> bool {
        !self.records.enclaves.is_empty()
    }

    /// Records an enclave that was just started. Of the others, those that are not `running` any more are forgotten.
    pub(super) fn record(&mut self, started: &Started, running: &[Enclave]) -> Result<(), Failed> {
        let records = &mut self.records.enclaves;
        records.retain(|record| running.iter().any(|enclave| enclave.id == record.id));
        records.push(Record { id: started.id.clone(), cid: started.cid });
        self.write()
    }

    /// Forgets enclaves that have ended. Where that cannot be written, the next start forgets them.
    pub(super) fn forget(&mut self, ended: &[Enclave]) {
        let before = self.records.enclaves.len();
        self.records.enclaves.retain(|record| ended.iter().all(|enclave| enclave.id != record.id));
        if self.records.enclaves.len() < before
            && let Err(failed) = self.write()
        {
            report(failed);
        }
    }

    fn write(&self) -> Result<(), Failed> {
        let unwritten =
            |error| Failed::new(Kind::Unavailable, format_args!("{}: {error}", self.path.display()));
        let json = serde_json::to_vec_pretty(&self.records).map_err(|error| unwritten(error.into()))?;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(unwritten)?;
        }
        output_file::write_private(&self.path, &json)
            .and_then(|()| output_file::sync_folder_of(&self.path))
            .map_err(unwritten)
    }
}

impl Enclave {
    /// Whether nitro-cli did not tell how it is.
    pub(super) fn is_silent(&self) -> bool {
        self.state == SILENT
    }
}

fn silent(record: &Record) -> Enclave {
    Enclave {
        name: String::new(),
        id: record.id.clone(),
        cid: record.cid,
        cpu_count: 0,
        memory_mib: 0,
        state: SILENT.to_owned(),
        flags: String::new(),
        measurements: None,
    }
}

fn read(path: &PathBuf) -> io::Result<Records> {
    use std::io::Read as _;
    let mut json = Vec::new();
    fs::File::open(path)?.take(MAX_RECORD_BYTES).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::machine::SystemCommands;

    fn enclave(name: &str, id: &str) -> Enclave {
        Enclave { name: name.into(), state: "RUNNING".into(), ..silent(&Record { id: id.into(), cid: 16 }) }
    }

    fn ids(enclaves: &[Enclave]) -> Vec<&str> {
        enclaves.iter().map(|enclave| enclave.id.as_str()).collect()
    }

    #[test]
    fn a_recorded_id_and_our_name_with_a_number_are_ours() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let names =
            ["signer", "signer_1", "signer_12", "signer_", "signer_x", "signer-2", "signers", "other", ""];
        let listing = |is_complete| Listing {
            enclaves: names.iter().map(|name| enclave(name, &format!("i-{name}"))).collect(),
            is_complete,
        };
        let mut ours = Ours::read(&machine, Some("signer"));
        assert_eq!(ids(&ours.of(listing(true))), ["i-signer", "i-signer_1", "i-signer_12"]);
        let [other, gone] = ["i-other", "i-gone"].map(|id| Started { id: id.into(), cid: 17 });
        ours.record(&other, &[]).unwrap();
        ours.record(&gone, &[enclave("other", "i-other")]).unwrap();
        let ours = Ours::read(&machine, Some("signer"));
        assert_eq!(ids(&ours.of(listing(true))), ["i-signer", "i-signer_1", "i-signer_12", "i-other"]);
        let with_silent = ours.of(listing(false));
        assert_eq!(ids(&with_silent)[4], "i-gone");
        assert!(with_silent[4].is_silent() && !with_silent[3].is_silent());
    }

    #[test]
    fn what_does_not_run_any_more_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let mut ours = Ours::read(&machine, Some("signer"));
        for id in ["i-1", "i-2"] {
            ours.record(&Started { id: id.into(), cid: 16 }, &[]).unwrap();
        }
        let text = fs::read_to_string(machine.path(RECORD_FILE)).unwrap();
        assert!(text.contains("i-2") && !text.contains("i-1"), "{text}");
        ours.forget(&[enclave("signer", "i-2")]);
        assert!(!Ours::read(&machine, None).has_records());
    }

    #[test]
    fn records_that_are_wrong_leave_the_names() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let path = machine.path(RECORD_FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let whole = r#"{"enclaves":[{"id":"i-1","cid":16}]}"#;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let ours = Ours::read(&machine, Some("signer"));
            let listing =
                Listing { enclaves: vec![enclave("signer", "i-2"), enclave("x", "i-1")], is_complete: true };
            assert_eq!(ids(&ours.of(listing)), ["i-2"]);
        }
    }
}

//! Output of nitro-cli, the allocator and chronyc is read or refused, whatever it is. Each value that is read stands in
//! the text.
//!
//! The first character is the exit status: `o` for 0, `c` for 39, anything else for 1. A line `%%` ends the standard
//! output and begins the standard error.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use signerctl::parent::allocator::{Allocation, Cpus, allocator_file, failure_in};
use signerctl::parent::clock::Tracking;
use signerctl::parent::machine::{Call, Commands, Ended, Machine, NotRun};
use signerctl::parent::nitro_cli::{NitroCli, Start};

/// A machine whose every command prints the same.
struct Printer(Ended);

impl Commands for Printer {
    fn run(&self, _: &Call) -> Result<Ended, NotRun> {
        Ok(self.0.clone())
    }
}

fuzz_target!(|text: &str| {
    let status = match text.chars().next() {
        Some('o') => 0,
        Some('c') => 39,
        _ => 1,
    };
    let printed: String = text.chars().skip(1).collect();
    let (stdout, stderr) = printed.split_once("\n%%\n").unwrap_or((&printed, ""));
    let ended = Ended { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    let machine = Machine::new("/nowhere".into(), Box::new(Printer(ended)));
    let nitro_cli = NitroCli::new(&machine);
    // JSON may write a character as an escape; of those that it has to, an ID has none.
    let stands = |id: &str| stdout.contains(id) || stdout.contains('\\');
    if let Ok(listing) = nitro_cli.describe_enclaves() {
        assert!(listing.enclaves.iter().all(|enclave| stands(&enclave.id)));
        assert_eq!(listing.is_complete, status == 0);
    }
    let start =
        Start { eif: Path::new("/x"), cpu_count: 2, memory_mib: 512, name: "signer", is_debugged: false };
    match nitro_cli.run_enclave(&start) {
        Ok(started) => assert!(status == 0 && stands(&started.id)),
        Err(failed) => {
            assert!(!failed.to_string().contains('\n'), "more than a line: {failed}");
            let _ = (failed.is_no_room(), failed.is_ioctl_failure(), failed.is_outcome_unknown());
        }
    }
    assert!(nitro_cli.describe_eif(Path::new("/x")).is_err() || status == 0);
    assert!(nitro_cli.terminate_enclave("i-0-enc1").is_err() || stands("i-0-enc1"));
    if let Ok(version) = nitro_cli.version() {
        assert!(stdout.contains("Nitro CLI "), "{version}");
    }
    if let Ok(Allocation { memory_mib, cpus: Cpus::Count(count) }) = Allocation::read(&printed) {
        let written = Allocation::read(&allocator_file(memory_mib, count));
        assert_eq!(written, Ok(Allocation { memory_mib, cpus: Cpus::Count(count) }));
    }
    let _ = failure_in(&printed);
    let _ = Tracking::read(&printed);
});

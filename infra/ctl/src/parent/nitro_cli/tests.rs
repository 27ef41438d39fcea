use std::fs;
use std::path::PathBuf;

use super::*;
use crate::parent::machine::Commands;

fn transcript(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../tests/transcripts/nitro-cli", name].iter().collect();
    fs::read_to_string(&path).unwrap_or_default()
}

/// The output of the call whose transcript is `name`.
fn recorded(name: &str, status: i32) -> Ended {
    let [stdout, stderr] = ["stdout", "stderr"].map(|stream| transcript(&format!("{name}.{stream}")));
    assert!(!stdout.is_empty() || !stderr.is_empty(), "no transcript {name}");
    Ended { status, stdout, stderr }
}

/// A nitro-cli whose every call ends in this way.
struct Always(Ended);

impl Commands for Always {
    fn run(&self, _: &Call) -> Result<Ended, NotRun> {
        Ok(self.0.clone())
    }
}

fn machine(ended: &Ended) -> Machine {
    Machine::new("/nowhere".into(), Box::new(Always(ended.clone())))
}

fn hello() -> Start<'static> {
    Start { eif: Path::new("/x.eif"), cpu_count: 2, memory_mib: 512, name: "hello", is_debugged: false }
}

const ID: &str = "i-1234567890abcdef0-enc199a65672b92a8d";

/// A call of each verb, which returns the parsed output.
type Verb = fn(NitroCli<'_>) -> Result<String, NitroCliFailed>;

/// The transcripts of calls that succeed, with fields that are read.
const SUCCESSES: [(&str, Verb, &[&str]); 5] = [
    (
        "describe-enclaves-one",
        |cli| cli.describe_enclaves().map(|listing| format!("{listing:?}")),
        &["EnclaveName", "EnclaveID", "EnclaveCID", "NumberOfCPUs", "MemoryMiB", "State", "Flags"],
    ),
    (
        "describe-eif",
        |cli| cli.describe_eif(Path::new("/x.eif")).map(|set| format!("{set:?}")),
        &["Measurements", "PCR0", "PCR1", "PCR2"],
    ),
    (
        "run-enclave",
        |cli| cli.run_enclave(&hello()).map(|started| format!("{started:?}")),
        &["EnclaveID", "EnclaveCID"],
    ),
    (
        "terminate-enclave",
        |cli| cli.terminate_enclave(ID).map(|()| "ended".into()),
        &["EnclaveID", "Terminated"],
    ),
    ("version", |cli| cli.version().map(|version| version.to_string()), &[]),
];

#[test]
fn enclaves_are_read() {
    let listed = |name, status| {
        let machine = machine(&recorded(name, status));
        NitroCli::new(&machine).describe_enclaves().unwrap()
    };
    assert_eq!(listed("describe-enclaves-none", 0), Listing { enclaves: vec![], is_complete: true });
    let one = listed("describe-enclaves-one", 0);
    let expected = Enclave {
        name: "nginx".into(),
        id: "i-1234567890abcdef0-enc19a9dcbb3a08a0c".into(),
        cid: 18,
        cpu_count: 2,
        memory_mib: 2048,
        state: "RUNNING".into(),
        flags: "DEBUG_MODE".into(),
        measurements: one.enclaves[0].measurements.clone(),
    };
    assert_eq!(one.enclaves, [expected]);
    assert!(one.enclaves[0].is_running() && one.enclaves[0].is_debugged());
    let measurements = one.enclaves[0].measurements.as_ref().unwrap();
    assert_eq!(measurements.pcr0.to_string(), "a0".repeat(48));
    assert!(measurements.pcr1.to_string().starts_with("0343b056cd84"));
    let names: Vec<_> =
        listed("describe-enclaves-two", 0).enclaves.into_iter().map(|enclave| enclave.name).collect();
    assert_eq!(names, ["signer_1", "signer"]);
    let partial = listed("describe-enclaves-failed-connection", 39);
    assert!(!partial.is_complete && partial.enclaves.len() == 1);
}

#[test]
fn an_enclave_that_started_and_an_image_and_a_version_are_read() {
    let started = machine(&recorded("run-enclave", 0));
    assert_eq!(NitroCli::new(&started).run_enclave(&hello()).unwrap(), Started { id: ID.into(), cid: 16 });
    let eif = machine(&recorded("describe-eif", 0));
    let set = NitroCli::new(&eif).describe_eif(Path::new("/x.eif")).unwrap();
    assert_eq!(set.pcr0.to_string(), "a0".repeat(48));
    let version = machine(&recorded("version", 0));
    assert_eq!(NitroCli::new(&version).version().unwrap(), Version { major: 1, minor: 5, patch: 0 });
    let another = machine(&recorded("terminate-enclave", 0));
    NitroCli::new(&another).terminate_enclave("i-1-enc1").unwrap_err();
}

#[test]
fn the_first_code_is_the_cause() {
    let causes = [
        ("run-enclave-e19", 19, false, false),
        ("run-enclave-e22", 22, false, false),
        ("run-enclave-e26", 26, false, false),
        ("run-enclave-e27", 27, true, false),
        ("run-enclave-e29-no-cpus", 29, true, true),
        ("run-enclave-e29-not-whole-cores", 29, false, true),
        ("run-enclave-e36", 36, false, false),
    ];
    for (name, code, is_no_room, is_ioctl_failure) in causes {
        let ended = recorded(name, 39);
        assert_eq!(ErrorReport::read(&ended.stderr).code, Some(code), "{name}");
        let machine = machine(&ended);
        let failed = NitroCli::new(&machine).run_enclave(&hello()).unwrap_err();
        assert_eq!(
            (failed.is_no_room(), failed.is_ioctl_failure()),
            (is_no_room, is_ioctl_failure),
            "{name}"
        );
        assert!(!failed.is_outcome_unknown(), "{name}");
        let line = failed.to_string();
        assert!(line.starts_with(&format!("nitro-cli run-enclave: E{code:02}: ")), "{line}");
        assert!(line.ends_with(" (exit status 39)") && !line.contains('\n'), "{line}");
    }
    let unknown = machine(&recorded("terminate-enclave-e11", 11));
    let failed = NitroCli::new(&unknown).terminate_enclave(ID).unwrap_err();
    assert!(failed.is_unknown_enclave());
    let line = failed.to_string();
    assert!(line.starts_with("nitro-cli terminate-enclave: E11: Socket error."), "{line}");
}

#[test]
fn a_report_cut_anywhere_is_a_failure() {
    for name in [
        "run-enclave-e19",
        "run-enclave-e22",
        "run-enclave-e26",
        "run-enclave-e27",
        "run-enclave-e29-no-cpus",
        "run-enclave-e29-not-whole-cores",
        "run-enclave-e36",
        "describe-enclaves-failed-connection",
    ] {
        let whole = recorded(name, 39);
        for length in 0..whole.stderr.len() {
            let stderr = whole.stderr[..length].to_owned();
            let machine = machine(&Ended { status: 39, stdout: String::new(), stderr });
            let cli = NitroCli::new(&machine);
            assert!(
                cli.run_enclave(&hello()).unwrap_err().to_string().starts_with("nitro-cli run-enclave: ")
            );
            assert!(
                cli.describe_enclaves().unwrap_err().to_string().starts_with("nitro-cli describe-enclaves: ")
            );
        }
    }
    // Numbers that are none, and no text at all.
    for stderr in ["[ E ] x", "[ E99999999 ] x", "[ E+1 ] x", "[ E27", ""] {
        assert_eq!(ErrorReport::read(stderr).code, None, "{stderr}");
    }
    assert_eq!(ErrorReport::read("").to_string(), "it printed no error");
    assert_eq!(ErrorReport::read("a\x1b[2J\n\n").to_string(), r"a\u{1b}[2J");
}

/// A program that hangs, or is missing.
struct Never(fn() -> NotRun);

impl Commands for Never {
    fn run(&self, _: &Call) -> Result<Ended, NotRun> {
        Err((self.0)())
    }
}

#[test]
fn a_call_that_hangs_leaves_open_what_it_did() {
    let failed = |error| {
        let machine = Machine::new("/nowhere".into(), Box::new(Never(error)));
        NitroCli::new(&machine).run_enclave(&hello()).unwrap_err()
    };
    let hung = failed(|| NotRun::TimedOut(Duration::from_secs(600)));
    assert!(hung.is_outcome_unknown());
    assert_eq!(hung.to_string(), "nitro-cli run-enclave: it did not end within 600 s");
    assert!(!failed(|| NotRun::Missing).is_outcome_unknown());
    let silent = machine(&Ended::default());
    assert!(NitroCli::new(&silent).run_enclave(&hello()).unwrap_err().is_outcome_unknown());
}

#[test]
fn an_output_cut_anywhere_is_refused() {
    for (name, verb, _) in SUCCESSES {
        let whole = recorded(name, 0);
        for length in 0..whole.stdout.trim_end().len() {
            let Some(stdout) = whole.stdout.get(..length) else { continue };
            let machine = machine(&Ended { stdout: stdout.to_owned(), ..whole.clone() });
            let line = match verb(NitroCli::new(&machine)) {
                Err(failed) => failed.to_string(),
                Ok(read) => panic!("{name} cut at {length}: {read}"),
            };
            assert!(
                line.starts_with("nitro-cli ") && line.contains(": expected a"),
                "{name} at {length}: {line}"
            );
        }
    }
}

#[test]
fn a_field_that_is_missing_or_of_another_type_is_named() {
    for (name, verb, fields) in SUCCESSES {
        let whole = recorded(name, 0);
        for field in fields {
            let quoted = format!("\"{field}\":");
            assert!(whole.stdout.contains(&quoted), "{name} has no {field}");
            let missing = whole.stdout.replace(&quoted, &format!("\"No{field}\":"));
            // Before the value, which becomes the second of an array.
            let other = whole.stdout.replace(&quoted, &format!("\"{field}\": [], \"x\":"));
            for stdout in [missing, other] {
                let machine = machine(&Ended { stdout, ..whole.clone() });
                let line = verb(NitroCli::new(&machine)).unwrap_err().to_string();
                assert!(line.contains(": expected a JSON"), "{name} {field}: {line}");
            }
        }
    }
}

#[test]
fn warnings_before_the_output_are_passed_over() {
    for (name, verb, _) in SUCCESSES {
        let whole = recorded(name, 0);
        let expected = verb(NitroCli::new(&machine(&whole))).unwrap();
        for warning in ["ld.so: object x cannot be preloaded\n", "[WARN] {old}\n{x}\n", "\n\n"] {
            let machine = machine(&Ended { stdout: format!("{warning}{}", whole.stdout), ..whole.clone() });
            assert_eq!(verb(NitroCli::new(&machine)).unwrap(), expected, "{name} {warning}");
        }
        let machine = machine(&Ended { stdout: "warning\n".repeat(1000) + &whole.stdout, ..whole.clone() });
        if name != "version" {
            verb(NitroCli::new(&machine)).unwrap_err();
        }
    }
}

#[test]
fn another_form_of_json_is_refused() {
    for stdout in ["{}", "[1]", "[{}]", "null", "[[]]", "<html></html>", "[] []"] {
        let machine = machine(&Ended { stdout: stdout.into(), ..Ended::default() });
        let line = NitroCli::new(&machine).describe_enclaves().unwrap_err().to_string();
        assert!(line.contains("expected a JSON array of enclaves"), "{stdout}: {line}");
    }
    for line in
        ["Nitro CLI 1.5", "Nitro CLI 1.5.0.1", "Nitro CLI 1.x.0", "Nitro 1.5.0", "Nitro CLI 99999999999.0.0"]
    {
        assert_eq!(printed::version(line), None, "{line}");
    }
}

//! The checks, their needs, and the depths that have them.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::{fs, io};

use crate::cargo_artifacts::{Executable, executables};
use crate::depth::Depth;
use crate::development_parts;
use crate::step::{Failure, Load, Log, Step};

/// One set of features for every build of all packages: cargo then builds each dependency once. `dev` adds
/// `enclave-dev`.
const WORKSPACE: [&str; 4] = ["--locked", "--workspace", "--features", "enclave-runtime/dev"];

const JSON: &str = "--message-format=json-render-diagnostics";

const CARGO_DENY_VERSION: &str = "0.20.2";
const EIF_BUILD_VERSION: &str = "0.2.1";

/// A database that has not been fetched by then is taken for unreachable.
const ADVISORIES_TIMEOUT_S: u32 = 120;

// Resources that one step uses at a time: first the build folders, which cargo locks.
const DEBUG: &str = "target/debug";
const RELEASE: &str = "target/release";
const IMAGE: &str = "target/image-build";

/// The parts of the acceptance tests that TLS below HTTP can change: framing, deadlines, closing. What a body or a
/// ticket says is read behind that, by the same code.
const TABLES_OVER_TLS: [&str; 3] = ["routes", "before_the_body", "connections"];

/// The whole table, which a thorough run repeats against each kind of server.
const TABLES: [&str; 7] = ["routes", "before_the_body", "body", "ticket", "state", "import", "connections"];

/// Where things are.
pub(crate) struct Place {
    /// The root of the repository, in which every step runs.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// The folder of temporary files, which goes with the run.
    pub(crate) scratch: PathBuf,
}

impl Place {
    /// The programs that the acceptance tests start: the signer and its proxy as `dev-up.sh` builds them, so without
    /// the features that tests ask of libraries; the rest as the tests are built.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("suite/bin")
    }

    /// `program`, which the kernel ends when this process is killed.
    fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        command
            .current_dir(&self.root)
            .env("TMPDIR", &self.scratch)
            .env("ACCEPTANCE_BIN_DIR", self.programs());
        command
    }

    /// `program`, at a low priority, so that the deadlines in tests hold beside it.
    fn niced(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.program("nice");
        command.args(["-n", "10"]).arg(program);
        command
    }

    fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.niced("cargo");
        command.args(arguments);
        command
    }

    /// A script of ours, at the priority that fits its load.
    fn script(&self, path: &str, load: Load) -> Command {
        let path = self.root.join(path);
        if load == Load::Build { self.niced(path) } else { self.program(path) }
    }

    /// A few lines of bash with the functions of `infra/prerequisites.sh`.
    fn shell(&self, lines: &str) -> Command {
        let mut command = self.niced("bash");
        command
            .arg("-c")
            .arg(format!("set -euo pipefail\nsource infra/prerequisites.sh\n{lines}"))
            .arg("test.sh");
        command
    }
}

/// The test programs that the first build made.
type Built = Arc<OnceLock<Vec<Executable>>>;

/// Every step of a run of this depth, the ones that others wait for first.
pub(crate) fn plan(depth: Depth, place: &Arc<Place>) -> Vec<Step> {
    let built = Built::default();
    let mut plan = vec![
        Step::commands("format", Load::Test, vec![
            place.cargo(["fmt", "--all", "--check"]),
            place.cargo(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]),
        ]),
        Step::command("shellcheck", Load::Test, place.shell(
            "readarray -d '' scripts < <(find . -name target -prune -o \\( -name '*.sh' -o -path ./.ci/run \\) -print0)
             shellcheck --external-sources --source-path=. \"${scripts[@]}\"
             printf '%s\\n' \"${scripts[@]}\"",
        )),
        build_the_tests(depth, place, &built),
        build_the_signer(place),
    ];
    plan.extend(parent_scripts(depth, place));
    if depth >= Depth::Default {
        // The longest chain, and most of it on one core.
        plan.extend(image(depth, place, &built));
        plan.push(Step::command(
            "policies and templates",
            Load::Test,
            place.script("infra/tests/policies/policies.test.sh", Load::Test),
        ));
    }
    plan.extend([
        clippy(depth, place).alone_in(DEBUG).after(&[BUILD_SIGNER]),
        rustdoc(depth, place).alone_in(DEBUG).after(&[BUILD_SIGNER]),
        Step::command(
            "examples in the documentation",
            Load::Test,
            place.cargo(["test", "--doc"].iter().chain(&WORKSPACE)),
        )
        .alone_in(DEBUG)
        .after(&[BUILD_SIGNER]),
        // It needs no operating system and no allocator: the target has neither.
        Step::command(
            "enclave-core on bare metal",
            Load::Build,
            place.cargo(["build", "--locked", "-p", "enclave-core", "--target", "x86_64-unknown-none"]),
        )
        .alone_in(DEBUG)
        .after(&[BUILD_SIGNER]),
        dev_up(place, &built),
    ]);
    if depth >= Depth::Default {
        plan.extend(fuzz(depth, place));
        plan.extend(release(depth, place));
        plan.extend(tools(place, &built));
        plan.push(chaos(depth, place));
    }
    if depth == Depth::Thorough {
        plan.push(each_package_alone(place));
        plan.push(contract_against_the_release(place, &built));
        plan.push(Step::command("enclave-core under Miri", Load::Test, place.shell(MIRI)));
    }
    plan
}

/// The whole table against the signer and its proxy as a release optimises them.
fn contract_against_the_release(place: &Arc<Place>, built: &Built) -> Step {
    let (place, built) = (Arc::clone(place), Arc::clone(built));
    Step::new("the contract against the release", Load::Build, move |log| {
        let folder = place.target.join("suite/release");
        let options =
            ["build", "--release", "--locked", "-p", "proxy", "-p", "enclave-runtime", "--features"];
        let programs = ["enclave-runtime/dev", "--bin", "proxy", "--bin", "enclave-dev", JSON];
        for program in executables(&log.output(place.cargo(options.iter().chain(&programs)))?) {
            link(&folder, &program.target, &program.path)?;
        }
        for table in TABLES.iter().chain(&["clients"]) {
            let mut test = run_test(find(&built, "acceptance", table)?, &place, true);
            test.env("ACCEPTANCE_BIN_DIR", &folder);
            log.run(test)?;
        }
        Ok(Vec::new())
    })
    .alone_in(RELEASE)
    .after(&[BUILD_TESTS])
}

/// Checks each package with its own features only, and tests the signer so, where others ask for more. Image and signer
/// are built so in every run.
fn each_package_alone(place: &Place) -> Step {
    let packages = [
        "enclave-core",
        "configuration",
        "enclave-runtime",
        "transport",
        "proxy",
        "attestation",
        "chaos",
        "verification",
        "kms-emulator",
        "signerctl",
        "acceptance",
        "benches",
        "suite",
    ];
    let mut checks: Vec<_> = packages
        .iter()
        .map(|package| place.cargo(["check", "--locked", "--all-targets", "-p", package]))
        .collect();
    checks.push(place.cargo(["test", "--locked", "-p", "enclave-runtime", "--lib"]));
    Step::commands("each package alone", Load::Build, checks).alone_in(DEBUG).after(&[BUILD_SIGNER])
}

/// The checks that a run of this depth leaves out, and the reasons, for its last lines.
pub(crate) fn left_out(depth: Depth) -> &'static [&'static str] {
    match depth {
        Depth::Quick => &[
            "by --quick, because they take long to build: the image in QEMU, the image beside AWS's builder, the search \
             for development parts, fuzzing, benchmarks, instruction counts, the core in its release form, cargo-deny",
            "by --quick, because it takes minutes: the signer under faults and attacks",
            "by --quick, because few changes concern them: policies and templates, clippy and rustdoc without the \
             development parts",
            "by --quick: what --thorough adds",
        ],
        Depth::Default => &[
            "until --thorough, because they take hours or fail after rare changes only: Miri, each package alone, the contract against \
             the release, and the long forms in docs/testing.md, \"What each depth covers\"",
        ],
        Depth::Thorough => &[],
    }
}

const BUILD_TESTS: &str = "build the tests";
const BUILD_SIGNER: &str = "build the signer for development";

/// Builds every test program once; each of them becomes a step.
fn build_the_tests(depth: Depth, place: &Arc<Place>, built: &Built) -> Step {
    let (place, built) = (Arc::clone(place), Arc::clone(built));
    Step::new(BUILD_TESTS, Load::Build, move |log| {
        let format = ["--no-run", "--timings", JSON];
        let found = executables(&log.output(place.cargo(["test"].iter().chain(&WORKSPACE).chain(&format)))?);
        for program in found.iter().filter(|it| it.kind == "bin" && !it.is_test) {
            link(&place.programs(), &program.target, &program.path)?;
        }
        built.set(found).map_err(|_| Failure::Found("the tests were built twice".into()))?;
        let steps = built.get().into_iter().flatten().filter(|it| it.is_test && it.kind != "bench");
        let mut steps: Vec<_> = steps.map(|it| test(depth, it, &place)).collect();
        for table in if depth == Depth::Thorough { &TABLES[..] } else { &TABLES_OVER_TLS } {
            let program = find(&built, "acceptance", table)?;
            steps.push(over_tls(table, run_test(program, &place, true)));
        }
        // The longest first, so that none is left alone at the end.
        let is_long = |step: &Step| LONGEST.iter().any(|name| step.name.ends_with(name));
        steps.sort_by_key(|step| (step.load != Load::Wait, !is_long(step)));
        Ok(steps)
    })
    .alone_in(DEBUG)
}

/// Test programs that wait most of their time: for renewals, for processes to end, for deadlines, for a minute to pass.
const WAITING: [(&str, &str); 7] = [
    ("acceptance", "acme"),
    ("acceptance", "boot"),
    ("acceptance", "clock"),
    ("acceptance", "connections"),
    ("acceptance", "proxy_protocol"),
    ("acceptance", "tls"),
    ("proxy", "process"),
];

/// Other test programs that run for half a minute or more.
const LONGEST: [&str; 4] =
    ["acceptance attacks", "acceptance memory", "acceptance sealed_keys", "signerctl attest"];

/// So many of its tests run at the same time in a program that waits.
const THREADS_OF_WAITING: &str = "6";

/// Those that measure how long something takes. They run one after the other, so that they do not disturb each other.
const MEASURING: &str = "tests of deadlines";

fn test(depth: Depth, program: &Executable, place: &Place) -> Step {
    let name = match &*program.kind {
        "test" => format!("test {} {}", program.package, program.target),
        "bin" => format!("test {} (program {})", program.package, program.target),
        kind => format!("test {} ({kind})", program.package),
    };
    let waits = WAITING.contains(&(&program.package, &program.target));
    let load = if waits { Load::Wait } else { Load::Test };
    let mut command = run_test(program, place, waits);
    if depth == Depth::Thorough {
        command.env("MEDDLE_EVERY_BYTES", "1");
    }
    let mut step = Step::command(name, load, command);
    if matches!(&*program.target, "connections" | "proxy_protocol" | "tls" | "process") {
        step = step.alone_in(MEASURING);
    }
    // They start what that build makes.
    let starts = matches!(&*program.package, "acceptance" | "enclave-runtime" | "proxy" | "signerctl");
    if starts { step.after(&[BUILD_SIGNER]) } else { step }
}

/// As cargo runs it: in the folder of its package.
fn run_test(program: &Executable, place: &Place, waits: bool) -> Command {
    let mut command = place.program(&program.path);
    // A test that passes may say that it skipped something.
    command.arg("--show-output").current_dir(&program.package_folder);
    if waits {
        command.env("RUST_TEST_THREADS", THREADS_OF_WAITING);
    }
    command
}

/// The test program `target` of `package`.
fn find<'a>(built: &'a Built, package: &str, target: &str) -> Result<&'a Executable, Failure> {
    let mut found = built.get().into_iter().flatten();
    found
        .find(|it| it.package == package && it.target == target && it.kind == "test")
        .ok_or_else(|| Failure::Found(format!("cargo built no test {target} of {package}")))
}

fn over_tls(table: &str, mut command: Command) -> Step {
    command.env("ACCEPTANCE_TLS", "self-signed");
    Step::command(format!("test acceptance {table}, over TLS"), Load::Wait, command)
        .alone_in(MEASURING)
        .after(&[BUILD_SIGNER])
}

/// Builds the programs of `dev-up.sh` in the same way, so that it finds them built; and the signer without development
/// parts.
fn build_the_signer(place: &Arc<Place>) -> Step {
    let place = Arc::clone(place);
    Step::new(BUILD_SIGNER, Load::Build, move |log| {
        for options in [
            &["--features", "enclave-runtime/dev", "--bin", "proxy", "--bin", "enclave-dev"][..],
            &["--bin", "enclave"],
        ] {
            let packages = ["build", "--locked", "-p", "proxy", "-p", "enclave-runtime", JSON, "--timings"];
            let messages = log.output(place.cargo(packages.iter().chain(options)))?;
            for program in executables(&messages) {
                link(&place.programs(), &program.target, &program.path)?;
            }
        }
        Ok(Vec::new())
    })
    .alone_in(DEBUG)
    .after(&[BUILD_TESTS])
}

fn link(folder: &Path, name: &str, program: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let link = folder.join(name);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(program, &link),
    }
}

/// With the development parts; unless quick, without them too.
fn clippy(depth: Depth, place: &Place) -> Step {
    let commands = feature_sets(depth).iter().map(|features| {
        place.cargo(["clippy"].iter().chain(*features).chain(&["--all-targets", "--", "--deny", "warnings"]))
    });
    Step::commands("clippy", Load::Build, commands.collect())
}

/// As [`clippy`]: a link to a development part is broken without it.
fn rustdoc(depth: Depth, place: &Place) -> Step {
    let commands = feature_sets(depth).iter().map(|features| {
        let mut command = place.cargo(["doc", "--no-deps"].iter().chain(*features));
        command.env("RUSTDOCFLAGS", "--deny warnings");
        command
    });
    Step::commands("rustdoc", Load::Build, commands.collect())
}

/// All packages, with the development parts and without them.
fn feature_sets(depth: Depth) -> &'static [&'static [&'static str]] {
    const SETS: [&[&str]; 2] = [&WORKSPACE, &["--locked", "--workspace"]];
    if depth == Depth::Quick { &SETS[..1] } else { &SETS }
}

/// Its parts could all run at the same time. They start many processes, though, beside which deadlines of other tests
/// do not hold: so one after the other, or in two rows where nothing else takes as long.
fn parent_scripts(depth: Depth, place: &Place) -> impl Iterator<Item = Step> {
    const ROWS: [&str; 2] = ["a machine for the parent's scripts", "another one"];
    let rows = if depth == Depth::Quick { ROWS } else { [ROWS[0]; 2] };
    [("failures", 0), ("start", 1), ("setup", 0), ("watch_and_check", 1)].into_iter().map(
        move |(part, row)| {
            let mut command = place.script("infra/tests/parent.test.sh", Load::Wait);
            command.arg(part);
            let name = format!("parent scripts and units, {part}");
            Step::command(name, Load::Wait, command).alone_in(rows[row]).after(&[BUILD_SIGNER, BUILD_TESTS])
        },
    )
}

fn dev_up(place: &Arc<Place>, built: &Built) -> Step {
    let (place, built) = (Arc::clone(place), Arc::clone(built));
    Step::new("dev-up.sh, and the contract against it", Load::Wait, move |log| {
        let mut command = place.script("infra/tests/dev-up.test.sh", Load::Wait);
        for table in ["routes", "state", "clients"] {
            command.arg(&find(&built, "acceptance", table)?.path);
        }
        log.run(command).map(|()| Vec::new())
    })
    .alone_in(DEBUG)
    .after(&[BUILD_TESTS, BUILD_SIGNER])
}

/// Faults and attacks on the signer and its proxy. It compares latencies with each other that it measures side by side,
/// so that a build beside it slows down both; not beside other steps that measure.
fn chaos(depth: Depth, place: &Place) -> Step {
    let seconds = if depth == Depth::Thorough { "600" } else { "60" };
    let mut command = place.program(place.programs().join("chaos"));
    command.args(["--duration-s", seconds, "--json"]).arg(place.target.join("suite/chaos.json"));
    Step::command("the signer under faults and attacks", Load::Wait, command)
        .alone_in(MEASURING)
        .after(&[BUILD_SIGNER])
}

/// The image and what it is made with and booted in.
fn image(depth: Depth, place: &Arc<Place>, built: &Built) -> Vec<Step> {
    const BUILD: &str = "build the image";
    let part = {
        let place = Arc::clone(place);
        move |part: &'static str, name: &str, load, tests: &'static [&'static str]| {
            let (place, built) = (Arc::clone(&place), Arc::clone(built));
            Step::new(name, load, move |log: &mut Log| {
                let mut command = place.script("infra/emulator/image.test.sh", load);
                command.arg(part);
                for table in tests {
                    command.arg(&find(&built, "acceptance", table)?.path);
                }
                if depth == Depth::Thorough {
                    command.env("SOAK_S", "60");
                }
                log.run(command).map(|()| Vec::new())
            })
        }
    };
    let contract: &[&str] = if depth == Depth::Thorough {
        &["routes", "before_the_body", "body", "ticket"]
    } else {
        &["routes", "before_the_body"]
    };
    let mut steps = vec![
        part("kernel", "build the kernel", Load::Build, &[]),
        Step::command("build QEMU", Load::Build, place.niced("infra/emulator/qemu.sh")),
        Step::command(
            "build the vsock device",
            Load::Build,
            place.shell("need_cargo_tool vhost-device-vsock \"$VHOST_DEVICE_VSOCK_VERSION\""),
        ),
        part("build", BUILD, Load::Build, &[]).alone_in(IMAGE).after(&[
            "build the kernel",
            "build QEMU",
            "build the vsock device",
            BUILD_TESTS,
            BUILD_SIGNER,
        ]),
        part("look", "the image from outside", Load::Test, &[]).after(&[BUILD]),
        part("boot", "the image in QEMU", Load::Test, &["image"]).alone_in(IMAGE).after(&[BUILD]),
        part("contract", "the contract against the image in QEMU", Load::Test, contract).after(&[BUILD]),
        part("again", "the image from another clone", Load::Build, &[]).after(&[BUILD]),
        development_parts_step(place).after(&[BUILD, BUILD_SIGNER]),
    ];
    if depth == Depth::Thorough {
        let hardened = part("hardened", "an image with the hardened kernel in QEMU", Load::Build, &["image"]);
        steps.push(hardened.alone_in(IMAGE).after(&[BUILD]));
    }
    steps
}

fn development_parts_step(place: &Arc<Place>) -> Step {
    let place = Arc::clone(place);
    Step::new("no development parts in production", Load::Test, move |log| {
        let shipped = place.target.join("image-build/x86_64-unknown-linux-gnu/release/enclave");
        let programs = place.programs();
        for line in
            development_parts::check(&programs.join("enclave-dev"), &programs.join("enclave"), &shipped)?
        {
            log.line(line)?;
        }
        Ok(Vec::new())
    })
}

fn fuzz(depth: Depth, place: &Place) -> Vec<Step> {
    let seconds = if depth == Depth::Thorough { "120" } else { "5" };
    let mut smoke = place.niced("fuzz/smoke.sh");
    smoke.arg(seconds).env("CARGO_TARGET_DIR", place.target.join("fuzz"));
    let options =
        ["--locked", "--manifest-path", "fuzz/Cargo.toml", "--all-targets", "--", "--deny", "warnings"];
    let mut clippy = place.cargo(["clippy"].iter().chain(&options));
    // Its dependencies are built already.
    clippy.env("CARGO_TARGET_DIR", &place.target);
    vec![
        Step::command("clippy of fuzz", Load::Build, clippy).alone_in(DEBUG).after(&["clippy"]),
        Step::command("fuzz", Load::Build, smoke),
    ]
}

/// The core in its release form, with names.
fn release(depth: Depth, place: &Place) -> Vec<Step> {
    let mut core = place.cargo(["test", "--locked", "--profile", "bench", "-p", "enclave-core", "--timings"]);
    if depth == Depth::Thorough {
        core.env("COMPARED_SIGNATURES", "1000000");
    }
    vec![
        Step::command("enclave-core as it ships", Load::Build, core).alone_in(RELEASE),
        Step::command(
            "benches, once each",
            Load::Build,
            place.cargo(["bench", "--locked", "-p", "benches", "--bench", "signer", "--", "--test"]),
        )
        .alone_in(RELEASE),
        Step::command(
            "build the instruction counter",
            Load::Build,
            place.shell("need_to_count_instructions"),
        ),
        Step::command("instruction counts", Load::Test, place.script("benches/instructions.sh", Load::Test))
            .alone_in(RELEASE)
            .after(&["build the instruction counter", "benches, once each"]),
    ]
}

/// Undefined behaviour would be in a dependency: the core has no unsafe code of its own. Proptest looks for its files,
/// and a case takes seconds here.
const MIRI: &str = "
    if ! (need_miri); then
        echo 'Miri: SKIPPED, because no nightly toolchain that has it can be fetched'
        exit
    fi
    MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=2 cargo +nightly miri test --locked -p enclave-core --lib";

fn tools(place: &Arc<Place>, built: &Built) -> Vec<Step> {
    let deny = format!("need_cargo_tool cargo-deny {CARGO_DENY_VERSION}");
    let eif = format!(
        "need_debian_packages /usr/include/openssl/ssl.h:libssl-dev pkg-config:pkg-config
         need_cargo_tool eif_build {EIF_BUILD_VERSION}"
    );
    // One configuration serves both workspaces, so each leaves a part of it unused.
    let check = format!(
        "{deny}
         advisories=advisories
         if ! timeout {ADVISORIES_TIMEOUT_S} cargo deny --config deny.toml fetch db; then
             advisories=''
             echo 'advisories: SKIPPED, database not reachable (https://github.com/RustSec/advisory-db)'
         fi
         for workspace in Cargo.toml fuzz/Cargo.toml; do
             cargo deny --locked --manifest-path $workspace --config deny.toml check \\
                 --allow license-exception-not-encountered --allow unmatched-skip --allow license-not-encountered \\
                 bans licenses sources $advisories
         done"
    );
    let beside_aws = {
        let (place, built, eif) = (Arc::clone(place), Arc::clone(built), eif.clone());
        Step::new("images beside those of AWS's builder", Load::Test, move |log| {
            let test = find(&built, "signerctl", "eif")?;
            let mut command = place.shell(&format!("{eif}\ncd infra/ctl\nexec \"$EIF_TESTS\" --ignored"));
            command.env("EIF_TESTS", &test.path);
            log.run(command).map(|()| Vec::new())
        })
    };
    vec![
        Step::command("build cargo-deny", Load::Build, place.shell(&deny)),
        Step::command("cargo-deny", Load::Test, place.shell(&check)).after(&["build cargo-deny"]),
        Step::command("build AWS's image builder", Load::Build, place.shell(&eif)),
        beside_aws.after(&["build AWS's image builder", BUILD_TESTS]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn steps(depth: Depth) -> Vec<Step> {
        plan(
            depth,
            &Arc::new(Place { root: "/r".into(), target: "/r/target".into(), scratch: "/tmp/t".into() }),
        )
    }

    #[test]
    fn each_step_waits_for_steps_of_the_same_depth_only() {
        for depth in [Depth::Quick, Depth::Default, Depth::Thorough] {
            let steps = steps(depth);
            let names: BTreeSet<_> = steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(names.len(), steps.len(), "two steps have the same name");
            for step in &steps {
                for name in &step.after {
                    assert!(names.contains(name.as_str()), "{depth:?}: {} waits for {name}", step.name);
                }
            }
        }
    }

    #[test]
    fn a_deeper_run_has_every_step_of_a_shallower_one() {
        let names = |depth| steps(depth).into_iter().map(|step| step.name).collect::<BTreeSet<_>>();
        let [quick, default, thorough] = [Depth::Quick, Depth::Default, Depth::Thorough].map(names);
        assert!(quick.is_subset(&default) && quick != default);
        assert!(default.is_subset(&thorough));
    }
}

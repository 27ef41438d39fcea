//! Runs every check of the project, side by side, and reports what each one took. Started by `infra/test.sh`.
//!
//! A [plan](plan::plan) is a list of steps that say what they wait for. The [schedule](schedule::Schedule) runs them:
//! two builds at a low priority, as many tests as there are cores, and four steps that mostly wait. The first failure
//! ends the run. A run that ends leaves no process behind, and a [guard] sees to it for a run that is killed.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "its report is its purpose")]

mod cargo_artifacts;
mod depth;
mod development_parts;
mod guard;
mod libtest;
mod machine;
mod plan;
mod process_groups;
mod report;
mod schedule;
mod step;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::{env, fs, io, thread};

use signal_hook::iterator::Signals;

use crate::depth::Depth;
use crate::guard::{GUARDED, NotBegun};
use crate::plan::Place;
use crate::process_groups::ProcessGroups;
use crate::report::Run;
use crate::schedule::{Event, Schedule};

// Of sysexits.h.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_CANTCREAT: u8 = 73;
const EX_TEMPFAIL: u8 = 75;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let is_guarded = arguments.first().is_some_and(|it| it == GUARDED);
    let mut rest = arguments.iter().skip(usize::from(is_guarded));
    let depth = rest.next().and_then(|name| name.to_str()?.parse::<Depth>().ok());
    let (Some(depth), scratch) = (depth, rest.next()) else {
        return refuse(EX_USAGE, "started without a depth; start infra/test.sh instead");
    };
    // That of test.sh, which changes to it. A path from the build would be wrong in a folder that was copied.
    let Ok(root) = env::current_dir() else { return refuse(EX_UNAVAILABLE, "the current folder is gone") };
    if !root.join("infra/tests/suite").is_dir() {
        return refuse(EX_USAGE, "not in the root of the repository; start infra/test.sh instead");
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    if let Some(scratch) = scratch {
        let place = Arc::new(Place { root, target, scratch: scratch.into() });
        return run(depth, &place).unwrap_or_else(|error| {
            refuse(EX_CANTCREAT, &format!("cannot write below {}: {error}", place.target.display()))
        });
    }
    match guard::run(depth.name(), &target) {
        Ok(code) => ExitCode::from(code),
        Err(NotBegun::Locked) => {
            let text = format!("another run uses {}; wait for its end, or stop it", target.display());
            refuse(EX_TEMPFAIL, &text)
        }
        Err(NotBegun::NotWritten(path, error)) => {
            refuse(EX_CANTCREAT, &format!("cannot write {}: {error}", path.display()))
        }
        Err(NotBegun::NotStarted(error)) => {
            refuse(EX_UNAVAILABLE, &format!("cannot start the program that runs the steps: {error}"))
        }
    }
}

fn run(depth: Depth, place: &Arc<Place>) -> io::Result<ExitCode> {
    let logs = place.target.join("suite/logs");
    fs::create_dir_all(&logs)?;
    for old in fs::read_dir(&logs)? {
        fs::remove_file(old?.path())?;
    }
    let cache = report::cache_folder();
    if let Err(text) = report::has_space(depth, &place.target, &cache) {
        return Ok(refuse(EX_UNAVAILABLE, &text));
    }
    // Without it, what a step leaves running could not be found; everything else works.
    let _ = process_groups::adopt_orphans();
    let end = End { groups: Arc::default(), scratch: place.scratch.clone() };
    let (sender, events) = channel();
    let mut signals = Signals::new(guard::heeded_signals())?;
    thread::spawn({
        let sender = sender.clone();
        move || {
            for signal in signals.forever() {
                // The receiver is gone when the run is over.
                let _ = sender.send(Event::Signal(signal));
            }
        }
    });
    let run = Run::begin(depth, cache);
    let finished =
        Schedule::new(plan::plan(depth, place), &logs, Arc::clone(&end.groups)).run(&sender, &events)?;
    Ok(run.end(finished, &process_groups::kill_orphans(), &place.target))
}

/// Ends every process of the run and removes its scratch folder, however [`run`] is left.
struct End {
    groups: Arc<ProcessGroups>,
    scratch: PathBuf,
}

impl Drop for End {
    fn drop(&mut self) {
        self.groups.stop();
        process_groups::kill_orphans();
        // Only space is lost with it.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn refuse(code: u8, text: &str) -> ExitCode {
    eprintln!("test.sh: {text}");
    ExitCode::from(code)
}

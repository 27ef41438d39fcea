//! Shows that the signer keeps its promises while processes die, clients misbehave, KMS fails and clocks jump.
//!
//! ```text
//! plan ──▶ system   (proxy, signer, KMS: killed, stopped, drained, failing)  ─┐
//!      └─▶ attack  (clients that cut, stall, flood)                          ├─▶ history ─▶ checker ─▶ report
//!          load    (honest clients), keeper (the proxy's files)            ──┘
//! ```
//!
//! Invariants:
//!
//! * One seed decides the plan and each choice of a client. How the machine interleaves them is not repeatable.
//! * Each request is noted down with its outcome. Only the checker judges, when all is over, by the API contract.
//! * Windows without faults lie between the faults: what is compared was measured beside the same neighbours.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its purpose")]

mod arguments;
mod attack;
mod checker;
mod client;
mod history;
mod keeper;
mod load;
mod plan;
mod report;
mod resources;
mod system;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acceptance::{Failure, Server};
use clap::Parser as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::arguments::Arguments;
use crate::attack::Attack;
use crate::checker::{judge, public_keys};
use crate::history::{Journal, Span};
use crate::load::{CLIENTS, Honest, Orders};
use crate::plan::{Episode, Kind, plan};
use crate::report::{Holding, Report};
use crate::resources::Resources;
use crate::system::System;

// Of sysexits.h.
const EX_USAGE: u8 = 64;
const EX_SOFTWARE: u8 = 70;
const EX_CANTCREAT: u8 = 73;

/// Backups that each honest client has from before.
const LEGACY_BACKUPS: usize = 6;

/// A crowd as large as any later one comes before the first look at memory: what an allocator keeps for the next crowd
/// is no leak.
const REHEARSAL: Duration = Duration::from_secs(4);

/// After it, before that look.
const REST: Duration = Duration::from_secs(5);

/// How long connections may take to be closed when their clients are gone: the longest deadline of the contract, and
/// more.
const CLOSING: Duration = Duration::from_secs(15);

/// How long the fault goes on being measured when the process that it ended or stopped runs again: clients import their
/// backups, and requests that have waited are answered.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// The descriptors that a process may have beyond its first ones, without clients: a kept connection to KMS.
const MORE_DESCRIPTORS: u64 = 4;

/// The memory that may be added after the rehearsal: a quarter, and the size of log lines, tickets and keys.
const MORE_KIB: u64 = 16 * 1024;

// Rules that are looked at during the run; the checker has the others.
const NO_LEAK: &str = "memory and descriptors return to where they began";
const NO_LOSS: &str = "no key is lost that a backup exists for";
const EARLY_END: &str = "the run is carried out to its end";

const PROCESSES: [&str; 2] = ["proxy", "signer"];

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told about.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    // Standard output is for the report.
    eprintln!("chaos: seed {seed}");
    let report = match run(seed, arguments.duration_s) {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("chaos: the run could not be carried out: {failure}");
            return ExitCode::from(EX_SOFTWARE);
        }
    };
    let json = format!("{:#}\n", report.json());
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => print!("{json}"),
        path => {
            print!("{}", report.table());
            if let Some(path) = path
                && let Err(error) = std::fs::write(path, json)
            {
                eprintln!("chaos: cannot write {}: {error}", path.display());
                return ExitCode::from(EX_CANTCREAT);
            }
        }
    }
    if report.verdict.violations().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(seed: u64, duration_s: u64) -> Result<Report, Failure> {
    let journal = Journal::new();
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan(seed, Duration::from_secs(duration_s));
    let (mut system, server) = System::start(&journal)?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let legacy = system.legacy_backups(LEGACY_BACKUPS, &mut rng)?;
        clients.push(Honest::new(&server, &journal, legacy, rng.random(), number));
    }

    // Read first: a leak in the rehearsal must not raise the baseline.
    let fresh = system.resources()?;

    // The rehearsal: all that clients do, at the same time.
    let orders = Orders::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for kind in Kind::OF_CLIENTS {
            let attack = Attack { server: &server, journal: &journal, stop: &over, seed: rng.random() };
            scope.spawn(move || attack.run(kind));
        }
        for client in &mut clients {
            scope.spawn(|| client.run(&orders));
        }
        thread::sleep(REHEARSAL);
        over.store(true, Ordering::Relaxed);
        orders.leave.store(true, Ordering::Relaxed);
    });
    thread::sleep(REST);
    let rehearsed = system.resources()?;
    let mut holdings: Vec<Holding> = PROCESSES
        .into_iter()
        .zip(fresh.into_iter().zip(rehearsed))
        .map(|(process, (fresh, rehearsed))| {
            let began = Resources { descriptors: fresh.descriptors, ..rehearsed };
            Holding { process, began, ended: rehearsed, most: began }
        })
        .collect();

    let keeper = system.keeper();
    let orders = Orders::default();
    let suffered = thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| client.run(&orders));
        }
        scope.spawn(|| keeper.run(&orders));
        let suffered = plan.iter().try_for_each(|episode| {
            be_quiet(episode.quiet, &journal);
            suffer(episode, &mut system, &server, &journal)?;
            come_to_rest(episode, &system, &orders, &journal, &mut holdings)
        });
        orders.leave.store(true, Ordering::Relaxed);
        suffered
    });
    drop(clients);
    let mut restored = 0;
    match suffered {
        Ok(()) => restored = restore_all(&mut system, &server, &journal)?,
        Err(failure) => journal.notice(EARLY_END, failure.to_string()),
    }

    let history = journal.history();
    let verdict = judge(&history, Duration::from_secs(duration_s));
    let lives = history.lives.len();
    Ok(Report { seed, duration_s, plan, verdict, lives, restored, holdings })
}

/// A window without faults.
fn be_quiet(lasts: Duration, journal: &Journal) {
    let quiet = journal.open(Span::Quiet);
    thread::sleep(lasts);
    journal.close(quiet);
}

/// The faults of an episode: those of clients at the same time, those of processes one after the other beside them.
fn suffer(
    episode: &Episode,
    system: &mut System<'_>,
    server: &Server,
    journal: &Journal,
) -> Result<(), Failure> {
    let over = AtomicBool::new(false);
    let mut rng = StdRng::seed_from_u64(episode.seed);
    let started = Instant::now();
    let of_processes = episode.kinds.iter().filter(|kind| !kind.is_of_clients()).count();
    thread::scope(|scope| {
        let mut windows = Vec::new();
        for kind in episode.kinds.iter().copied().filter(|kind| kind.is_of_clients()) {
            windows.push(journal.open(Span::Fault(kind)));
            let attack = Attack { server, journal, stop: &over, seed: rng.random() };
            scope.spawn(move || attack.run(kind));
        }
        let mut outcome = Ok(());
        for kind in episode.kinds.iter().copied().filter(|kind| !kind.is_of_clients()) {
            let fault = journal.open(Span::Fault(kind));
            let lasts = episode.lasts / u32::try_from(of_processes).unwrap_or(u32::MAX);
            outcome = outcome.and_then(|()| system.suffer(kind, lasts, server, &mut rng));
            if kind.interrupts_service() {
                thread::sleep(AFTERMATH);
            }
            journal.close(fault);
        }
        thread::sleep(episode.lasts.saturating_sub(started.elapsed()));
        over.store(true, Ordering::Relaxed);
        for window in windows {
            journal.close(window);
        }
        outcome
    })
}

/// Has honest clients close their connections, and looks at what the processes still hold: for as long as the contract
/// lets a connection linger. Each episode is looked at, because a later one may replace the process that leaked.
fn come_to_rest(
    episode: &Episode,
    system: &System<'_>,
    orders: &Orders,
    journal: &Journal,
    holdings: &mut [Holding],
) -> Result<(), Failure> {
    orders.rest.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let mut leaks;
    loop {
        thread::sleep(Duration::from_millis(200));
        leaks = Vec::new();
        for (holding, now) in holdings.iter_mut().zip(system.resources()?) {
            holding.ended = now;
            let Holding { process, began, most, .. } = holding;
            let after = || {
                let kinds: Vec<_> = episode.kinds.iter().map(|kind| kind.name()).collect();
                format!("{} s after {}", CLOSING.as_secs(), kinds.join(" and "))
            };
            // A reported leak is not waited for again: `most` has it.
            if now.descriptors > most.descriptors + MORE_DESCRIPTORS {
                leaks.push(format!(
                    "the {process} has {} descriptors open {}, {} at first; {MORE_DESCRIPTORS} more are allowed",
                    now.descriptors,
                    after(),
                    began.descriptors,
                ));
            }
            if now.resident_kib > most.resident_kib + began.resident_kib / 4 + MORE_KIB {
                leaks.push(format!(
                    "the {process} has {} KiB of memory {}, {} at first; a quarter and {MORE_KIB} KiB more are allowed",
                    now.resident_kib,
                    after(),
                    began.resident_kib,
                ));
            }
        }
        if leaks.is_empty() || started.elapsed() > CLOSING {
            break;
        }
    }
    if !leaks.is_empty() {
        for holding in holdings {
            holding.most = holding.most.max(holding.ended);
        }
    }
    for leak in leaks {
        journal.notice(NO_LEAK, leak);
    }
    orders.rest.store(false, Ordering::Relaxed);
    Ok(())
}

/// Has a new signer open every backup, and sign with every key under its public key of before. Gives how many did.
fn restore_all(system: &mut System<'_>, server: &Server, journal: &Journal) -> Result<usize, Failure> {
    system.replace_signer(server)?;
    let (backups, keys) = {
        let history = journal.history();
        (history.backups.clone(), public_keys(&history))
    };
    let mut signer = server.signer();
    let mut restored = 0;
    for (identity, sealed_key) in &backups {
        let outcome = match keys.get(identity) {
            None => Err(Failure::new("no public key was ever told")),
            Some(public_key) => signer
                .imported(identity, sealed_key)
                .and_then(|()| signer.signs_under(identity, acceptance::bip340::x_only(public_key))),
        };
        match outcome {
            Ok(()) => restored += 1,
            Err(failure) => journal.notice(NO_LOSS, format!("the backup of {identity}: {failure}")),
        }
    }
    Ok(restored)
}

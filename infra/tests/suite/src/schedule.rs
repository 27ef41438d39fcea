//! Runs the steps of a plan, as many at the same time as the cores allow.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::libtest::Counts;
use crate::machine;
use crate::process_groups::ProcessGroups;
use crate::step::{COMMAND_MARK, Failure, Load, Log, Step};

/// How long an orphan that has ended may stay unreaped.
const REAP_INTERVAL: Duration = Duration::from_millis(100);

/// The message of programs for ENOSPC.
const DISK_IS_FULL: &str = "No space left on device";

/// An event that the scheduler waits for.
pub(crate) enum Event {
    /// A step has ended.
    Ended(Ended),
    /// The run has to end, because of this signal.
    Signal(i32),
}

/// A step that has ended.
pub(crate) struct Ended {
    pub(crate) name: String,
    load: Load,
    alone_in: Option<&'static str>,
    pub(crate) took: Duration,
    /// Of all cores.
    used: Duration,
    pub(crate) log: PathBuf,
    pub(crate) result: Result<Vec<Step>, Failure>,
}

/// The steps that remain, and those that are done.
pub(crate) struct Schedule {
    pending: Vec<Step>,
    running: Vec<(Load, Option<&'static str>)>,
    passed: BTreeSet<String>,
    started: usize,
    began: Instant,
    logs: PathBuf,
    groups: Arc<ProcessGroups>,
}

/// How a run ended, and what each step took until then.
pub(crate) struct Finished {
    /// From start to end, the CPU time in it, and the name.
    pub(crate) durations: Vec<(Duration, Duration, String)>,
    pub(crate) counts: Counts,
    /// Lines in which steps said that they skipped something.
    pub(crate) skipped: Vec<String>,
    pub(crate) end: End,
}

/// How a run ended.
pub(crate) enum End {
    Passed,
    Failed {
        text: String,
        /// The step ended with EX_UNAVAILABLE of sysexits.h.
        something_is_missing: bool,
        /// It met ENOSPC.
        disk_is_full: bool,
    },
    Signal(i32),
}

impl Schedule {
    /// The steps of `plan`; their logs go to the folder `logs`.
    pub(crate) fn new(plan: Vec<Step>, logs: &Path, groups: Arc<ProcessGroups>) -> Self {
        Self {
            pending: plan,
            running: Vec::new(),
            passed: BTreeSet::new(),
            started: 0,
            began: Instant::now(),
            logs: logs.to_owned(),
            groups,
        }
    }

    /// Runs all of it, or until one step fails or a signal comes.
    ///
    /// # Errors
    ///
    /// The error with which a log cannot be written.
    pub(crate) fn run(mut self, sender: &Sender<Event>, events: &Receiver<Event>) -> io::Result<Finished> {
        let mut finished = Finished {
            durations: Vec::new(),
            counts: Counts::default(),
            skipped: Vec::new(),
            end: End::Passed,
        };
        loop {
            if matches!(finished.end, End::Passed) {
                self.start_what_can_run(sender)?;
                if self.running.is_empty() && !self.pending.is_empty() {
                    let names: Vec<_> = self.pending.iter().map(|step| step.name.as_str()).collect();
                    let text = format!("steps that wait for what is not in the plan: {}", names.join(", "));
                    finished.end = End::Failed { text, something_is_missing: false, disk_is_full: false };
                }
            }
            if self.running.is_empty() {
                return Ok(finished);
            }
            match events.recv_timeout(REAP_INTERVAL) {
                Err(_) => self.groups.reap_orphans(),
                Ok(Event::Ended(ended)) => self.note(ended, &mut finished),
                Ok(Event::Signal(signal)) => {
                    show(format_args!("{} stopping what runs, because of signal {signal}", self.clock()));
                    if matches!(finished.end, End::Passed) {
                        finished.end = End::Signal(signal);
                    }
                    self.stop_groups();
                }
            }
        }
    }

    fn start_what_can_run(&mut self, sender: &Sender<Event>) -> io::Result<()> {
        while let Some(index) = self.pending.iter().position(|step| self.can_run(step)) {
            let step = self.pending.remove(index);
            self.started += 1;
            let total = self.started + self.pending.len();
            show(format_args!("{} [{:>2}/{total}] {}", self.clock(), self.started, step.name));
            self.running.push((step.load, step.alone_in));
            let log = Log::create(
                self.logs.join(format!("{}.log", step.name.replace('/', " "))),
                Arc::clone(&self.groups),
            )?;
            let sender = sender.clone();
            thread::spawn(move || {
                // The receiver is gone when the run is over, and with it the interest in the result.
                let _ = sender.send(Event::Ended(run(step, log)));
            });
        }
        Ok(())
    }

    fn can_run(&self, step: &Step) -> bool {
        let of_its_load = self.running.iter().filter(|(load, _)| *load == step.load).count();
        of_its_load < most_at_once(step.load)
            && step.after.iter().all(|name| self.passed.contains(name))
            && (step.alone_in.is_none() || self.running.iter().all(|(_, place)| *place != step.alone_in))
    }

    fn note(&mut self, ended: Ended, finished: &mut Finished) {
        let place = (ended.load, ended.alone_in);
        let index = self.running.iter().position(|running| *running == place).expect("it was started");
        self.running.swap_remove(index);
        let text = std::fs::read(&ended.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        finished.counts += Counts::of_log(&text);
        finished.skipped.extend(skips(&text).map(str::to_owned));
        finished.durations.push((ended.took, ended.used, ended.name.clone()));
        match ended.result {
            Ok(more) => {
                let took = ended.took.as_secs();
                show(format_args!("{}         {}: passed in {took} s", self.clock(), ended.name));
                self.passed.insert(ended.name);
                self.pending.splice(0..0, more);
            }
            // The first failure is the one to look at; what it stopped is not.
            Err(_) if !matches!(finished.end, End::Passed) => {}
            Err(failure) => {
                show(format_args!("\n==> {}\n{text}", ended.name));
                // Cargo names its report of times after the error.
                let is_told = |line: &&str| !line.trim().is_empty() && !line.contains("Timing report saved");
                let last = text.lines().rfind(is_told).unwrap_or_default();
                finished.end = End::Failed {
                    text: format!("{}: {failure}; see {}\n{last}", ended.name, ended.log.display()),
                    something_is_missing: failure.is_something_missing(),
                    disk_is_full: text.contains(DISK_IS_FULL),
                };
                self.stop_groups();
            }
        }
    }

    /// In the background, because the events of the ends have to be taken meanwhile.
    fn stop_groups(&self) {
        let groups = Arc::clone(&self.groups);
        thread::spawn(move || groups.stop());
    }

    fn clock(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{:>3}:{:02}", seconds / 60, seconds % 60)
    }
}

/// The lines of a log in which a step reports that it skipped something (`Miri: SKIPPED, because …`).
fn skips(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.contains(": SKIPPED") && !line.starts_with(COMMAND_MARK))
}

fn run(step: Step, mut log: Log) -> Ended {
    let began = Instant::now();
    let Step { name, load, alone_in, action, .. } = step;
    // A step that is lost would be waited for without end.
    let result = catch_unwind(AssertUnwindSafe(|| action(&mut log))).unwrap_or_else(|_| {
        Err(Failure::Found("the step panicked, which is a defect of infra/tests/suite".to_owned()))
    });
    Ended {
        name,
        load,
        alone_in,
        took: began.elapsed(),
        used: log.used(),
        log: log.path().to_owned(),
        result,
    }
}

/// Prints a line. That nobody reads any more is no reason to leave the steps running, as the panic of `println!` would.
pub(crate) fn show(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn most_at_once(load: Load) -> usize {
    match load {
        // A second build computes while the first one links.
        Load::Build => 2,
        Load::Test => usize::try_from(machine::cores()).unwrap_or(usize::MAX),
        // They compute a little too.
        Load::Wait => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, PoisonError};

    use crate::process_groups::ALONE;

    use super::*;

    fn finish(plan: Vec<Step>) -> Finished {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = tempfile::tempdir().unwrap();
        let (sender, events) = channel();
        Schedule::new(plan, logs.path(), Arc::default()).run(&sender, &events).unwrap()
    }

    fn shell(name: &str, load: Load, script: &str) -> Step {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Step::command(name, load, command)
    }

    #[test]
    fn steps_run_after_what_they_need_and_never_two_in_the_same_place() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let step = |name: &'static str| {
            let events = Arc::clone(&events);
            Step::new(name, Load::Wait, move |_| {
                events.lock().unwrap().push(format!("+{name}"));
                thread::sleep(Duration::from_millis(30));
                events.lock().unwrap().push(format!("-{name}"));
                Ok(Vec::new())
            })
        };
        let plan = vec![step("c").after(&["a", "b"]), step("a").alone_in("one"), step("b").alone_in("one")];
        assert!(matches!(finish(plan).end, End::Passed));
        assert_eq!(*events.lock().unwrap(), ["+a", "-a", "+b", "-b", "+c", "-c"]);
    }

    #[test]
    fn a_step_may_bring_more_steps_which_are_counted_and_timed() {
        let test = "echo 'test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured'; echo 'Miri: SKIPPED, no nightly'";
        let plan = vec![Step::new("build", Load::Build, move |_| Ok(vec![shell("test", Load::Test, test)]))];
        let finished = finish(plan);
        assert!(matches!(finished.end, End::Passed));
        assert_eq!(finished.counts, Counts { passed: 3, failed: 0, ignored: 2 });
        assert_eq!(finished.skipped, ["Miri: SKIPPED, no nightly"]);
        assert_eq!(finished.durations.len(), 2);
    }

    #[test]
    fn the_first_failure_ends_the_others_and_starts_no_more() {
        let plan = vec![
            shell("long", Load::Wait, "sleep 600"),
            shell("bad", Load::Test, "sleep 0.2; echo it is broken; exit 3"),
            shell("next", Load::Test, "true").after(&["bad"]),
        ];
        let began = Instant::now();
        let finished = finish(plan);
        let End::Failed { text, .. } = finished.end else { panic!("it passed") };
        assert!(
            text.starts_with("bad: ended with exit status: 3") && text.ends_with("\nit is broken"),
            "{text}"
        );
        assert_eq!(finished.durations.len(), 2, "the third was never started");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_step_that_waits_for_none_of_the_plan_is_an_error() {
        let End::Failed { text, .. } = finish(vec![shell("a", Load::Test, "true").after(&["b"])]).end else {
            panic!()
        };
        assert!(text.ends_with(": a"), "{text}");
    }

    #[test]
    fn a_signal_ends_the_run() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = tempfile::tempdir().unwrap();
        let (sender, events) = channel();
        let plan = vec![shell("long", Load::Wait, "sleep 600")];
        thread::spawn({
            let sender = sender.clone();
            move || {
                thread::sleep(Duration::from_millis(100));
                sender.send(Event::Signal(15)).unwrap();
            }
        });
        let finished = Schedule::new(plan, logs.path(), Arc::default()).run(&sender, &events).unwrap();
        assert!(matches!(finished.end, End::Signal(15)));
    }
}

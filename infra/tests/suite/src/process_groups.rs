//! The processes that the steps have started, so that all of them end with the run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use crate::machine;

/// The time that the signer and its proxy take to drain, and a little more.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// Each process that a step starts leads a group of its own.
#[derive(Default)]
pub(crate) struct ProcessGroups {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    leaders: BTreeSet<i32>,
}

impl ProcessGroups {
    /// Starts `command`, which has to ask for a process group of its own. `None` once the run is being stopped.
    pub(crate) fn spawn(&self, command: &mut Command) -> Option<io::Result<Child>> {
        let mut state = self.state();
        if state.stopping {
            return None;
        }
        Some(command.spawn().inspect(|child| {
            state.leaders.insert(pid_of(child).as_raw());
        }))
    }

    /// Waits for the end of a child that `spawn` started. Returns its status, and the CPU time that it and the children
    /// it waited for have used.
    pub(crate) fn wait(&self, mut child: Child) -> io::Result<(ExitStatus, Duration)> {
        let pid = pid_of(&child);
        // Its times can be read between its end and the moment in which it is reaped.
        let ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let used = ended.ok().and_then(|_| machine::used_by(pid.as_raw())).unwrap_or_default();
        let status = child.wait();
        self.state().leaders.remove(&pid.as_raw());
        self.ended.notify_all();
        Ok((status?, used))
    }

    /// Reaps orphans that have ended, as their parent would have: a process whose end a test waits for must not stay.
    pub(crate) fn reap_orphans(&self) {
        // While it is held, no child is started that is not among the leaders yet.
        let state = self.state();
        for pid in children().filter(|pid| !state.leaders.contains(pid)) {
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Sends SIGTERM to every group and, after [`STOP_TIMEOUT`], SIGKILL. From then on nothing starts.
    pub(crate) fn stop(&self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut state = self.state();
        state.stopping = true;
        signal_all(&state, Signal::SIGTERM);
        while !state.leaders.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                signal_all(&state, Signal::SIGKILL);
                return;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signal_all(state: &State, signal: Signal) {
    for &leader in &state.leaders {
        // A group that has just ended needs no signal.
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id is positive and small"))
}

/// A process whose parent ended before it did, which made it ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) pid: i32,
    pub(crate) command_line: String,
}

/// Makes this process the parent of orphans among its descendants.
///
/// # Errors
///
/// The kernel's refusal.
pub(crate) fn adopt_orphans() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Kills the processes that the steps left running, and returns them. Call it when no step runs.
pub(crate) fn kill_orphans() -> Vec<Orphan> {
    let mut killed = Vec::new();
    // Killing one may hand us its children.
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
        let orphans: Vec<_> = children().collect();
        if orphans.is_empty() {
            return killed;
        }
        for pid in orphans {
            let command_line = command_line(pid);
            if kill(Pid::from_raw(pid), Signal::SIGKILL) != Err(Errno::ESRCH) {
                let _ = waitpid(Pid::from_raw(pid), None);
                killed.push(Orphan { pid, command_line });
            }
        }
    }
}

/// The processes whose parent we are, those that have ended and were not reaped among them.
fn children() -> impl Iterator<Item = i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim_end().to_owned()
}

/// Held by each test that starts processes: the schedule of one would reap the children of another.
#[cfg(test)]
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command
    }

    #[test]
    fn stop_ends_a_process_with_its_children_and_nothing_starts_after() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = Arc::new(ProcessGroups::default());
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{0}.new; mv {0}.new {0}; wait", pid_file.display());
        let child = groups.spawn(&mut shell(&script)).unwrap().unwrap();
        while !pid_file.exists() {
            thread::sleep(Duration::from_millis(5));
        }
        let waiting = thread::spawn({
            let groups = Arc::clone(&groups);
            move || groups.wait(child).unwrap()
        });
        groups.stop();
        assert!(!waiting.join().unwrap().0.success());
        let sleeper: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        // It takes the signal soon; then it is gone, or a zombie until its new parent asks.
        let deadline = Instant::now() + Duration::from_secs(10);
        let stat = || fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        while !stat().is_empty() && !stat().contains(") Z ") {
            assert!(Instant::now() < deadline, "{}", stat());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(groups.spawn(&mut shell("true")).is_none());
    }
}

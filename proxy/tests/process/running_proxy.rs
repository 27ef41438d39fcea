//! The process under test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;

/// No test waits longer than this for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A limit for "within one second" on a busy machine.
pub(crate) const ABOUT_A_SECOND: Duration = Duration::from_millis(2500);

/// How often a condition of the process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A proxy that is killed when dropped.
pub(crate) struct RunningProxy {
    child: Child,
    /// The lines after those that announce the listeners.
    pub(crate) stdout: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    /// The announced lines, in order.
    pub(crate) announced: Vec<String>,
}

impl RunningProxy {
    /// Starts the proxy and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_proxy")), arguments)
    }

    /// Starts the proxy with a route to `live`, and one to a socket beside it that does not exist.
    pub(crate) fn start_with_a_dead_route(live: &Path, options: &[&str]) -> Self {
        let routes = [live, &live.with_file_name("missing.sock")].map(route_to);
        Self::start(&[&["--route", &routes[0], "--route", &routes[1]], options].concat())
    }

    /// Starts the proxy through a command that becomes it.
    pub(crate) fn start_as(mut command: Command, arguments: &[&str]) -> Self {
        let listeners = arguments.iter().filter(|argument| ["--route", "--admin"].contains(argument)).count();
        let mut child = command
            .args(arguments)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");

        let (sender, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let log = Arc::clone(&stderr);
        let stderr_reader = std::thread::spawn(move || {
            let mut line = String::new();
            while matches!(lines.read_line(&mut line), Ok(1..)) {
                log.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let mut proxy =
            Self { child, stdout, stderr, stderr_reader: Some(stderr_reader), announced: Vec::new() };
        for _ in 0..listeners {
            let line = proxy.stdout.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("not listening: {}", proxy.log()));
            proxy.announced.push(line);
        }
        proxy
    }

    /// The port that the listener announced on this line chose.
    pub(crate) fn port(&self, line: usize) -> u16 {
        self.announced[line]
            .split(',')
            .next()
            .and_then(|listener| listener.rsplit(':').next())
            .and_then(|port| port.parse().ok())
            .expect("the line names a tcp address")
    }

    /// Connects to the listener announced on this line.
    pub(crate) async fn connect_to(&self, line: usize) -> TcpStream {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port(line)));
        TcpStream::connect(address).await.expect("the proxy listens")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        self.connect_to(0).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is ours");
    }

    /// Waits for the end and returns the status and everything that was logged.
    pub(crate) async fn wait(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the process is ours") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "still running: {}", self.log());
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let reader = self.stderr_reader.take().expect("waited for once");
        reader.join().expect("the reader does not panic");
        (status, self.log())
    }

    pub(crate) fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// A value in bytes from `/proc/PID/status`.
    pub(crate) fn memory_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kibibytes = line.split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid fits"))
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a proxy that is expected to end by itself: its exit code, stdout and stderr.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_proxy"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("still running");
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    (status.code().expect("no signal ended it"), stdout, stderr)
}

/// Waits until something observable from outside has happened.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The route from any tcp port to a unix socket.
pub(crate) fn route_to(socket: &Path) -> String {
    format!("tcp:127.0.0.1:0=unix:{}", socket.display())
}

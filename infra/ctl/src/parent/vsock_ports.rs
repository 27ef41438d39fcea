//! The vsock ports of the parent, and the programs that listen on them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use configuration::{Configuration, TlsMode, Vsock};
use transport::{Address, Listener};

use super::machine::{Call, Machine};
use super::ownership::need_root;
use super::{INSTALLED_PROXY, systemd};

/// It only asks the kernel.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The name of our own program, which holds the ports of a parent that serves.
const PROXY: &str = "proxy";

/// The kernel adds this to the name of a program whose file was replaced while it runs.
const REPLACED: &str = " (deleted)";

/// The unit of our proxy.
const UNIT: &str = "nitro-parent.service";

/// AWS's program for the way to KMS, which its unit starts on port 8000.
const AWS_PROXY: &str = "vsock-proxy";

/// A port that the proxy listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its key in nitro.toml.
    pub key: &'static str,
    /// Its number.
    pub number: u32,
}

/// A port that is not free, and that our proxy is not known to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub port: Port,
    /// The program that listens there, if it is known.
    pub program: Option<String>,
    /// Whether it is certain that our proxy does not.
    pub is_foreign: bool,
}

impl Taken {
    /// The defect.
    #[must_use]
    pub fn finding(&self) -> String {
        let program = self.program.as_deref().unwrap_or("a program that ss does not name");
        format!("{program} listens on vsock port {}, which {} needs", self.port.number, self.port.key)
    }

    /// The remedy.
    #[must_use]
    pub fn remedy(&self) -> String {
        let other = format!("or give {} another number in nitro.toml and build the image", self.port.key);
        match self.program.as_deref() {
            _ if !self.is_foreign => {
                format!("it may be our own proxy: see systemctl status {UNIT}, and look again as root")
            }
            Some(AWS_PROXY) => {
                format!("systemctl disable --now nitro-enclaves-vsock-proxy.service, {other}")
            }
            _ => format!("end that program, {other}"),
        }
    }
}

/// The ports on which the proxy listens with this configuration.
#[must_use]
pub fn ports_of(configuration: &Configuration) -> Vec<Port> {
    let Vsock { kms_proxy_port, imds_port, boot_port, log_port, .. } = configuration.vsock;
    let mut ports = vec![
        Port { key: "vsock.kms_proxy_port", number: kms_proxy_port },
        Port { key: "vsock.imds_port", number: imds_port },
        Port { key: "vsock.boot_port", number: boot_port },
        Port { key: "vsock.log_port", number: log_port },
    ];
    if matches!(configuration.tls, TlsMode::Acme(_)) {
        let Vsock { acme_port, certificate_store_port, certificate_store_write_port, .. } =
            configuration.vsock;
        ports.extend([
            Port { key: "vsock.acme_port", number: acme_port },
            Port { key: "vsock.certificate_store_port", number: certificate_store_port },
            Port { key: "vsock.certificate_store_write_port", number: certificate_store_write_port },
        ]);
    }
    ports
}

/// Which of `ports` are taken by others than our proxy, or may be.
///
/// # Errors
/// A line, if this kernel has no vsock and so cannot tell.
pub async fn taken(machine: &Machine, ports: &[Port]) -> Result<Vec<Taken>, String> {
    // Empty where the kernel cannot list vsock sockets: that is why each port is tried too.
    let arguments = ["--listening", "--vsock", "--processes", "--numeric", "--no-header"];
    let listed = machine.run(&Call::new("ss", arguments, TIMEOUT)).map(|ended| ended.stdout);
    let listening = listeners(&listed.unwrap_or_default());
    let mut taken = Vec::new();
    let mut is_proxy_excluded = None;
    // Only root sees each program, and our proxy runs only while its unit is active.
    let mut unnamed = |port| {
        let is_foreign = *is_proxy_excluded.get_or_insert_with(|| {
            need_root(machine).is_ok() && systemd::is_active(machine, UNIT).is_ok_and(|is_active| !is_active)
        });
        Taken { port, program: None, is_foreign }
    };
    for port in ports {
        let listener = listening.iter().find(|listener| listener.port == port.number);
        if let Some(listener) = listener {
            match &listener.process {
                None => taken.push(unnamed(*port)),
                Some(process) => match is_our_proxy(machine, process) {
                    Some(true) => {}
                    Some(false) => {
                        let program = Some(process.program.clone());
                        taken.push(Taken { port: *port, program, is_foreign: true });
                    }
                    None => taken.push(Taken { program: Some(process.program.clone()), ..unnamed(*port) }),
                },
            }
            continue;
        }
        let address: Address =
            format!("vsock:any:{}", port.number).parse().map_err(|error| format!("{}: {error}", port.key))?;
        match Listener::bind(&address).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                taken.push(unnamed(*port));
            }
            Err(error) => return Err(format!("vsock port {}: {error}", port.number)),
        }
    }
    Ok(taken)
}

/// Whether the process runs the installed proxy. None if only its name is known, and that is the proxy's.
fn is_our_proxy(machine: &Machine, process: &Process) -> Option<bool> {
    if process.program != PROXY {
        return Some(false);
    }
    let running = fs::read_link(machine.path(format!("/proc/{}/exe", process.id))).ok()?;
    let running = running.to_str()?;
    Some(Path::new(running.strip_suffix(REPLACED).unwrap_or(running)) == machine.path(INSTALLED_PROXY))
}

#[derive(Debug, PartialEq, Eq)]
struct Listening {
    port: u32,
    process: Option<Process>,
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    program: String,
    id: u32,
}

/// Reads the output of `ss`: a line for each socket. Other lines are left out.
fn listeners(text: &str) -> Vec<Listening> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = words.iter().position(|word| *word == "LISTEN")?;
        // Two lengths of queues are in between.
        let (_, port) = words.get(state + 3)?.rsplit_once(':')?;
        let process = line.split_once("users:((\"").and_then(|(_, users)| process(users));
        Some(Listening { port: port.parse().ok()?, process })
    };
    text.lines().filter_map(line).collect()
}

/// Reads `NAME",pid=ID,fd=...`.
fn process(users: &str) -> Option<Process> {
    let (program, rest) = users.split_once("\",pid=")?;
    let id = rest.split_once(',')?.0.parse().ok()?;
    Some(Process { program: program.to_owned(), id })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::parent::machine::{Commands, Ended, NotRun};

    const SS: &str = include_str!("../../../tests/transcripts/parent/ss-vsock.txt");

    #[test]
    fn the_program_on_a_port_is_named() {
        let listening = |port, process: Option<(&str, u32)>| Listening {
            port,
            process: process.map(|(program, id)| Process { program: program.to_owned(), id }),
        };
        assert_eq!(
            listeners(SS),
            [
                listening(8000, Some(("vsock-proxy", 2513))),
                listening(7103, Some(("proxy", 2601))),
                listening(9000, None),
            ]
        );
        assert_eq!(listeners(""), []);
        assert_eq!(listeners("Netid State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n"), []);
    }

    #[test]
    fn a_list_that_is_cut_off_names_no_other_port() {
        for length in 0..SS.len() {
            for listening in listeners(&SS[..length]) {
                let is_beginning = |port: &u32| port.to_string().starts_with(&listening.port.to_string());
                assert!([8000, 7103, 9000].iter().any(is_beginning), "{length}: {listening:?}");
            }
        }
    }

    #[test]
    fn a_taken_port_says_how_to_free_it() {
        let port = Port { key: "vsock.kms_proxy_port", number: 8000 };
        let taken = Taken { port, program: Some("vsock-proxy".into()), is_foreign: true };
        assert_eq!(
            taken.finding(),
            "vsock-proxy listens on vsock port 8000, which vsock.kms_proxy_port needs"
        );
        assert!(taken.remedy().contains("systemctl disable --now nitro-enclaves-vsock-proxy.service"));
        let taken = Taken { port, program: Some("nc".into()), is_foreign: true };
        assert!(taken.remedy().starts_with("end that program, or give vsock.kms_proxy_port another number"));
    }

    /// A machine whose commands print this, each with its exit status.
    struct Printing(BTreeMap<&'static str, (i32, &'static str)>);

    impl Commands for Printing {
        fn run(&self, call: &Call) -> Result<Ended, NotRun> {
            let (status, stdout) = self.0[&*call.program.to_string_lossy()];
            Ok(Ended { status, stdout: stdout.to_owned(), ..Ended::default() })
        }
    }

    #[tokio::test]
    async fn a_holder_without_a_name_is_foreign_only_where_our_proxy_cannot_be_it() {
        const ACTIVE: i32 = 0;
        const INACTIVE: i32 = 3;
        let proxy = Path::new(INSTALLED_PROXY);
        let other = Path::new("/home/other/proxy");
        for (number, user, unit, exe, expected) in [
            (9000, "0\n", INACTIVE, None, Some((None, true))),
            (9000, "0\n", ACTIVE, None, Some((None, false))),
            (9000, "1000\n", INACTIVE, None, Some((None, false))),
            (8000, "1000\n", ACTIVE, None, Some((Some("vsock-proxy"), true))),
            (7103, "1000\n", ACTIVE, None, Some((Some("proxy"), false))),
            (7103, "0\n", ACTIVE, Some((proxy, "")), None),
            (7103, "0\n", ACTIVE, Some((proxy, REPLACED)), None),
            (7103, "0\n", ACTIVE, Some((other, "")), Some((Some("proxy"), true))),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let commands = BTreeMap::from([("ss", (0, SS)), ("id", (0, user)), ("systemctl", (unit, ""))]);
            let machine = Machine::new(folder.path().into(), Box::new(Printing(commands)));
            if let Some((exe, suffix)) = exe {
                fs::create_dir_all(machine.path("/proc/2601")).unwrap();
                let target = format!("{}{suffix}", machine.path(exe).display());
                symlink(target, machine.path("/proc/2601/exe")).unwrap();
            }
            let port = Port { key: "vsock.log_port", number };
            let taken = taken(&machine, &[port]).await.unwrap();
            let found = taken.first().map(|taken| (taken.program.as_deref(), taken.is_foreign));
            assert_eq!(found, expected, "{number} {user} {unit} {exe:?}");
        }
    }
}

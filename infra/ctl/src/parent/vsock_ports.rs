//! The vsock ports of the parent, and which programs listen on them.

use std::io;
use std::time::Duration;

use enclave_runtime::Configuration;
use enclave_runtime::configuration::{TlsMode, Vsock};
use transport::{Address, Listener};

use super::machine::{Call, Machine};

/// It only asks the kernel.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The name of our own program, which holds the ports of a parent that serves.
const PROXY: &str = "proxy";

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

/// A port that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub port: Port,
    /// Who listens there, if that is known.
    pub program: Option<String>,
}

impl Taken {
    /// What is wrong.
    #[must_use]
    pub fn finding(&self) -> String {
        let program = self.program.as_deref().unwrap_or("a program that ss does not name");
        format!("{program} listens on vsock port {}, which {} needs", self.port.number, self.port.key)
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let other = format!("or give {} another number in nitro.toml and build the image", self.port.key);
        match self.program.as_deref() {
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

/// Which of `ports` others than our proxy have.
///
/// # Errors
/// A line, if this kernel has no vsock, so that nobody can tell.
pub async fn taken(machine: &Machine, ports: &[Port]) -> Result<Vec<Taken>, String> {
    // Empty where the kernel cannot list vsock sockets: that is why each port is tried too.
    let arguments = ["--listening", "--vsock", "--processes", "--numeric", "--no-header"];
    let listed = machine.run(&Call::new("ss", arguments, TIMEOUT)).map(|ended| ended.stdout);
    let listening = listeners(&listed.unwrap_or_default());
    let mut taken = Vec::new();
    for port in ports {
        let listener = listening.iter().find(|listener| listener.port == port.number);
        if let Some(listener) = listener {
            if listener.program.as_deref() != Some(PROXY) {
                taken.push(Taken { port: *port, program: listener.program.clone() });
            }
            continue;
        }
        let address: Address =
            format!("vsock:any:{}", port.number).parse().map_err(|fault| format!("{}: {fault}", port.key))?;
        match Listener::bind(&address).await {
            Ok(_) => {}
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => {
                taken.push(Taken { port: *port, program: None });
            }
            Err(fault) => return Err(format!("vsock port {}: {fault}", port.number)),
        }
    }
    Ok(taken)
}

#[derive(Debug, PartialEq, Eq)]
struct Listening {
    port: u32,
    program: Option<String>,
}

/// Reads what `ss` prints: a line for each socket. What is no such line is left out.
fn listeners(text: &str) -> Vec<Listening> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = words.iter().position(|word| *word == "LISTEN")?;
        // Two lengths of queues are in between.
        let (_, port) = words.get(state + 3)?.rsplit_once(':')?;
        let program = line.split_once("users:((\"").and_then(|(_, users)| users.split_once('"'));
        Some(Listening { port: port.parse().ok()?, program: program.map(|(name, _)| name.to_owned()) })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Listening, Port, Taken, listeners};

    const SS: &str = include_str!("../../../transcripts/parent/ss-vsock.txt");

    #[test]
    fn the_program_on_a_port_is_named() {
        let listening = |port, program: Option<&str>| Listening { port, program: program.map(Into::into) };
        assert_eq!(
            listeners(SS),
            [listening(8000, Some("vsock-proxy")), listening(7103, Some("proxy")), listening(9000, None),]
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
        let taken = Taken { port, program: Some("vsock-proxy".into()) };
        assert_eq!(
            taken.finding(),
            "vsock-proxy listens on vsock port 8000, which vsock.kms_proxy_port needs"
        );
        assert!(taken.remedy().contains("systemctl disable --now nitro-enclaves-vsock-proxy.service"));
        let taken = Taken { port, program: Some("nc".into()) };
        assert!(taken.remedy().starts_with("end that program, or give vsock.kms_proxy_port another number"));
    }
}

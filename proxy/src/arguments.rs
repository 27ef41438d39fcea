//! The command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;
use transport::Address;

use crate::limits::Limits;
use crate::route::Route;

/// More permits than this per route would need more memory and descriptors than a parent instance has to
/// spare.
const MAX_CONNECTIONS_LIMIT: i64 = 65_536;

/// Sources that it takes to use every permit of a route, unless the command line says otherwise: one client cannot shut
/// the others out.
const DEFAULT_SOURCES: u32 = 4;

/// A deadline longer than a day is a mistake in the unit.
const TIMEOUT_MAX_S: u64 = 86_400;

/// Moves bytes between the network and an enclave, and parses none of them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Addresses:
  tcp:HOST:PORT            IPv4, [IPv6], or a name when dialing; port 0 listens on any free port
  vsock:CID:PORT           CID `any` when listening
  unix:/path               created with mode 0600; a file nobody listens on is replaced
  hybrid:/path.sock:PORT   Firecracker and vhost-device-vsock: dials through /path.sock,
                           listens on /path.sock_PORT
Only as DIAL:
  enclave:/path:PORT       dials vsock:CID:PORT, where the file holds CID, from 4, and a line break;
                           read for each connection: replace the file to replace the enclave
  file:/path               sends the file, read for each connection, and closes
  replace:/path            takes a length, 4 bytes with the highest first, and that many bytes, up to 64 KiB;
                           puts them in place of the file, mode 0600, and sends the byte 6. What is cut,
                           takes longer than 10 s, or comes while three others do changes nothing
  stdout:                  writes each line received to standard output

Example:
  proxy --route tcp:0.0.0.0:7001=enclave:/run/nitro-signer/cid:5000 \\
        --route vsock:any:7100=tcp:kms.eu-central-1.amazonaws.com:443 \\
        --admin tcp:127.0.0.1:9464

Exit status: 0 after SIGTERM or SIGINT, 64 wrong command line, 69 an address cannot be bound,
70 internal error, 71 operating system error, 130 second signal."
)]
pub struct Arguments {
    /// Listens on LISTEN and connects each client to DIAL; may be repeated
    #[arg(long = "route", value_name = "LISTEN=DIAL", required = true)]
    routes: Vec<Route>,

    // More than the enclave takes: only the enclave knows which connections are idle, and closes those.
    /// Connections served at once, per route; others wait in the listen backlog. To be more than limits.max_connections
    /// of nitro.toml
    #[arg(long, value_name = "N", default_value_t = 2048,
          value_parser = clap::value_parser!(u32).range(1..=MAX_CONNECTIONS_LIMIT))]
    max_connections: u32,

    /// Of these, connections of one IPv4 address or one IPv6 /64 network; others are closed at once. From 1 to
    /// --max-connections, a quarter of it unless given. `off` behind a load balancer that hides its clients' addresses
    #[arg(long, value_name = "N|off")]
    max_connections_per_source: Option<PerSource>,

    /// Time to reach DIAL, all attempts together, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 900,
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_S * 1000))]
    dial_timeout_ms: u64,

    /// Time one side may refuse the bytes that wait for it, in seconds
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_S))]
    progress_timeout_s: u64,

    /// Time without a byte in either direction, in seconds; longer than the keep-alive of DIAL
    #[arg(long, value_name = "S", default_value_t = 90,
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_S))]
    idle_timeout_s: u64,

    /// Time for connections to finish after SIGTERM or SIGINT, in seconds. In its last 2 s, at most half of it, nothing
    /// more is passed on from clients
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(0..=TIMEOUT_MAX_S))]
    drain_timeout_s: u64,

    /// Announces each client that comes over tcp: to a DIAL that is a socket, by a PROXY protocol header of version 2.
    /// Only with http.proxy_protocol = true in nitro.toml. Believes no header that a client or a load balancer sends
    #[arg(long)]
    proxy_protocol: bool,

    /// Serves GET /health and GET /metrics on this address; off unless given
    #[arg(long, value_name = "ADDRESS", value_parser = parse_admin)]
    admin: Option<Address>,

    /// The least severe events to log, on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug)]
enum PerSource {
    Off,
    AtMost(u32),
}

impl FromStr for PerSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::AtMost)
                .map_err(|_| "neither a number from 1 to --max-connections nor `off`"),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// A command line that makes sense as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// The routes, no two on one address.
    pub routes: Vec<Route>,
    /// The limits of each route.
    pub limits: Limits,
    /// Whether the routes that lead tcp clients to a socket announce them.
    pub announces_clients: bool,
    /// How long connections may finish after a signal.
    pub drain_timeout: Duration,
    /// The address of the admin port, if there is to be one.
    pub admin: Option<Address>,
    /// The least severe events to log.
    pub log_level: LevelFilter,
}

impl TryFrom<Arguments> for Config {
    type Error = InvalidConfig;

    fn try_from(arguments: Arguments) -> Result<Self, InvalidConfig> {
        let listens = || {
            let routes = arguments.routes.iter().map(|route| &route.listen);
            routes.chain(&arguments.admin)
        };
        for (index, listen) in listens().enumerate() {
            let kernel_chooses = matches!(listen, Address::Tcp { port: 0, .. });
            if !kernel_chooses && listens().skip(index + 1).any(|other| other == listen) {
                return Err(InvalidConfig::ListenedTwice(listen.clone()));
            }
        }
        if arguments.proxy_protocol && !arguments.routes.iter().any(Route::leads_clients_to_a_socket) {
            return Err(InvalidConfig::NoClients);
        }
        let max_connections = arguments.max_connections;
        let max_connections_per_source = match arguments.max_connections_per_source {
            None => Some((max_connections / DEFAULT_SOURCES).max(1)),
            Some(PerSource::Off) => None,
            Some(PerSource::AtMost(connections)) if (1..=max_connections).contains(&connections) => {
                Some(connections)
            }
            Some(PerSource::AtMost(_)) => return Err(InvalidConfig::PerSource { max_connections }),
        };
        Ok(Self {
            limits: Limits {
                max_connections,
                max_connections_per_source,
                dial_timeout: Duration::from_millis(arguments.dial_timeout_ms),
                progress_timeout: Duration::from_secs(arguments.progress_timeout_s),
                idle_timeout: Duration::from_secs(arguments.idle_timeout_s),
            },
            announces_clients: arguments.proxy_protocol,
            drain_timeout: Duration::from_secs(arguments.drain_timeout_s),
            admin: arguments.admin,
            log_level: match arguments.log_level {
                LogLevel::Error => LevelFilter::ERROR,
                LogLevel::Warn => LevelFilter::WARN,
                LogLevel::Info => LevelFilter::INFO,
                LogLevel::Debug => LevelFilter::DEBUG,
            },
            routes: arguments.routes,
        })
    }
}

fn parse_admin(text: &str) -> Result<Address, transport::InvalidAddress> {
    let address: Address = text.parse()?;
    address.check_listen()?;
    Ok(address)
}

/// Parts of the command line contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidConfig {
    /// Two listeners would have this address.
    ListenedTwice(Address),
    /// `--max-connections-per-source` is out of its range.
    PerSource {
        /// The end of the range: `--max-connections`.
        max_connections: u32,
    },
    /// `--proxy-protocol` without a route that has clients to announce.
    NoClients,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListenedTwice(address) => write!(formatter, "{address} is listened on twice"),
            Self::PerSource { max_connections } => {
                write!(
                    formatter,
                    "--max-connections-per-source is not from 1 to {max_connections} (--max-connections)"
                )
            }
            Self::NoClients => formatter.write_str("--proxy-protocol needs a --route from tcp: to a socket"),
        }
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let arguments = [&["proxy"], arguments].concat();
        let parsed = Arguments::try_parse_from(arguments).map_err(|error| error.to_string())?;
        Config::try_from(parsed).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_idle_deadline_outlasts_the_enclaves_keep_alive() {
        let config = config(&["--route", "tcp:127.0.0.1:0=vsock:16:5000"]).unwrap();
        assert!(config.limits.idle_timeout > Duration::from_secs(75));
        assert!(config.limits.dial_timeout < Duration::from_secs(1));
        assert_eq!(config.limits.max_connections, 2048);
        assert_eq!(config.limits.max_connections_per_source, Some(512));
        assert_eq!(config.admin, None);
    }

    #[test]
    fn an_address_is_listened_on_once() {
        let route = ["--route", "unix:/a=unix:/b"];
        let twice = config(&[route, route].concat()).unwrap_err();
        assert_eq!(twice, "unix:/a is listened on twice");
        config(&[&route[..], &["--admin", "unix:/a"]].concat()).unwrap_err();

        let any = ["--route", "tcp:127.0.0.1:0=unix:/b"];
        assert_eq!(config(&[any, any].concat()).unwrap().routes.len(), 2);
    }

    #[test]
    fn a_source_has_a_quarter_of_the_connections_unless_told_otherwise() {
        let per_source = |arguments: &[&str]| {
            let route = ["--route", "tcp:127.0.0.1:0=unix:/b"];
            config(&[&route, arguments].concat()).map(|config| config.limits.max_connections_per_source)
        };
        for (arguments, expected) in [
            (&["--max-connections=3"][..], Some(1)),
            (&["--max-connections=100"], Some(25)),
            (&["--max-connections=100", "--max-connections-per-source=100"], Some(100)),
            (&["--max-connections-per-source=1"], Some(1)),
            (&["--max-connections-per-source=off"], None),
        ] {
            assert_eq!(per_source(arguments), Ok(expected), "{arguments:?}");
        }
        for wrong in ["0", "101"] {
            let wrong = format!("--max-connections-per-source={wrong}");
            let refused = per_source(&["--max-connections=100", &wrong]).unwrap_err();
            assert_eq!(refused, "--max-connections-per-source is not from 1 to 100 (--max-connections)");
        }
        for wrong in ["", "OFF", "-1", "1.5", "4294967296"] {
            let refused = per_source(&[&format!("--max-connections-per-source={wrong}")]).unwrap_err();
            assert!(refused.contains("neither a number from 1 to --max-connections nor `off`"), "{refused}");
        }
    }

    #[test]
    fn clients_are_announced_on_a_route_that_has_some() {
        for (route, has_clients) in [
            ("tcp:127.0.0.1:0=enclave:/env:5000", true),
            ("tcp:127.0.0.1:0=unix:/b", true),
            ("unix:/a=unix:/b", false),
            ("vsock:any:7100=tcp:kms:443", false),
            ("tcp:127.0.0.1:0=stdout:", false),
        ] {
            let announced = config(&["--proxy-protocol", "--route", route]);
            match announced {
                Ok(config) => assert!(has_clients && config.announces_clients, "{route}"),
                Err(refused) => {
                    assert!(!has_clients, "{route}");
                    assert_eq!(refused, "--proxy-protocol needs a --route from tcp: to a socket");
                }
            }
            assert!(!config(&["--route", route]).unwrap().announces_clients);
        }
    }

    #[test]
    fn limits_are_in_range() {
        for wrong in [
            "--max-connections=0",
            "--max-connections=65537",
            "--dial-timeout-ms=0",
            "--idle-timeout-s=0",
            "--progress-timeout-s=90000",
            "--drain-timeout-s=-1",
            "--admin=tcp:localhost:1",
            "--log-level=loud",
        ] {
            config(&["--route", "unix:/a=unix:/b", wrong]).unwrap_err();
        }
        config(&[]).unwrap_err();
    }
}

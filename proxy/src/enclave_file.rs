//! The enclave that a file names, as whoever started it last wrote there.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::task::spawn_blocking;
use transport::{ANY_CID, Address, InvalidAddress, Stream, dial};

use crate::file_source::{parse_path, read};
use crate::invalid_route::InvalidRoute;

/// What the enclave takes as its boot file, which this file is too.
const FILE_MAX_BYTES: u64 = 64 * 1_024;

/// The variable that names the enclave.
const CID_VARIABLE: &str = "ENCLAVE_CID";

/// The first CID a virtual machine can have: 0 is the hypervisor, 1 this machine itself, 2 its host.
const FIRST_GUEST_CID: u32 = 3;

/// A file in the syntax of systemd's `EnvironmentFile=` whose `ENCLAVE_CID` is to be dialed, and the port there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveFile {
    path: PathBuf,
    port: u32,
}

impl EnclaveFile {
    /// Connects to the enclave that the file names now: one that is replaced between two calls is read anew.
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        let (path, port) = (self.path.clone(), self.port);
        let content =
            spawn_blocking(move || read(&path, FILE_MAX_BYTES)).await.map_err(io::Error::other)??;
        let Some(cid) = enclave_cid(&content) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file names no enclave in ENCLAVE_CID",
            ));
        };
        dial(&Address::Vsock { cid, port }).await
    }
}

impl FromStr for EnclaveFile {
    type Err = InvalidRoute;

    /// Reads what follows `enclave:`, a path and a port.
    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let (path, port) = text.rsplit_once(':').ok_or(InvalidRoute::Dial(InvalidAddress::MissingPort))?;
        let path = parse_path(path)?;
        // An address of our own making, for its rules on ports.
        match format!("vsock:{FIRST_GUEST_CID}:{port}").parse() {
            Ok(Address::Vsock { port, .. }) => Ok(Self { path, port }),
            _ => Err(InvalidRoute::Dial(InvalidAddress::Port)),
        }
    }
}

impl fmt::Display for EnclaveFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enclave:{}:{}", self.path.display(), self.port)
    }
}

/// The CID that the last assignment to `ENCLAVE_CID` gives, if it is one that an enclave can have.
///
/// Goes by lines, and knows no value of several: there would have to be a line in it that looks like the assignment.
fn enclave_cid(content: &[u8]) -> Option<u32> {
    let value = content
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
            (name.trim_matches([' ', '\t']) == CID_VARIABLE).then(|| value.trim_matches([' ', '\t']))
        })
        .next_back()?;
    let digits = unquoted(value, '"').or_else(|| unquoted(value, '\'')).unwrap_or(value);
    // One spelling of each number, as in an address: no sign, no leading zero.
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let cid = canonical.then(|| digits.parse().ok()).flatten()?;
    (FIRST_GUEST_CID..ANY_CID).contains(&cid).then_some(cid)
}

fn unquoted(value: &str, quote: char) -> Option<&str> {
    value.strip_prefix(quote)?.strip_suffix(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_assignment_counts() {
        for (content, cid) in [
            ("ENCLAVE_CID=16\n", 16),
            ("ENCLAVE_CID=3", 3),
            ("ENCLAVE_CID=4294967294\n", u32::MAX - 1),
            ("ENCLAVE_CID=\"17\"\n", 17),
            ("ENCLAVE_CID='18'\r\n", 18),
            (" \tENCLAVE_CID = 19\t \n", 19),
            ("ENCLAVE_CID=20\nAWS_REGION=us-east-1\nENCLAVE_CID=21\n", 21),
            ("ENCLAVE_CID=\nENCLAVE_CID=none\nENCLAVE_CID=22\n", 22),
            ("# ENCLAVE_CID=99\n;ENCLAVE_CID=99\nENCLAVE_CID=23\n#ENCLAVE_CID=99\n", 23),
            ("ENCLAVE_CID=24\nENCLAVE_CID_OLD=99\nOLD_ENCLAVE_CID=99\nX=ENCLAVE_CID=99\n", 24),
            ("no assignment\n\n=\nENCLAVE_CID=25\n=99\n", 25),
        ] {
            assert_eq!(enclave_cid(content.as_bytes()), Some(cid), "{content:?}");
        }
        assert_eq!(enclave_cid(b"X=\xff\xfe\nENCLAVE_CID=26\nY=\0\n"), Some(26));
    }

    #[test]
    fn whatever_is_no_enclaves_cid_names_none() {
        for content in [
            "",
            "\n",
            "AWS_REGION=us-east-1\n",
            "ENCLAVE_CID\n",
            "ENCLAVE_CID=\n",
            "enclave_cid=16\n",
            "export ENCLAVE_CID=16\n",
            "ENCLAVE_CID=0\n",
            "ENCLAVE_CID=1\n",
            "ENCLAVE_CID=2\n",
            "ENCLAVE_CID=4294967295\n",
            "ENCLAVE_CID=4294967312\n",
            "ENCLAVE_CID=99999999999999999999\n",
            "ENCLAVE_CID=016\n",
            "ENCLAVE_CID=+16\n",
            "ENCLAVE_CID=-16\n",
            "ENCLAVE_CID=0x10\n",
            "ENCLAVE_CID=1 6\n",
            "ENCLAVE_CID=16 # the new one\n",
            "ENCLAVE_CID=any\n",
            "ENCLAVE_CID=\"16\n",
            "ENCLAVE_CID='16\"\n",
            "ENCLAVE_CID=\"\"\n",
            "ENCLAVE_CID=\"\n",
            "ENCLAVE_CID=１６\n",
            // Not the assignment before: whoever wrote the last one meant another enclave.
            "ENCLAVE_CID=16\nENCLAVE_CID=\n",
            "ENCLAVE_CID=16\nENCLAVE_CID=2\n",
        ] {
            assert_eq!(enclave_cid(content.as_bytes()), None, "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_names_no_enclave_is_a_failed_dial() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        let enclave = EnclaveFile { path: path.clone(), port: 5_000 };
        let kind = async || enclave.dial().await.map(drop).unwrap_err().kind();
        assert_eq!(kind().await, io::ErrorKind::NotFound);
        std::fs::write(&path, "AWS_REGION=us-east-1\n").unwrap();
        assert_eq!(kind().await, io::ErrorKind::InvalidData);
        let mut long = b"ENCLAVE_CID=2\n#".to_vec();
        long.resize(usize::try_from(FILE_MAX_BYTES).unwrap(), b'x');
        std::fs::write(&path, &long).unwrap();
        assert_eq!(kind().await, io::ErrorKind::InvalidData);
        long.push(b'x');
        std::fs::write(&path, &long).unwrap();
        assert_eq!(kind().await, io::ErrorKind::FileTooLarge);
    }
}

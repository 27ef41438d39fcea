//! The enclave whose CID a file holds: `signerctl parent` writes the file when it switches to an enclave.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::task::spawn_blocking;
use transport::{ANY_CID, Address, InvalidAddress, Stream, dial};

use crate::file_source::{parse_path, read};
use crate::invalid_route::InvalidRoute;

/// The longest content: the ten digits of a `u32` and a line break.
const FILE_MAX_BYTES: u64 = 11;

/// The first CID that a Nitro enclave can have: 0 is the hypervisor, 1 this machine itself, 2 its host, 3 the parent.
const FIRST_ENCLAVE_CID: u32 = 4;

/// A file that holds the CID of the enclave to dial, in decimal with a line break, and the port there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveFile {
    path: PathBuf,
    port: u32,
}

impl EnclaveFile {
    /// Connects to the enclave that the file names now. Each call reads the file.
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        let (path, port) = (self.path.clone(), self.port);
        let content = spawn_blocking(move || read(&path, FILE_MAX_BYTES)).await.map_err(io::Error::other)?;
        let content = content.map_err(|error| {
            let path = self.path.display();
            io::Error::new(
                error.kind(),
                format!("{path} names no enclave ({error}): expected its CID; {REMEDY}"),
            )
        })?;
        let cid = parse_cid(&content).map_err(|found| {
            let path = self.path.display();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{path} names no enclave ({found}): expected a CID from 4 to 4294967294 and a line break; {REMEDY}"
                ),
            )
        })?;
        dial(&Address::Vsock { cid, port }).await
    }
}

const REMEDY: &str = "start an enclave with run-enclave.sh";

impl FromStr for EnclaveFile {
    type Err = InvalidRoute;

    /// Reads what follows `enclave:`, a path and a port.
    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let (path, port) = text.rsplit_once(':').ok_or(InvalidRoute::Dial(InvalidAddress::MissingPort))?;
        let path = parse_path(path)?;
        // An address of our own making, for its rules on ports.
        match format!("vsock:{FIRST_ENCLAVE_CID}:{port}").parse() {
            Ok(Address::Vsock { port, .. }) => Ok(Self { path, port }),
            _ => Err(InvalidRoute::Dial(InvalidAddress::Port)),
        }
    }
}

impl fmt::Display for EnclaveFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "enclave:{}:{}", self.path.display(), self.port)
    }
}

/// The CID that `content` holds.
///
/// # Errors
/// The difference from a CID of an enclave and a line break.
fn parse_cid(content: &[u8]) -> Result<u32, &'static str> {
    if content.is_empty() {
        return Err("it is empty");
    }
    let digits = content.strip_suffix(b"\n").ok_or("it does not end in a line break")?;
    // One spelling of each number, as in an address: no sign, no leading zero.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || (digits.len() > 1 && digits[0] == b'0')
    {
        return Err("it is not a number");
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number
        .filter(|cid| (FIRST_ENCLAVE_CID..ANY_CID).contains(cid))
        .ok_or("the number is not the CID of an enclave")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cid_and_a_line_break_name_an_enclave() {
        for (content, cid) in [("4\n", 4), ("16\n", 16), ("4294967294\n", u32::MAX - 1)] {
            assert_eq!(parse_cid(content.as_bytes()), Ok(cid), "{content:?}");
        }
    }

    #[test]
    fn other_contents_name_no_enclave() {
        const UNENDED: &str = "it does not end in a line break";
        const NO_NUMBER: &str = "it is not a number";
        const NO_CID: &str = "the number is not the CID of an enclave";
        for (content, error) in [
            ("", "it is empty"),
            ("16", UNENDED),
            ("16\n#", UNENDED),
            ("16\nx", UNENDED),
            ("\n", NO_NUMBER),
            ("16\n\n", NO_NUMBER),
            ("16\n17\n", NO_NUMBER),
            ("16\r\n", NO_NUMBER),
            ("16 \n", NO_NUMBER),
            (" 16\n", NO_NUMBER),
            ("1 6\n", NO_NUMBER),
            ("016\n", NO_NUMBER),
            ("00\n", NO_NUMBER),
            ("+16\n", NO_NUMBER),
            ("-16\n", NO_NUMBER),
            ("0x10\n", NO_NUMBER),
            ("any\n", NO_NUMBER),
            ("\"16\"\n", NO_NUMBER),
            ("'16'\n", NO_NUMBER),
            ("16\0\n", NO_NUMBER),
            ("１６\n", NO_NUMBER),
            ("16 # the new one\n", NO_NUMBER),
            ("AWS_REGION=us-east-1\n", NO_NUMBER),
            ("ENCLAVE_CID=16\n", NO_NUMBER),
            ("ENCLAVE_CID=\n", NO_NUMBER),
            ("0\n", NO_CID),
            ("1\n", NO_CID),
            ("2\n", NO_CID),
            ("3\n", NO_CID),
            ("4294967295\n", NO_CID),
            ("4294967312\n", NO_CID),
            ("99999999999999999999\n", NO_CID),
        ] {
            assert_eq!(parse_cid(content.as_bytes()), Err(error), "{content:?}");
        }
        assert_eq!(parse_cid(b"\xff\xfe\n"), Err(NO_NUMBER));
    }

    #[tokio::test]
    async fn a_file_that_names_no_enclave_fails_the_dial() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cid");
        let enclave = EnclaveFile { path: path.clone(), port: 5000 };
        let kind = async || enclave.dial().await.map(drop).unwrap_err().kind();
        assert_eq!(kind().await, io::ErrorKind::NotFound);
        std::fs::write(&path, "3\n").unwrap();
        assert_eq!(kind().await, io::ErrorKind::InvalidData);
        std::fs::write(&path, "4294967295\n").unwrap();
        assert_eq!(kind().await, io::ErrorKind::InvalidData);
        std::fs::write(&path, "42949672950\n").unwrap();
        assert_eq!(kind().await, io::ErrorKind::FileTooLarge);
        let error = enclave.dial().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("names no enclave") && error.contains("run-enclave.sh"), "{error}");
    }
}

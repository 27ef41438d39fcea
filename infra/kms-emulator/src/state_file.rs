//! The state that outlives a restart.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::key::MATERIAL_BYTES;
use crate::key_arn::KeyArn;

/// Key material, so that ciphertexts stay good, and the CA, so that an image which trusts it does.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) ca_certificate_pem: String,
    pub(crate) ca_key_pem: String,
    material_by_key_arn: BTreeMap<String, String>,
}

impl State {
    /// Reads the file; a state without anything in it when there is no file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a state.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, which only its owner can read.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    /// The material of a key, made when there is none yet.
    ///
    /// # Errors
    ///
    /// When what the file has is no key material.
    pub(crate) fn material(&mut self, arn: &KeyArn) -> io::Result<[u8; MATERIAL_BYTES]> {
        let known = self.material_by_key_arn.entry(arn.as_str().to_owned());
        let text = known.or_insert_with(|| hex::encode(rand::random::<[u8; MATERIAL_BYTES]>()));
        let mut material = [0; MATERIAL_BYTES];
        hex::decode_to_slice(text, &mut material).map_err(io::Error::other)?;
        Ok(material)
    }
}

//! From the command line to an emulator.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use crate::arguments::Arguments;
use crate::authority::{ensure_ca, server_config};
use crate::call_log::CallLog;
use crate::clock::Clock;
use crate::credentials::{CredentialStore, Credentials};
use crate::emulator::Emulator;
use crate::envelope::EnvelopeShape;
use crate::exit;
use crate::fault::Faults;
use crate::imds::{Imds, Issuer};
use crate::key::Key;
use crate::key_ring::KeyRing;
use crate::policy::Policy;
use crate::recipient_document::DocumentCheck;
use crate::service::Service;
use crate::state_file::State;

/// The parts to serve.
pub(crate) struct Setup {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) imds: Option<Imds>,
    pub(crate) tls: Arc<ServerConfig>,
}

/// Why the process cannot start, with the exit status for it.
#[derive(Debug)]
pub(crate) struct SetupError {
    pub(crate) code: u8,
    reason: String,
}

impl fmt::Display for SetupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for SetupError {}

fn usage(reason: String) -> SetupError {
    SetupError { code: exit::USAGE, reason }
}

fn of_file(path: &Path, error: impl fmt::Display) -> SetupError {
    SetupError { code: exit::CONFIG, reason: format!("{}: {error}", path.display()) }
}

impl Setup {
    /// Reads every file and writes the CA and the state.
    ///
    /// # Errors
    ///
    /// The first part of the command line, or file, that cannot be used.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, SetupError> {
        let clock = Clock::default();
        let started_at = clock.now();
        let mut state = match &arguments.state {
            Some(path) => State::load(path).map_err(|error| of_file(path, error))?,
            None => State::default(),
        };
        let keys = key_ring(arguments, &mut state)?;
        let credentials = credential_store(arguments)?;
        let imds = match &arguments.imds_role {
            Some(role) => {
                let issuer = Issuer::new(role, arguments.imds_credential_lifetime_s);
                Some(Imds::new(issuer.map_err(|_| usage("--imds-role is not the ARN of a role".into()))?))
            }
            None => None,
        };

        let internal = |error: crate::authority::NoCertificate| match &arguments.state {
            Some(path) => of_file(path, error),
            None => SetupError { code: exit::SOFTWARE, reason: error.to_string() },
        };
        ensure_ca(&mut state, started_at).map_err(internal)?;
        let tls = server_config(&state, &arguments.region, started_at).map_err(internal)?;
        if let Some(path) = &arguments.state {
            state.save(path).map_err(|error| of_file(path, error))?;
        }
        let ca_out = &arguments.ca_out;
        fs::write(ca_out, &state.ca_certificate_pem).map_err(|error| of_file(ca_out, error))?;

        let service = Service {
            keys,
            documents: DocumentCheck {
                root_pem: arguments.attestation_root.clone(),
                accept_unsigned: arguments.accept_unsigned_attestation,
            },
            envelope_shape: Mutex::new(EnvelopeShape::default()),
            started_at,
        };
        let emulator = Arc::new(Emulator {
            region: arguments.region.clone(),
            clock,
            credentials,
            service,
            faults: Faults::default(),
            calls: CallLog::default(),
            imds: Mutex::default(),
        });
        Ok(Self { emulator, imds, tls })
    }
}

fn key_ring(arguments: &Arguments, state: &mut State) -> Result<KeyRing, SetupError> {
    let mut keys: Vec<Key> = Vec::new();
    for key in &arguments.keys {
        let (arn, path) = (&key.arn, &key.policy);
        if arn.region() != arguments.region {
            return Err(usage(format!("key {arn} is of another region")));
        }
        if keys.iter().any(|other| other.arn() == arn) {
            return Err(usage(format!("key {arn} occurs twice")));
        }
        let text = fs::read_to_string(path).map_err(|error| of_file(path, error))?;
        let policy = Policy::parse(&text).map_err(|error| of_file(path, error))?;
        let material = state.material(arn).map_err(|error| of_file(path, error))?;
        keys.push(Key::new(arn.clone(), policy, &material));
    }
    Ok(KeyRing(keys))
}

fn credential_store(arguments: &Arguments) -> Result<CredentialStore, SetupError> {
    let store = CredentialStore::default();
    for given in &arguments.principals {
        if store.find(&given.access_key_id).is_some() {
            return Err(usage(format!("access key {} occurs twice", given.access_key_id)));
        }
        store.add(Arc::new(Credentials {
            access_key_id: given.access_key_id.clone(),
            secret_access_key: given.secret_access_key.clone(),
            session: None,
            principal: given.principal.clone(),
        }));
    }
    Ok(store)
}

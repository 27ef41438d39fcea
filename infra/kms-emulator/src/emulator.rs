//! The state that the ports share.

use std::sync::Mutex;

use crate::call_log::CallLog;
use crate::clock::Clock;
use crate::credentials::CredentialStore;
use crate::fault::Faults;
use crate::imds::Behaviour;
use crate::service::Service;

/// Everything there is but sockets.
#[derive(Debug)]
pub(crate) struct Emulator {
    pub(crate) region: String,
    pub(crate) clock: Clock,
    pub(crate) credentials: CredentialStore,
    pub(crate) service: Service,
    pub(crate) faults: Faults,
    pub(crate) calls: CallLog,
    pub(crate) imds: Mutex<Behaviour>,
}

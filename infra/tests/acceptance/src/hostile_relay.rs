//! A parent's relay to KMS that does worse than moving bytes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::Failure;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the enclave.
    ToKms,
    /// From KMS.
    ToEnclave,
}

/// The attack on one connection.
#[derive(Clone, Debug)]
pub enum Meddling {
    /// Ends it, both ways, after so many bytes of one direction.
    Cut(Direction, usize),
    /// Flips a bit of the byte at this place of one direction.
    Flip(Direction, usize),
    /// Answers with these bytes, and never asks KMS.
    Replay(Arc<Vec<u8>>),
}

/// A relay between two Unix sockets; it lives as long as the test's process.
pub struct HostileRelay {
    /// `ADDRESS` for the enclave to dial.
    pub address: String,
    state: Arc<Mutex<State>>,
}

struct State {
    target: PathBuf,
    /// For the next connections; those after are only moved and recorded.
    plan: VecDeque<Meddling>,
    /// The bytes of an untouched connection.
    recorded: [Vec<u8>; 2],
    open: Vec<UnixStream>,
    connections: usize,
}

impl HostileRelay {
    /// Relays from a socket in `directory` to the `unix:` address `target`.
    pub fn start(directory: &Path, target: &str) -> Result<Self, Failure> {
        let path = directory.join("hostile.sock");
        let listener = UnixListener::bind(&path)?;
        let state = Arc::new(Mutex::new(State {
            target: unix_path(target),
            plan: VecDeque::new(),
            recorded: [Vec::new(), Vec::new()],
            open: Vec::new(),
            connections: 0,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for enclave in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is what this is for.
                thread::spawn(move || relay(&shared, enclave));
            }
        });
        Ok(Self { address: format!("unix:{}", path.display()), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Meddles with the next connections, one after the other.
    pub fn plan(&self, meddling: impl IntoIterator<Item = Meddling>) {
        self.state().plan = meddling.into_iter().collect();
    }

    /// Sends new connections somewhere else.
    pub fn redirect(&self, target: &str) {
        self.state().target = unix_path(target);
    }

    /// Ends every connection, and forgets what was recorded.
    pub fn hang_up(&self) {
        let mut state = self.state();
        for stream in state.open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.recorded = [Vec::new(), Vec::new()];
    }

    /// The bytes of the last untouched connections in this direction.
    #[must_use]
    pub fn recorded(&self, direction: Direction) -> Vec<u8> {
        self.state().recorded[direction as usize].clone()
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Whether everything that was planned has happened.
    #[must_use]
    pub fn plan_is_done(&self) -> bool {
        self.state().plan.is_empty()
    }
}

fn unix_path(address: &str) -> PathBuf {
    PathBuf::from(address.strip_prefix("unix:").expect("a unix: address"))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay(shared: &Arc<Mutex<State>>, enclave: UnixStream) {
    let (meddling, target) = {
        let mut state = lock(shared);
        state.connections += 1;
        (state.plan.pop_front(), state.target.clone())
    };
    if let Some(Meddling::Replay(bytes)) = &meddling {
        let mut enclave = enclave;
        let mut hello = [0; 4096];
        let _ = enclave.read(&mut hello);
        let _ = enclave.write_all(bytes);
        // Until the enclave has had enough of it.
        while enclave.read(&mut hello).is_ok_and(|count| count > 0) {}
        return;
    }
    let Ok(kms) = UnixStream::connect(target) else { return };
    let (Ok(enclave_too), Ok(kms_too), Ok(registered)) =
        (enclave.try_clone(), kms.try_clone(), enclave.try_clone())
    else {
        return;
    };
    lock(shared).open.push(registered);
    let back = {
        let (shared, meddling) = (Arc::clone(shared), meddling.clone());
        thread::spawn(move || pump(&shared, kms_too, enclave_too, Direction::ToEnclave, meddling.as_ref()))
    };
    pump(shared, enclave, kms, Direction::ToKms, meddling.as_ref());
    let _ = back.join();
}

fn pump(
    shared: &Mutex<State>,
    mut from: UnixStream,
    mut to: UnixStream,
    direction: Direction,
    meddling: Option<&Meddling>,
) {
    let mut buffer = [0; 8192];
    let mut passed = 0;
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let mut bytes = &mut buffer[..count];
        let mut is_last = false;
        match meddling {
            Some(Meddling::Cut(cut, at)) if *cut == direction && *at < passed + count => {
                bytes = &mut bytes[..*at - passed];
                is_last = true;
            }
            Some(Meddling::Flip(flipped, at))
                if *flipped == direction && (passed..passed + count).contains(at) =>
            {
                bytes[*at - passed] ^= 1 << (*at % 8);
            }
            None => lock(shared).recorded[direction as usize].extend_from_slice(bytes),
            _ => {}
        }
        passed += bytes.len();
        if to.write_all(bytes).is_err() || is_last {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

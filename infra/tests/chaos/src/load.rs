//! Honest clients: what the API does all day, and how it restores a key that a signer has lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use acceptance::Server;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::client::{Client, SignRequest, new_uuid};
use crate::history::{Journal, Outcome};

/// As many as two cores serve well.
pub(crate) const CLIENTS: usize = 6;

/// Between two requests of a client, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 5..40;

/// Keys that a client generates unless it has lost all, so that they can be restored at the end within seconds.
const MAX_KEYS: usize = 30;

/// The state that honest clients read.
#[derive(Default)]
pub(crate) struct Orders {
    /// Close the connection, and wait.
    pub(crate) rest: AtomicBool,
    /// Go.
    pub(crate) leave: AtomicBool,
}

/// A key of a client.
struct Key {
    identity: String,
    sealed_key: Option<String>,
}

/// An honest client with its keys.
pub(crate) struct Honest<'a> {
    client: Client<'a>,
    keys: Vec<Key>,
    /// Keys that are still to be imported, with a backup that takes a call to KMS.
    legacy: Vec<(String, String)>,
    /// How many keys it has generated.
    generated: usize,
    /// Of a hundred requests, so many on the kept connection.
    kept_percent: u32,
    rng: StdRng,
}

fn member(outcome: &Outcome, name: &str) -> Option<String> {
    let Outcome::Answered { status: 200, body } = outcome else { return None };
    let body: Value = serde_json::from_str(body).ok()?;
    body.get(name)?.as_str().map(str::to_owned)
}

impl<'a> Honest<'a> {
    /// The `number`th client of a run.
    pub(crate) fn new(
        server: &'a Server,
        journal: &'a Journal,
        legacy: Vec<(String, String)>,
        seed: u64,
        number: usize,
    ) -> Self {
        Self {
            client: Client::new(server, journal),
            keys: Vec::new(),
            legacy,
            generated: 0,
            kept_percent: if number.is_multiple_of(2) { 90 } else { 10 },
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Asks one thing after the other, as `orders` are.
    pub(crate) fn run(&mut self, orders: &Orders) {
        while !orders.leave.load(Ordering::Relaxed) {
            if orders.rest.load(Ordering::Relaxed) {
                self.client.hang_up();
            } else {
                self.ask();
            }
            thread::sleep(Duration::from_millis(self.rng.random_range(PAUSE_MS)));
        }
        self.client.hang_up();
    }

    fn ask(&mut self) {
        let on_kept = self.rng.random_range(0..100) < self.kept_percent;
        let number = if self.keys.is_empty() { 0 } else { self.rng.random_range(0..100) };
        match number {
            0..8 => self.generate(on_kept),
            8..12 => self.import_legacy(on_kept),
            12..20 => drop(self.client.health(on_kept)),
            20..76 => self.sign(on_kept),
            // So many that a busy machine measures enough of them without faults.
            76..92 => self.export(on_kept),
            92..94 => self.sign_expired(on_kept),
            94..97 => self.sign_twice_at_once(),
            _ => self.destroy(on_kept),
        }
    }

    fn generate(&mut self, on_kept: bool) {
        if self.generated >= MAX_KEYS && !self.keys.is_empty() {
            return self.sign(on_kept);
        }
        let identity = new_uuid(&mut self.rng);
        let outcome = self.client.generate(&identity, on_kept);
        if outcome.status() == Some(201) {
            self.generated += 1;
            self.keys.push(Key { identity, sealed_key: None });
            // Most are backed up at once, as the API does.
            if self.rng.random_range(0..4) > 0 {
                let last = self.keys.len() - 1;
                self.export_key(last, on_kept);
            }
        }
    }

    fn import_legacy(&mut self, on_kept: bool) {
        let Some((identity, sealed_key)) = self.legacy.pop() else { return self.sign(on_kept) };
        if self.client.import(&identity, &sealed_key, on_kept).status() == Some(200) {
            self.keys.push(Key { identity, sealed_key: Some(sealed_key) });
        } else {
            self.legacy.push((identity, sealed_key));
        }
    }

    fn export(&mut self, on_kept: bool) {
        let index = self.rng.random_range(0..self.keys.len());
        self.export_key(index, on_kept);
    }

    fn export_key(&mut self, index: usize, on_kept: bool) {
        let identity = self.keys[index].identity.clone();
        let outcome = self.client.export(&identity, on_kept);
        if let Some(sealed_key) = member(&outcome, "sealed_key") {
            self.client.journal.history().backups.insert(identity, sealed_key.clone());
            self.keys[index].sealed_key = Some(sealed_key);
        } else if outcome.status() == Some(404) {
            self.restore(index, on_kept);
        }
    }

    fn new_request(&mut self, has_expired: bool) -> (usize, SignRequest) {
        let index = self.rng.random_range(0..self.keys.len());
        let secret = &self.client.server.secrets.ticket_secret;
        let identity = &self.keys[index].identity;
        (index, SignRequest::new(identity, secret, has_expired, &mut self.rng))
    }

    fn sign(&mut self, on_kept: bool) {
        let (index, request) = self.new_request(false);
        match self.client.sign(&request, on_kept).status() {
            // The key is not loaded: its backup is imported, and the same ticket sent again.
            Some(404) => {
                let is_back = self.restore(index, on_kept);
                if is_back {
                    self.client.sign(&request, on_kept);
                }
            }
            // A replay, or a client that cannot know whether its ticket was used.
            Some(200) | None if self.rng.random_range(0..8) == 0 => {
                self.client.sign(&request, on_kept);
            }
            _ => {}
        }
    }

    fn sign_expired(&mut self, on_kept: bool) {
        let (_, request) = self.new_request(true);
        self.client.sign(&request, on_kept);
    }

    fn sign_twice_at_once(&mut self) {
        let (_, request) = self.new_request(false);
        let (server, journal) = (self.client.server, self.client.journal);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| Client::new(server, journal).sign(&request, false));
            }
        });
    }

    fn destroy(&mut self, on_kept: bool) {
        let index = self.rng.random_range(0..self.keys.len());
        let Key { identity, sealed_key } = self.keys.swap_remove(index);
        self.client.destroy(&identity, on_kept);
        let Some(sealed_key) = sealed_key else { return };
        if self.client.import(&identity, &sealed_key, on_kept).status() == Some(200) {
            self.keys.push(Key { identity, sealed_key: Some(sealed_key) });
        }
    }

    /// Imports the backup of a key that the signer does not have; a key without one is gone.
    fn restore(&mut self, index: usize, on_kept: bool) -> bool {
        let Key { identity, sealed_key } = &self.keys[index];
        match sealed_key {
            Some(sealed_key) => self.client.import(identity, sealed_key, on_kept).status() == Some(200),
            None => {
                self.keys.swap_remove(index);
                false
            }
        }
    }
}

//! The clients of a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::keys::Keys;
use super::report::Report;
use super::tally::Tally;
use crate::connection::{Answer, Connection};
use crate::ticket::{Nonce, TicketSecret, mint};

/// The wait after a request that reached no signer, so that a missing signer does not get a million requests.
const GONE_WAIT: Duration = Duration::from_millis(50);

/// The end of a load.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// After so many requests.
    Requests(u64),
    /// After this time.
    Time(Duration),
}

/// The requests that a load consists of.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients, each with a connection and a request in flight.
    pub connections: usize,
    /// The length of the load, without its warm-up.
    pub amount: Amount,
    /// The length of the warm-up.
    pub warm_up: Duration,
    /// A new connection for each request. The time of the request then includes it.
    pub is_reconnecting: bool,
    /// The lifetime of a ticket. The signer remembers its nonce for as long.
    pub ticket_ttl_s: u64,
}

/// A load on the signer that has these keys.
pub struct Bench {
    keys: Keys,
    secret: TicketSecret,
    load: Load,
    answered: AtomicU64,
}

impl Bench {
    /// A load that has not begun.
    #[must_use]
    pub const fn new(keys: Keys, secret: TicketSecret, load: Load) -> Self {
        Self { keys, secret, load, answered: AtomicU64::new(0) }
    }

    /// Requests that have been answered, or will not be, without the warm-up. Other threads may read it.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The keys, after the load.
    #[must_use]
    pub fn into_keys(self) -> Keys {
        self.keys
    }

    /// Runs the load until its end or until `stop` is true, and then verifies a sample of the signatures.
    pub async fn run(self: &Arc<Self>, stop: &watch::Receiver<bool>) -> Report {
        let begin = Instant::now() + self.load.warm_up;
        let left = Arc::new(AtomicU64::new(match self.load.amount {
            Amount::Requests(requests) => requests,
            Amount::Time(_) => u64::MAX,
        }));
        let mut clients = JoinSet::new();
        for number in 0..self.load.connections {
            let client = Client {
                bench: Arc::clone(self),
                begin,
                left: Arc::clone(&left),
                stop: stop.clone(),
                connection: None,
                tally: Tally::new(),
                turn: number,
            };
            clients.spawn(client.work());
        }
        let mut tally = Tally::new();
        while let Some(ended) = clients.join_next().await {
            if let Ok(theirs) = ended {
                tally.add(theirs);
            }
        }
        let took = begin.elapsed();
        Report::new(&tally, self.keys.list(), took)
    }
}

struct Client {
    bench: Arc<Bench>,
    /// When counting begins.
    begin: Instant,
    /// Requests that may still be begun.
    left: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
    connection: Option<Connection>,
    tally: Tally,
    /// The index of the next key.
    turn: usize,
}

impl Client {
    async fn work(mut self) -> Tally {
        while !*self.stop.borrow() {
            let is_counted = Instant::now() >= self.begin;
            if !is_counted {
                let mut warm_up = Tally::new();
                std::mem::swap(&mut warm_up, &mut self.tally);
                self.sign().await;
                self.tally = warm_up;
            } else if self.is_enough() {
                break;
            } else {
                self.sign().await;
                self.bench.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.tally
    }

    /// Whether to begin no more. Otherwise takes one request off the rest.
    fn is_enough(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let is_over = match self.bench.load.amount {
            Amount::Time(time) => self.begin.elapsed() >= time,
            Amount::Requests(_) => false,
        };
        is_over || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }

    /// Makes one request, and counts its result.
    async fn sign(&mut self) {
        let bench = Arc::clone(&self.bench);
        let keys = bench.keys.list();
        let index = self.turn % keys.len();
        self.turn = self.turn.wrapping_add(1);
        let mut random = [0; 8];
        let mut digest = [0; 32];
        for bytes in [&mut random[..], &mut digest[..]] {
            rand::fill(bytes).expect("aws-lc has randomness, or ends the process");
        }
        // The expensive work of this side is done before the clock starts.
        let identity = &keys[index].identity;
        let exp_unix_s = now_unix_s() + bench.load.ticket_ttl_s;
        let ticket = mint(&bench.secret, identity, &digest, exp_unix_s, &Nonce::random());
        let hex = base16ct::lower::encode_string(&digest);
        let body = format!(r#"{{"identity_id":"{identity}","digest":"{hex}","ticket":"{ticket}"}}"#);
        let sent_bytes = body.len() as u64;

        if bench.load.is_reconnecting {
            self.connection = None;
        }
        let mut started = Instant::now();
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => match bench.keys.client().connect().await {
                Ok(connection) => {
                    self.tally.connected(started.elapsed());
                    connection
                }
                Err(error) => {
                    self.tally.unanswered(&error);
                    sleep(GONE_WAIT).await;
                    return;
                }
            },
        };
        if !bench.load.is_reconnecting {
            started = Instant::now();
        }
        let answer = connection.post("/internal/sign", bench.keys.api_key(), body).await;
        let took = started.elapsed();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.tally.unanswered(&error),
        };
        self.connection = Some(connection);
        self.tally.sent_body_bytes += sent_bytes;
        self.tally.received_body_bytes += answer.body.len() as u64;
        match signature_of(&answer) {
            Some(signature) => {
                self.tally.signed(took, index, digest, signature, u64::from_le_bytes(random));
            }
            None => self.tally.refused(answer.status, answer.text("error")),
        }
    }
}

fn signature_of(answer: &Answer) -> Option<[u8; 64]> {
    if answer.status != 200 {
        return None;
    }
    let mut signature = [0; 64];
    let hex = answer.text("signature")?;
    (base16ct::lower::decode(hex, &mut signature).ok()?.len() == 64).then_some(signature)
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

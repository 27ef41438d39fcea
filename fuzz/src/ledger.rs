//! Which answers about a nonce are right, as far as the contract and the clock tell.
//!
//! While the clock only goes forward, all is determined but one thing: when exactly a nonce that has expired is
//! forgotten. Once the clock was set back, what was forgotten meanwhile is not known any more either, until all that
//! could be left has expired and had its turn.

use std::collections::{HashMap, HashSet};

use enclave_core::FORGOTTEN_PER_RECORD;

/// The answer of a signer about a nonce of a good ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was unused, and is used now.
    Recorded,
    /// 409
    Replay,
    /// 503
    Full,
    /// 401, for a ticket that is good by the clock as it stands.
    Forgotten,
}

/// A judge of such answers.
#[derive(Debug)]
pub struct Ledger {
    capacity: usize,
    /// Nonces that may be in the ledger, and when their tickets expire; and no others are.
    held: HashMap<String, u64>,
    /// At most so many of them have expired; exactly so many while `steady`.
    expired: usize,
    /// The latest time that a nonce was asked for at.
    latest_s: u64,
    /// The clock was not set back, or no more depends on that.
    steady: bool,
    /// Every ticket's nonce and expiry that was ever recorded.
    ever: HashSet<(String, u64)>,
}

impl Ledger {
    /// A judge of a ledger that is empty.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, held: HashMap::new(), expired: 0, latest_s: 0, steady: true, ever: HashSet::new() }
    }

    /// Judges what was said at `now_s` of a ticket that expires at `exp_s`, a fraction being rounded up.
    ///
    /// # Panics
    /// If it is wrong.
    pub fn judge(&mut self, nonce: &str, exp_s: u64, now_s: u64, answer: Answer) {
        self.pass_time(now_s);
        let live = self.held.values().filter(|exp_s| **exp_s > self.latest_s).count();
        let this = self.held.get(nonce).copied();
        let this_lives = this.is_some_and(|exp_s| exp_s > self.latest_s);
        let fullest = live + self.expired;
        let emptiest = if self.steady { fullest } else { live };
        match answer {
            Answer::Recorded => {
                assert!(!this_lives, "a live nonce was recorded again");
                assert!(emptiest < self.capacity, "a full ledger recorded");
                self.held.insert(nonce.to_owned(), exp_s);
                if exp_s <= self.latest_s {
                    self.expired += 1;
                }
                // This holds whatever the clock does.
                assert!(self.ever.insert((nonce.to_owned(), exp_s)), "a ticket was good twice");
            }
            Answer::Replay => assert!(this.is_some(), "a nonce that was not used is replayed"),
            Answer::Full => {
                assert!(!this_lives, "a live nonce is unknown");
                assert!(fullest >= self.capacity, "a ledger with room is full");
            }
            Answer::Forgotten => assert!(exp_s <= self.latest_s, "a good ticket is not good"),
        }
    }

    fn pass_time(&mut self, now_s: u64) {
        if now_s < self.latest_s {
            self.steady = false;
        }
        let latest_s = self.latest_s.max(now_s);
        self.expired +=
            self.held.values().filter(|exp_s| (self.latest_s + 1..=latest_s).contains(exp_s)).count();
        self.latest_s = latest_s;
        let all_have_expired = self.held.values().all(|exp_s| *exp_s <= now_s);
        if self.steady || all_have_expired {
            self.expired = self.expired.saturating_sub(FORGOTTEN_PER_RECORD as usize);
        }
        if self.expired == 0 {
            self.held.retain(|_, exp_s| *exp_s > latest_s);
            self.steady |= all_have_expired && now_s == latest_s;
        }
    }
}

//! Puts a core signer into memory: keys and secrets in locked pages, nonces in ordinary ones.

use std::sync::Mutex;

use enclave_core::{
    ExpirySecond, HashSeed, KeySlot, KeyStore, NonceLedger, NonceSlot, Pace, PaceSlot, SignatureLimits,
    Signer, TicketVerifier, wheel_seconds, with_burnt_stack,
};

use crate::entropy;
use crate::locked_memory::{MemoryNotLocked, leak_locked};
use configuration::{Capacity, RateLimits};

/// Why there is no signer.
#[derive(Debug)]
pub enum NoSigner {
    /// The ticket secret is empty.
    EmptyTicketSecret,
    /// The kernel gave no randomness.
    EntropyUnavailable,
    /// The memory for nonces could not be had.
    NoLedgerMemory,
    /// The key memory could not be had.
    Memory(MemoryNotLocked),
}

impl std::fmt::Display for NoSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmptyTicketSecret => formatter.write_str("the ticket signing secret is empty"),
            Self::EntropyUnavailable => formatter.write_str("the kernel gives no randomness"),
            Self::NoLedgerMemory => formatter.write_str("there is not that much memory for nonces"),
            Self::Memory(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for NoSigner {}

/// Makes an empty signer that lives as long as the process, or until it is set to `None`. It takes tickets of
/// `previous_ticket_secret` too, if there is one.
///
/// # Errors
/// [`NoSigner`]
pub fn signer(
    capacity: Capacity,
    rate_limits: RateLimits,
    ticket_secret: &[u8],
    previous_ticket_secret: Option<&[u8]>,
) -> Result<&'static Mutex<Option<Signer<'static>>>, NoSigner> {
    with_burnt_stack(|| {
        let mut tickets = TicketVerifier::new(ticket_secret, capacity.max_ticket_ttl_s)
            .map_err(|_| NoSigner::EmptyTicketSecret)?;
        if let Some(previous) = previous_ticket_secret {
            tickets = tickets.accepting_previous(previous).map_err(|_| NoSigner::EmptyTicketSecret)?;
        }
        let key_slots =
            leak_locked(capacity.max_keys as usize, || KeySlot::VACANT).map_err(NoSigner::Memory)?;
        let nonce_slots = leak(capacity.max_nonces as usize, || NonceSlot::VACANT)?;
        let wheel = leak(wheel_seconds(capacity.max_ticket_ttl_s), || ExpirySecond::VACANT)?;
        let keys = KeyStore::new(key_slots, seed()?);
        let nonces = NonceLedger::new(nonce_slots, wheel, seed()?, seed()?);
        let mut limits = SignatureLimits::default();
        if let Some(times) = rate_limits.signatures_per_second {
            limits = limits.in_all(Pace::per_second(times));
        }
        if let Some(times) = rate_limits.signatures_per_second_per_identity {
            let slots = leak(capacity.max_keys as usize, || PaceSlot::UNUSED)?;
            limits = limits.per_key(Pace::per_second(times), slots);
        }
        let mut signer = Some(Signer::new(keys, nonces, tickets, seed()?).limited(limits));
        let places = leak_locked(1, || Mutex::new(signer.take())).map_err(NoSigner::Memory)?;
        Ok(&places[0])
    })
}

/// A fresh seed.
///
/// # Errors
/// [`NoSigner::EntropyUnavailable`]
pub fn seed() -> Result<HashSeed, NoSigner> {
    let mut random = [0; 16];
    entropy::fill(&mut random).map_err(|_| NoSigner::EntropyUnavailable)?;
    Ok(HashSeed::new(random))
}

fn leak<T>(count: usize, vacant: impl FnMut() -> T) -> Result<&'static mut [T], NoSigner> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| NoSigner::NoLedgerMemory)?;
    values.extend(std::iter::repeat_with(vacant).take(count));
    Ok(values.leak())
}

//! Places for connections, and which connection gives its place up to a newcomer.
//!
//! A connection without a request in progress is idle: also before its first request, in its handshake, and in the
//! middle of a head. A quarter of the places is a reserve for newcomers. Whenever it is in use, idle connections are
//! closed until it is free again. A connection with a request in progress is never chosen.
//!
//! Connections that never presented the API key have a share of a quarter of the other places. Those that presented it
//! have the rest. The order of closing is:
//!
//! 1. Those without the key, if they hold more than their share, the oldest first. Their requests do not put them
//!    back in line: an attacker's stream of `/health` requests would outlive newcomers in the middle of their
//!    handshake.
//! 2. Those with the key, if they hold more than their share, the one that has been idle longest first.
//! 3. Any, in this order, if all places are taken.
//!
//! So a crowd without the key closes no connection of a client that has it. And beside a crowd with the key, a newcomer
//! does not close the newcomer before it: both come to their first request.
//!
//! Each request moves its connection out of an ordered map and back into it, under a lock that nobody holds while
//! waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::entropy;
use configuration::Limits;

/// How long a connection that was told to close may take to say goodbye: a round trip across an ocean.
const CLOSE_DEADLINE: Duration = Duration::from_millis(250);

/// Of the connection lifetime: connections that began together do not end together.
const LIFETIME_JITTER_DIVISOR: u32 = 4;

/// The places of one server.
pub(super) struct Places {
    max_connections: usize,
    /// Above so many, idle connections are closed.
    max_without_reserve: usize,
    /// The share of connections that never presented the key, of `max_without_reserve`.
    share_without_key: usize,
    lifetime: Duration,
    max_requests: u32,
    occupants: Mutex<Occupants>,
}

#[derive(Default)]
struct Occupants {
    open: usize,
    /// Of the open ones, those that were told to close.
    closing: usize,
    /// Of the open ones that were not told to close, those that presented the key.
    with_key: usize,
    /// The idle connections, in the order in which they are closed, with what tells them to.
    idle: BTreeMap<Turn, watch::Sender<bool>>,
    next_number: u64,
}

/// When an idle connection is closed. The order of the fields is that of closing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    has_shown_key: bool,
    /// Grows with the time of the last request, or of the start if the key was never presented.
    number: u64,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        let max_without_reserve = limits.max_connections - limits.max_connections.div_ceil(4);
        Self {
            max_connections: limits.max_connections,
            max_without_reserve,
            share_without_key: max_without_reserve / 4,
            lifetime: limits.connection_lifetime,
            max_requests: limits.max_requests_per_connection,
            occupants: Mutex::default(),
        }
    }

    /// Gives a new connection a place, which makes an idle one close if too few are left.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let (closing, is_closing) = watch::channel(false);
        let mut occupants = self.occupants();
        occupants.open = occupants.open.saturating_add(1);
        self.free_the_reserve(&mut occupants);
        let turn = occupants.last_turn(false);
        occupants.idle.insert(turn, closing);
        drop(occupants);
        Place {
            places: Arc::clone(self),
            is_closing,
            has_shown_key: AtomicBool::new(false),
            number: AtomicU64::new(turn.number),
            is_busy: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            ends_at: Instant::now() + jittered(self.lifetime),
        }
    }

    /// Tells idle connections to close until the reserve is free, or no other may be told.
    fn free_the_reserve(&self, occupants: &mut Occupants) {
        while occupants.staying() > self.max_without_reserve {
            let with_key = occupants.with_key;
            let without_key = occupants.staying().saturating_sub(with_key);
            let is_full = occupants.staying() >= self.max_connections;
            let closes = without_key > self.share_without_key && occupants.close_one(false)
                || with_key > self.max_without_reserve - self.share_without_key && occupants.close_one(true)
                || is_full && (occupants.close_one(false) || occupants.close_one(true));
            if !closes {
                return;
            }
        }
    }

    fn occupants(&self) -> MutexGuard<'_, Occupants> {
        // Nothing panics while it holds the lock.
        self.occupants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Occupants {
    const fn last_turn(&mut self, has_shown_key: bool) -> Turn {
        let turn = Turn { has_shown_key, number: self.next_number };
        self.next_number = self.next_number.wrapping_add(1);
        turn
    }

    /// How many are open and were not told to close.
    const fn staying(&self) -> usize {
        self.open.saturating_sub(self.closing)
    }

    /// Tells the first in line of those with, or without, the key to close. False if none of them is idle.
    fn close_one(&mut self, has_shown_key: bool) -> bool {
        let first = Turn { has_shown_key, number: 0 };
        let last = Turn { has_shown_key, number: u64::MAX };
        let chosen = self.idle.range(first..=last).next().map(|(turn, _)| *turn);
        let Some(closing) = chosen.and_then(|turn| self.idle.remove(&turn)) else { return false };
        self.closing = self.closing.saturating_add(1);
        self.with_key = self.with_key.saturating_sub(usize::from(has_shown_key));
        closing.send_replace(true);
        true
    }
}

/// The lifetime of one connection: up to a quarter shorter.
fn jittered(lifetime: Duration) -> Duration {
    let mut random = [0];
    // Without randomness nothing is signed either; this connection just lives as long as it may.
    let _ = entropy::fill(&mut random);
    let [random] = random;
    lifetime - lifetime / (LIFETIME_JITTER_DIVISOR * u32::from(u8::MAX)) * u32::from(random)
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    is_closing: watch::Receiver<bool>,
    has_shown_key: AtomicBool,
    /// With `has_shown_key`, the turn that it has while it is idle.
    number: AtomicU64,
    is_busy: AtomicBool,
    requests: AtomicU32,
    ends_at: Instant,
}

impl Place {
    /// Marks the connection as busy until the result is dropped. One request at a time.
    pub(super) fn begin_request(&self) -> RequestInProgress<'_> {
        let closing = self.places.occupants().idle.remove(&self.turn());
        self.is_busy.store(true, Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed).saturating_add(1);
        self.requests.store(requests, Ordering::Relaxed);
        RequestInProgress { place: self, closing }
    }

    /// Whether the connection ends with the answer: it is old enough, has had its requests, or must make room.
    pub(super) fn is_last(&self) -> bool {
        *self.is_closing.borrow()
            || self.requests.load(Ordering::Relaxed) >= self.places.max_requests
            || Instant::now() >= self.ends_at
    }

    /// Waits until the connection has to close for a newcomer. A request that has arrived is still answered.
    pub(super) async fn must_close(&self) {
        // Never fails: what tells it to close lives as long as the place, or until it has told.
        let _ = self.is_closing.clone().wait_for(|is_closing| *is_closing).await;
    }

    /// Waits until the connection had to close and has not, for longer than a goodbye takes.
    pub(super) async fn overstays(&self) {
        self.must_close().await;
        loop {
            sleep(CLOSE_DEADLINE).await;
            if !self.is_busy.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn turn(&self) -> Turn {
        Turn {
            has_shown_key: self.has_shown_key.load(Ordering::Relaxed),
            number: self.number.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut occupants = self.places.occupants();
        occupants.open = occupants.open.saturating_sub(1);
        let turn = self.turn();
        if occupants.idle.remove(&turn).is_none() {
            occupants.closing = occupants.closing.saturating_sub(1);
        } else if turn.has_shown_key {
            occupants.with_key = occupants.with_key.saturating_sub(1);
        }
    }
}

/// A request that its connection is busy with.
pub(super) struct RequestInProgress<'p> {
    place: &'p Place,
    /// `None` if the connection was told to close before the request came.
    closing: Option<watch::Sender<bool>>,
}

impl RequestInProgress<'_> {
    /// Notes that the client presented the API key, on this request.
    pub(super) fn shows_key(&self) {
        let had_shown_key = self.place.has_shown_key.swap(true, Ordering::Relaxed);
        if !had_shown_key && self.closing.is_some() {
            let mut occupants = self.place.places.occupants();
            occupants.with_key = occupants.with_key.saturating_add(1);
        }
    }

    /// Whether the client presented the API key, on this request or on one before it.
    pub(super) fn has_shown_key(&self) -> bool {
        self.place.has_shown_key.load(Ordering::Relaxed)
    }
}

impl Drop for RequestInProgress<'_> {
    fn drop(&mut self) {
        self.place.is_busy.store(false, Ordering::Relaxed);
        let Some(closing) = self.closing.take() else { return };
        let places = &self.place.places;
        let mut occupants = places.occupants();
        let mut turn = self.place.turn();
        if turn.has_shown_key {
            turn = occupants.last_turn(true);
            self.place.number.store(turn.number, Ordering::Relaxed);
        }
        occupants.idle.insert(turn, closing);
        // While too many were busy, newcomers took of the reserve.
        places.free_the_reserve(&mut occupants);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::{CLOSE_DEADLINE, Place, Places, RequestInProgress};
    use configuration::Limits;

    fn places(max_connections: usize) -> Arc<Places> {
        Arc::new(Places::new(&Limits { max_connections, ..Limits::default() }))
    }

    fn is_closing(place: &Place) -> bool {
        *place.is_closing.borrow()
    }

    /// The indices of those that were told to close.
    fn closing(connections: &[Place]) -> Vec<usize> {
        (0..connections.len()).filter(|index| is_closing(&connections[*index])).collect()
    }

    #[test]
    fn below_three_quarters_nobody_is_closed() {
        for (max_connections, unclosed) in [(1, 0), (2, 1), (3, 2), (4, 3), (1024, 768), (1027, 770)] {
            let places = places(max_connections);
            let connections: Vec<_> = (0..unclosed).map(|_| places.take()).collect();
            assert!(closing(&connections).is_empty(), "{max_connections}");
            let newcomer = places.take();
            assert_eq!(closing(&connections), Vec::from_iter((unclosed > 0).then_some(0)));
            assert!(!is_closing(&newcomer), "{max_connections}");
        }
    }

    #[test]
    fn who_never_presented_the_key_is_closed_before_who_did_and_the_longest_idle_first() {
        let places = places(8);
        let connections: Vec<_> = (0..6).map(|_| places.take()).collect();
        connections[1].begin_request().shows_key();
        connections[0].begin_request().shows_key();
        // Without the key it stays where it is in the line.
        drop(connections[2].begin_request());
        let mut order = Vec::new();
        let mut newcomers = Vec::new();
        for _ in 0..6 {
            let newcomer = places.take();
            newcomer.begin_request().shows_key();
            newcomers.push(newcomer);
            order.extend(
                closing(&connections).into_iter().filter(|index| !order.contains(index)).collect::<Vec<_>>(),
            );
        }
        assert_eq!(order, [2, 3, 4, 5, 1, 0], "with the key, 1 is idle for longer than 0");
        assert!(closing(&newcomers).is_empty());
    }

    #[test]
    fn newcomers_have_a_share_beside_a_crowd_that_presented_the_key() {
        let places = places(1024);
        let crowd: Vec<_> = (0..768).map(|_| places.take()).collect();
        crowd.iter().for_each(|connection| connection.begin_request().shows_key());
        // A quarter of the idle ones.
        let newcomers: Vec<_> = (0..192).map(|_| places.take()).collect();
        assert!(closing(&newcomers).is_empty(), "each has time for its first request");
        assert_eq!(
            closing(&crowd),
            Vec::from_iter(0..192),
            "the longest idle, although they presented the key"
        );
        let more = places.take();
        assert_eq!((closing(&newcomers), closing(&crowd).len(), is_closing(&more)), (vec![0], 192, false));
    }

    /// A connection that begins a request as soon as it has its place. It stays open until the test ends.
    fn busy(places: &Arc<Places>) -> (&'static Place, RequestInProgress<'static>) {
        let place: &Place = Box::leak(Box::new(places.take()));
        (place, place.begin_request())
    }

    #[test]
    fn a_crowd_without_the_key_closes_nobody_who_presented_it() {
        let places = places(1024);
        let client = places.take();
        client.begin_request().shows_key();
        // The client's connection is the only idle one, and one place is left.
        let (crowd, requests): (Vec<_>, Vec<_>) = (0..1022).map(|_| busy(&places)).unzip();
        assert!(!is_closing(&client));
        drop(requests);
        assert_eq!(crowd.iter().filter(|place| is_closing(place)).count(), 255, "the reserve is free again");
        for _ in 0..10_000 {
            drop(places.take());
        }
        assert!(!is_closing(&client));
    }

    #[test]
    fn the_last_place_is_taken_from_anybody_who_is_idle() {
        let places = places(1024);
        let client = places.take();
        client.begin_request().shows_key();
        let crowd = Vec::from_iter((0..1023).map(|_| busy(&places)));
        assert!(is_closing(&client), "beside {} busy ones", crowd.len());
    }

    #[test]
    fn the_reserve_comes_back_after_all_places_were_busy() {
        let places = places(8);
        let (crowd, mut requests): (Vec<_>, Vec<_>) = (0..8).map(|_| busy(&places)).unzip();
        let closing = || crowd.iter().filter(|place| is_closing(place)).count();
        let closed = Vec::from_iter((0..8).map(|_| {
            requests.pop();
            closing()
        }));
        assert_eq!(closed, [1, 2, 2, 2, 2, 2, 2, 2], "a quarter, and no more");
    }

    #[test]
    fn numbers_of_connections_with_the_key_stay_true() {
        let places = places(8);
        let with_key = || places.occupants().with_key;
        let connections = Vec::from_iter((0..6).map(|_| places.take()));
        connections.iter().take(2).for_each(|connection| {
            connection.begin_request().shows_key();
            connection.begin_request().shows_key();
        });
        assert_eq!(with_key(), 2);
        let newcomer = places.take();
        assert_eq!(closing(&connections), [2]);
        // It was told to close, and presents the key after all.
        connections[2].begin_request().shows_key();
        assert_eq!(with_key(), 2);
        drop(connections);
        drop(newcomer);
        let occupants = places.occupants();
        assert_eq!((occupants.open, occupants.closing, occupants.with_key), (0, 0, 0));
    }

    #[test]
    fn a_request_in_progress_is_never_cut_and_room_is_made_when_it_ends() {
        let places = places(4);
        let connections: Vec<_> = (0..4).map(|_| places.take()).collect();
        // The fourth closed the first.
        assert_eq!(closing(&connections), [0]);
        let connections = Vec::from_iter(connections.into_iter().skip(1).chain([places.take()]));
        assert_eq!(closing(&connections), [0]);
        let connections = Vec::from_iter(connections.into_iter().skip(1));
        let busy: Vec<_> = connections.iter().map(Place::begin_request).collect();
        let more = places.take();
        assert!(closing(&connections).is_empty() && !is_closing(&more));
        let more_busy = more.begin_request();
        assert!(closing(&connections).is_empty());
        // All four places are taken by busy ones: the first to end makes room, and it alone.
        drop(more_busy);
        assert!(is_closing(&more));
        drop(busy);
        assert!(closing(&connections).is_empty());
        drop(more);
        let newcomer = places.take();
        assert_eq!(closing(&connections), [0]);
        assert!(!is_closing(&newcomer));
    }

    #[test]
    fn one_that_is_closing_makes_room_once() {
        let places = places(4);
        let connections: Vec<_> = (0..3).map(|_| places.take()).collect();
        let first = places.take();
        assert_eq!(closing(&connections), [0]);
        // A request that came before it closed is answered, and does not bring it back.
        let late = connections[0].begin_request();
        assert!(connections[0].is_last());
        drop(late);
        let mut connections = connections;
        drop(connections.remove(0));
        assert!(closing(&connections).is_empty());
        drop(connections);
        drop(first);
        let occupants = places.occupants();
        assert_eq!((occupants.open, occupants.closing, occupants.idle.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_say_goodbye_overstays_unless_it_is_busy() {
        let places = places(1);
        let place = places.take();
        assert!(timeout(Duration::from_secs(3600), place.overstays()).await.is_err());
        drop(place.begin_request());
        assert!(is_closing(&place));
        let started = Instant::now();
        place.overstays().await;
        assert!(started.elapsed() >= CLOSE_DEADLINE);
        let busy = place.begin_request();
        assert!(timeout(Duration::from_secs(3600), place.overstays()).await.is_err());
        drop(busy);
        place.overstays().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_request_is_by_number_or_by_age() {
        let limits = Limits {
            connection_lifetime: Duration::from_secs(100),
            max_requests_per_connection: 3,
            ..Limits::default()
        };
        let places = Arc::new(Places::new(&limits));
        let place = places.take();
        let is_last = |place: &Place| {
            drop(place.begin_request());
            place.is_last()
        };
        assert_eq!([0; 3].map(|_| is_last(&place)), [false, false, true]);
        let crowd: Vec<_> = (0..100).map(|_| places.take()).collect();
        let are_last = || crowd.iter().filter(|place| is_last(place)).count();
        advance(Duration::from_secs(74)).await;
        assert_eq!(are_last(), 0);
        advance(Duration::from_millis(13_500)).await;
        let half = are_last();
        assert!((10..=90).contains(&half), "{half} of 100 at seven eighths");
        let late = places.take();
        advance(Duration::from_secs(13)).await;
        assert!(!is_last(&late));
        advance(Duration::from_secs(88)).await;
        assert!(is_last(&late));
    }
}

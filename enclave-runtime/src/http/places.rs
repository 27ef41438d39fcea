//! Places for connections, and which connection gives its place up to a newcomer.
//!
//! A connection without a request in progress is idle: also before its first request, in its handshake, and in the
//! middle of a head. Up to three quarters of the places may be held by idle connections. Above that, each newcomer
//! closes one. A connection with a request in progress is never chosen. The order is:
//!
//! 1. Those that never presented the API key, the oldest first. What they ask for does not put them back in line: an
//!    attacker who asks for `/health` all the time would outlive newcomers in the middle of their handshake.
//! 2. The others, the one that has been idle longest first.
//!
//! Connections without the key keep a quarter of the idle ones. Otherwise, where clients with the key hold all the rest, each
//! newcomer would close the newcomer before it, and none would come to its first request.
//!
//! Each request moves its connection out of an ordered map and back into it, under a lock that nobody holds while waiting.

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
    /// Above so many, a newcomer closes an idle connection.
    max_idle: usize,
    /// Of these, connections that never presented the key: while there are fewer, one that presented it is closed.
    min_without_key: usize,
    lifetime: Duration,
    max_requests: u32,
    occupants: Mutex<Occupants>,
}

#[derive(Default)]
struct Occupants {
    open: usize,
    /// Of the open ones, those that were told to close.
    closing: usize,
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
        Self {
            max_connections: limits.max_connections,
            max_idle: limits.max_connections - limits.max_connections.div_ceil(4),
            min_without_key: (limits.max_connections - limits.max_connections.div_ceil(4)) / 4,
            lifetime: limits.connection_lifetime,
            max_requests: limits.max_requests_per_connection,
            occupants: Mutex::default(),
        }
    }

    /// Gives a new connection a place, which makes an idle one close if too few are left.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let (closing, is_closing) = watch::channel(false);
        let mut occupants = self.occupants();
        if occupants.open.saturating_sub(occupants.closing) >= self.max_idle {
            occupants.close_one(self.min_without_key);
        }
        occupants.open = occupants.open.saturating_add(1);
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

    /// Tells the idle connection whose turn it is to close, if there is one. Spares `min_without_key` connections that never
    /// presented the key, as long as another can close.
    fn close_one(&mut self, min_without_key: usize) {
        const FIRST_WITH_KEY: Turn = Turn { has_shown_key: true, number: 0 };
        let without_key = self.idle.range(..FIRST_WITH_KEY).take(min_without_key).count();
        let with_key = self.idle.range(FIRST_WITH_KEY..).next().map(|(turn, _)| *turn);
        let chosen = match with_key {
            Some(turn) if without_key < min_without_key => self.idle.remove(&turn),
            _ => self.idle.pop_first().map(|(_, closing)| closing),
        };
        if let Some(closing) = chosen {
            self.closing = self.closing.saturating_add(1);
            closing.send_replace(true);
        }
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
        if occupants.idle.remove(&self.turn()).is_none() {
            occupants.closing = occupants.closing.saturating_sub(1);
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
        self.place.has_shown_key.store(true, Ordering::Relaxed);
    }

    /// Whether the connection ends with the answer: it is old enough, has had its requests, or must make room.
    pub(super) fn is_last(&self) -> bool {
        self.closing.is_none()
            || self.place.requests.load(Ordering::Relaxed) >= self.place.places.max_requests
            || Instant::now() >= self.place.ends_at
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
        // While all places were taken by busy connections, newcomers had to wait. Now one can be had.
        if occupants.open >= places.max_connections && occupants.closing == 0 {
            occupants.close_one(places.min_without_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::{CLOSE_DEADLINE, Place, Places};
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
        for (max_connections, max_idle) in [(1, 0), (2, 1), (3, 2), (4, 3), (1024, 768), (1027, 770)] {
            let places = places(max_connections);
            let connections: Vec<_> = (0..max_idle).map(|_| places.take()).collect();
            assert!(closing(&connections).is_empty(), "{max_connections}");
            let newcomer = places.take();
            assert_eq!(closing(&connections), Vec::from_iter((max_idle > 0).then_some(0)));
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
        assert!(late.is_last());
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
        assert_eq!([0; 3].map(|_| place.begin_request().is_last()), [false, false, true]);
        let crowd: Vec<_> = (0..100).map(|_| places.take()).collect();
        let are_last = || crowd.iter().filter(|place| place.begin_request().is_last()).count();
        advance(Duration::from_secs(74)).await;
        assert_eq!(are_last(), 0);
        advance(Duration::from_millis(13_500)).await;
        let half = are_last();
        assert!((10..=90).contains(&half), "{half} of 100 at seven eighths");
        let late = places.take();
        advance(Duration::from_secs(13)).await;
        assert!(!late.begin_request().is_last());
        advance(Duration::from_secs(88)).await;
        assert!(late.begin_request().is_last());
    }
}

//! Which imports wait for a key service together. A holder of the API key can send backups that do not open, and honest
//! clients must not wait behind them. A connection shows by its own imports which kind of client it belongs to.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Where an import waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The key service opened the last backup that this connection had it open.
    Proven,
    /// Nothing is known of this connection, or one backup did not open.
    Unknown,
    /// No backup that this connection sent lately did open.
    Refused,
}

/// The lane of one connection. It changes with what a key service makes of its backups. A backup that needs no key
/// service changes nothing.
#[derive(Debug)]
pub struct Standing(Mutex<Lane>);

impl Default for Standing {
    fn default() -> Self {
        Self(Mutex::new(Lane::Unknown))
    }
}

impl Standing {
    /// The lane for the next import.
    pub(crate) fn lane(&self) -> Lane {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the key service opened a backup.
    pub(crate) fn rise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Lane::Proven;
    }

    /// Records that the key service refused a backup. A restore with a damaged backup in it loses one step by it, which
    /// the next good backup brings back.
    pub(crate) fn fall(&self) {
        let mut lane = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *lane = if *lane == Lane::Proven { Lane::Unknown } else { Lane::Refused };
    }
}

/// Requests that may wait for a key service to restore a key. Each lane has places that the next lower one cannot take.
pub struct RestorePlaces {
    /// For [`Lane::Proven`] alone.
    proven: Semaphore,
    /// For every lane.
    shared: Semaphore,
    /// Of the shared places, those that [`Lane::Refused`] may take.
    refused: Semaphore,
}

/// Holds a place.
pub(crate) type RestorePlace<'p> = [Option<SemaphorePermit<'p>>; 2];

impl RestorePlaces {
    /// So many places, and at least two: a third for connections whose last backup opened, and a quarter at most for
    /// those whose backups were refused.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let proven = places.div_ceil(3);
        let shared = places.saturating_sub(proven).max(1);
        let [proven, shared, refused] = [proven, shared, shared.min(places.div_ceil(4))].map(Semaphore::new);
        Self { proven, shared, refused }
    }

    /// A place for an import in `lane`, if one is free.
    pub(crate) fn try_take(&self, lane: Lane) -> Option<RestorePlace<'_>> {
        let shared = || self.shared.try_acquire().ok();
        match lane {
            Lane::Proven => Some([None, Some(self.proven.try_acquire().ok().or_else(shared)?)]),
            Lane::Unknown => Some([None, Some(shared()?)]),
            Lane::Refused => Some([Some(self.refused.try_acquire().ok()?), Some(shared()?)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, RestorePlaces, Standing};

    #[test]
    fn one_damaged_backup_in_a_restore_costs_one_step() {
        let standing = Standing::default();
        assert_eq!(standing.lane(), Lane::Unknown);
        standing.rise();
        assert_eq!(standing.lane(), Lane::Proven);
        standing.fall();
        assert_eq!(standing.lane(), Lane::Unknown);
        standing.fall();
        standing.fall();
        assert_eq!(standing.lane(), Lane::Refused);
        standing.rise();
        assert_eq!(standing.lane(), Lane::Proven);
    }

    #[test]
    fn each_lane_has_places_that_the_lower_ones_cannot_take() {
        for (places, refused, unknown, proven) in
            [(1, 1, 0, 1), (2, 1, 0, 1), (8, 2, 3, 3), (384, 96, 160, 128)]
        {
            let restore = RestorePlaces::new(places);
            let mut held = Vec::new();
            for (lane, expected) in
                [(Lane::Refused, refused), (Lane::Unknown, unknown), (Lane::Proven, proven)]
            {
                let before = held.len();
                held.extend(std::iter::from_fn(|| restore.try_take(lane)));
                assert_eq!(held.len() - before, expected, "{lane:?} of {places}");
            }
            drop(held);
            let all = std::iter::from_fn(|| restore.try_take(Lane::Proven)).collect::<Vec<_>>().len();
            assert_eq!(all, places.max(2), "a proven client may take every place");
        }
    }
}

//! How many signatures a second are made at most, of one key and in all.
//!
//! A limit stores one moment: from then on a whole second's worth is free again. So no task has to refill it.

use core::num::NonZeroU32;

use crate::slot_table::Position;

const NS_PER_S: u64 = 1_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// So many times a second: that often at once, and again at an even pace.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    interval_ns: u64,
    /// A second's worth of intervals.
    burst_ns: u64,
}

/// Storage for what one pace knows of the past.
#[derive(Debug, Clone, Copy)]
pub struct PaceSlot {
    /// From when on a whole second's worth is free.
    full_at_unix_ns: u64,
}

impl PaceSlot {
    /// Nothing has happened yet.
    pub const UNUSED: Self = Self { full_at_unix_ns: 0 };
}

impl Pace {
    /// At most a thousand million times, which is one each nanosecond.
    #[must_use]
    pub fn per_second(times: NonZeroU32) -> Self {
        let interval_ns = NS_PER_S / u64::from(times.get());
        Self { interval_ns, burst_ns: interval_ns * u64::from(times.get()) }
    }

    fn has_room(self, slot: PaceSlot, now_unix_ns: u64) -> bool {
        self.full_at(slot, now_unix_ns) + self.interval_ns <= now_unix_ns + self.burst_ns
    }

    fn use_one(self, slot: &mut PaceSlot, now_unix_ns: u64) {
        slot.full_at_unix_ns = self.full_at(*slot, now_unix_ns) + self.interval_ns;
    }

    /// Never before now, nor more than a second's worth after, even if the clock was set back.
    fn full_at(self, slot: PaceSlot, now_unix_ns: u64) -> u64 {
        slot.full_at_unix_ns.clamp(now_unix_ns, now_unix_ns + self.burst_ns)
    }
}

/// How many signatures a second a signer makes at most. By default there is no limit.
///
/// A key that is stored next after one was destroyed takes over what is left of that one's second. So destroying a key
/// and importing it again makes it no faster, unless other keys are destroyed or stored in between. A client that may
/// do that is bounded by the limit over all keys alone.
#[derive(Default)]
pub struct SignatureLimits<'s> {
    in_all: Option<(Pace, PaceSlot)>,
    per_key: Option<(Pace, &'s mut [PaceSlot])>,
}

impl core::fmt::Debug for SignatureLimits<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("SignatureLimits").finish_non_exhaustive()
    }
}

impl<'s> SignatureLimits<'s> {
    /// With at most `pace` over all keys.
    #[must_use]
    pub fn in_all(self, pace: Pace) -> Self {
        Self { in_all: Some((pace, PaceSlot::UNUSED)), ..self }
    }

    /// With at most `pace` for each key; `slots` are as many as those of the key store.
    #[must_use]
    pub fn per_key(self, pace: Pace, slots: &'s mut [PaceSlot]) -> Self {
        Self { per_key: Some((pace, slots)), ..self }
    }

    /// Whether the key in this slot may sign now. Asking costs nothing of the limits.
    pub(crate) fn have_room(&self, key: Position, now_unix_ms: u64) -> bool {
        let now_unix_ns = now_unix_ms.saturating_mul(NS_PER_MS);
        let in_all = self.in_all.as_ref().is_none_or(|(pace, slot)| pace.has_room(*slot, now_unix_ns));
        // A slot that was not lent has no room.
        in_all
            && self.per_key.as_ref().is_none_or(|(pace, slots)| {
                slots.get(key as usize).is_some_and(|slot| pace.has_room(*slot, now_unix_ns))
            })
    }

    /// Counts a signature of the key in this slot.
    pub(crate) fn count(&mut self, key: Position, now_unix_ms: u64) {
        let now_unix_ns = now_unix_ms.saturating_mul(NS_PER_MS);
        if let Some((pace, slot)) = &mut self.in_all {
            pace.use_one(slot, now_unix_ns);
        }
        if let Some((pace, slots)) = &mut self.per_key
            && let Some(slot) = slots.get_mut(key as usize)
        {
            pace.use_one(slot, now_unix_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU32;

    use proptest::prelude::*;

    use super::{Pace, PaceSlot, SignatureLimits};

    const NOW_MS: u64 = 1_800_000_000_000;

    fn pace(times: u32) -> Pace {
        Pace::per_second(NonZeroU32::new(times).unwrap())
    }

    /// How many more are allowed at once.
    fn use_up(limits: &mut SignatureLimits<'_>, key: u32, now_ms: u64) -> usize {
        (0..10_000)
            .take_while(|_| {
                let has_room = limits.have_room(key, now_ms);
                if has_room {
                    limits.count(key, now_ms);
                }
                has_room
            })
            .count()
    }

    #[test]
    fn a_seconds_worth_is_allowed_at_once_and_then_the_pace() {
        let mut slots = [PaceSlot::UNUSED; 2];
        let mut limits = SignatureLimits::default().in_all(pace(6)).per_key(pace(4), &mut slots);
        assert_eq!(use_up(&mut limits, 0, NOW_MS), 4);
        assert_eq!(use_up(&mut limits, 1, NOW_MS), 2, "six in all");
        assert_eq!(use_up(&mut limits, 0, NOW_MS + 166), 0, "what was refused brought nothing");
        assert_eq!(use_up(&mut limits, 1, NOW_MS + 167), 1);
        assert_eq!(use_up(&mut limits, 0, NOW_MS + 500), 2, "two of its own, and two in all");
        assert_eq!(use_up(&mut limits, 0, NOW_MS + 3_600_000), 4, "never more than a second's worth");
        assert_eq!(use_up(&mut limits, 2, NOW_MS + 3_600_000), 0, "a slot that was not lent");
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing_for_longer_than_a_second() {
        let mut slots = [PaceSlot::UNUSED; 1];
        let mut limits = SignatureLimits::default().per_key(pace(4), &mut slots);
        assert_eq!(use_up(&mut limits, 0, NOW_MS), 4);
        assert_eq!(use_up(&mut limits, 0, NOW_MS - 86_400_000), 0);
        limits.count(0, NOW_MS - 86_400_000);
        assert_eq!(use_up(&mut limits, 0, NOW_MS - 86_400_000 + 1250), 4);
    }

    #[test]
    fn without_limits_everything_is_allowed() {
        assert_eq!(use_up(&mut SignatureLimits::default(), 7, NOW_MS), 10_000);
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_two_seconds_worth(
            times in 1..50_u32,
            steps_ms in prop::collection::vec(0..400_u64, 1..200),
        ) {
            let mut slots = [PaceSlot::UNUSED; 1];
            let mut limits = SignatureLimits::default().per_key(pace(times), &mut slots);
            let (mut now_ms, mut made) = (NOW_MS, Vec::new());
            for step_ms in steps_ms {
                now_ms += step_ms;
                for _ in 0..10 {
                    if limits.have_room(0, now_ms) {
                        limits.count(0, now_ms);
                        made.push(now_ms);
                    }
                }
            }
            for (index, start) in made.iter().enumerate() {
                let within = made[index..].iter().filter(|at| **at < start + 1000).count();
                prop_assert!(within <= 2 * times as usize, "{within}");
            }
        }
    }
}

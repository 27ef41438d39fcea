//! A deadline that can be moved, polled beside the I/O it guards.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// At most one pending deadline. The timer behind it is made on first use and moved only when polled.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(super) const fn is_set(&self) -> bool {
        self.at.is_some()
    }

    pub(super) const fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    pub(super) const fn clear(&mut self) {
        self.at = None;
    }

    /// Whether the deadline has passed; if not, the task is woken when it does. Never true when none is set.
    pub(super) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.at else {
            return false;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}

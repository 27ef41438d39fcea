//! The events of a run, as seen from outside.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::Kind;

/// A request and what became of it. Times count from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Request,
    pub(crate) way: Way,
    /// Connecting is part of it.
    pub(crate) began: Duration,
    /// When the connection was made, its handshake included.
    pub(crate) connected: Option<Duration>,
    /// When the whole request was handed to the system; with [`Way::Begun`] the part before the drain.
    pub(crate) sent: Option<Duration>,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Health,
    Generate { identity: String },
    Sign { identity: String, digest: [u8; 32], nonce: String, has_expired: bool },
    Export { identity: String },
    Import { identity: String },
    Destroy { identity: String },
}

impl Request {
    /// The operation, as the report names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Generate { .. } => "generate",
            Self::Sign { .. } => "sign",
            Self::Export { .. } => "export",
            Self::Import { .. } => "import",
            Self::Destroy { .. } => "destroy",
        }
    }

    /// The identity that it is about.
    pub(crate) fn identity(&self) -> Option<&str> {
        match self {
            Self::Health => None,
            Self::Generate { identity }
            | Self::Sign { identity, .. }
            | Self::Export { identity }
            | Self::Import { identity }
            | Self::Destroy { identity } => Some(identity),
        }
    }

    /// Whether KMS may have to be called for it.
    pub(crate) fn needs_key_service(&self) -> bool {
        matches!(self, Self::Export { .. } | Self::Import { .. })
    }
}

/// How a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By an honest client, on a connection that it had.
    Kept,
    /// By an honest client, on a connection of its own.
    Fresh,
    /// By an honest client whose request began before a drain and ends in it.
    Begun,
    /// By a client that need not be answered.
    Hostile,
}

/// The outcome of a request.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Answered {
        status: u16,
        body: String,
    },
    /// No answer, because of this.
    Cut(String),
}

impl Outcome {
    /// The status of the answer.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Cut(_) => None,
        }
    }
}

/// A time in which something was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// There were no faults.
    Quiet,
    /// There were faults of this kind.
    Fault(Kind),
    /// Signer or proxy was dead, stopped or starting.
    Down,
    /// From SIGTERM to the end of the signer.
    Drain,
    /// KMS failed.
    KeyServiceDown,
    /// The proxy could not write.
    DiskFull,
}

/// When something was so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) span: Span,
    pub(crate) from: Duration,
    /// [`Duration::MAX`] while it lasts.
    pub(crate) to: Duration,
}

/// From the start of a signer to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) from: Duration,
    /// [`Duration::MAX`] while it lasts.
    pub(crate) to: Duration,
}

/// All that happened.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) windows: Vec<Window>,
    pub(crate) lives: Vec<Life>,
    /// The public keys of the keys that the harness made itself, by identity.
    pub(crate) known_keys: BTreeMap<String, String>,
    /// The last backup of each identity.
    pub(crate) backups: BTreeMap<String, String>,
    /// Rules that were broken, as was noticed on the spot, and how.
    pub(crate) noticed: Vec<(&'static str, String)>,
}

impl History {
    /// Whether `span` was so at some time between `from` and `to`, or ended not longer than `linger` before.
    pub(crate) fn was(
        &self,
        span: impl Fn(Span) -> bool,
        from: Duration,
        to: Duration,
        linger: Duration,
    ) -> bool {
        let mut windows = self.windows.iter().filter(|window| span(window.span));
        windows.any(|window| window.from <= to && window.to.saturating_add(linger) >= from)
    }

    /// The signers that may have had a part in what happened between `from` and `to`.
    pub(crate) fn lives_between(&self, from: Duration, to: Duration) -> Vec<usize> {
        let lives = self.lives.iter().enumerate();
        lives.filter(|(_, life)| life.from <= to && life.to >= from).map(|(index, _)| index).collect()
    }
}

/// A history that is being written, by many threads.
pub(crate) struct Journal {
    began: Instant,
    history: Mutex<History>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), history: Mutex::default() }
    }

    /// The time of the run.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, exchange: Exchange) {
        self.history().exchanges.push(exchange);
    }

    /// Notes that `rule` was broken.
    pub(crate) fn notice(&self, rule: &'static str, text: String) {
        self.history().noticed.push((rule, text));
    }

    /// Begins a window; gives what ends it.
    pub(crate) fn open(&self, span: Span) -> usize {
        let from = self.now();
        let windows = &mut self.history().windows;
        windows.push(Window { span, from, to: Duration::MAX });
        windows.len() - 1
    }

    pub(crate) fn close(&self, window: usize) {
        let to = self.now();
        if let Some(window) = self.history().windows.get_mut(window) {
            window.to = to;
        }
    }

    /// A new signer is being started.
    pub(crate) fn begin_life(&self) {
        let from = self.now();
        self.history().lives.push(Life { from, to: Duration::MAX });
    }

    /// The signer is gone.
    pub(crate) fn end_life(&self) {
        let to = self.now();
        if let Some(life) = self.history().lives.last_mut() {
            life.to = to;
        }
    }
}

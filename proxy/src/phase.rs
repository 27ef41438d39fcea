//! How far the proxy is with its end, as its parts learn it.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accepts clients and moves bytes both ways.
    Serving,
    /// Accepts no client. Connections go on.
    Draining,
    /// Passes nothing more on from a client to its destination. Delivers the answers to what was passed on before.
    LastAnswers,
}

/// Waits until the proxy is in `wanted` or further.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the server is gone, which is the end as well.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

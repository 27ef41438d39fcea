//! Waits of a command for the network.

use std::future::Future;

use crate::failure::{EX_UNAVAILABLE, Failure};

/// Runs `work` to its end.
pub(crate) fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    Ok(runtime.block_on(work))
}

//! The limit on open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::admin;
use crate::arguments::Config;

/// Standard streams, the reactor, signals, name look-ups, files being sent.
const SPARE_DESCRIPTORS: u64 = 64;

/// Raises the soft limit on open files to the hard limit, and warns when that is too low for all permits at
/// once. The proxy works all the same: accepting pauses when descriptors are short.
pub fn raise_descriptor_limit(config: &Config) {
    let needed = needed_descriptors(config);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) if limit < needed => warn!(
            limit,
            needed, "the limit on open files is too low for --max-connections; raise LimitNOFILE"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit on open files"),
    }
}

/// A connection takes two descriptors, a listener one.
fn needed_descriptors(config: &Config) -> u64 {
    let routes = config.routes.len() as u64;
    let admin = config.admin.iter().len() * (1 + admin::MAX_CONNECTIONS);
    routes * (1 + 2 * u64::from(config.limits.max_connections)) + admin as u64 + SPARE_DESCRIPTORS
}

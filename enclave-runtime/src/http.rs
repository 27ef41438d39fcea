//! Serves the API over HTTP: reads requests, checks them in the contract's order, and answers them.
//!
//! ```text
//! bytes ─▶ head_gate ─▶ hyper ─▶ exchange: key, route, headers, body ─▶ service ─▶ response ─▶ bytes
//! ```

mod exchange;
pub mod head_gate;
mod nonce_query;
mod places;
mod response;
mod server;
mod shared_state;

pub use nonce_query::{InvalidNonce, nonce_of};
pub(crate) use server::accept;
pub use server::serve;

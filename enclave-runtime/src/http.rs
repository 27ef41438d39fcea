//! HTTP as the API's clients speak it: what is read, in which order it is judged, and how it is answered.
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

pub use nonce_query::{InvalidNonce, nonce_of};
pub(crate) use server::accept;
pub use server::serve;

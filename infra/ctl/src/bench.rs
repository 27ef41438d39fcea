//! Measures a signer's speed: many clients sign, each one request after the other, with distinct valid tickets.
//!
//! ```text
//! Keys::generate ─▶ keys of our own ─▶ clients: mint, start the clock, sign, stop it ─▶ Tally ─▶ Report
//!                                                                         └▶ samples ─▶ bip340, when all is over
//! Keys::destroy  ◀─ always
//! ```

mod keys;
mod load;
mod report;
mod tally;

pub use keys::{Keys, NotGenerated};
pub use load::{Amount, Bench, Load};
pub use report::Report;

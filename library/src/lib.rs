//! Libraries of user functions in expressions: WebAssembly modules that get values and return one (T9).
//!
//! It is the port `hansa_core::transaction::Load` at work: [`reading`] says what a module has without running it, [`effort`] whether
//! compiling it would take too long, [`running`] compiles it and calls it within limits, [`encoding`] is how values cross the border. `docs/functions.md` is the page for those who write libraries.
//! Nothing here knows definitions, documents or nodes, and what runs here has no I/O, no clock and no randomness, so that the same values
//! give the same result on every machine.

mod effort;
mod encoding;
mod reading;
mod running;

pub use running::Runtime;

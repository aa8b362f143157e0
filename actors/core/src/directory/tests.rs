//! What directory promises.

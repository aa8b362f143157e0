//! What link promises.

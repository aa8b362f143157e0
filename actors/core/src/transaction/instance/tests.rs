//! What a transaction promises.

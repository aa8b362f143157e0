//! What the membership promises.

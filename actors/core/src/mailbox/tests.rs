//! What mailbox promises.

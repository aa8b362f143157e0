//! What a node counts. The places of the machines say which record counts as what; metrics show it.

/// What a node counts of what happens in it: for metrics, and for nothing that is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// Transactions that began.
    Submitted,
    /// Transactions that ended with an output.
    Completed,
    /// Transactions that failed.
    Failed,
    /// Transactions that ran out of time.
    TimedOut,
    /// Transactions that were cancelled.
    Cancelled,
    /// Operations that were asked for.
    Requested,
    /// Answers that came and were not waited for.
    AnswersRefused,
    /// Requests that were put into the outbox of a peer.
    Forwarded,
    /// Frames that were accepted from peers.
    Accepted,
    /// Directory records that were taken in.
    Merged,
    /// Publications to topics.
    Published,
    /// Notifications that subscribers have had.
    Notified,
    /// Notifications that will never be, because a topic could keep no more.
    Missed,
}

impl Tally {
    /// Every tally with its name in metrics and what it counts.
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::Submitted, "transactions_submitted", "Transactions that began"),
        (Self::Completed, "transactions_completed", "Transactions that ended with an output document"),
        (Self::Failed, "transactions_failed", "Transactions that failed"),
        (Self::TimedOut, "transactions_timed_out", "Transactions that ran out of time"),
        (Self::Cancelled, "transactions_cancelled", "Transactions that were cancelled"),
        (Self::Requested, "operations_requested", "Operations that were asked for"),
        (Self::AnswersRefused, "answers_refused", "Answers that came and were not waited for"),
        (Self::Forwarded, "requests_forwarded", "Requests that were put into the outbox of a peer"),
        (Self::Accepted, "frames_accepted", "Frames that were accepted from peers"),
        (Self::Merged, "directory_records_merged", "Directory records that were taken in"),
        (Self::Published, "publications", "Publications to topics"),
        (Self::Notified, "notifications_acknowledged", "Notifications that subscribers have had"),
        (
            Self::Missed,
            "notifications_missed",
            "Notifications that will never be, because a topic could keep no more for a subscriber that was away or stood still",
        ),
    ];
}

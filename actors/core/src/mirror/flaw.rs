//! Faults that can be built into the machines of the pair on purpose, so that the simulation can show that it would find them: a
//! checker that never failed proves nothing (X2). What ships has none; `.ci/direction` sees to it that nobody but the
//! simulation and the tests names one.

/// A broken variant of the protocol, as `docs/protocols/mirror.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The active acknowledges alone before the register holds that it is alone.
    SoloBeforeRecorded,
    /// The active goes on acknowledging alone while its mirror joins.
    SoloDuringJoin,
    /// An active that was started anew keeps its epoch.
    RestartKeepsEpoch,
    /// The mirror acknowledges what its disk does not have yet.
    AckBeforeSync,
    /// A learner takes over.
    LearnerTakesOver,
    /// A follower takes entries of any epoch.
    AnyEpochAppends,
    /// The pair is made whole although the learner lags.
    JoinWhileLagging,
    /// A join that takes long is given up without a decision of the witnesses.
    JoinTimesOut,
    /// A sub-node whose disk was lost goes on under its old id.
    WipedKeepsIdentity,
    /// Two witnesses of three decide, and one that lost its memory goes on under its old id.
    AmnesiacWitness,
}

impl Flaw {
    /// Every one, with its name for the command line.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::SoloBeforeRecorded, "solo-before-recorded"),
        (Self::SoloDuringJoin, "solo-during-join"),
        (Self::RestartKeepsEpoch, "restart-keeps-epoch"),
        (Self::AckBeforeSync, "ack-before-sync"),
        (Self::LearnerTakesOver, "learner-takes-over"),
        (Self::AnyEpochAppends, "any-epoch-appends"),
        (Self::JoinWhileLagging, "join-while-lagging"),
        (Self::JoinTimesOut, "join-times-out"),
        (Self::WipedKeepsIdentity, "wiped-keeps-identity"),
        (Self::AmnesiacWitness, "amnesiac-witness"),
    ];
}

//! What a witness promises, accepts and refuses, and what a proposer makes of it.

use super::{
    super::{register::*, *},
    *,
};
use crate::code::Code;

fn prepare(round: u64, by: u8) -> Message {
    Message::Prepare { base: founded(whole(), four()), ballot: ballot(round, by) }
}

fn accept(round: u64, by: u8) -> Message {
    let base = founded(whole(), four());
    let configuration = base.configuration.next(Mode::Solo { active: member(by) });
    let seal = Seal::new(&key(by), Sealed::Proposal, Some(ballot(round, by)), &configuration);
    Message::Accept { base, proposed: Box::new(Accepted { ballot: ballot(round, by), configuration, seal }) }
}

// M3
#[test]
fn a_witness_keeps_its_promise() {
    let mut witness = Kept::new(11);
    assert!(matches!(witness.hear(2, prepare(5, 2)).unwrap(), Some(Message::Promise { accepted: None, .. })));
    let refused = |said| matches!(said, Ok(Some(Message::Refused { promised, .. })) if promised == ballot(5, 2));
    assert!(refused(witness.hear(1, prepare(4, 1))));
    assert!(refused(witness.hear(1, accept(4, 1))));
    assert!(matches!(witness.hear(2, accept(5, 2)).unwrap(), Some(Message::Accepted { .. })));
    let told = witness.hear(1, prepare(6, 1)).unwrap();
    let Some(Message::Promise { accepted: Some(accepted), .. }) = told else { panic!("{told:?}") };
    assert_eq!((accepted.ballot, accepted.configuration.mode), (ballot(5, 2), Mode::Solo { active: member(2) }));
}

// M3: a sub-node that must not take over cannot, even if it asks.
#[test]
fn only_members_of_the_configuration_propose_and_each_for_itself() {
    let code = |said: Result<Option<Message>, Fault>| said.expect_err("it is refused").code;
    assert_eq!(code(Kept::new(11).hear(3, prepare(1, 3))), Code::PairForged, "a learner");
    assert_eq!(code(Kept::new(11).hear(1, prepare(1, 2))), Code::PairForged, "another's ballot");
    assert_eq!(code(Kept::new(11).hear(1, accept(1, 2))), Code::PairForged, "another's proposal");
    let Message::Accept { base, mut proposed } = accept(1, 2) else { panic!() };
    proposed.configuration.mode = Mode::Solo { active: member(1) };
    assert_eq!(
        code(Kept::new(11).hear(2, Message::Accept { base, proposed })),
        Code::PairForged,
        "not what was sealed"
    );
}

#[test]
fn a_witness_that_lost_its_memory_is_out() {
    let mut forgetful = Kept::new(11);
    forgetful.bench.witness.journal = 99;
    assert_eq!(forgetful.hear(2, prepare(1, 2)).unwrap_err().code, Code::WitnessUnknown);
}

#[test]
fn a_witness_that_was_away_learns_the_epoch_from_the_proposal_and_tells_who_is_behind() {
    let base = founded(whole(), four());
    let mut proposal =
        Proposal::new(base.clone(), base.configuration.next(Mode::Solo { active: member(2) }), ballot(1, 2));
    let mut witnesses: Vec<_> = (11..14).map(Kept::new).collect();
    let certified = decide(&mut proposal, 2, &mut witnesses).expect("three of four decide");
    let mut away = Kept::new(14);
    let message = Message::Prepare { base: certified.clone(), ballot: ballot(1, 2) };
    assert!(matches!(away.hear(2, message).unwrap(), Some(Message::Promise { epoch: 3, .. })));
    // The old active asks on the ground of the epoch that it knows.
    let told = away.hear(1, prepare(9, 1)).unwrap();
    assert_eq!(told, Some(Message::Configured(certified)));
}

/// Ask these witnesses until it is decided.
fn decide(proposal: &mut Proposal, by: u8, witnesses: &mut [Kept]) -> Option<Box<Certified>> {
    for _ in 0..2 {
        for (asked, question) in proposal.questions().collect::<Vec<_>>() {
            let Some(witness) = witnesses.iter_mut().find(|witness| witness.bench.witness == asked) else { continue };
            match witness.hear(by, question).expect("it is a witness") {
                Some(Message::Promise { ballot, witness, accepted, .. }) => {
                    proposal.promised(&key(by), ballot, witness, accepted);
                }
                Some(Message::Accepted { ballot, witness, seal, .. }) => {
                    if let Outcome::Decided(certified) = proposal.accepted(&key(200), ballot, witness, seal) {
                        return Some(certified);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

// M3: what may have been decided is decided.
#[test]
fn a_later_proposal_takes_up_what_an_earlier_one_left() {
    let base = founded(whole(), four());
    let mut witnesses: Vec<_> = (11..15).map(Kept::new).collect();
    witnesses[0].hear(1, accept(1, 1)).unwrap();
    let wanted = base.configuration.next(Mode::Solo { active: member(2) });
    let certified = decide(&mut Proposal::new(base.clone(), wanted, ballot(2, 2)), 2, &mut witnesses).unwrap();
    assert_eq!(certified.configuration.mode, Mode::Solo { active: member(1) });
    assert!(certified.verify(Some(&base.configuration)).is_ok());
}

#[test]
fn a_witness_that_lies_about_what_it_accepted_is_not_counted() {
    let base = founded(whole(), four());
    let wanted = base.configuration.next(Mode::Solo { active: member(2) });
    let mut proposal = Proposal::new(base.clone(), wanted, ballot(2, 2));
    let invented = base.configuration.next(Mode::Solo { active: member(9) });
    let seal = Seal::new(&key(11), Sealed::Proposal, Some(ballot(1, 1)), &invented);
    let lie = Box::new(Accepted { ballot: ballot(1, 1), configuration: invented, seal });
    assert_eq!(proposal.promised(&key(2), ballot(2, 2), member(11), Some(lie)), Outcome::Waiting);
    for witness in [12, 13] {
        assert_eq!(proposal.promised(&key(2), ballot(2, 2), member(witness), None), Outcome::Waiting);
    }
    assert_eq!(proposal.promised(&key(2), ballot(2, 2), member(14), None), Outcome::Promised);
    let seal = Seal::new(&key(21), Sealed::Acceptance, Some(ballot(2, 2)), &proposal.wanted.clone());
    assert_eq!(proposal.accepted(&key(200), ballot(2, 2), member(12), seal), Outcome::Waiting, "another's seal");
}

#[test]
fn floors_come_from_whoever_is_active_and_only_rise() {
    let mut witness = Kept::new(11);
    witness.hear(1, Message::Configured(founded(whole(), four()))).unwrap();
    let floor = |sequence| Message::Floor {
        pair: organization(),
        epoch: 1,
        position: Position { sequence, epoch: 1, hash: [1; 32] },
    };
    for (from, sequence, reached) in [(2, 9, 0), (1, 7, 7), (1, 5, 7), (1, 8, 8)] {
        witness.hear(from, floor(sequence)).unwrap();
        assert_eq!(witness.witness.floor().sequence, reached);
    }
}

// M3: what a proposer goes out from is what was decided, or a witness could be had to seal for anybody what nobody decided on.
#[test]
fn a_configuration_that_was_not_decided_is_no_ground_to_decide_on() {
    let mut witness = Kept::new(11);
    let first = founded(whole(), four());
    witness.hear(1, Message::Configured(first.clone())).unwrap();
    let mut forged = first.clone();
    forged.configuration.mode = Mode::Solo { active: member(3) };
    let at = ballot(9, 3);
    let refused = witness.hear(3, Message::Prepare { base: forged.clone(), ballot: at }).unwrap_err();
    assert_eq!(refused.code, Code::PairForged);
    let wanted = forged.configuration.next_with(Witnesses::new((21..25).map(member).collect()));
    let seal = Seal::new(&key(3), Sealed::Proposal, Some(at), &wanted);
    let proposed = Box::new(Accepted { ballot: at, configuration: wanted, seal });
    assert_eq!(witness.hear(3, Message::Accept { base: forged, proposed }).unwrap_err().code, Code::PairForged);

    // One that knows of nothing yet is told nothing by a configuration of no epoch.
    let mut nothing = first;
    nothing.configuration.epoch = 0;
    let mut blank = Kept::new(12);
    assert!(blank.hear(1, Message::Prepare { base: nothing, ballot: ballot(1, 1) }).is_err());
    assert_eq!(blank.witness.base(), None);
}

#[test]
fn a_witness_that_is_told_of_a_floor_of_later_asks_what_it_missed() {
    let mut witness = Kept::new(11);
    let position = Position { sequence: 5, epoch: 1, hash: [5; 32] };
    let floor = |epoch| Message::Floor { pair: organization(), epoch, position };
    assert!(matches!(witness.hear(1, floor(1)).unwrap(), Some(Message::Behind { epoch: 0 })));
    witness.hear(1, Message::Configured(founded(whole(), four()))).unwrap();
    assert_eq!(witness.hear(1, floor(1)).unwrap(), None);
    assert_eq!(witness.witness.floor(), position);
}

//! Configurations, their proofs, and where two logs part.

use super::{super::*, *};

fn decided(seals_of: &[u8], base: &Certified, epoch: u64) -> Certified {
    let configuration = Configuration { epoch, ..base.configuration.next(Mode::Solo { active: member(2) }) };
    let at = ballot(3, 2);
    let seal =
        |witness: &u8| (member(*witness), Seal::new(&key(*witness), Sealed::Acceptance, Some(at), &configuration));
    let seals = seals_of.iter().map(seal).collect();
    let (founding, founded) = base.founding();
    let proof = Proof::Decided { founding: Box::new(founding.clone()), founded: founded.clone(), ballot: at, seals };
    Certified { configuration, proof }
}

// M3: nobody is active but by a quorum of the witnesses that the organization named, however much the hearer has missed.
#[test]
fn a_configuration_is_believed_by_a_quorum_of_the_right_witnesses_alone() {
    let base = founded(whole(), four());
    assert!(base.verify(None).is_ok());
    for (epoch, known) in [(2, Some(&base.configuration)), (9, Some(&base.configuration)), (9, None)] {
        let decided = |seals_of: &[u8]| decided(seals_of, &base, epoch).verify(known);
        assert!(decided(&[11, 12, 13]).is_ok());
        assert!(decided(&[11, 12]).is_err(), "too few");
        assert!(decided(&[11, 12, 12]).is_err(), "one of them twice");
        assert!(decided(&[11, 12, 21]).is_err(), "one of them is none");

        // Somebody makes witnesses of his own, and a founding of his own or the pair's.
        let strangers = Witnesses::new((21..25).map(member).collect());
        let invented = Configuration { witnesses: strangers.clone(), ..base.configuration.clone() };
        let invented = Certified::founded(&key(201), invented);
        assert!(super::papers::decided(&[21, 22, 23], &invented, epoch).verify(known).is_err(), "his own founding");
        let mut borrowed = super::papers::decided(&[21, 22, 23], &base, epoch);
        borrowed.configuration.witnesses = strangers;
        assert!(borrowed.verify(known).is_err(), "the pair's founding");
    }
    // Who verified one spares the organization's seal of the next, if it is the same, and nothing else.
    let spared = |seals_of: &[u8], by: &Certified| decided(seals_of, by, 3).verify_behind(Some(&base));
    assert!(spared(&[11, 12, 13], &base).is_ok());
    assert!(spared(&[11, 12], &base).is_err(), "too few");
    let strangers =
        Configuration { witnesses: Witnesses::new((21..25).map(member).collect()), ..base.configuration.clone() };
    let invented = Certified::founded(&key(201), strangers);
    assert!(spared(&[21, 22, 23], &invented).is_err(), "another founding");

    let mut quorum = four();
    quorum.quorum = 0;
    let none = founded(whole(), quorum);
    assert!(decided(&[], &none, 2).verify(None).is_err(), "a quorum of none");

    let named = |witnesses: usize| founded(whole(), Witnesses::new((11..).take(witnesses).map(member).collect()));
    assert!(named(WITNESSES_MAX).verify(None).is_ok());
    assert!(named(WITNESSES_MAX + 1).verify(None).is_err(), "more witnesses than a pair may have");

    let mut changed = decided(&[11, 12, 13], &base, 2);
    changed.configuration.mode = Mode::Solo { active: member(1) };
    assert!(changed.verify(None).is_err(), "the seals are for another");
    let foreign = Certified::founded(&key(201), base.configuration.clone());
    assert!(foreign.verify(None).is_err(), "another organization founds it");
    let late = Certified::founded(&key(200), Configuration { epoch: 2, ..base.configuration.clone() });
    assert!(late.verify(None).is_err(), "only the first epoch is founded");
}

// M3: the witnesses that there are name others, once; whoever knows of those believes the ones before no more.
#[test]
fn witnesses_decide_on_others_in_their_place_and_from_then_on_these_decide() {
    let sealed = |seals_of: &[u8], configuration: Configuration, (founding, founded): (Configuration, Seal)| {
        let at = ballot(3, 1);
        let seal =
            |witness: &u8| (member(*witness), Seal::new(&key(*witness), Sealed::Acceptance, Some(at), &configuration));
        let (founding, seals) = (Box::new(founding), seals_of.iter().map(seal).collect());
        let proof = Proof::Decided { founding, founded, ballot: at, seals };
        Certified { configuration, proof }
    };
    let base = founded(whole(), four());
    let others = Witnesses::new((13..17).map(member).collect());
    let change = |seals_of: &[u8], to: &Witnesses| {
        sealed(seals_of, base.configuration.next_with(to.clone()), base.founding_of_next(&key(200)))
    };
    let changed = change(&[11, 12, 13], &others);
    assert!(changed.verify(None).is_ok() && changed.verify_behind(Some(&base)).is_ok());
    assert!(change(&[13, 14, 15], &others).verify(None).is_err(), "those who are new do not decide on themselves");
    let twice = Witnesses { members: vec![member(13), member(13), member(14), member(15)], quorum: 3 };
    let too_few = Witnesses { quorum: 2, ..others.clone() };
    let too_many = Witnesses::new((13..21).map(member).collect());
    for unsound in [twice, too_few, too_many, Witnesses::new(Vec::new())] {
        assert!(change(&[11, 12, 13], &unsound).verify(None).is_err(), "{unsound:?}");
    }

    let solo = |epoch| Configuration { epoch, ..changed.configuration.next(Mode::Solo { active: member(1) }) };
    let next = |seals_of: &[u8], by: &SigningKey| sealed(seals_of, solo(3), changed.founding_of_next(by));
    for known in [None, Some(&*base), Some(&changed)] {
        assert!(next(&[13, 15, 16], &key(200)).verify_behind(known).is_ok());
        assert!(next(&[11, 12, 13], &key(200)).verify_behind(known).is_err(), "two of them are none any more");
        assert!(next(&[13, 15, 16], &key(201)).verify_behind(known).is_err(), "another organization names them");
    }
    // Later ones are proved by what named their witnesses, however long ago.
    let later = sealed(&[13, 15, 16], solo(9), next(&[13, 15, 16], &key(200)).founding_of_next(&key(200)));
    assert!(later.verify(None).is_ok() && later.founding().0.epoch == 2);

    // Those who decided before, all of them, out of spite or because their disks forgot.
    let old = |epoch| {
        let alone = Configuration { epoch, ..base.configuration.next(Mode::Solo { active: member(2) }) };
        sealed(&[11, 12, 13, 14], alone, base.founding_of_next(&key(200)))
    };
    for epoch in [3, 9] {
        assert!(old(epoch).verify_behind(Some(&base)).is_ok());
        assert!(old(epoch).verify_behind(Some(&changed)).is_err());
        assert!(old(epoch).verify_behind(Some(&next(&[13, 15, 16], &key(200)))).is_err() || epoch == 3);
    }
    let alone = Certified::founded(&key(200), solo(3));
    assert!(alone.verify(None).is_err(), "nobody decided on it");
}

#[test]
fn any_two_quorums_of_four_have_two_witnesses_in_common() {
    for (count, quorum) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 4), (7, 5)] {
        assert_eq!(Witnesses::new((0..count).map(member).collect()).quorum, quorum, "of {count}");
        assert!(count < 4 || 2 * quorum >= count + 2);
    }
}

// M4: who comes back goes on from the last entry that both have.
#[test]
fn two_logs_part_at_the_end_of_the_latest_epoch_that_both_wrote_in() {
    let log = |ends: &[(u64, u64)]| {
        let mut history = History::default();
        for (epoch, sequence) in ends {
            history.extend(Position { sequence: *sequence, epoch: *epoch, hash: [*epoch as u8; 32] });
        }
        history
    };
    let fork = |one: &[(u64, u64)], other: &[(u64, u64)]| {
        let (there, back) = (log(one).fork(&log(other)), log(other).fork(&log(one)));
        assert_eq!(there, back);
        there.map(|fork| fork.sequence)
    };
    assert_eq!(fork(&[], &[(1, 5)]), Some(0));
    assert_eq!(fork(&[(1, 5)], &[(1, 5)]), Some(5));
    assert_eq!(fork(&[(1, 5)], &[(1, 9)]), Some(5), "the one is behind");
    // The old active wrote on in epoch 3 while the other went on in epoch 4.
    assert_eq!(fork(&[(1, 5), (3, 12)], &[(1, 5), (3, 10), (4, 30)]), Some(10));
    assert_eq!(fork(&[(1, 5), (3, 12)], &[(1, 5), (4, 30)]), Some(5));
    assert_eq!(fork(&[(2, 1)], &[(3, 1)]), Some(0), "the very first entries differ");

    let mut cut = log(&[(1, 5), (3, 12)]);
    cut.cut(Position { sequence: 10, epoch: 3, hash: [9; 32] });
    assert_eq!((cut.tail().sequence, cut.epoch_of(5), cut.epoch_of(6)), (10, Some(1), Some(3)));
    cut.cut(Position::default());
    assert_eq!(cut, History::default());
}

#[test]
fn a_history_that_is_too_long_leaves_the_rest_to_a_snapshot() {
    let mut long = History::default();
    for epoch in 1..=1_000 {
        long.extend(Position { sequence: epoch, epoch, hash: [0; 32] });
    }
    assert_eq!(long.0.len(), HISTORY_EPOCHS_MAX);
    let mut old = History::default();
    old.extend(Position { sequence: 3, epoch: 3, hash: [0; 32] });
    assert_eq!(long.fork(&old), None);
}

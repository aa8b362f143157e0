//! What the directory promises: signed records only, the newest wins, everybody learns of it, private services stay here
//! (F3, F5).

use super::*;
use crate::{
    fixture::{Came, Fed, asker, service},
    membership::{Admission, Charter},
};
use ed25519_dalek::SigningKey;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(number: u8) -> OrganizationId {
    OrganizationId(key(number).verifying_key().to_bytes())
}

/// Member 1 founded the federation and admitted all others.
fn credentials(number: u8) -> Credentials {
    let charter = Charter { name: "Grain Exchange".parse().unwrap(), founder: id(1), founded: Moment(1) };
    let founder = Credentials { charter: Signed::new(&key(1), Purpose::Charter, &charter), admissions: Vec::new() };
    if number == 1 {
        return founder;
    }
    let admission = Admission {
        federation: founder.federation(),
        organization: id(number),
        name: "Newcomer".parse().unwrap(),
        admitted: Moment(2),
    };
    Credentials { admissions: vec![Signed::new(&key(1), Purpose::Admission, &admission)], ..founder }
}

fn subnode(number: u8) -> Subnode {
    let certificate = Certificate {
        subnode: SubnodeId([number; 32]),
        name: name(number),
        city: "Hamburg".parse().unwrap(),
        issued: Moment(3),
    };
    Subnode {
        certificate: Signed::new(&key(number), Purpose::Certificate, &certificate),
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{number}")],
    }
}

fn name(number: u8) -> OrganizationName {
    format!("Member {number}").parse().unwrap()
}

fn own(number: u8) -> Own {
    Own {
        organization: id(number),
        name: name(number),
        credentials: credentials(number),
        subnodes: vec![subnode(number)],
    }
}

fn record(number: u8, version: u64, services: Vec<Service>) -> MemberRecord {
    let Own { organization, name, credentials, subnodes } = own(number);
    MemberRecord { organization, name, credentials, version, subnodes, services }
}

fn signed(record: &MemberRecord, by: u8) -> Signed {
    Signed::new(&key(by), Purpose::Directory, record)
}

fn arrived(signed: Signed) -> Input {
    Input::Arrived { from: id(9), signed }
}

/// The directory of member 1, which has published itself.
fn directory() -> Fed<Directory> {
    let mut directory = Fed::new((), ());
    let came = directory.give(Input::Introduce(own(1)));
    publish(&mut directory, &came);
    directory
}

/// Sign what the directory wants signed, as the shell does.
fn publish(directory: &mut Fed<Directory>, came: &Came<Directory>) -> Vec<MemberRecord> {
    let drafts = came.effects.iter().filter_map(|effect| match effect {
        Effect::Sign(draft) => Some(draft.clone()),
        _ => None,
    });
    let drafts: Vec<MemberRecord> = drafts.collect();
    for draft in &drafts {
        directory.give(Input::Signed(signed(draft, 1)));
    }
    drafts
}

fn register(service: Service) -> Input {
    Input::Register { asker: asker(5, 1), service, credit: 8 }
}

fn announced(came: &Came<Directory>) -> usize {
    came.effects.iter().filter(|effect| matches!(effect, Effect::Announce { .. })).count()
}

#[test]
fn a_service_is_registered_attached_and_published() {
    let mut directory = directory();
    let came = directory.give(register(service("stock", &["check-stock"])));
    assert!(matches!(&came.effects[0], Effect::Attach { credit: 8, .. }));
    let drafts = publish(&mut directory, &came);
    assert_eq!(drafts[0].services, [service("stock", &["check-stock"])]);
    assert_eq!(directory.machine.offers().local().count(), 1);
    let again = directory.give(register(service("stock", &["check-stock"])));
    assert!(matches!(again.effects[..], [Effect::Attach { .. }]), "the same again is nothing new");
}

// F5: private services never leave their node.
#[test]
fn a_private_service_is_in_no_record() {
    let mut directory = directory();
    let private = Service { public: false, ..service("vault", &["open-vault"]) };
    let came = directory.give(register(private));
    assert!(publish(&mut directory, &came).is_empty(), "what is published stays as it is");
    assert_eq!(directory.machine.services().count(), 1);
    let came = directory.give(register(service("stock", &["check-stock"])));
    let drafts = publish(&mut directory, &came);
    assert_eq!(drafts[0].services, [service("stock", &["check-stock"])]);
}

#[test]
fn a_removed_service_is_gone_everywhere() {
    let mut directory = directory();
    let came = directory.give(register(service("stock", &["check-stock"])));
    publish(&mut directory, &came);
    let remove = || Input::Remove { asker: asker(5, 2), service: "stock".parse().unwrap() };
    let came = directory.give(remove());
    assert!(publish(&mut directory, &came)[0].services.is_empty());
    assert_eq!(directory.refused(remove()).code, Code::ServiceUnknown);
}

#[test]
fn a_service_needs_operations_and_a_name_that_is_not_the_nodes() {
    let mut directory = directory();
    assert_eq!(directory.refused(register(service("idle", &[]))).code, Code::ServiceConflict);
    assert_eq!(directory.refused(register(service("CXtsHeadOp", &["x"]))).code, Code::ServiceConflict);
    assert_eq!(directory.refused(register(service("ANY", &["x"]))).code, Code::ServiceConflict, "it means any service");
}

// F5: newest wins, and whoever learns something passes it on, once.
#[test]
fn the_newest_record_wins_and_is_passed_on_once() {
    let mut directory = directory();
    let first = signed(&record(2, 5, vec![service("depot", &["check-stock"])]), 2);
    let came = directory.give(arrived(first.clone()));
    assert_eq!(announced(&came), 1);
    assert!(matches!(&came.effects[0], Effect::Announce { except: Some(except), .. } if *except == id(9)));
    assert!(matches!(&came.effects[1], Effect::Learn { subnodes } if subnodes.len() == 1));
    assert!(matches!(&came.effects[2], Effect::Redraw(offers) if offers.peers().count() == 1));

    assert!(directory.give(arrived(first.clone())).effects.is_empty(), "known");
    let older = signed(&record(2, 4, Vec::new()), 2);
    assert!(directory.give(arrived(older)).effects.is_empty(), "stale");
    assert_eq!(announced(&directory.give(arrived(signed(&record(2, 6, Vec::new()), 2)))), 1);
    assert!(directory.give(arrived(first)).effects.is_empty(), "replayed");
    assert!(directory.machine.offers().peers().all(|peer| peer.services.is_empty()));
}

// F3: an unsigned, forged or foreign record is refused.
#[test]
fn a_record_that_its_organization_did_not_sign_whole_is_refused() {
    let mut directory = directory();
    let good = record(2, 5, Vec::new());
    let mut changed = signed(&good, 2);
    changed.bytes[40] ^= 1;
    let mut private = good.clone();
    private.services = vec![Service { public: false, ..service("vault", &["open-vault"]) }];
    let mut strange = good.clone();
    strange.subnodes = vec![subnode(3)];
    let mut headless = good.clone();
    headless.subnodes.clear();
    let mut outside = good.clone();
    outside.credentials = credentials(3);
    let mut large = signed(&good, 2);
    large.bytes.resize(limit::DIRECTORY_RECORD_BYTES_MAX + 1, 0);
    for (what, signed) in [
        ("changed", changed),
        ("signed by another", signed(&good, 3)),
        ("with a private service", signed(&private, 2)),
        ("with a sub-node of another", signed(&strange, 2)),
        ("without sub-node", signed(&headless, 2)),
        ("with another's papers", signed(&outside, 2)),
        ("too large", large),
    ] {
        let fault = directory.refused(arrived(signed));
        assert!(matches!(fault.code, Code::RecordForged | Code::CertificateForged), "{what}: {fault}");
    }
    assert_eq!(directory.machine.members().count(), 1);
}

// F5: anti-entropy on connect: each side sends what is newer.
#[test]
fn on_connecting_two_directories_become_one() {
    let mut one = directory();
    let mut other = directory();
    one.give(arrived(signed(&record(2, 5, Vec::new()), 2)));
    one.give(arrived(signed(&record(3, 1, Vec::new()), 3)));
    other.give(arrived(signed(&record(3, 2, Vec::new()), 3)));
    other.give(arrived(signed(&record(4, 1, Vec::new()), 4)));
    for (from, to) in [(0, 1), (1, 0)] {
        let both = [&mut one, &mut other];
        let came = both[to].give(Input::Connected { peer: id(9) });
        let [Effect::SendDigest { versions, .. }] = &came.effects[..] else { panic!() };
        let came = both[from].give(Input::Digest { from: id(9), versions: versions.clone() });
        for effect in came.effects {
            let Effect::SendRecords { records, .. } = effect else { panic!() };
            for signed in records {
                both[to].give(arrived(signed));
            }
        }
    }
    assert_eq!(one.machine.versions(), other.machine.versions());
    assert_eq!(one.machine.members().count(), 4);
}

// DESIGN invariant 5, 6: a peer that knows nothing gets everything, in packets that a link can carry.
#[test]
fn records_are_sent_in_batches() {
    let many: Vec<_> = (0..10)
        .map(|number| Signed {
            by: id(1),
            bytes: vec![number; limit::DIRECTORY_RECORD_BYTES_MAX],
            signature: Vec::new(),
        })
        .collect();
    let batches = batches(many.iter());
    assert!(batches.len() > 1 && batches.concat() == many);
    let bytes = |batch: &Vec<Signed>| batch.iter().map(|signed| signed.bytes.len()).sum::<usize>();
    assert!(batches.iter().all(|batch| bytes(batch) <= limit::DIRECTORY_BATCH_BYTES_MAX));
    assert!(super::batches([].into_iter()).is_empty());
}

// A node that lost its data, or returns from a backup, overtakes what its peers remember of it.
#[test]
fn a_node_that_finds_a_newer_record_of_itself_says_it_anew_above_that() {
    let mut directory = directory();
    let remembered = record(1, directory.now.0 + 1_000_000, vec![service("gone", &["old"])]);
    let came = directory.give(arrived(signed(&remembered, 1)));
    assert_eq!(announced(&came), 0);
    let drafts = publish(&mut directory, &came);
    assert!(drafts[0].version > remembered.version && drafts[0].services.is_empty());
}

#[test]
fn a_restart_learns_the_addresses_and_draws_the_picture_again() {
    let mut directory = directory();
    directory.give(arrived(signed(&record(2, 5, vec![service("depot", &["check-stock"])]), 2)));
    let came = directory.restart();
    assert!(matches!(&came.effects[0], Effect::Learn { subnodes } if subnodes.len() == 2));
    assert!(matches!(&came.effects[1], Effect::Redraw(offers) if offers.peers().count() == 1));
    let came = directory.give(Input::Introduce(own(1)));
    assert!(publish(&mut directory, &came).is_empty(), "who it is has not changed");
}

// A crash between a registration and the publication: the next start publishes what is missing.
#[test]
fn a_registration_that_was_not_published_is_published_at_the_next_start() {
    let mut directory = directory();
    let before = directory.journal.len();
    directory.give(register(service("stock", &["check-stock"])));
    directory.restart_with(before + 1);
    let came = directory.give(Input::Introduce(own(1)));
    assert_eq!(publish(&mut directory, &came)[0].services.len(), 1);
}

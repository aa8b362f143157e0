//! What the membership promises: one federation, and an invite admits one organization before it expires (F1, F4).

use super::{Charter, Credentials, Effect, Input, Invite, InviteKey, Membership};
use crate::{
    code::Code,
    fixture::{Fed, asker},
    ident::OrganizationId,
    limit,
    machine::Machine,
    moment::Moment,
    signed::{Purpose, Signed},
};
use ed25519_dalek::SigningKey;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(number: u8) -> OrganizationId {
    OrganizationId(key(number).verifying_key().to_bytes())
}

fn founded_by(number: u8) -> Credentials {
    let charter = Charter { name: "Grain Exchange".parse().unwrap(), founder: id(number), founded: Moment(1) };
    Credentials { charter: Signed::new(&key(number), Purpose::Charter, &charter), admissions: Vec::new() }
}

fn belong(number: u8) -> Input {
    Input::Belong { asker: asker(1, 1), organization: id(number), credentials: founded_by(number) }
}

fn founder() -> Fed<Membership> {
    let mut membership = Fed::new((), ());
    membership.give(belong(1));
    membership
}

fn invite(secret: u8, expires: Moment) -> Input {
    Input::Invite { asker: asker(1, 2), key: InviteKey::new(&[secret; 16]), expires }
}

fn knock(secret: u8, newcomer: u8) -> Input {
    let invite = Invite {
        credentials: founded_by(1),
        name: "Acme".parse().unwrap(),
        addresses: vec!["/ip4/127.0.0.1/tcp/4100".into()],
        secret: vec![secret; 16],
        expires: Moment(u64::MAX),
    };
    Input::Knock {
        asker: asker(1, 3),
        invite: Signed::new(&key(1), Purpose::Invite, &invite),
        organization: id(newcomer),
        name: "Newcomer".parse().unwrap(),
    }
}

#[test]
fn a_node_belongs_to_one_federation() {
    let mut membership = Fed::<Membership>::new((), ());
    assert_eq!(membership.refused(invite(5, Moment(u64::MAX))).code, Code::DataMissing, "none yet");
    membership.give(belong(1));
    assert_eq!(membership.machine.credentials(), Some(&founded_by(1)));
    assert!(membership.give(belong(1)).records.is_empty(), "once more says nothing new");
    membership.give(belong(2));
    assert_eq!(membership.machine.credentials(), Some(&founded_by(2)), "alone in its own it may go to another");
    membership.give(invite(5, Moment(u64::MAX)));
    assert_eq!(membership.refused(belong(1)).code, Code::InviteForeign, "others were invited, so it stays");
    let forged = Input::Belong { asker: asker(1, 1), organization: id(3), credentials: founded_by(1) };
    assert_eq!(membership.refused(forged).code, Code::CertificateForged);
}

#[test]
fn an_invite_admits_one_organization_however_often_it_knocks() {
    let mut membership = founder();
    let expires = membership.now.plus_ms(1_000);
    assert_eq!(membership.refused(knock(5, 2)).code, Code::InviteExpired, "never given");
    membership.give(invite(5, expires));
    let came = membership.give(knock(5, 2));
    assert!(matches!(came.effects[..], [Effect::Acknowledge { word: "admitted", .. }]));
    assert!(membership.give(knock(5, 2)).records.is_empty(), "the admission was lost on the way");
    assert_eq!(membership.refused(knock(5, 3)).code, Code::InviteExpired, "used");
    membership.restart();
    assert_eq!(membership.refused(knock(5, 3)).code, Code::InviteExpired, "also after a restart");
}

#[test]
fn an_invite_opens_nothing_after_its_time() {
    let mut membership = founder();
    let expires = membership.now.plus_ms(1_000);
    membership.give(invite(5, expires));
    membership.pass(1_000);
    assert_eq!(membership.refused(knock(5, 2)).code, Code::InviteExpired);
}

#[test]
fn the_secret_of_a_used_invite_cannot_be_given_again() {
    let mut membership = founder();
    let expires = membership.now.plus_ms(1_000);
    membership.give(invite(5, expires));
    membership.give(knock(5, 2));
    assert_eq!(membership.refused(invite(5, expires)).code, Code::InviteExpired);
}

// DESIGN invariants 6 and 8: open invites are bounded, and those that open nothing any more are forgotten.
#[test]
fn invites_do_not_pile_up() {
    let mut membership = founder().uncompared();
    let given = |number: usize| InviteKey::new(&number.to_be_bytes());
    let expires = membership.now.plus_ms(1_000);
    for number in 0..limit::INVITES_MAX {
        membership.give(Input::Invite { asker: asker(1, 2), key: given(number), expires });
    }
    assert_eq!(membership.refused(invite(5, expires)).code, Code::LimitReached);
    let full = crate::fixture::encoded(&membership.machine).len();
    membership.pass(1_000);
    let later = membership.now.plus_ms(1_000);
    membership.give(invite(5, later));
    assert!(crate::fixture::encoded(&membership.machine).len() < full / 10);
    assert!(membership.machine.is_kept() && membership.machine.wakes_at().is_none());
}

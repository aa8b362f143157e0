//! What accounts promise: each may do what it was granted and no more, and its verifier is shown nowhere (T14, T15).

use super::{Access, Effect, Granted, Input, Rights, Verifier};
use crate::{
    code::Code,
    fixture::{Fed, asker},
    limit,
    machine::Machine,
    offer::Service,
    session::FromSession,
};

fn rights(services: &[&str], definitions: &[&str]) -> Rights {
    Rights {
        services: Granted::of(services.iter().copied()).unwrap(),
        definitions: Granted::of(definitions.iter().copied()).unwrap(),
        ..Rights::default()
    }
}

fn add(name: &str, rights: Rights) -> Input {
    let verifier = Some(Verifier::new("$argon2id$secret-hash".into()));
    Input::Add { asker: asker(1, 1), name: name.parse().unwrap(), verifier, rights }
}

fn register(service: &str) -> FromSession {
    let service = Service { name: service.parse().unwrap(), operations: Default::default(), public: false };
    FromSession::Register { service, credit: 1 }
}

fn submit(definition: &str) -> FromSession {
    let document = crate::document::Text::parse(b"<Order/>").unwrap();
    FromSession::Submit { transaction: None, definition: definition.parse().unwrap(), document }
}

#[test]
fn an_account_is_drawn_when_it_is_added_changed_and_removed() {
    let mut access = Fed::<Access>::new((), ());
    let drawn = |came: crate::fixture::Came<Access>| {
        came.effects.iter().find_map(|effect| match effect {
            Effect::Redraw(accounts) => Some(accounts.all().map(|(name, _)| name.to_string()).collect::<Vec<_>>()),
            Effect::Acknowledge { .. } => None,
        })
    };
    assert_eq!(drawn(access.give(add("erp", rights(&[], &["*"])))), Some(vec!["erp".to_owned()]));
    assert_eq!(drawn(access.give(add("credit", rights(&["credit"], &[])))).unwrap().len(), 2);
    assert_eq!(drawn(access.give(add("erp", Rights::default()))).unwrap().len(), 2, "a change adds nothing");
    let remove = Input::Remove { asker: asker(1, 2), name: "erp".parse().unwrap() };
    assert_eq!(drawn(access.give(remove)), Some(vec!["credit".to_owned()]));
    assert_eq!(drawn(access.give(Access::resumed())), Some(vec!["credit".to_owned()]), "a restart forgets nobody");
    let unknown = Input::Remove { asker: asker(1, 3), name: "erp".parse().unwrap() };
    assert_eq!(access.try_give(unknown).unwrap_err().code, Code::AccountUnknown);
}

#[test]
fn an_account_may_do_what_it_was_granted_and_no_more() {
    let credit = rights(&["credit"], &["purchase"]);
    assert!(credit.permit(&"credit", &register("credit")).is_ok());
    let denied = credit.permit(&"credit", &register("stock")).unwrap_err();
    assert_eq!(denied.code, Code::AccessDenied);
    assert!(denied.message.contains("credit may not register the service stock"), "{}", denied.message);
    assert!(denied.help.unwrap().contains("--service stock"));
    assert!(credit.permit(&"credit", &submit("purchase")).is_ok());
    assert_eq!(credit.permit(&"credit", &submit("payroll")).unwrap_err().code, Code::AccessDenied);
    let all = rights(&["*"], &["*", "purchase"]);
    assert!(all.permit(&"erp", &register("anything")).is_ok() && all.permit(&"erp", &submit("anything")).is_ok());
    let publish = |topic: &str| FromSession::Publish {
        topic: topic.parse().unwrap(),
        publication: None,
        public: false,
        document: crate::document::Text::parse(b"<Price/>").unwrap(),
    };
    let prices = Rights { topics: Granted::of(["prices"]).unwrap(), ..Rights::default() };
    assert!(prices.permit(&"erp", &publish("prices")).is_ok());
    assert!(prices.permit(&"erp", &publish("wages")).unwrap_err().help.unwrap().contains("--topic wages"));
    assert!(rights(&[], &[]).permit(&"none", &submit("purchase")).is_err(), "nothing is granted by default");
}

#[test]
fn a_verifier_is_shown_nowhere() {
    let mut access = Fed::<Access>::new((), ());
    let came = access.give(add("erp", Rights::default()));
    for shown in [format!("{:?} {:?}", came.records, came.effects), format!("{:?}", add("erp", Rights::default()))] {
        assert!(!shown.contains("secret-hash"), "{shown}");
    }
}

#[test]
fn accounts_and_their_rights_are_bounded() {
    let names: Vec<String> = (0..=limit::ACCOUNT_RIGHTS_MAX).map(|number| format!("d{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut access = Fed::<Access>::new((), ());
    assert_eq!(access.try_give(add("erp", rights(&[], &names))).unwrap_err().code, Code::LimitReached);
    assert!(Granted::<crate::ident::ServiceName>::of(["two words"]).is_err());
}

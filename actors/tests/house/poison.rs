//! An entry that the mirror's machines cannot take in (decision 0032): the log goes on, what is before it is taken in, nothing behind
//! it is, and the mirror does not serve until it can.

use crate::pair_fixture::{Lines, Node, hashes, pair_behind};
use hansa_actors::standby::Standby;
use hansa_core::{
    access::{Account, Record, Rights},
    address::{KeyBytes as _, Kind},
    code::Code,
    durability::Durability,
    ident::AccountName,
    mirror::pair::{Alarm, State},
    moment::Moment,
};
use std::{sync::Arc, time::Duration};

/// Add an account, as the machine of access would.
fn add(node: &Node, name: &str) {
    let account = Account { verifier: None, rights: Rights::default(), added: Moment(1) };
    let records = [Record::Added { name: name.parse().unwrap(), account }];
    let (mut address, mut record) = (().to_bytes(), Vec::new());
    address.insert(0, Kind::Access as u8);
    ciborium::into_writer(&records, &mut record).unwrap();
    node.append(&address, &record, 1);
}

fn names(standby: &mut Standby) -> Vec<String> {
    let accounts = standby.accounts().unwrap();
    accounts.all().map(|(name, _): (&AccountName, _)| name.to_string()).collect()
}

// M1, M2, M4
#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_cannot_take_in_stops_its_machines_and_not_the_log() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair_behind(&lines, |active| (0..10).for_each(|_| add(active, "early"))).await;
    add(&active, "before");
    active.append(b"\x03nobody", b"what a later version wrote", 1);
    add(&active, "behind");
    active.until_released(13).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));

    let mut standby = mirror.ground.standby().unwrap();
    standby.take_through(13).unwrap();
    let poison = standby.poison().cloned().expect("entry 12 is none that can be read");
    assert_eq!((poison.sequence, poison.fault.code, standby.taken()), (12, Code::DataNewer, 11));
    assert_eq!(names(&mut standby), ["before", "early"]);
    // It stays so over checkpoints and restarts; the journal keeps the entry.
    standby.checkpoint().unwrap();
    standby.take_through(13).unwrap();
    assert_eq!(standby.taken(), 11);
    let mut again = mirror.ground.standby().unwrap();
    assert_eq!((again.taken(), names(&mut again)), (11, vec!["before".to_owned(), "early".to_owned()]));
    again.take_through(13).unwrap();
    assert_eq!(again.poison(), Some(&poison));
    let fatal: hansa_actors::supervisor::Fatal = Arc::new(|fault| panic!("{fault}"));
    assert_eq!(again.serve(fatal).await.err().map(|fault| fault.code), Some(Code::DataNewer));

    // The duties are told: both sub-nodes say so, the log goes on, and nobody is made active who could not serve.
    mirror.duties.fitness(Some(poison.clone()));
    mirror
        .until("an alarm", |status| status.alarm == Some(Alarm::Unfit) && status.poison == Some(poison.clone()))
        .await;
    active.until("a mirror that is not fit", |status| !status.follower_fit).await;
    assert_eq!(active.duties.switch().await.unwrap_err().code, Code::PairNotReady);
    active.write(5);
    active.until_released(18).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
    active.cut();
    // Some times what it would wait otherwise.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(mirror.duties.status().await.unwrap().state, State::Mirror);

    // Mended, it does what it waits for.
    mirror.duties.fitness(None);
    mirror.until("serving alone", |status| status.state == State::ActiveSolo && status.alarm.is_none()).await;
}

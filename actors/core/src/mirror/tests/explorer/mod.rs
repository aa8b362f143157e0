//! head
mod search;
mod truth;
mod words;
mod world;

use crate::mirror::{Flaw, pair::{OnMirrorLost, State}};
use search::{Extent, Far, search};
use world::{Left, Rules, Step, World};

fn rules(witnesses: u8, flaw: Option<Flaw>) -> Rules {
    Rules { witnesses, quorum: witnesses, flaw, on_mirror_lost: OnMirrorLost::Solo, alike: false, wires: 3 }
}

/// Go on as usual until something is so.
fn until(mut world: World, is: impl Fn(&World) -> bool) -> World {
    for _ in 0..200 {
        if is(&world) {
            return world;
        }
        let step = world.usual().expect("something always happens");
        if !world.rules().alike { if let Step::Alarm(side) = step { world.left.alarms[side] += 1; } }
        world.take(step).expect("nothing goes wrong yet");
    }
    panic!("it does not come to that: {world}");
}

fn whole(rules: Rules) -> World {
    let world = until(World::founded(rules), |world| [0, 1].map(|side| world.nodes[side].state()) == [State::ActivePair, State::Mirror]);
    let mut world = until(world, |world| world.wires.is_empty());
    world.left.entries = 1;
    world.take(Step::Append(0, 1)).expect("nothing goes wrong yet");
    until(world, |world| world.wires.is_empty() && world.truth.acknowledged.len() == 1)
}

#[test]
fn try_it() {
    let mut rules = rules(1, None);
    let far = std::env::var("FAR").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let alike = std::env::var("ALIKE").is_ok();
    if let Ok(flaw) = std::env::var("FLAW") { rules.flaw = Flaw::ALL.iter().find(|it| it.1 == flaw).map(|it| it.0); }
    rules.alike = alike;
    let mut world = match std::env::var("START").as_deref() { Ok("founded") => World::founded(rules), _ => whole(rules) };
    world.left = Left { entries: 2, crashes: 1, switches: 1, alarms: [4, 2], twice: 0, cuts: 1, ..Left::default() };
    if rules.flaw == Some(Flaw::WipedKeepsIdentity) { world.left.wipes = 1; }
    let begun = std::process::id();
    let _ = begun;
    let extent = Extent { far: if alike { Far::Mishaps } else { Far::Steps }, most: far, worlds_max: 1_000_000 };
    println!("{}", search(&world, extent));
}

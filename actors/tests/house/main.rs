//! What a house promises, shown on the real thing: shards on ractor, journal and store in a folder, and a world that
//! writes down what leaves. It shows what the machines' own tests cannot: durability, restarts, and what is at rest.

mod crashes;
mod disks;
mod faulty_disk;
mod fencing;
mod fixture;
mod gathered;
mod history;
mod limits;
mod pair;
mod pair_fixture;
mod pair_snapshots;
mod poison;
mod rest;
mod restarts;
mod runs;
mod topics;
mod upkeep;

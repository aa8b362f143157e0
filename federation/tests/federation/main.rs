//! What a federation of real nodes over loopback does, as a specification: joining, frames, refusals, links, pairs, lines,
//! flow.

mod flow;
mod joining;
mod lines;
mod links;
mod pairs;
mod raw;
mod refusals;
mod world;

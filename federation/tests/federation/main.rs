//! What a federation of real nodes over loopback does, as a specification: joining, frames, refusals, links, lines, flow.

mod flow;
mod joining;
mod lines;
mod links;
mod raw;
mod refusals;
mod world;

//! Topics across two nodes of the shipped machines, in a world of faults. Whole federations are simulated in `hansa-testnet`.

mod node;
mod topics;

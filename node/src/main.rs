//! The one binary, `hansa`: it runs a node and talks to a running one.
//!
//! Everything is in [`commands`]; a node's own parts are joined in [`wiring`].

mod access;
mod admin;
mod commands;
mod config;
mod cxip;
mod disk;
mod doctor;
mod folder;
mod http;
mod logging;
mod pairing;
mod shutdown;
mod wiring;

/// Gives memory back to the system after a burst, which the system's own allocator does not. It asks for no huge pages (`no_thp`): what
/// comes and goes here is small, and two mebibytes that are zeroed for it push everything else out of the caches.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    commands::main()
}

//! dev
use clap::Parser;
#[derive(Parser)]
struct C {
    #[command(flatten)]
    o: hansa_testnet::simulation::command::Options,
    #[arg(long)]
    json: bool,
}
#[tokio::main]
async fn main() {
    let c = C::parse();
    if let Err(e) = hansa_testnet::simulation::command::run(&c.o, hansa_testnet::screen::Screen::new(c.json)).await {
        eprintln!("{e:#}");
        std::process::exit(1)
    }
}

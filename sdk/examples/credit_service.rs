//! A service that grants credit to small orders. Run it beside a node: `cargo run -p hansa-sdk --example credit_service`,
//! with the node's CXIP address as argument if it is not 127.0.0.1:4000.

use hansa_sdk::{Code, Fault, Request, Service, Text};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4000".to_owned());
    let running = Service::new("credit")?
        .operation("check-credit", check_credit)?
        .public(true)
        .patience(Duration::from_secs(30))
        .attach(&address)
        .await?;
    println!("{} performs check-credit for the node at {address}; end it with Ctrl-C", running.service());
    // Without the signal there is only the hard way to end.
    let _ = tokio::signal::ctrl_c().await;
    running.stop().await;
    Ok(())
}

async fn check_credit(request: Request) -> Result<Text, Fault> {
    let order = request.document().tree()?;
    let total: u64 = order
        .root
        .attribute("total")
        .and_then(|total| total.parse().ok())
        .ok_or_else(|| Fault::new(Code::OperationFailed, "the order has no total"))?;
    Text::parse(format!("<Credit granted=\"{}\"/>", total <= 1_000).as_bytes())
}

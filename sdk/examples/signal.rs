//! Tells a transaction that something has come for which one of its operations waits:
//! `cargo run -p hansa-sdk --example signal -- 01JD5M6Q0000000000000000AB paid payment.xml`, with the node's CXIP address as a
//! fourth argument if it is not 127.0.0.1:4000.

use hansa_sdk::{Client, Code, Fault, Text};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [transaction, signal, file, address @ ..] = &arguments[..] else {
        eprintln!("usage: signal TRANSACTION NAME FILE [ADDRESS]");
        std::process::exit(2);
    };
    let address = address.first().map_or("127.0.0.1:4000", String::as_str);
    let bytes = std::fs::read(file)
        .map_err(|error| Fault::new(Code::DocumentMalformed, format!("{file} cannot be read: {error}")))?;

    let client = Client::connect(address, "example of a signal").await?;
    client.signal(transaction.parse()?, signal, Text::parse(&bytes)?).await?;
    println!("{signal} has come for {transaction}");
    Ok(())
}

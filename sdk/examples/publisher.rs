//! Publishes a document to a topic: `cargo run -p hansa-sdk --example publisher -- prices price.xml`, with the node's CXIP
//! address as a third argument if it is not 127.0.0.1:4000. Whoever is subscribed gets it; nobody answers.

use hansa_sdk::{Client, Code, Fault, Text};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let (Some(topic), Some(file)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: publisher TOPIC FILE [ADDRESS]");
        std::process::exit(2);
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4000".to_owned());
    let bytes = std::fs::read(&file)
        .map_err(|error| Fault::new(Code::DocumentMalformed, format!("{file} cannot be read: {error}")))?;

    let client = Client::connect(&address, "example publisher").await?;
    client.publish(&topic, Text::parse(&bytes)?).await?;
    println!("it is safe with the node, and every subscriber of {topic} will get it");
    Ok(())
}

//! Prints what is published to a topic, until Ctrl-C: `cargo run -p hansa-sdk --example subscriber -- prices audit`, with the
//! node's CXIP address as a third argument if it is not 127.0.0.1:4000. What is published while it is away waits for it.

use hansa_sdk::{Client, Fault};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let (Some(topic), Some(name)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: subscriber TOPIC NAME [ADDRESS]");
        std::process::exit(2);
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4000".to_owned());

    let client = Client::connect(&address, &name).await?;
    let mut subscription = client.subscribe(&topic, &name).await?;
    eprintln!("{name} is subscribed to {topic}; end it with Ctrl-C");
    while let Some(publication) = subscription.next().await {
        println!("{}: {}", publication.number(), publication.document().as_str());
        // Only now does it never come again.
        publication.done();
    }
    Ok(())
}

//! Submits one document as a transaction and waits for its response: `cargo run -p hansa-sdk --example client -- purchase
//! order.xml`, with the node's CXIP address as a third argument if it is not 127.0.0.1:4000.

use hansa_sdk::{Client, Code, Ending, Fault, Text};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let (Some(definition), Some(file)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: client DEFINITION FILE [ADDRESS]");
        std::process::exit(2);
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4000".to_owned());
    let bytes = std::fs::read(&file)
        .map_err(|error| Fault::new(Code::DocumentMalformed, format!("{file} cannot be read: {error}")))?;

    let client = Client::connect(&address, "example client").await?;
    let mut submission = client.submit(&definition, Text::parse(&bytes)?).await?;
    eprintln!("{} is safe with the node", submission.transaction());
    match submission.response().await?.ending {
        Ending::Completed(document) => println!("{}", document.as_str()),
        Ending::Failed(fault) => return Err(fault),
        ending => eprintln!("{}", ending.word()),
    }
    Ok(())
}

//! Submits one document as an account of a node that speaks TLS, and waits for its response:
//! `cargo run -p hansa-sdk --example secured_client -- acme.example:4000 authority.pem erp erp.password purchase order.xml`.
//! The node's operator adds the account with `hansa access add erp --definition purchase --password-file erp.password`, and
//! gives you `authority.pem`, which vouches for the node's certificate. Both work for a `Service` in the same way.

use hansa_sdk::{Client, Code, Ending, Fault, Text, Tls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, authority, account, password, definition, document] = &arguments[..] else {
        eprintln!("usage: secured_client ADDRESS AUTHORITY ACCOUNT PASSWORD-FILE DEFINITION FILE");
        std::process::exit(2);
    };
    println!("{}", submit([address, authority, account, password, definition, document]).await?.as_str());
    Ok(())
}

/// The response to a document that is submitted; the arguments are those of the program.
pub(crate) async fn submit(
    [address, authority, account, password, definition, document]: [&str; 6],
) -> Result<Text, Fault> {
    let tls = Tls::trusting(&read(authority)?)?;
    let password = read(password)?;
    let password = String::from_utf8_lossy(&password);
    let client = Client::named("secured example")
        .account(account)?
        .password(password.lines().next().unwrap_or_default())
        .tls(tls)
        .connect(address)
        .await?;
    let mut submission = client.submit(definition, Text::parse(&read(document)?)?).await?;
    eprintln!("{} is safe with the node", submission.transaction());
    match submission.response().await?.ending {
        Ending::Completed(document) => Ok(document),
        Ending::Failed(fault) => Err(fault),
        ending => Err(Fault::new(Code::OperationFailed, format!("it is {}", ending.word()))),
    }
}

fn read(file: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(file).map_err(|error| Fault::new(Code::DataMissing, format!("{file} cannot be read: {error}")))
}

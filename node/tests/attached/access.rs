//! Who is let in, over real sockets with the real program (T14, T15): passwords, rights, TLS, client certificates.

use crate::node::{Node, done, hansa};
use hansa_sdk::{Client, Code, Ending, Fault, Request, Service, Text, Tls};
use std::{fs, path::Path};

const DEFINITION: &str = include_str!("../../../docs/examples/purchase.xml");

fn service() -> Service {
    let granted = |_: Request| async { Text::parse(b"<Credit><Granted>yes</Granted></Credit>") };
    Service::new("credit").unwrap().operation("check-credit", granted).unwrap()
}

fn order() -> Text {
    Text::parse(b"<Order total='7'/>").unwrap()
}

fn add(node: &Node<'_>, folder: &Path, name: &str, password: Option<&str>, rights: &[&str]) {
    let mut words = vec!["access".to_owned(), "add".to_owned(), name.to_owned()];
    if let Some(password) = password {
        let file = folder.join(format!("{name}.password"));
        fs::write(&file, format!("{password}\n")).unwrap();
        words.extend(["--password-file".to_owned(), file.display().to_string()]);
    }
    words.extend(rights.iter().map(ToString::to_string));
    node.say(words);
}

fn code<T>(refused: Result<T, Fault>) -> Code {
    refused.err().expect("it is refused").code
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_let_in_whom_they_name_and_let_each_do_what_it_was_granted() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    let definition = folder.path().join("purchase.xml");
    fs::write(&definition, DEFINITION).unwrap();
    node.say(["transaction", "define", definition.to_str().unwrap()]);
    let address = node.address();
    drop(Client::connect(&address, "anybody").await.expect("without accounts this machine is welcome"));

    add(&node, folder.path(), "credit", Some("open sesame"), &["--service", "credit"]);
    add(&node, folder.path(), "erp", Some("open barley"), &["--definition", "purchase"]);
    assert_eq!(code(Client::connect(&address, "anybody").await), Code::AccessDenied);
    assert_eq!(code(Client::named("erp").password("open sesame").connect(&address).await), Code::AccessDenied);
    assert_eq!(code(service().attach(&address).await), Code::AccessDenied);
    assert_eq!(
        code(service().account("erp").unwrap().password("open barley").attach(&address).await),
        Code::AccessDenied
    );

    let running = service().password("open sesame").attach(&address).await.unwrap();
    let client =
        Client::named("some erp").account("erp").unwrap().password("open barley").connect(&address).await.unwrap();
    let response = client.submit("purchase", order()).await.unwrap().response().await.unwrap();
    assert!(matches!(response.ending, Ending::Completed(_)), "{response:?}");
    let denied = client.submit("payroll", order()).await.expect_err("it was not granted");
    assert_eq!(denied.code, Code::AccessDenied);
    assert!(denied.help.unwrap().contains("hansa access add erp --definition payroll"));

    // Accounts are journaled like everything else, and the service comes in again by itself.
    node.kill_and_start();
    assert_eq!(code(Client::connect(&address, "anybody").await), Code::AccessDenied);
    let response = client.submit("purchase", order()).await.unwrap().response().await.unwrap();
    assert!(matches!(response.ending, Ending::Completed(_)), "{response:?}");

    // Whoever is removed is stopped where it stands.
    node.say(["access", "remove", "erp"]);
    assert_eq!(client.submit("purchase", order()).await.expect_err("it was removed").code, Code::AccessDenied);
    running.stop().await;

    let listed = node.say(["access", "list", "--json"]);
    assert!(listed.contains("\"credit\"") && !listed.contains("argon2"), "{listed}");
    for file in ["data/listening.json", "data/hansa.toml"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap_or_default();
        assert!(!text.contains("sesame") && !text.contains("argon2"), "{file} tells a password");
    }
}

/// The example of the SDK, as whoever reads it would run it.
#[expect(dead_code, reason = "its main is not called")]
#[path = "../../../sdk/examples/secured_client.rs"]
mod secured_client;

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_a_client_certificate_opens_the_account_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let certificate = |words: &[&str]| {
        done(hansa().args(["access", "certificate", "--out", tls.to_str().unwrap()]).args(words));
    };
    certificate(&["--host", "127.0.0.1", "--client", "credit", "--client", "stranger"]);
    let file = |name: &str| fs::read(tls.join(name)).unwrap();
    let setting = |key: &str, name: &str| format!("cxip.{key}={}", tls.join(name).display());
    let settings = vec![
        setting("tls_certificate", "node.pem"),
        setting("tls_key", "node.key"),
        setting("client_authority", "authority.pem"),
    ];
    let node = Node::start_with(folder.path(), settings);
    let address = node.address();
    add(&node, folder.path(), "credit", None, &["--service", "credit"]);
    add(&node, folder.path(), "erp", Some("open barley"), &["--definition", "*"]);

    let trusting = || Tls::trusting(&file("authority.pem")).unwrap();
    let as_credit = trusting().presenting(&file("credit.pem"), &file("credit.key")).unwrap();
    let running = service().tls(as_credit.clone()).attach(&address).await.unwrap();
    drop(Client::named("erp").password("open barley").tls(trusting()).connect(&address).await.unwrap());

    let (definition, document) = (folder.path().join("purchase.xml"), folder.path().join("order.xml"));
    fs::write(&definition, DEFINITION).unwrap();
    fs::write(&document, "<Order total='7'/>").unwrap();
    node.say(["transaction", "define", definition.to_str().unwrap()]);
    let (authority, password) = (tls.join("authority.pem"), folder.path().join("erp.password"));
    let [authority, password, document] = [&authority, &password, &document].map(|file| file.to_str().unwrap());
    let submit = |account| secured_client::submit([&address, authority, account, password, "purchase", document]);
    assert!(submit("erp").await.unwrap().as_str().contains("<Granted>yes</Granted>"));
    assert_eq!(code(submit("credit").await), Code::AccessDenied, "a password is that of one account");

    let stranger = trusting().presenting(&file("stranger.pem"), &file("stranger.key")).unwrap();
    assert_eq!(code(service().tls(stranger).attach(&address).await), Code::AccessDenied);
    let as_other = Client::named("erp").password("open barley").tls(as_credit).account("erp").unwrap();
    assert_eq!(code(as_other.connect(&address).await), Code::AccessDenied, "a certificate is one account and no other");
    let plain = Client::named("erp").password("open barley").connect(&address).await.err().unwrap();
    assert_eq!(plain.code, Code::TlsFailed, "the port says what it wants: {plain}");
    running.stop().await;

    // Another authority vouches for nobody here, and a node without TLS is named as what it is.
    let other = folder.path().join("other");
    done(hansa().args(["access", "certificate", "--out", other.to_str().unwrap(), "--host", "127.0.0.1"]));
    let foreign = Tls::trusting(&fs::read(other.join("authority.pem")).unwrap()).unwrap();
    let refused = Client::named("erp").tls(foreign.clone()).connect(&address).await.err().unwrap();
    assert_eq!(refused.code, Code::TlsFailed, "{refused}");
    let elsewhere = tempfile::tempdir().unwrap();
    let without = Node::start(elsewhere.path());
    let refused = Client::named("erp").tls(foreign).connect(&without.address()).await.err().unwrap();
    assert!(refused.code == Code::TlsFailed && refused.message.contains("does not speak TLS"), "{refused}");
}

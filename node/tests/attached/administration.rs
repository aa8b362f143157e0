//! The administration port of a real node, from the command line (T14): who is let in, and that every command takes it.

use crate::node::{Node, done, hansa, said};
use hansa_sdk::{Client, Code, Request, Service, Text, Tls};
use hansa_testnet::ports::free_ports;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DEFINITION: &str = include_str!("../../../docs/examples/purchase.xml");

/// A file with a password in it.
fn password(folder: &Path, words: &str) -> PathBuf {
    let file = folder.join(format!("{}.password", words.replace(' ', "-")));
    fs::write(&file, format!("{words}\n")).unwrap();
    file
}

/// The command line of somebody who comes from elsewhere: with no data folder.
fn from_elsewhere(folder: &Path, address: &str, account: &str, password: &Path) -> Command {
    let mut command = hansa();
    command.arg("--data").arg(folder.join("nowhere")).args(["--node", address, "--account", account]);
    command.arg("--password-file").arg(password);
    command
}

/// The code of a refusal.
fn refused(command: &mut Command) -> String {
    let output = said(command.arg("--json"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    told["fault"]["code"].as_str().unwrap().to_owned()
}

fn service() -> Service {
    let granted = |_: Request| async { Text::parse(b"<Credit><Granted>yes</Granted></Credit>") };
    Service::new("credit").unwrap().operation("check-credit", granted).unwrap()
}

// T14: an administration port; whatever the command line does it can do from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_administered_from_elsewhere_by_who_may() {
    let folder = tempfile::tempdir().unwrap();
    let port = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let node = Node::start_with(folder.path(), vec![format!("cxip.admin_listen={port}")]);
    let open = password(folder.path(), "open sesame");
    let (wrong, file) = (password(folder.path(), "open barley"), open.to_str().unwrap());

    // Without accounts this machine may attach, and still nobody may administer over the port.
    let operator = || from_elsewhere(folder.path(), &port, "operator", &open);
    assert_eq!(refused(operator().arg("status")), "access-denied");
    node.say(["access", "add", "operator", "--administer", "--password-file", file]);
    node.say(["access", "add", "erp", "--definition", "*", "--password-file", file]);
    node.say(["access", "add", "credit", "--service", "credit", "--password-file", file]);
    assert_eq!(refused(from_elsewhere(folder.path(), &port, "operator", &wrong).arg("status")), "access-denied");
    assert_eq!(refused(from_elsewhere(folder.path(), &port, "erp", &open).arg("status")), "access-denied");

    let status: serde_json::Value = serde_json::from_str(&done(operator().args(["status", "--json"]))).unwrap();
    assert_eq!(
        (status["organization"]["name"].as_str(), status["addresses"]["cxip_admin"].as_str()),
        (Some("Acme BV"), Some(&*port))
    );
    let definition = folder.path().join("purchase.xml");
    fs::write(&definition, DEFINITION).unwrap();
    let running = service().password("open sesame").attach(&node.address()).await.unwrap();
    let order = folder.path().join("order.xml");
    fs::write(&order, "<Order total='7'/>").unwrap();
    let submit = ["transaction", "submit", "purchase", "--wait", "--define", definition.to_str().unwrap(), "--input"];
    let ended = done(operator().args(submit).arg(&order));
    assert!(ended.contains("<Granted>yes</Granted>"), "{ended}");
    for words in [
        &["directory"][..],
        &["pair", "status"],
        &["service", "list"],
        &["topic", "list"],
        &["topic", "publish", "prices", "--document", order.to_str().unwrap()],
        &["transaction", "list"],
        &["transaction", "definitions"],
        &["library", "list"],
        &["access", "list"],
        &["invite"],
        &["doctor"],
    ] {
        done(operator().args(words));
    }
    // Whoever attaches comes as another account, to the node's other port.
    let unsubscribe =
        ["topic", "unsubscribe", "prices", "--subscriber", "audit", "--account", "audit", "--password-file", file];
    assert_eq!(refused(operator().args(unsubscribe)), "access-denied");
    done(operator().args(["access", "add", "audit", "--topic", "prices", "--password-file", file]));
    done(operator().args(unsubscribe));

    // Nothing of what belongs to this machine is looked for elsewhere, or done here instead.
    assert_eq!(refused(operator().arg("config")), "configuration-invalid");
    let away = || from_elsewhere(folder.path(), "127.0.0.1:1", "operator", &open);
    assert_eq!(refused(away().arg("status")), "node-stopped");
    assert!(!folder.path().join("nowhere").exists());

    // Administration is not spoken where services attach, and nothing else where administrators do.
    assert_eq!(
        refused(from_elsewhere(folder.path(), &node.address(), "operator", &open).arg("status")),
        "message-out-of-order"
    );
    let elsewhere = service().password("open sesame").attach(&port).await.err().unwrap();
    assert_eq!(elsewhere.code, Code::AccessDenied);

    // What is taken back counts at once, for those who are connected too.
    let mut connected = Client::named("operator").password("open sesame").administer(&port).await.unwrap();
    let status = "{\"command\":\"status\"}";
    assert!(connected.ask(status).await.unwrap().starts_with("{\"ok\""));
    node.say(["access", "add", "operator", "--password-file", file]);
    assert_eq!(connected.ask(status).await.unwrap_err().code, Code::AccessDenied);
    node.say(["access", "add", "operator", "--administer", "--password-file", file]);
    running.stop().await;

    let told = done(operator().arg("stop"));
    assert!(told.contains("is stopping"), "{told}");
    while folder.path().join("data/listening.json").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

// T14: TLS there too; a client certificate is an account without a password.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_certificate_opens_the_administration_port_to_the_account_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    done(
        hansa()
            .args(["access", "certificate", "--out", tls.to_str().unwrap(), "--host", "127.0.0.1"])
            .args(["--client", "operator", "--client", "credit"]),
    );
    let file = |name: &str| tls.join(name).display().to_string();
    let port = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let node = Node::start_with(
        folder.path(),
        vec![
            format!("cxip.admin_listen={port}"),
            format!("cxip.tls_certificate={}", file("node.pem")),
            format!("cxip.tls_key={}", file("node.key")),
            format!("cxip.client_authority={}", file("authority.pem")),
        ],
    );
    node.say(["access", "add", "operator", "--administer"]);
    node.say(["access", "add", "credit", "--service", "credit"]);
    let with = |name: &str| {
        let mut command = hansa();
        command.args(["--node", &port, "--authority", &file("authority.pem")]);
        command.args(["--certificate", &file(&format!("{name}.pem")), "--key", &file(&format!("{name}.key"))]);
        command
    };
    assert!(done(with("operator").arg("status")).contains("Acme BV"));
    assert_eq!(refused(with("credit").arg("status")), "access-denied");
    assert_eq!(refused(hansa().args(["--node", &port, "status"])), "tls-failed", "the port says what it wants");
    let trusting = Tls::trusting(&fs::read(file("authority.pem")).unwrap()).unwrap();
    let without = Client::named("operator").tls(trusting).administer(&port).await.unwrap_err();
    assert_eq!(without.code, Code::AccessDenied);
}

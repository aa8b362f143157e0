//! What the configuration promises.

use super::*;
use hansa_core::code::Code;

const FILE: &str = "[organization]\nname = \"Acme BV\"\ncity = \"Rotterdam\"\n";

fn sources(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Sources {
    Sources {
        file: Some((PathBuf::from("hansa.toml"), file.to_owned())),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
    }
}

fn load(file: &str) -> Result<Configuration, Vec<Fault>> {
    Configuration::load(&sources(file, &[], &[])).map(|(configuration, _)| configuration)
}

fn messages(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault} {}\n", fault.advice())).collect()
}

#[test]
fn the_organization_alone_suffices_and_everything_else_has_a_default() {
    let configuration = load(FILE).unwrap();
    assert_eq!(configuration.organization().name().as_str(), "Acme BV");
    assert_eq!(configuration.cxip().listen().to_string(), "127.0.0.1:4000");
    assert_eq!(configuration.federation().listen()[0].to_string(), "/ip4/0.0.0.0/tcp/4100");
    assert!(configuration.federation().mdns() && configuration.emulation().is_empty());
    assert_eq!((configuration.log().format(), configuration.log().filter()), (LogFormat::Text, "info"));
    assert_eq!(configuration.admin().socket(), None);
    assert_eq!(configuration.transactions().open_max(), 2_000_000);
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both_and_each_value_tells_its_origin() {
    let file =
        format!("{FILE}[http]\nlisten = \"127.0.0.1:1\"\n[cxip]\nlisten = \"127.0.0.1:2\"\n[log]\nlevel = \"warn\"\n");
    let environment = [
        ("HANSA_HTTP_LISTEN", "127.0.0.1:3"),
        ("HANSA_CXIP_LISTEN", "127.0.0.1:4"),
        ("HANSA_FEDERATION_KNOWN_PEERS", "/ip4/10.0.0.1/tcp/4100, /dns4/acme.example/tcp/4100"),
        ("HANSA_FEDERATION_MDNS", "false"),
        ("OTHER_HTTP_LISTEN", "nonsense"),
        ("HANSA_DATA", "somewhere"),
    ];
    let (configuration, settings) =
        Configuration::load(&sources(&file, &environment, &["cxip.listen=[::1]:5", "journal.segment_mib=8"])).unwrap();
    assert_eq!(configuration.http().listen().port(), 3);
    assert_eq!(configuration.cxip().listen().port(), 5);
    assert_eq!(configuration.federation().known_peers().len(), 2);
    assert!(!configuration.federation().mdns());
    assert_eq!(configuration.journal().segment_mib(), 8);
    let origin = |path: &str| settings[path].origin.to_string();
    assert_eq!(origin("log.level"), "hansa.toml, line 9");
    assert_eq!(origin("http.listen"), "environment HANSA_HTTP_LISTEN");
    assert_eq!(origin("cxip.listen"), "flag --set cxip.listen");
    assert_eq!(origin("journal.checkpoint_mib"), "default");
}

#[test]
fn every_fault_of_every_source_is_told_at_once_with_its_place_and_what_fits() {
    let file = "[organization]\nnme = \"Acme\"\ncity = \"\"\n[cxip]\nlisten = \"localhost\"\n[fedration]\n[journal]\n\
                segment_mib = 0\ncheckpoint_mib = \"64\"\n[federation]\nlisten = []\nannounce = [\"/ip4/1/tcp/1\"]\n";
    let environment = [("HANSA_LOG_FORMAT", "xml"), ("HANSA_LOG_LEVL", "info")];
    let faults =
        Configuration::load(&sources(file, &environment, &["htp.listen=1", "log.level", "http.listen=x"])).unwrap_err();
    let text = messages(&faults);
    for part in [
        "organization.nme (line 2, column 1)",
        "did you mean 'name'",
        "organization.name: this must be said",
        "organization.city",
        "cxip.listen: 'localhost'",
        "(line 5, column 1)",
        "[fedration]",
        "did you mean 'federation'",
        "journal.segment_mib: 0 is out of range",
        "from 1 to 1024",
        "journal.checkpoint_mib",
        "federation.listen",
        "federation.announce",
        "HANSA_LOG_FORMAT: log.format: 'xml'",
        "HANSA_LOG_LEVL",
        "did you mean HANSA_LOG_LEVEL?",
        "did you mean 'http.listen'?",
        "there is no '='",
        "--set http.listen: http.listen: 'x'",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(faults.iter().all(|fault| fault.code == Code::ConfigurationInvalid && fault.help.is_some()), "{faults:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place() {
    let faults = load("[organization]\nname = \"Acme BV\"\ncity = Rotterdam\n[http\nlisten = 3\n").unwrap_err();
    assert!(faults.iter().any(|fault| fault.place.is_some_and(|place| place.line == 3)), "{}", messages(&faults));
    assert!(faults.iter().any(|fault| fault.place.is_some_and(|place| place.line == 4)), "{}", messages(&faults));
}

#[test]
fn two_listeners_cannot_have_one_port_unless_it_is_any_free_one() {
    let faults =
        load(&format!("{FILE}[cxip]\nlisten = \"127.0.0.1:7\"\n[http]\nlisten = \"127.0.0.1:7\"\n")).unwrap_err();
    assert!(faults[0].message.contains("cxip.listen too"), "{}", faults[0]);
    load(&format!("{FILE}[cxip]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
}

#[test]
fn a_node_listens_on_tcp_and_quic_and_nothing_else() {
    let listen = |addresses: &str| load(&format!("{FILE}[federation]\nlisten = {addresses}\n"));
    let configuration = listen("[\"/ip4/127.0.0.1/tcp/0\", \"/ip6/::1/udp/4100/quic-v1\"]").unwrap();
    let sockets: Vec<_> = configuration.federation().listen().iter().filter_map(socket_of).collect();
    assert_eq!(sockets[0], (Transport::Tcp, "127.0.0.1:0".parse().unwrap()));
    assert_eq!(sockets[1], (Transport::Quic, "[::1]:4100".parse().unwrap()));
    for bad in ["[\"/dns4/acme.example/tcp/1\"]", "[\"/ip4/1.2.3.4/udp/1\"]", "[\"/ip4/1.2.3.4/tcp/1/ws\"]", "[7]", "7"]
    {
        assert!(listen(bad).is_err(), "{bad}");
    }
}

#[test]
fn members_are_reached_by_tcp_or_quic_at_an_address_or_a_name() {
    let announce = |address: &str| load(&format!("{FILE}[federation]\nannounce = [\"{address}\"]\n"));
    let peer = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    for good in ["/dns4/acme.example/tcp/1", "/ip6/::1/udp/1/quic-v1", &format!("/ip4/10.0.0.1/tcp/1{peer}")] {
        announce(good).unwrap();
    }
    for bad in ["/ip4/10.0.0.1", "/tcp/1", "/ip4/10.0.0.1/udp/1", "/ip4/10.0.0.1/tcp/1/ws", &format!("{peer}/tcp/1")] {
        assert!(messages(&announce(bad).unwrap_err()).contains("neither a TCP nor a QUIC address"), "{bad}");
    }
}

#[test]
fn emulated_links_are_checked_like_everything_else() {
    let links = |text: &str| load(&format!("{FILE}[[emulation.link]]\n{text}\n"));
    let configuration = links("address = \"127.0.0.1:4102\"\none_way_ms = 12").unwrap();
    let link = &configuration.emulation()[0];
    assert_eq!((link.address().port(), link.one_way_ms(), link.jitter_ms()), (4102, 12, 0));
    for (bad, message) in [
        ("one_way_ms = 1", "must have an address"),
        ("address = \"127.0.0.1:1\"\none_way_mz = 1", "did you mean 'one_way_ms'?"),
        ("address = \"127.0.0.1:1\"\njitter_ms = -1", "jitter_ms: -1 is out of range"),
    ] {
        assert!(messages(&links(bad).unwrap_err()).contains(message), "{bad}");
    }
    let inline = "[{address=\"127.0.0.1:9\",one_way_ms=3}]";
    let (configuration, _) = Configuration::load(&sources(FILE, &[("HANSA_EMULATION_LINK", inline)], &[])).unwrap();
    assert_eq!(configuration.emulation()[0].one_way_ms(), 3);
}

#[test]
fn a_pair_and_what_clients_are_told_of_it_are_checked_like_everything_else() {
    use hansa_core::mirror::pair::{OnMirrorLost, Timing};
    let configuration = load(FILE).unwrap();
    assert_eq!(configuration.pair().timing(), Timing::DEFAULT);
    assert_eq!(configuration.pair().on_mirror_lost(), OnMirrorLost::Solo);
    assert!(configuration.witness().offer() && configuration.witness().pairs_max() == 32);
    assert_eq!(configuration.cxip().announce(), None);
    let text = "[pair]\nprofile = \"lan\"\non_mirror_lost = \"halt\"\n[witness]\noffer = false\npairs_max = 0\n";
    let configuration = load(&format!("{FILE}{text}")).unwrap();
    assert_eq!(configuration.pair().timing(), Timing::LAN);
    assert_eq!(configuration.pair().on_mirror_lost(), OnMirrorLost::Halt);
    let announce = |address: &str| load(&format!("{FILE}[cxip]\nannounce = \"{address}\"\n"));
    for good in ["acme.example:4000", "10.0.0.1:4000", "[::1]:4000"] {
        assert_eq!(announce(good).unwrap().cxip().announce(), Some(good));
    }
    for bad in ["acme.example", "acme.example:0", "0.0.0.0:4000", ":4000", "a b:4000", "http://acme:4000", "acme:70000"]
    {
        assert!(messages(&announce(bad).unwrap_err()).contains("is no host with a port"), "{bad}");
    }
    let faults = load(&format!("{FILE}[pair]\nprofile = \"wan\"\non_mirror_lost = \"die\"\n")).unwrap_err();
    assert!(messages(&faults).contains("one of \"default\", \"lan\"") && faults.len() == 2, "{}", messages(&faults));
}

#[test]
fn a_misspelt_log_level_is_a_fault_and_a_level_by_part_is_not() {
    assert!(load(&format!("{FILE}[log]\nlevel = \"inof\"\n")).is_err());
    assert!(load(&format!("{FILE}[log]\nlevel = \"info,libp2p=warn\"\n")).is_ok());
}

#[test]
fn the_file_that_init_writes_is_accepted_names_every_key_and_quotes_what_people_are_called() {
    let (name, city) = ("Ac\"me \\ Söhne".parse().unwrap(), "São Paulo".parse().unwrap());
    let text = file_text(&name, &city);
    let configuration = load(&text).unwrap();
    assert_eq!((configuration.organization().name(), configuration.organization().city()), (&name, &city));
    assert!(schema::KEYS.iter().all(|key| text.contains(key.name)), "{text}");
    // What is shown as a default is one: taking the '#' away changes nothing.
    let bare: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.contains("emulation") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .take_while(|line| !line.starts_with("address"))
        .collect();
    assert_eq!(load(&bare).unwrap(), configuration);
}

#[test]
fn the_reference_page_is_the_one_that_the_table_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == reference_page(), "run: cargo run -- config --write-reference docs/configuration.md");
}

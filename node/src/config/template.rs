//! The texts that are made from the table of keys: the commented file that `hansa init` writes, and the reference page
//! `docs/configuration.md`.

use super::schema::{KEYS, Key, SECTIONS};
use hansa_core::ident::{City, OrganizationName};
use std::fmt::Write as _;

/// The file of a new node: the organization, and every other key with its default, commented out.
pub fn file_text(name: &OrganizationName, city: &City) -> String {
    let mut text = String::from(
        "# Configuration of a hansa node. A line that begins with '#' shows a default: remove the '#' to change it.\n\
         # Every key can also be set by a variable, such as HANSA_HTTP_LISTEN, or by --set http.listen=…;\n\
         # `hansa config` shows what is in force and who said it, `hansa doctor` checks it.\n",
    );
    for (section, about) in SECTIONS {
        let keys = || KEYS.iter().filter(|key| key.section == *section);
        let _ = write!(text, "\n# {about}\n");
        if *section == "emulation" {
            text.push_str("#[[emulation.link]]\n#address = \"127.0.0.1:4102\"\n#one_way_ms = 12\n#jitter_ms = 1\n");
            continue;
        }
        let _ = writeln!(text, "[{section}]");
        for key in keys() {
            let said = match (*section, key.name) {
                ("organization", "name") => Some(name.as_str()),
                ("organization", "city") => Some(city.as_str()),
                _ => None,
            };
            let _ = writeln!(text, "# {}", key.meaning);
            let _ = match said {
                Some(said) => writeln!(text, "{} = {}", key.name, toml::Value::from(said)),
                None => writeln!(text, "#{} = {}", key.name, key.default.unwrap_or_default()),
            };
        }
    }
    text
}

/// The reference page.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Made from node/src/config/schema.rs by `hansa config --write-reference`; a test compares them. -->\n\n\
         A node reads one TOML file, `hansa.toml` in its data folder, or the file that `--config FILE` (or \
         `HANSA_CONFIG`) names. A variable of the environment overrides the file, and a flag `--set section.key=value` \
         overrides both. Lists are written with commas there: `HANSA_FEDERATION_KNOWN_PEERS=/ip4/…,/dns4/…`.\n\n\
         The configuration is checked whole before anything starts: every fault is listed at once, with line and column \
         in the file or the name of the variable or flag. An unknown key is a fault, so that a misspelt one cannot go \
         unnoticed. `hansa config` prints what is in force and who said it; `hansa doctor` also tries ports, disk and \
         peers.\n\n\
         The data folder is `--data DIR`, or `HANSA_DATA`, or `$XDG_DATA_HOME/hansa`, or `~/.local/share/hansa`.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(page, "\n## [{section}]\n\n{about}\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = write!(page, "\n### `{}`\n\n{}\n\n", key.path(), key.meaning);
            let _ = writeln!(page, "- default: {}", default_text(key));
            let _ = writeln!(page, "- fits: {}", key.kind.expectation());
            let _ = writeln!(page, "- variable: `{}`", key.variable());
        }
    }
    page.push_str(
        "\nA testnet writes its links so, one table each; the side that dials adds the delay, both ways:\n\n\
         ```toml\n[[emulation.link]]\naddress = \"127.0.0.1:4102\"\none_way_ms = 12\njitter_ms = 1\n```\n",
    );
    page
}

fn default_text(key: &Key) -> String {
    key.default.map_or_else(|| "none: it must be said (`hansa init` writes it)".to_owned(), |text| format!("`{text}`"))
}

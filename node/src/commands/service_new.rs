//! `hansa service new`: writes the cargo project of a new service, out of the templates in `node/templates/service`. Knows
//! no node; what the project needs of the SDK it can only point to, and says where that is.

use super::Context;
use clap::Args;
use hansa_core::{
    code::{Code, Fault},
    ident::ServiceName,
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The SDK's sources, where this executable was built from them.
const SDK_BUILT_WITH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
/// A crate's name is a folder's name and part of other names.
const NAME_BYTES_MAX: usize = 64;
/// What a crate cannot be called, or what would hide a crate that it needs.
const RESERVED: [&str; 51] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "hansa-sdk",
    "hansa_sdk",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
];
/// The project: where each file goes, and what is in it.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("../../templates/service/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../../templates/service/lib.rs.txt")),
    ("src/main.rs", include_str!("../../templates/service/main.rs.txt")),
    ("tests/service.rs", include_str!("../../templates/service/tests_service.rs.txt")),
    ("definition.xml", include_str!("../../templates/service/definition.xml.txt")),
    ("request.xml", include_str!("../../templates/service/request.xml.txt")),
    ("README.md", include_str!("../../templates/service/README.md.txt")),
    (".gitignore", include_str!("../../templates/service/gitignore.txt")),
];

/// Write the cargo project of a new service: with a test that passes, to be filled with what it shall do
///
/// The project has a service with one operation of its own name, a test of it on a node in memory, and a transaction
/// definition to try it with on a real node. It needs a Rust toolchain.
///
/// The SDK is on no package registry, so the project points to it: to a folder, a git repository, or a version that a
/// registry of yours has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa service new credit-check && cd credit-check && cargo test\n  \
    hansa service new credit-check --path services/credit --sdk ~/src/hansa/sdk\n  \
    hansa service new credit-check --sdk https://git.example.com/hansa.git")]
pub(super) struct New {
    /// The name of service, operation and crate: lower-case letters, digits, - and _
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder to make it in; nothing may be there [default: NAME, here]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where hansa-sdk is: a folder, the URL of a git repository, or a version [default: the folder that this executable was built from]
    #[arg(long, value_name = "PATH|URL|VERSION")]
    sdk: Option<String>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    service: String,
    path: PathBuf,
    sdk: String,
    files: Vec<&'static str>,
}

/// Where the SDK is taken from: as Cargo.toml says it, and in words.
struct Origin {
    dependency: String,
    words: String,
}

impl New {
    pub(super) fn perform(self, context: &Context) -> Result<(), Fault> {
        check_name(&self.name)?;
        let origin = origin(self.sdk.as_deref())?;
        let path = self.path.unwrap_or_else(|| PathBuf::from(&self.name));
        write(&path, &self.name, &origin).map_err(|error| could_not(&path, &error))?;
        let written =
            Written { service: self.name, path, sdk: origin.words, files: FILES.map(|(file, _)| file).into() };
        context.show(&written, |Written { service, path, sdk, .. }| {
            let path = path.display();
            format!(
                "The service {service} is in {path}. {sdk}\nTest it, and run it beside a node:\n  cd {path}\n  \
                 cargo test\n  cargo run\n  hansa transaction submit {service} --define definition.xml --input request.xml --wait"
            )
        });
        Ok(())
    }
}

/// The name is one of a service and one of a crate.
fn check_name(name: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let letter_first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !letter_first || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        let message = format!("'{name}' cannot be the name of a service's crate");
        return Err(Fault::new(Code::NameMalformed, message)
            .help(format!("take 1 to {NAME_BYTES_MAX} lower-case letters, digits, - and _, a letter first")));
    }
    if RESERVED.contains(&name) {
        let message = format!("'{name}' means something else in Rust, or is a crate that the service needs");
        return Err(Fault::new(Code::NameMalformed, message).help("take another name"));
    }
    name.parse::<ServiceName>().map(drop)
}

/// What --sdk means, or where the SDK is without it.
fn origin(sdk: Option<&str>) -> Result<Origin, Fault> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let Some(given) = sdk else {
        return folder(Path::new(SDK_BUILT_WITH)).ok_or_else(|| {
            Fault::new(
                Code::DataMissing,
                "this executable is not where it was built, so it does not know where hansa-sdk is",
            )
            .help("say with --sdk where it is: the folder sdk of hansa's sources, or the URL of their git repository")
        });
    };
    if let Some(origin) = folder(Path::new(given)) {
        return Ok(origin);
    }
    if given.contains("://") || given.starts_with("git@") {
        return Ok(Origin {
            dependency: format!("{{ git = {} }}", quoted(given)),
            words: format!("hansa-sdk is taken from the git repository {given}."),
        });
    }
    let is_version = given.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || b"=^~".contains(&byte))
        && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+=^~".contains(&byte));
    if is_version {
        return Ok(Origin {
            dependency: quoted(given),
            words: format!(
                "hansa-sdk is taken in version {given} from the registry that cargo is set up with; it is not on crates.io."
            ),
        });
    }
    let message = format!("'{given}' is no folder with hansa-sdk, no URL and no version");
    Err(Fault::new(Code::DataMissing, message).help("name the folder sdk of hansa's sources, where its Cargo.toml is"))
}

/// The SDK in a folder, if it is there.
fn folder(path: &Path) -> Option<Origin> {
    let path = fs::canonicalize(path).ok()?;
    let manifest: toml::Table = fs::read_to_string(path.join("Cargo.toml")).ok()?.parse().ok()?;
    if manifest.get("package")?.get("name")?.as_str()? != "hansa-sdk" {
        return None;
    }
    let text = path.to_str()?;
    Some(Origin {
        dependency: format!("{{ path = {} }}", toml::Value::from(text)),
        words: format!("hansa-sdk is not on crates.io; it is taken from {text}."),
    })
}

/// Write all files, or none where something is there already.
fn write(path: &Path, name: &str, origin: &Origin) -> io::Result<()> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => (),
            Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path)?,
        Err(error) => return Err(error),
    }
    for (file, template) in FILES {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap_or(path))?;
        let text = template
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{sdk}}", &origin.dependency)
            .replace("{{origin}}", &origin.words);
        // Written only where there is nothing, whoever may have been faster.
        io::Write::write_all(&mut fs::File::create_new(file)?, text.as_bytes())?;
    }
    Ok(())
}

fn could_not(path: &Path, error: &io::Error) -> Fault {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Fault::new(Code::DataExists, format!("there is something at '{path}' already"))
            .help("nothing was overwritten; name another folder with --path"),
        _ => Fault::new(Code::DataPermissions, format!("'{path}' cannot be written: {error}"))
            .help("name a folder that can be written with --path"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_service_and_of_a_crate() {
        for name in ["credit", "credit-check", "a1_b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "Credit", "1st", "credit check", "../credit", "credit.check", "test", "match", "tokio", &long]
        {
            assert_eq!(check_name(name).unwrap_err().code, Code::NameMalformed, "{name}");
        }
        assert!(RESERVED.is_sorted(), "so that a missing one shows");
    }

    #[test]
    fn the_sdk_is_a_folder_a_repository_or_a_version() {
        let said = |sdk| origin(Some(sdk)).map(|origin| origin.dependency);
        assert_eq!(said("https://example.com/a\"b.git").unwrap(), r#"{ git = 'https://example.com/a"b.git' }"#);
        assert_eq!(said("0.1.0").unwrap(), r#""0.1.0""#);
        assert!(said(SDK_BUILT_WITH).unwrap().starts_with("{ path = "));
        assert!(origin(None).is_ok(), "tests run where they were built");
        for nothing in ["", "no/such/folder", "/", "sdk"] {
            assert_eq!(said(nothing).unwrap_err().code, Code::DataMissing, "{nothing}");
        }
    }

    #[test]
    fn nothing_that_is_there_is_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let origin = origin(Some("1")).unwrap();
        write(place.path(), "credit", &origin).expect("an empty folder will do");
        assert!(fs::read_to_string(place.path().join("src/lib.rs")).unwrap().contains("NAME: &str = \"credit\""));
        assert_eq!(write(place.path(), "other", &origin).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let file = place.path().join("README.md");
        assert_eq!(could_not(&file, &write(&file, "credit", &origin).unwrap_err()).code, Code::DataPermissions);
        for (file, _) in FILES {
            let text = fs::read_to_string(place.path().join(file)).unwrap();
            assert!(!text.contains("{{"), "{file} has nothing left to fill in");
        }
    }
}

//! Gathers what the file, the environment and the flags say into one table of settings, each with its origin. The later
//! of these sources wins. What cannot even be a setting (no TOML, an unknown key) is a fault here; whether a value fits
//! is for `check` to say.

use super::schema::{self, KEYS, Key, Kind, SECTIONS};
use hansa_core::code::{Code, Fault, Place};
use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf};
use toml::de::{DeTable, DeValue};

/// Where configuration comes from; `gather` reads nothing else.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment: name and value. Names that do not begin with `HANSA_` are passed over.
    pub environment: Vec<(String, String)>,
    /// The values of `--set`: `section.key=value`.
    pub flags: Vec<String>,
}

/// Who says what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the default holds.
    Default,
    /// The file.
    File(PathBuf, Place),
    /// This environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path, place) => write!(out, "{}, line {}", path.display(), place.line),
            Self::Environment(variable) => write!(out, "environment {variable}"),
            Self::Flag(key) => write!(out, "flag --set {key}"),
        }
    }
}

impl Origin {
    /// A fault of what was said there.
    pub fn fault(&self, message: &str) -> Fault {
        let code = Code::ConfigurationInvalid;
        match self {
            Self::Default => Fault::new(code, message),
            Self::File(path, place) => Fault::new(code, format!("{}: {message}", path.display())).at(*place),
            Self::Environment(variable) => Fault::new(code, format!("{variable}: {message}")),
            Self::Flag(key) => Fault::new(code, format!("--set {key}: {message}")),
        }
    }
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value, not yet checked.
    pub value: toml::Value,
    /// Who said it.
    pub origin: Origin,
}

/// The settings by the full name of their key. A key without default that nobody set is absent.
pub type Settings = BTreeMap<String, Setting>;

/// Gather the sources. Faults are added to `faults`; the settings hold whatever was understood.
pub fn gather(sources: &Sources, faults: &mut Vec<Fault>) -> Settings {
    let mut settings = Settings::new();
    for key in KEYS {
        if let Some(default) = key.default {
            let value = toml_value(default).expect("the defaults of the table are TOML");
            settings.insert(key.path(), Setting { value, origin: Origin::Default });
        }
    }
    if let Some((path, text)) = &sources.file {
        File { path, text, faults }.gather(&mut settings);
    }
    environment(&sources.environment, &mut settings, faults);
    flags(&sources.flags, &mut settings, faults);
    settings
}

fn toml_value(text: &str) -> Option<toml::Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    if table.len() == 1 { table.remove("value") } else { None }
}

/// The file being read.
struct File<'a> {
    path: &'a PathBuf,
    text: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl File<'_> {
    fn gather(&mut self, settings: &mut Settings) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let message = format!("this is no TOML: {}", error.message());
            self.fault(error.span().unwrap_or_default(), &message, None);
        }
        for (name, value) in table.get_ref() {
            let section: &str = name.get_ref();
            if !SECTIONS.iter().any(|(known, _)| *known == section) {
                let nearest = schema::nearest(section, SECTIONS.iter().map(|(known, _)| *known));
                self.unknown(name.span(), &format!("there is no section [{section}]"), nearest);
                continue;
            }
            let Some(keys) = value.get_ref().as_table() else {
                self.fault(name.span(), &format!("{section} is a section: write [{section}] above its keys"), None);
                continue;
            };
            for (name, value) in keys {
                self.key(section, name.get_ref(), name.span(), value, settings);
            }
        }
    }

    fn key(
        &mut self,
        section: &str,
        name: &str,
        span: Range<usize>,
        value: &toml::Spanned<DeValue<'_>>,
        settings: &mut Settings,
    ) {
        let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
            let of_section = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
            self.unknown(span, &format!("there is no key {section}.{name}"), schema::nearest(name, of_section));
            return;
        };
        match plain(value.get_ref()) {
            Some(value) => {
                let origin = Origin::File(self.path.clone(), place(self.text, span.start));
                settings.insert(key.path(), Setting { value, origin });
            }
            None => {
                let message =
                    format!("{section}.{name}: this value cannot be read; it must be {}", key.kind.expectation());
                self.fault(value.span(), &message, None);
            }
        }
    }

    fn unknown(&mut self, span: Range<usize>, message: &str, nearest: Option<&str>) {
        let help = match nearest {
            Some(name) => format!("did you mean '{name}'? `hansa config` shows every key"),
            None => "remove it; `hansa config` shows every key".to_owned(),
        };
        self.fault(span, message, Some(help));
    }

    fn fault(&mut self, span: Range<usize>, message: &str, help: Option<String>) {
        let fault = Origin::File(self.path.clone(), place(self.text, span.start)).fault(message);
        self.faults.push(match help {
            Some(help) => fault.help(help),
            None => fault,
        });
    }
}

/// The value without its places. `None` where a number does not fit into 64 bits.
fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            toml::Value::Integer(i64::from_str_radix(&digits, number.radix()).ok()?)
        }
        DeValue::Float(number) => toml::Value::Float(number.as_str().replace('_', "").parse().ok()?),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(datetime) => toml::Value::Datetime(*datetime),
        DeValue::Array(values) => {
            toml::Value::Array(values.iter().map(|value| plain(value.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(name, value)| Some((name.get_ref().clone().into_owned(), plain(value.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}

/// Line and column of a byte of `text`, both from one, columns in characters.
fn place(text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: count(before.matches('\n').count() + 1), column: count(before[line_start..].chars().count() + 1) }
}

fn environment(variables: &[(String, String)], settings: &mut Settings, faults: &mut Vec<Fault>) {
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix("HANSA_") else { continue };
        if let Some(key) = KEYS.iter().find(|key| key.variable() == *variable) {
            let setting = Setting { value: from_text(key, text), origin: Origin::Environment(variable.clone()) };
            settings.insert(key.path(), setting);
            continue;
        }
        // Other programs may have variables of their own under HANSA_; one of our sections is surely meant for us.
        let ours = |section: &str| rest.starts_with(&format!("{}_", section.to_ascii_uppercase()));
        if SECTIONS.iter().any(|(section, _)| ours(section)) {
            let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
            let fault = Fault::new(Code::ConfigurationInvalid, format!("{variable}: no key has this variable"));
            faults.push(match schema::nearest(variable, names.iter().map(String::as_str)) {
                Some(name) => fault.help(format!("did you mean {name}?")),
                None => fault.help("unset it; `hansa config` shows every key"),
            });
        }
    }
}

fn flags(flags: &[String], settings: &mut Settings, faults: &mut Vec<Fault>) {
    for flag in flags {
        let Some((path, text)) = flag.split_once('=') else {
            faults.push(
                Fault::new(Code::ConfigurationInvalid, format!("--set {flag}: there is no '=' in it"))
                    .help("write it as --set section.key=value, for instance --set log.level=debug"),
            );
            continue;
        };
        let path = path.trim();
        if let Some(key) = schema::find(path) {
            let setting = Setting { value: from_text(key, text), origin: Origin::Flag(path.to_owned()) };
            settings.insert(key.path(), setting);
            continue;
        }
        let paths: Vec<String> = KEYS.iter().map(Key::path).collect();
        let fault = Fault::new(Code::ConfigurationInvalid, format!("--set {path}: there is no such key"));
        faults.push(match schema::nearest(path, paths.iter().map(String::as_str)) {
            Some(name) => fault.help(format!("did you mean '{name}'?")),
            None => fault.help("`hansa config` shows every key"),
        });
    }
}

/// A value as people write it in a variable or a flag: without quotes, lists with commas, or as in the file. What does not fit stays text,
/// so that the checker can say what is wrong with it.
fn from_text(key: &Key, text: &str) -> toml::Value {
    let as_text = || toml::Value::String(text.to_owned());
    match key.kind {
        Kind::Title
        | Kind::Socket
        | Kind::LoopbackSocket
        | Kind::OptionalSocket
        | Kind::OptionalHost
        | Kind::Choice(_)
        | Kind::Path
        | Kind::File
        | Kind::Filter => as_text(),
        Kind::Flag => text.trim().parse().map_or_else(|_| as_text(), toml::Value::Boolean),
        Kind::Whole { .. } => text.trim().parse().map_or_else(|_| as_text(), toml::Value::Integer),
        Kind::Multiaddresses if text.trim_start().starts_with('[') => toml_value(text).unwrap_or_else(as_text),
        Kind::Multiaddresses => {
            toml::Value::Array(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect())
        }
        Kind::Links => toml_value(text).unwrap_or_else(as_text),
    }
}

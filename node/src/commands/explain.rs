//! `hansa explain`: what an error code means and what to do. The pages below `docs/errors/` are made here too, so that
//! both always say the same.

use super::{Context, Failure, render};
use clap::Args;
use hansa_core::code::{Code, Fault};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Explain an error code: what it means, and what to do
///
/// Without a code it lists all of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hansa explain data-in-use\n  hansa explain")]
pub struct Explain {
    /// The code, as it stands in brackets behind a message
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Write the pages of all codes to this folder instead
    #[arg(long, value_name = "FOLDER", hide = true)]
    write: Option<PathBuf>,
}

impl Explain {
    pub fn perform(self, context: &Context) -> Result<(), Failure> {
        if let Some(folder) = self.write {
            return write(&folder)
                .map_err(|error| Fault::new(Code::Internal, format!("{}: {error}", folder.display())).into());
        }
        match self.code {
            Some(text) => {
                let code = find(&text)?;
                let value =
                    json!({ "code": code, "meaning": code.meaning(), "why": code.why(), "advice": code.advice() });
                context.show(&value, |_| {
                    let why = code.why().map(|why| format!("\n\nWhy it matters: {why}")).unwrap_or_default();
                    format!("{code}\n\n{}{why}\n\nWhat to do: {}", code.meaning(), code.advice())
                });
            }
            None => {
                let all: Vec<_> =
                    Code::ALL.iter().map(|code| json!({ "code": code, "meaning": code.meaning() })).collect();
                context.show(&all, |_| {
                    render::table(&[], Code::ALL.iter().map(|code| vec![code.to_string(), code.meaning().to_owned()]))
                });
            }
        }
        Ok(())
    }
}

fn find(text: &str) -> Result<Code, Fault> {
    let wanted = text.trim().trim_matches(['[', ']']).to_ascii_lowercase();
    wanted.parse().map_err(|_| {
        let nearest = Code::ALL
            .iter()
            .map(|code| (strsim::damerau_levenshtein(&wanted, code.as_str()), code))
            .min_by_key(|(distance, _)| *distance)
            .filter(|&(distance, _)| distance <= 6);
        let shown: String = text.chars().take(60).collect();
        Fault::new(Code::NameMalformed, format!("'{}' is no error code", shown.escape_debug())).help(match nearest {
            Some((_, code)) => format!("did you mean {code}? `hansa explain` lists all codes"),
            None => "`hansa explain` lists all codes".to_owned(),
        })
    })
}

fn page(code: Code) -> String {
    let why = code.why().map(|why| format!("## Why it matters\n\n{why}\n\n")).unwrap_or_default();
    format!("# {code}\n\n{}\n\n{why}## What to do\n\n{}\n", code.meaning(), code.advice())
}

fn index() -> String {
    let mut page = String::from(
        "# Error codes\n\nEvery message of hansa carries a code, which never changes its meaning. `hansa explain CODE` \
         prints the same as these pages, which `hansa explain --write docs/errors` makes.\n\n",
    );
    for code in Code::ALL {
        page.push_str(&format!("- [{code}]({code}.md): {}\n", code.meaning()));
    }
    page
}

fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for code in Code::ALL {
        fs::write(folder.join(format!("{code}.md")), page(*code))?;
    }
    fs::write(folder.join("README.md"), index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page_and_the_index_names_it() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let make = "run: cargo run -- explain --write docs/errors";
        for code in Code::ALL {
            let path = folder.join(format!("{code}.md"));
            assert!(fs::read_to_string(&path).is_ok_and(|text| text == page(*code)), "{}: {make}", path.display());
        }
        assert!(fs::read_to_string(folder.join("README.md")).is_ok_and(|text| text == index()), "{make}");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            Code::ALL.len() + 1,
            "a page of no code is left in docs/errors"
        );
    }

    #[test]
    fn a_misspelt_code_is_answered_with_the_nearest_one() {
        assert_eq!(find("[data-in-use]").unwrap(), Code::DataInUse);
        assert!(find("data-inuse").unwrap_err().advice().contains("data-in-use"));
        assert!(find("zzzzzzzzzzzzzzzzzzzzzzz").unwrap_err().advice().contains("lists all"));
    }
}

//! The test programs that cargo would run, with their arguments.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::selection::FILES;
use crate::{
    build::{Built, Paths},
    command,
};

/// Notes the program and its arguments, each ended by a NUL, and one more.
const NOTE: &str = r#"file=$1; shift; printf '%s\0' "$@" '' >>"$file""#;

/// A test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) path: PathBuf,
    pub(super) args: Vec<String>,
}

impl Binary {
    /// Its file's name.
    pub(super) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Its file's name without the hash that cargo appends.
    pub(super) fn name(&self) -> &str {
        let name = self.path.file_name().unwrap_or_default();
        let name = name.to_str().unwrap_or_default();
        name.rsplit_once('-').map_or(name, |(name, _)| name)
    }
}

/// Builds the tests and lists what `cargo test` would run: cargo is given a runner that only notes
/// what it is to run. Without arguments of the user's, the files that run on this series of kernels.
pub(super) fn run(
    paths: &Paths,
    built: &Built,
    series: &str,
    args: &[String],
) -> Result<Vec<Binary>> {
    let dir = paths.target.join("vm");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let notes = dir.join("notes");
    fs::write(&notes, "").with_context(|| format!("writing {}", notes.display()))?;
    let mut cargo = Command::new(command::cargo());
    built.export(&mut cargo).current_dir(&paths.root);
    cargo.args(["test", "--config", &runner(&notes)]);
    // What stands before a second `--` is cargo's.
    if args.is_empty() || args[0] == "--" {
        for file in FILES {
            if file.left_out(series).is_none() {
                cargo.args(["--package", file.package, "--test", file.name]);
            }
        }
    }
    cargo.args(args);
    command::run(&mut cargo)?;
    let text =
        fs::read_to_string(&notes).with_context(|| format!("reading {}", notes.display()))?;
    Ok(parse(&text))
}

/// Cargo's setting.
fn runner(notes: &Path) -> String {
    let words = ["sh", "-c", NOTE, "note", &notes.to_string_lossy()].map(|word| {
        // A TOML string, which escapes as JSON does.
        serde_json::Value::from(word).to_string()
    });
    format!("target.'cfg(all())'.runner = [{}]", words.join(", "))
}

fn parse(notes: &str) -> Vec<Binary> {
    notes
        .split("\0\0")
        .filter(|note| !note.is_empty())
        .map(|note| {
            let mut words = note.split('\0').map(str::to_owned);
            Binary {
                path: words.next().unwrap_or_default().into(),
                args: words.collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_notes_what_it_is_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("a note's");
        for words in [&["/deps/a-1", "x y", "--exact"][..], &["/deps/b-2"]] {
            let mut shell = Command::new("sh");
            shell.args(["-c", NOTE, "note"]).arg(&notes).args(words);
            assert!(shell.status().unwrap().success());
        }
        let found = parse(&fs::read_to_string(&notes).unwrap());
        let binary = |path: &str, args: &[&str]| Binary {
            path: path.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        assert_eq!(
            found,
            [
                binary("/deps/a-1", &["x y", "--exact"]),
                binary("/deps/b-2", &[])
            ]
        );
    }
}

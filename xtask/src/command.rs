//! Running other programs: say the command, run it, name it when it fails.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail};

/// Where root's programs are; often not on an ordinary user's `PATH`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Where Debian has a folder for each version of PostgreSQL.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// The command as a person would type it, with the variables it sets.
pub fn shown(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.display(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    set.chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// A word as the shell reads it.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy().replace('\x1f', " ");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command without its path and variables: what an error names, as [`say`] told the rest.
fn named(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// Says the command on standard error.
pub fn say(command: &Command) {
    eprintln!("+ {}", shown(command));
}

/// Says the command, runs it and waits for its end.
///
/// # Errors
/// The program cannot be started or does not end with status 0.
pub fn run(command: &mut Command) -> Result<()> {
    say(command);
    let status = command.status().with_context(|| starting(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", named(command));
    }
    Ok(())
}

/// Runs the command silently and returns what it wrote.
///
/// # Errors
/// The program cannot be started or does not end with status 0.
pub fn output(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().with_context(|| starting(command))?;
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        bail!("`{}` failed: {status}: {}", named(command), stderr.trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn starting(command: &Command) -> String {
    format!("cannot start `{}`", command.get_program().display())
}

/// The cargo that runs this xtask, or the one on `PATH`.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// The first file of that name on `PATH` or among the system's programs.
pub fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let name = name.as_ref();
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
        .chain(newest_first(Path::new(POSTGRESQL)).map(|dir| dir.join("bin")))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The folders that are named by a version, of which there may be none.
fn newest_first(parent: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, dir)| dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "17", "15", "common"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found: Vec<_> = newest_first(parent.path()).collect();
        let expected = ["17", "15", "9"].map(|name| parent.path().join(name));
        assert_eq!(found, expected);
        assert_eq!(newest_first(Path::new("/nonexistent")).count(), 0);
    }

    #[test]
    fn shows_variables_and_quotes() {
        let mut command = Command::new("cargo");
        command
            .args(["run", "a b", "it's", ""])
            .env("RUSTC", "/usr/bin/rustc")
            .env_remove("X");
        assert_eq!(
            shown(&command),
            r"RUSTC=/usr/bin/rustc cargo run 'a b' 'it'\''s' ''"
        );
    }

    #[test]
    fn failure_names_the_command() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
        let error = run(&mut Command::new("/nonexistent/x"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot start `/nonexistent/x`");
    }

    #[test]
    fn finds_programs() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-here"), None);
    }
}

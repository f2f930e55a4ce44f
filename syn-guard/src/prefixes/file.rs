//! Files of prefixes: one a line; `#` begins a comment; blank lines are nothing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use syn_guard_common::abi::MAX_PREFIXES;

use super::{PrefixError, parse};

/// A larger file is no list of as many prefixes as there may be, bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListFileError {
    /// It cannot be read.
    #[error("{path}: {source}: make it readable, or take it out of [lists]", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a directory or a device.
    #[error("{path}: no regular file: name one with a prefix a line", path = .0.display())]
    NoFile(PathBuf),
    /// It is none that somebody would write.
    #[error("{path}: more than {most} MiB: there may be {MAX_PREFIXES} prefixes", path = .0.display(), most = MOST_BYTES >> 20)]
    TooLarge(PathBuf),
    /// A line is no prefix.
    #[error("{path}:{line}: {error}{others}", path = path.display(), others = others(*more))]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u32,
        /// What is wrong.
        error: PrefixError,
        /// How many lines after it are wrong, too.
        more: usize,
    },
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and 1 more line)".to_owned(),
        _ => format!(" (and {more} more lines)"),
    }
}

/// A prefix and its line, counted from 1.
pub type Line = (IpNet, u32);

/// What tells that a file is another one, or has other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Content, seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of anything: copying tools may set the time of the content.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The stamp of now; none where there is no file.
    #[must_use]
    pub fn now(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

/// Reads a file, with its stamp of before.
///
/// # Errors
/// Says which line is wrong, and how it should be.
pub fn read(path: &Path) -> Result<(Stamp, Vec<Line>), ListFileError> {
    let failed = |source| ListFileError::Io {
        path: path.to_owned(),
        source,
    };
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ListFileError::NoFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ListFileError::TooLarge(path.to_owned()));
    }
    Ok((stamp, lines(path, &String::from_utf8_lossy(&bytes))?))
}

fn lines(path: &Path, text: &str) -> Result<Vec<Line>, ListFileError> {
    let mut prefixes = Vec::new();
    let mut wrong = None;
    let mut more = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match parse(line) {
            Ok(prefix) => prefixes.push((prefix, number)),
            Err(error) if wrong.is_none() => wrong = Some((number, error)),
            Err(_) => more += 1,
        }
    }
    match wrong {
        None => Ok(prefixes),
        Some((line, error)) => Err(ListFileError::Line {
            path: path.to_owned(),
            line,
            error,
            more,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<String>, String> {
        lines(Path::new("/etc/list"), text)
            .map(|lines| {
                lines
                    .iter()
                    .map(|(it, line)| format!("{line}:{it}"))
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_blank_lines_are_nothing() {
        let text = "# networks of others\r\n\r\n192.0.2.0/24 # one\n\t2001:db8::/32\n192.0.2.1";
        assert_eq!(
            read_text(text).unwrap(),
            ["3:192.0.2.0/24", "4:2001:db8::/32", "5:192.0.2.1/32"]
        );
        assert!(read_text("").unwrap().is_empty());
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        assert_eq!(
            read_text("192.0.2.0/24\n192.0.2.9/24").unwrap_err(),
            "/etc/list:2: 192.0.2.9/24 has host bits set: did you mean 192.0.2.0/24?"
        );
        let says = read_text("#\nx\ny\nz\n").unwrap_err();
        assert!(
            says.starts_with("/etc/list:2: \"x\" is no prefix: expected"),
            "{says}"
        );
        assert!(says.ends_with(" (and 2 more lines)"), "{says}");
    }

    #[test]
    fn what_is_no_file_is_said() {
        let says = |path: &str| read(Path::new(path)).unwrap_err().to_string();
        assert_eq!(
            says("/nowhere/list"),
            "/nowhere/list: No such file or directory (os error 2): make it readable, or take it out of [lists]"
        );
        assert!(says("/").contains("no regular file"));
        assert!(says("/dev/zero").contains("no regular file"));
        assert_eq!(Stamp::now(Path::new("/nowhere/list")), None);
    }

    #[test]
    fn another_content_has_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        fs::write(&path, "192.0.2.0/24\n").unwrap();
        let (stamp, _) = read(&path).unwrap();
        assert_eq!(Stamp::now(&path), Some(stamp));
        fs::write(&path, "192.0.2.0/24\n192.0.3.0/24\n").unwrap();
        assert_ne!(Stamp::now(&path), Some(stamp));
    }
}

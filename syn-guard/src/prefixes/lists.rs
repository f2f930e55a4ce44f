//! Who is on which list, from the configuration, from files and from what was
//! said at run time. Pure: files are read and the data path is told elsewhere.

mod entries;
mod reports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use syn_guard_common::abi::{ListKind, PrefixEntry, prefix_flags};

use super::ListError;
use super::file::Line;

/// Contradictions that are said one by one; of more only the number is.
const SAID: usize = 5;

/// Who listed a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration, or a flag.
    Config,
    /// A file.
    File(PathBuf),
    /// Somebody, while the guard runs.
    RunTime,
}

impl fmt::Display for Origin {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => to.write_str("config"),
            Self::File(path) => write!(to, "file {}", path.display()),
            Self::RunTime => to.write_str("run time"),
        }
    }
}

/// Prefixes of one origin for one list.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The list.
    pub list: ListKind,
    /// Who says so.
    pub origin: &'a Origin,
    /// The prefixes, with their lines in a file.
    pub prefixes: &'a [Line],
}

/// A prefix that the configuration or a file lists.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    list: ListKind,
    /// Index of its origin.
    origin: u16,
    /// Its line there; 0: none.
    line: u32,
}

/// A prefix that was listed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtRunTime {
    list: ListKind,
    /// 0: never.
    ends_ns: u64,
}

/// The lists. Of the same prefix the latest word at run time counts until it
/// ends, then the configuration's and the files'; of these, allowing does.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    origins: Vec<Origin>,
    lasting: HashMap<IpNet, Lasting>,
    run_time: BTreeMap<IpNet, AtRunTime>,
}

impl Lists {
    /// Goes on with what an earlier controller was told at run time.
    #[must_use]
    pub fn continued<'a>(
        held: impl IntoIterator<Item = (&'a IpNet, &'a PrefixEntry)>,
        now_ns: u64,
    ) -> Self {
        let run_time = held
            .into_iter()
            .filter(|(_, entry)| entry.flags & prefix_flags::RUN_TIME != 0)
            .filter(|(_, entry)| entry.ends_ns == 0 || entry.ends_ns > now_ns)
            .filter_map(|(prefix, entry)| {
                let list = ListKind::from_u32(entry.list)?;
                let ends_ns = entry.ends_ns;
                Some((*prefix, AtRunTime { list, ends_ns }))
            })
            .collect();
        Self {
            run_time,
            ..Self::default()
        }
    }

    /// Goes by these parts from now on; what is contradictory in them, for
    /// people.
    pub fn set_parts(&mut self, parts: &[Part<'_>]) -> Vec<String> {
        self.origins = parts.iter().map(|part| part.origin.clone()).collect();
        self.lasting.clear();
        let mut said = Vec::new();
        let mut more = 0;
        for list in ListKind::ALL {
            for (part, origin) in parts.iter().zip(0..) {
                if part.list != list {
                    continue;
                }
                for &(prefix, line) in part.prefixes {
                    let new = Lasting { list, origin, line };
                    let first = *self.lasting.entry(prefix).or_insert(new);
                    if first.list == list {
                        continue;
                    }
                    if said.len() < SAID {
                        said.push(format!(
                            "{prefix} is allowed ({}) and denied ({}): it is allowed; take it off one of the lists",
                            self.place(first),
                            self.place(new)
                        ));
                    } else {
                        more += 1;
                    }
                }
            }
        }
        if more > 0 {
            said.push(format!(
                "{more} more prefixes are allowed and denied: they are allowed"
            ));
        }
        said
    }

    fn place(&self, lasting: Lasting) -> String {
        match self.origins.get(usize::from(lasting.origin)) {
            Some(Origin::File(path)) => format!("{}:{}", path.display(), lasting.line),
            Some(origin) => origin.to_string(),
            None => String::new(),
        }
    }

    /// Lists a prefix, until `ends_ns` (0: for good); what was said of it at run
    /// time before.
    pub fn add(&mut self, list: ListKind, prefix: IpNet, ends_ns: u64) -> Option<AtRunTime> {
        self.run_time.insert(prefix, AtRunTime { list, ends_ns })
    }

    /// Takes back what [`Self::add`] did, which returned `before`.
    pub fn take_back(&mut self, prefix: IpNet, before: Option<AtRunTime>) {
        match before {
            Some(before) => self.run_time.insert(prefix, before),
            None => self.run_time.remove(&prefix),
        };
    }

    /// Takes a prefix out that was listed at run time.
    ///
    /// # Errors
    /// It was not.
    pub fn remove(&mut self, list: ListKind, prefix: IpNet) -> Result<(), ListError> {
        match self.run_time.get(&prefix) {
            Some(found) if found.list == list => {
                self.run_time.remove(&prefix);
                return Ok(());
            }
            _ => {}
        }
        let lasting = self.lasting.get(&prefix).filter(|it| it.list == list);
        Err(match lasting {
            Some(lasting) => ListError::NotByRunTime {
                prefix,
                list: list.name(),
                other: match list {
                    ListKind::Allow => ListKind::Deny,
                    ListKind::Deny => ListKind::Allow,
                }
                .name(),
                origin: self.place(*lasting),
            },
            None => ListError::NotListed {
                prefix,
                list: list.name(),
            },
        })
    }

    /// Takes those out whose time is over.
    pub fn expire(&mut self, now_ns: u64) -> Vec<(IpNet, ListKind)> {
        let over: Vec<_> = self
            .run_time
            .iter()
            .filter(|(_, it)| it.ends_ns != 0 && it.ends_ns <= now_ns)
            .map(|(prefix, it)| (*prefix, it.list))
            .collect();
        for (prefix, _) in &over {
            self.run_time.remove(prefix);
        }
        over
    }

    fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        let only_lasting = |prefix: &IpNet| !self.run_time.contains_key(prefix);
        let lasting = self.lasting.keys().copied().filter(only_lasting);
        self.run_time.keys().copied().chain(lasting)
    }

    /// The list that a prefix is on now, as far as it is listed itself.
    fn list_of(&self, prefix: &IpNet) -> Option<ListKind> {
        let run_time = self.run_time.get(prefix).map(|it| it.list);
        run_time.or_else(|| self.lasting.get(prefix).map(|it| it.list))
    }
}

//! Who is on which list, from the configuration, from files and from what was
//! said at run time. Pure: files are read and the data path is told elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use syn_guard_common::abi::{ListKind, PrefixEntry, prefix_flags};

use super::file::Line;
use super::{PrefixError, PrefixReport};

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

/// Why a list was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It is no prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// It would end at once.
    #[error("for no time at all: leave the time out, or let it be a second or more")]
    NoTime,
    /// It is not there.
    #[error("{prefix} is not on the list `{list}`: `syn-guard {list} list` shows what is")]
    NotListed {
        /// Which one.
        prefix: IpNet,
        /// `allow` or `deny`.
        list: &'static str,
    },
    /// Only who listed it can take it out.
    #[error(
        "{prefix} is on the list `{list}` by {origin}: take it out there, or put it on the other list at run time with `syn-guard {other} add {prefix}`"
    )]
    NotByRunTime {
        /// Which one.
        prefix: IpNet,
        /// `allow` or `deny`.
        list: &'static str,
        /// The one of them that `list` is not.
        other: &'static str,
        /// Who listed it.
        origin: String,
    },
    /// The kernel refused.
    #[error("{0}")]
    DataPath(String),
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

    /// What the data path must know of a prefix.
    #[must_use]
    pub fn entry(&self, prefix: IpNet) -> Option<PrefixEntry> {
        let lasting = self.lasting.get(&prefix);
        match (self.run_time.get(&prefix), lasting) {
            (Some(run_time), lasting) => Some(PrefixEntry {
                ends_ns: run_time.ends_ns,
                afterwards: lasting.map_or(0, |it| it.list as u8),
                flags: prefix_flags::RUN_TIME | plain(prefix, run_time.list).flags,
                ..plain(prefix, run_time.list)
            }),
            (None, Some(lasting)) => Some(plain(prefix, lasting.list)),
            (None, None) => None,
        }
    }

    /// What the data path must know of all.
    #[must_use]
    pub fn entries(&self) -> HashMap<IpNet, PrefixEntry> {
        self.prefixes()
            .filter_map(|prefix| Some((prefix, self.entry(prefix)?)))
            .collect()
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

    /// How many prefixes are on a list.
    #[must_use]
    pub fn count(&self, list: ListKind) -> u64 {
        self.prefixes()
            .filter(|prefix| self.list_of(prefix) == Some(list))
            .count() as u64
    }

    /// A prefix as it stands on a list.
    #[must_use]
    pub fn report(&self, prefix: IpNet, now_ns: u64) -> Option<PrefixReport> {
        let (list, origin, ends_ns) = match (self.run_time.get(&prefix), self.lasting.get(&prefix))
        {
            (Some(it), _) => (it.list, Origin::RunTime.to_string(), it.ends_ns),
            (None, Some(it)) => {
                let origin = self.origins.get(usize::from(it.origin));
                (
                    it.list,
                    origin.map_or_else(String::new, ToString::to_string),
                    0,
                )
            }
            (None, None) => return None,
        };
        let left = Duration::from_nanos(ends_ns.saturating_sub(now_ns));
        Some(PrefixReport {
            list: list.name().to_owned(),
            prefix: prefix.to_string(),
            origin,
            ends_in_seconds: (ends_ns != 0).then(|| left.as_millis().div_ceil(1000) as u64),
        })
    }

    /// The prefixes on a list, sorted.
    #[must_use]
    pub fn reports(&self, list: ListKind, now_ns: u64) -> Vec<PrefixReport> {
        let mut prefixes: Vec<_> = self
            .prefixes()
            .filter(|prefix| self.list_of(prefix) == Some(list))
            .collect();
        prefixes.sort_unstable();
        prefixes
            .into_iter()
            .filter_map(|prefix| self.report(prefix, now_ns))
            .collect()
    }
}

/// An entry of the configuration or of a file.
fn plain(prefix: IpNet, list: ListKind) -> PrefixEntry {
    PrefixEntry {
        list: list as u32,
        // An address has 128 bits at most.
        bits: crate::datapath::prefix_key(prefix).bits as u8,
        flags: match prefix {
            IpNet::V4(_) => 0,
            IpNet::V6(_) => prefix_flags::IPV6,
        },
        ..PrefixEntry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ListKind::{Allow, Deny};

    const SECOND: u64 = 1_000_000_000;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn lines(prefixes: &[&str]) -> Vec<Line> {
        prefixes.iter().map(|text| net(text)).zip(1..).collect()
    }

    /// Allowed by the configuration, denied by it, denied by a file.
    fn lists(allow: &[&str], deny: &[&str], file: &[&str]) -> (Lists, Vec<String>) {
        let mut lists = Lists::default();
        let origins = [Origin::Config, Origin::File("/etc/denied".into())];
        let said = lists.set_parts(&[
            Part {
                list: Deny,
                origin: &origins[1],
                prefixes: &lines(file),
            },
            Part {
                list: Deny,
                origin: &origins[0],
                prefixes: &lines(deny),
            },
            Part {
                list: Allow,
                origin: &origins[0],
                prefixes: &lines(allow),
            },
        ]);
        (lists, said)
    }

    fn shown(lists: &Lists, list: ListKind) -> Vec<String> {
        let reports = lists.reports(list, 0);
        assert_eq!(lists.count(list), reports.len() as u64);
        let show = |it: PrefixReport| match it.ends_in_seconds {
            Some(seconds) => format!("{} {} {seconds} s", it.prefix, it.origin),
            None => format!("{} {}", it.prefix, it.origin),
        };
        reports.into_iter().map(show).collect()
    }

    #[test]
    fn the_same_prefix_allowed_and_denied_is_allowed_and_both_places_are_named() {
        let (lists, said) = lists(&["192.0.2.0/24"], &[], &["10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(
            said,
            [
                "192.0.2.0/24 is allowed (config) and denied (/etc/denied:2): it is allowed; take it off one of the lists"
            ]
        );
        assert_eq!(shown(&lists, Allow), ["192.0.2.0/24 config"]);
        assert_eq!(shown(&lists, Deny), ["10.0.0.0/8 file /etc/denied"]);
    }

    #[test]
    fn of_many_contradictions_only_the_first_are_said() {
        let many: Vec<_> = (0..20).map(|index| format!("10.{index}.0.0/16")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let (_, said) = lists(&many, &[], &many);
        assert_eq!(said.len(), SAID + 1);
        assert!(said[SAID].starts_with("15 more prefixes"), "{said:?}");
    }

    #[test]
    fn at_run_time_wins_until_it_ends_and_then_the_configuration_is_back() {
        let (mut lists, _) = lists(&[], &["192.0.2.0/24"], &[]);
        let prefix = net("192.0.2.0/24");
        lists.add(Allow, prefix, 10 * SECOND);
        assert_eq!(shown(&lists, Allow), ["192.0.2.0/24 run time 10 s"]);
        assert!(shown(&lists, Deny).is_empty());
        let entry = lists.entry(prefix).unwrap();
        assert_eq!(entry.list, Allow as u32);
        assert_eq!(entry.afterwards, Deny as u8);
        assert_eq!((entry.ends_ns, entry.bits), (10 * SECOND, 120));
        assert!(lists.expire(10 * SECOND - 1).is_empty());
        assert_eq!(lists.expire(10 * SECOND), [(prefix, Allow)]);
        assert_eq!(shown(&lists, Deny), ["192.0.2.0/24 config"]);
        assert_eq!(lists.entry(prefix).unwrap(), plain(prefix, Deny));
    }

    #[test]
    fn only_what_was_listed_at_run_time_is_taken_out_and_the_rest_is_explained() {
        let (mut lists, _) = lists(&[], &[], &["10.0.0.0/8", "192.0.2.0/24"]);
        let says = |lists: &mut Lists, list, prefix| {
            lists.remove(list, net(prefix)).unwrap_err().to_string()
        };
        assert_eq!(
            says(&mut lists, Deny, "192.0.2.0/24"),
            "192.0.2.0/24 is on the list `deny` by /etc/denied:2: take it out there, or put it on the other list at run time with `syn-guard allow add 192.0.2.0/24`"
        );
        assert_eq!(
            says(&mut lists, Allow, "192.0.2.0/24"),
            "192.0.2.0/24 is not on the list `allow`: `syn-guard allow list` shows what is"
        );
        lists.add(Deny, net("192.0.3.0/24"), 0);
        assert!(says(&mut lists, Allow, "192.0.3.0/24").contains("is not on"));
        assert_eq!(lists.remove(Deny, net("192.0.3.0/24")), Ok(()));
        assert!(says(&mut lists, Deny, "192.0.3.0/24").contains("is not on"));
    }

    #[test]
    fn a_restarted_controller_keeps_what_was_said_at_run_time() {
        let (mut lists, _) = lists(&["10.0.0.0/8"], &[], &[]);
        lists.add(Deny, net("192.0.2.0/24"), 0);
        lists.add(Allow, net("2001:db8::/32"), 5 * SECOND);
        lists.add(Deny, net("2001:db8:1::/48"), SECOND);
        let held = lists.entries();
        assert_eq!(held.len(), 4);
        let after = Lists::continued(&held, SECOND);
        assert_eq!(shown(&after, Deny), ["192.0.2.0/24 run time"]);
        assert_eq!(shown(&after, Allow), ["2001:db8::/32 run time 5 s"]);
    }
}

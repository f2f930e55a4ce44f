//! Lists of prefixes while the guard runs: files are read again when they
//! change, what was listed for a time ends, and the data path is told what
//! differs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use syn_guard_common::abi::{ListKind, MAX_PREFIXES, PrefixEntry};

use super::clock::now_ns;
use super::merging::Merging;
use super::{Controller, ControllerError, ListOptions};
use crate::control::PREFIX_PAGE;
use crate::datapath::{Changed, DataPath, DataPathError, PrefixMaps, one_line};
use crate::events::{EventKind, EventLog, Level};
use crate::prefixes::{
    self, Line, ListError, ListFileError, Lists, Origin, Part, PrefixReport, Stamp,
};
use crate::report::PrefixCounts;

/// Prefixes whose time is over that are named one by one; of more only the number
/// is.
const NAMED: usize = 20;

/// A file of a list.
struct ListFile {
    list: ListKind,
    origin: Origin,
    path: PathBuf,
    /// When it was last looked into, with or without success.
    looked_at: Option<Stamp>,
    /// What it said when it was last right.
    prefixes: Vec<Line>,
    /// What was said to be wrong with it.
    wrong: Option<String>,
}

impl ListFile {
    /// A file as it is now.
    fn new(list: ListKind, path: &Path) -> Result<Self, ListFileError> {
        let (stamp, prefixes) = prefixes::read(path)?;
        Ok(Self {
            looked_at: Some(stamp),
            prefixes,
            ..Self::unread(list, path)
        })
    }

    fn unread(list: ListKind, path: &Path) -> Self {
        Self {
            list,
            origin: Origin::File(path.to_owned()),
            path: path.to_owned(),
            looked_at: None,
            prefixes: Vec::new(),
            wrong: None,
        }
    }

    /// Reads it again if it changed; whether it says something else now. What is
    /// wrong with it is said once, and what it said before stays in force.
    fn refresh(&mut self, log: &mut EventLog) -> bool {
        let stamp = Stamp::now(&self.path);
        if stamp.is_some() && stamp == self.looked_at {
            return false;
        }
        match prefixes::read(&self.path) {
            Ok((stamp, prefixes)) => {
                self.looked_at = Some(stamp);
                self.wrong = None;
                let differs = self.prefixes != prefixes;
                self.prefixes = prefixes;
                differs
            }
            Err(error) => {
                self.looked_at = stamp;
                let text = error.to_string();
                if self.wrong.as_ref() != Some(&text) {
                    let kept = self.prefixes.len();
                    let said = format!("{text}; what it said before stays in force");
                    let numbers = [("prefixes", kept as f64)];
                    log.push(EventKind::Prefix, Level::Warn, None, said, &numbers);
                    self.wrong = Some(text);
                }
                false
            }
        }
    }
}

/// The lists of the running guard.
pub struct Prefixes {
    options: ListOptions,
    config: [(ListKind, Vec<Line>); 2],
    files: Vec<ListFile>,
    lists: Lists,
    contradictions: Vec<String>,
    merging: Merging,
    /// How many prefixes there is no room for.
    left_out: usize,
    /// How long files were read for lists that the data path does not go by yet.
    spent: Duration,
}

impl Prefixes {
    /// Reads the files. What an earlier controller was told at run time, which
    /// left `held`, still holds.
    pub fn start<'a>(
        options: &ListOptions,
        held: impl IntoIterator<Item = (&'a IpNet, &'a PrefixEntry)>,
    ) -> Result<Self, ListFileError> {
        let begun = Instant::now();
        let mut merging = Merging::default();
        merging.changed();
        let files = wanted_files(options)
            .map(|(list, path)| ListFile::new(list, path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            options: options.clone(),
            config: of_config(options),
            files,
            lists: Lists::continued(held, now_ns()),
            contradictions: Vec::new(),
            merging,
            left_out: 0,
            spent: begun.elapsed(),
        })
    }

    /// Goes by other options from now on, if they are others. A file that was read
    /// stays as it was read until it changes.
    pub fn set_options(&mut self, options: &ListOptions, log: &mut EventLog) {
        if *options == self.options {
            return;
        }
        let begun = Instant::now();
        let mut before = std::mem::take(&mut self.files);
        for (list, path) in wanted_files(options) {
            let known = before
                .iter()
                .position(|file| file.list == list && file.path == path);
            let mut file = match known {
                Some(index) => before.swap_remove(index),
                None => ListFile::unread(list, path),
            };
            file.refresh(log);
            self.files.push(file);
        }
        self.config = of_config(options);
        self.options.clone_from(options);
        self.merging.changed();
        self.spent += begun.elapsed();
    }

    /// Reads files that changed, ends what is over, and tells the data path
    /// what differs.
    ///
    /// # Errors
    /// The kernel refuses, which is tried again. The same refusal is said once.
    pub fn refresh(
        &mut self,
        maps: &mut PrefixMaps,
        log: &mut EventLog,
    ) -> Result<(), ControllerError> {
        let begun = Instant::now();
        for file in &mut self.files {
            if file.refresh(log) {
                self.merging.changed();
            }
        }
        let over = self.lists.expire(now_ns());
        if !over.is_empty() {
            say_over(&over, log);
            let changes = over.iter().map(|it| (it.0, self.lists.entry(it.0)));
            if maps.change(changes).is_err() {
                self.merging.missed();
            }
            self.made_room();
        }
        if !self.merging.is_due(begun) {
            return Ok(());
        }
        match self.tell(maps, log, begun) {
            Ok(()) => {
                self.merging.done(Instant::now());
                Ok(())
            }
            Err(error) if self.merging.refused(Instant::now(), &one_line(&error)) => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// A prefix is not in force any more.
    const fn made_room(&mut self) {
        if self.left_out > 0 {
            self.merging.may_find_room();
        }
    }

    fn tell(
        &mut self,
        maps: &mut PrefixMaps,
        log: &mut EventLog,
        begun: Instant,
    ) -> Result<(), ControllerError> {
        let of_config = self.config.iter().map(|(list, prefixes)| Part {
            list: *list,
            origin: &Origin::Config,
            prefixes,
        });
        let of_files = self.files.iter().map(|file| Part {
            list: file.list,
            origin: &file.origin,
            prefixes: &file.prefixes,
        });
        let parts: Vec<_> = of_config.chain(of_files).collect();
        let contradictions = self.lists.set_parts(&parts);
        if contradictions != self.contradictions {
            for text in &contradictions {
                log.push(EventKind::Prefix, Level::Warn, None, text, &[]);
            }
            self.contradictions = contradictions;
        }
        let (entries, left_out) = self.lists.entries(MAX_PREFIXES as usize);
        let changed = maps.replace(&entries)?;
        let spent = std::mem::take(&mut self.spent) + begun.elapsed();
        if changed != Changed::default() {
            let numbers = [
                ("added", changed.added as f64),
                ("changed", changed.changed as f64),
                ("removed", changed.removed as f64),
                ("allowed", maps.count(ListKind::Allow) as f64),
                ("denied", maps.count(ListKind::Deny) as f64),
                ("seconds", spent.as_millis() as f64 / 1000.0),
            ];
            let text = "the lists of prefixes changed";
            log.push(EventKind::Prefix, Level::Info, None, text, &numbers);
        }
        // That some found room while others did not is no news.
        if left_out > self.left_out || left_out == 0 && self.left_out > 0 {
            say_left_out(left_out, log);
        }
        self.left_out = left_out;
        Ok(())
    }

    /// Tells the data path of one prefix at once. Where there is no room for it,
    /// the last one of the configuration and its files makes room.
    fn tell_one(
        &mut self,
        prefix: IpNet,
        maps: &mut PrefixMaps,
        log: &mut EventLog,
    ) -> Result<(), DataPathError> {
        let entry = self.lists.entry(prefix);
        let held = maps.held();
        let full = held.len() >= MAX_PREFIXES as usize && !held.contains_key(&prefix);
        let out = entry
            .filter(|_| full)
            .and_then(|_| self.lists.last(held.keys().copied()));
        let changes = out.map(|out| (out, None)).into_iter();
        if let Err(error) = maps.change(changes.chain([(prefix, entry)])) {
            if out.is_some() {
                self.merging.missed();
            }
            return Err(error);
        }
        if out.is_some() {
            let left_out = self.lists.count().saturating_sub(maps.held().len());
            if self.left_out == 0 {
                say_left_out(left_out, log);
            }
            self.left_out = left_out;
        }
        Ok(())
    }

    /// How many prefixes of each list are in force, and how many are not.
    pub fn counts(&self, maps: &PrefixMaps) -> PrefixCounts {
        PrefixCounts {
            allow: maps.count(ListKind::Allow),
            deny: maps.count(ListKind::Deny),
            left_out: self.left_out as u64,
        }
    }
}

fn say_over(over: &[(IpNet, ListKind)], log: &mut EventLog) {
    for (prefix, list) in over.iter().take(NAMED) {
        let text = format!("the time of {prefix} on the list `{}` is over", list.name());
        log.push(EventKind::Prefix, Level::Info, None, text, &[]);
    }
    let more = over.len().saturating_sub(NAMED);
    if more > 0 {
        let text = "the time of more prefixes is over";
        let numbers = [("prefixes", more as f64)];
        log.push(EventKind::Prefix, Level::Info, None, text, &numbers);
    }
}

fn say_left_out(left_out: usize, log: &mut EventLog) {
    let numbers = [("left_out", left_out as f64)];
    if left_out == 0 {
        let text = "all listed prefixes are in force again";
        log.push(EventKind::Prefix, Level::Info, None, text, &[]);
    } else {
        let text = format!(
            "more than {MAX_PREFIXES} prefixes are listed: the last ones of the configuration and its files are not in force; list fewer, or shorter ones that cover them"
        );
        log.push(EventKind::Prefix, Level::Warn, None, text, &numbers);
    }
}

fn wanted_files(options: &ListOptions) -> impl Iterator<Item = (ListKind, &Path)> {
    let of = |list, files| {
        let files: &Vec<PathBuf> = files;
        files.iter().map(move |path| (list, path.as_path()))
    };
    of(ListKind::Allow, &options.allow_files).chain(of(ListKind::Deny, &options.deny_files))
}

/// The configuration's own prefixes, which have no lines.
fn of_config(options: &ListOptions) -> [(ListKind, Vec<Line>); 2] {
    let lines = |prefixes: &[IpNet]| prefixes.iter().map(|prefix| (*prefix, 0)).collect();
    [
        (ListKind::Allow, lines(&options.allow)),
        (ListKind::Deny, lines(&options.deny)),
    ]
}

impl Controller {
    /// Puts a prefix on a list until the guard stops, or for `lasting`. It takes
    /// the place of what the configuration says of the same prefix.
    ///
    /// # Errors
    /// It is no prefix, or the kernel refuses.
    pub fn add_prefix(
        &mut self,
        list: ListKind,
        prefix: &str,
        lasting: Option<Duration>,
    ) -> Result<PrefixReport, ListError> {
        let prefix = prefixes::parse(prefix)?;
        let now = now_ns();
        let ends_ns = match lasting {
            None => 0,
            Some(Duration::ZERO) => return Err(ListError::NoTime),
            Some(lasting) => {
                let lasting = u64::try_from(lasting.as_nanos()).unwrap_or(u64::MAX);
                now.saturating_add(lasting)
            }
        };
        let before = self.prefixes.lists.add(list, prefix, ends_ns);
        if let Err(error) = self.change_prefix(prefix) {
            self.prefixes.lists.take_back(prefix, before);
            return Err(error);
        }
        let report = self.prefixes.lists.report(prefix, now);
        let report = report.ok_or(ListError::NotListed {
            prefix,
            list: list.name(),
        })?;
        let until = match report.ends_in_seconds {
            Some(seconds) => format!(" for {seconds} s"),
            None => String::new(),
        };
        let text = format!("{prefix} was put on the list `{}`{until}", list.name());
        self.event_log
            .push(EventKind::Prefix, Level::Info, None, text, &[]);
        Ok(report)
    }

    /// Takes a prefix out that was listed at run time; what the configuration
    /// says of it holds again, and is returned.
    ///
    /// # Errors
    /// It was not listed at run time, or the kernel refuses.
    pub fn remove_prefix(
        &mut self,
        list: ListKind,
        prefix: &str,
    ) -> Result<Option<PrefixReport>, ListError> {
        let prefix = prefixes::parse(prefix)?;
        self.prefixes.lists.remove(list, prefix)?;
        if let Err(error) = self.change_prefix(prefix) {
            // It is tried again.
            self.prefixes.merging.missed();
            return Err(error);
        }
        self.prefixes.made_room();
        let left = self.prefixes.lists.report(prefix, now_ns());
        let text = match &left {
            None => format!("{prefix} was taken off the list `{}`", list.name()),
            Some(left) => format!(
                "{prefix} was taken off the list `{}`: it is on the list `{}` by {}",
                list.name(),
                left.list,
                left.origin
            ),
        };
        self.event_log
            .push(EventKind::Prefix, Level::Info, None, text, &[]);
        Ok(left)
    }

    fn change_prefix(&mut self, prefix: IpNet) -> Result<(), ListError> {
        let DataPath { maps, .. } = &mut self.datapath;
        self.prefixes
            .tell_one(prefix, &mut maps.prefixes, &mut self.event_log)
            .map_err(|error| ListError::DataPath(error.to_string()))
    }

    /// The first prefixes on a list after `after`, sorted; at most a page of them.
    #[must_use]
    pub fn prefixes(&self, list: ListKind, after: Option<IpNet>) -> Vec<PrefixReport> {
        let lists = &self.prefixes.lists;
        lists.reports(list, after, PREFIX_PAGE, now_ns())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn only_other_lists_are_told_again() {
        let mut log = EventLog::default();
        let mut options = ListOptions::default();
        let mut prefixes = Prefixes::start(&options, []).unwrap();
        assert!(prefixes.merging.is_due(Instant::now()));
        prefixes.merging.done(Instant::now());
        prefixes.set_options(&options, &mut log);
        assert!(!prefixes.merging.is_due(Instant::now()));
        options.deny.push("192.0.2.0/24".parse().unwrap());
        prefixes.set_options(&options, &mut log);
        assert!(prefixes.merging.is_due(Instant::now()));
        prefixes.merging.done(Instant::now());
        prefixes.set_options(&options, &mut log);
        assert!(!prefixes.merging.is_due(Instant::now()));
    }

    #[test]
    fn many_that_end_together_are_named_or_counted() {
        for (over, lines) in [(NAMED, NAMED), (NAMED + 1, NAMED + 1), (5_000, NAMED + 1)] {
            let mut log = EventLog::default();
            let prefix = |index| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(index)));
            let over: Vec<_> = (0..over as u32)
                .map(|index| (prefix(index), ListKind::Deny))
                .collect();
            say_over(&over, &mut log);
            let said: Vec<_> = log.after(0).collect();
            assert_eq!(said.len(), lines);
            let counted: f64 = said.iter().flat_map(|it| it.numbers.values()).sum();
            assert_eq!(counted as usize, over.len() - NAMED);
        }
    }
}

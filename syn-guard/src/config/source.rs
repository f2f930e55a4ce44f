//! The configuration of a guard over its life.

use std::path::{Path, PathBuf, absolute};

use syn_guard_common::abi::Mode;

use super::change::{Applied, changes};
use super::effective::{Layer, Setting, merge, shown, wanted};
use super::error::{ConfigError, Problem};
use super::file::{DEFAULT_FILE, read};
use super::listed;
use super::place::Origin;
use super::relations;
use super::report::{ConfigReport, report};
use super::schema::KeyPath;
use super::text::{self, DEFAULT};
use super::value::Value;
use super::wanted::Wanted;
use crate::controller::mode_name;

/// Where the configuration comes from, and what holds.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file that somebody named.
    named: Option<PathBuf>,
    /// The file that was read last.
    file: Option<PathBuf>,
    from_file: Layer,
    flags: Layer,
    run_time: Layer,
    /// What held when the guard started: keys that need a restart keep it.
    started: Layer,
    /// What the three layers say together.
    now: Layer,
}

impl ConfigSource {
    /// Reads the file that was named, or [`DEFAULT_FILE`] where it exists, and
    /// puts flags over it.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(named: Option<PathBuf>, flags: Layer) -> Result<Self, ConfigError> {
        // A guard says it to people who are elsewhere.
        let named = named.map(|file| absolute(&file).unwrap_or(file));
        Self::load_or_default(named, Path::new(DEFAULT_FILE), flags)
    }

    pub(super) fn load_or_default(
        named: Option<PathBuf>,
        default: &Path,
        flags: Layer,
    ) -> Result<Self, ConfigError> {
        let mut source = Self {
            named,
            flags,
            ..Self::default()
        };
        let (file, from_file) = source.read(default)?;
        let now = source.together(&from_file, &Layer::new())?;
        source.file = file;
        source.from_file = from_file;
        source.started.clone_from(&now);
        source.now = now;
        Ok(source)
    }

    /// The file and what it sets.
    fn read(&self, default: &Path) -> Result<(Option<PathBuf>, Layer), ConfigError> {
        let file = match (&self.named, &self.file) {
            (Some(file), _) | (None, Some(file)) => file.as_path(),
            (None, None) => default,
        };
        // Once it was there it may not vanish: a guard without its
        // configuration is another one.
        let optional = self.named.is_none() && self.file.is_none();
        if optional && !file.exists() {
            return Ok((None, Layer::new()));
        }
        Ok((Some(file.to_owned()), read(file)?))
    }

    /// What holds with these layers.
    fn together(&self, from_file: &Layer, run_time: &Layer) -> Result<Layer, ConfigError> {
        let now = merge(&[from_file, &self.flags, run_time]);
        let problems = relations::problems(&now, &wanted(&now).options);
        self.unless(problems, now)
    }

    /// The same for a running guard, which must not go on without a file of
    /// prefixes that it was just told of: those that `before` does not name are
    /// looked into.
    fn with_lists(
        &self,
        from_file: &Layer,
        run_time: &Layer,
        before: &Layer,
    ) -> Result<Layer, ConfigError> {
        let now = self.together(from_file, run_time)?;
        self.unless(listed::problems(&now, before), now)
    }

    fn unless(&self, problems: Vec<Problem>, now: Layer) -> Result<Layer, ConfigError> {
        if problems.is_empty() {
            Ok(now)
        } else {
            Err(ConfigError {
                file: self.file.clone(),
                problems,
            })
        }
    }

    /// The file that was read last, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What holds, typed; of keys that need a restart, what held at the start.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        wanted(&self.in_force())
    }

    /// What holds.
    fn in_force(&self) -> Layer {
        let started = self.started.iter().filter(|(path, _)| path.key.restart);
        let now = self.now.iter().filter(|(path, _)| !path.key.restart);
        started
            .chain(now)
            .map(|(path, setting)| (*path, setting.clone()))
            .collect()
    }

    /// Reads the file again. What was set at run time is taken back: the file
    /// says again what holds.
    ///
    /// # Errors
    /// All that is wrong with it; then what held goes on to hold.
    pub fn reload(&mut self) -> Result<Applied, ConfigError> {
        self.reload_or_default(Path::new(DEFAULT_FILE))
    }

    pub(super) fn reload_or_default(&mut self, default: &Path) -> Result<Applied, ConfigError> {
        let (file, from_file) = self.read(default)?;
        let now = self
            .with_lists(&from_file, &Layer::new(), &Layer::new())
            .map_err(|error| ConfigError {
                file: file.clone(),
                ..error
            })?;
        let taken_back = self.run_time.keys().map(ToString::to_string).collect();
        self.file = file;
        self.from_file = from_file;
        self.run_time.clear();
        Ok(self.take(now, taken_back))
    }

    /// Sets a key until the next reload or restart; `default` takes that back.
    ///
    /// # Errors
    /// There is no such key, the value is none for it, it does not go with
    /// others, or it needs a restart.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Applied, ConfigError> {
        let path = text::key(key)?;
        if path.key.restart {
            return Err(ConfigError::one(format!(
                "{path} cannot change while the guard runs: put it into {} and restart syn-guard",
                self.file
                    .as_deref()
                    .unwrap_or(Path::new(DEFAULT_FILE))
                    .display()
            )));
        }
        let mut run_time = self.run_time.clone();
        if value == DEFAULT {
            run_time.remove(&path);
        } else {
            let value = text::value(path, value)?;
            run_time.insert(path, Setting::new(value, Origin::RunTime));
        }
        let now = self
            // A file that broke since must not be in the way of another key.
            .with_lists(&self.from_file, &run_time, &self.now)
            .map_err(|error| ConfigError {
                // The file is as right as it was.
                file: None,
                problems: error
                    .problems
                    .into_iter()
                    .map(|problem| Problem::new(problem.text))
                    .collect(),
            })?;
        self.run_time = run_time;
        Ok(self.take(now, Vec::new()))
    }

    fn take(&mut self, now: Layer, taken_back: Vec<String>) -> Applied {
        let changes_now = changes(&self.now, &now, |path| !path.key.restart);
        let waiting = changes(&self.started, &now, |path| path.key.restart);
        self.now = now;
        Applied {
            options: self.wanted().options,
            changes: changes_now,
            waiting,
            taken_back,
        }
    }

    /// What holds, and where it comes from.
    #[must_use]
    pub fn report(&self) -> ConfigReport {
        self.report_with([])
    }

    /// The same with modes of services that `syn-guard protect` said, which hold
    /// until the guard stops.
    #[must_use]
    pub fn report_with(&self, modes: impl IntoIterator<Item = (u16, Mode)>) -> ConfigReport {
        let mut layer = self.in_force();
        for (port, mode) in modes {
            let value = Value::Text(mode_name(mode).to_owned());
            layer.insert(KeyPath::mode_of(port), Setting::new(value, Origin::RunTime));
        }
        report(self.file.clone(), &layer, |path| {
            if !path.key.restart {
                return None;
            }
            let later = shown(&self.now, path);
            (later != shown(&self.started, path)).then_some(later)
        })
    }
}

//! Another configuration while the guard runs.

use super::{Controller, ControllerError, Options, keep_syncookies};
use crate::config::schema::KeyPath;
use crate::config::{Applied, ConfigError, ConfigReport};
use crate::events::{EventKind, Level};

impl Controller {
    /// Goes by other options from now on. Nothing is detached and no connection
    /// ends; interfaces stay as they are.
    ///
    /// # Errors
    /// Not all of it could be done; what was not is tried again each second.
    pub fn apply(&mut self, mut options: Options) -> Result<(), ControllerError> {
        options.interfaces.clone_from(&self.options.interfaces);
        self.services.set_options(&options);
        self.prefixes
            .set_options(&options.lists, &mut self.event_log);
        self.options = options;
        let making = self.making();
        self.limits.tell(
            &self.options.limits,
            &self.options.interfaces,
            making,
            &mut self.datapath,
        )?;
        self.services
            .refresh(&mut self.datapath, &mut self.event_log)?;
        self.services.tell_any_protecting(&mut self.datapath)?;
        self.prefixes
            .refresh(&mut self.datapath.maps.prefixes, &mut self.event_log)?;
        self.keep_kernel_engine_or_say();
        keep_syncookies(self.services.may_protect(), &mut self.journal)
    }

    /// Reads the configuration again, and says what changed.
    pub(super) fn reload(&mut self) -> Result<Applied, ConfigError> {
        let read = self.config.reload();
        match &read {
            Ok(applied) => self.take(applied, "configuration read again"),
            Err(error) => self.event_log.push(
                EventKind::Config,
                Level::Warn,
                None,
                format!("the configuration stays as it was: {error}"),
                &[],
            ),
        }
        read
    }

    /// Sets a key until the next reload. Who asked is told what is wrong.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<Applied, ConfigError> {
        let applied = self.config.set(key, value)?;
        // What was said last holds.
        if let Some(port) = KeyPath::parse(key).ok().and_then(|path| path.is_mode_of()) {
            self.services.forget_mode(port);
        }
        self.take(&applied, "set at run time");
        Ok(applied)
    }

    /// The configuration that holds, with modes that were said of services.
    pub(super) fn config_report(&self) -> ConfigReport {
        self.config.report_with(self.services.modes_said())
    }

    fn take(&mut self, applied: &Applied, why: &str) {
        let changed: Vec<_> = applied.changes.iter().map(ToString::to_string).collect();
        let mut text = if changed.is_empty() {
            format!("{why}: nothing changed")
        } else {
            format!("{why}: {}", changed.join("; "))
        };
        if !applied.taken_back.is_empty() {
            text.push_str("; no longer set at run time: ");
            text.push_str(&applied.taken_back.join(", "));
        }
        self.event_log
            .push(EventKind::Config, Level::Info, None, text, &[]);
        for change in &applied.waiting {
            self.event_log.push(
                EventKind::Config,
                Level::Warn,
                None,
                format!("needs a restart: {change}"),
                &[],
            );
        }
        self.tell("configuration", |controller| {
            controller.apply(applied.options.clone())
        });
    }
}

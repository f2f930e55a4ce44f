//! What the `kernel` engine changes while a service protects, and how the data
//! path is kept from sending cookies that the stack would misread.
//!
//! The stack validates: it must make cookies at all times
//! (`tcp_syncookies=2`), and it reads the options of a connection from the
//! timestamp that the ACK echoes, after taking away a secret offset unless
//! `tcp_timestamps` is 2 (`cookie_timestamp_decode`, Linux 6.1). So while it is
//! not 2 a cookie goes without timestamps.

use syn_guard_common::abi::EngineKind;
use tracing::{error, info, warn};

use super::clock::now_ns;
use super::guarded::DRAIN_NS;
use super::undoing::Undoing;
use super::{Controller, ControllerError, SYNCOOKIES};
use crate::datapath::one_line;
use crate::kernel::{TcpSettings, sysctl};
use crate::undo::{Change, Journal, Outcome, System, UndoError};

const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";
/// Cookies whether the queue is full or not.
const ALWAYS: &str = "2";
/// Cookies when the queue is full.
const WHEN_FULL: &str = "1";
/// Timestamps without a secret offset.
const WITHOUT_OFFSET: &str = "2";

/// Whether cookies may carry options in timestamps.
#[derive(Clone, Copy, Debug)]
pub struct CookieTimestamps {
    /// The stack reads them: the `kernel` engine.
    by_stack: bool,
    /// `tcp_timestamps` is about to change back.
    ending: bool,
}

impl CookieTimestamps {
    /// For cookies of this engine.
    pub const fn new(engine: EngineKind) -> Self {
        Self {
            by_stack: matches!(engine, EngineKind::Kernel),
            ending: false,
        }
    }

    /// Cookies are of this engine from now on.
    pub const fn set_engine(&mut self, engine: EngineKind) {
        self.by_stack = matches!(engine, EngineKind::Kernel);
    }

    /// The settings as cookies must go by them.
    pub const fn apply(self, mut settings: TcpSettings) -> TcpSettings {
        if self.by_stack && (self.ending || settings.timestamps != 2) {
            settings.timestamps = 0;
        }
        settings
    }
}

/// The two settings.
#[derive(Debug)]
pub(super) struct KernelSettings {
    phase: Phase,
    undoing: Undoing,
}

/// What has become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The operator's.
    AsTheyWere,
    /// A service protects.
    Forced,
    /// None does any more, but cookies are out, also those that the stack
    /// itself sent for every port of the host: until then (`CLOCK_MONOTONIC`
    /// ns) timestamps stay without an offset.
    Draining(u64),
}

impl KernelSettings {
    /// At the start: an earlier guard may have left them changed, and what
    /// [`need`] changed for mode `protect` is undone when nothing protects.
    pub(super) fn found(journal: &Journal) -> Self {
        let phase = if is_changed(journal, TIMESTAMPS) || is_changed(journal, SYNCOOKIES) {
            Phase::Draining(now_ns() + DRAIN_NS)
        } else {
            Phase::AsTheyWere
        };
        Self {
            phase,
            undoing: Undoing::default(),
        }
    }

    /// Sets both back, but `tcp_syncookies` to no 0 while cookies are needed.
    fn undo<S: System>(&mut self, journal: &mut Journal<S>, needs_cookies: bool) {
        for name in [SYNCOOKIES, TIMESTAMPS] {
            if name == SYNCOOKIES && stays_on(journal, needs_cookies) {
                lower_or_say(journal);
                continue;
            }
            match self.undoing.undo(journal, name) {
                Ok(Some(outcome @ Outcome::ChangedMeanwhile { .. })) => warn!("{outcome}"),
                Ok(Some(outcome)) => info!("{outcome}"),
                Ok(None) => {}
                Err(failed) => error!("{failed}"),
            }
        }
    }

    /// Tries again what failed, with the same exception.
    fn undo_again<S: System>(
        &mut self,
        journal: &mut Journal<S>,
        needs_cookies: bool,
    ) -> Vec<Outcome> {
        if stays_on(journal, needs_cookies) && self.undoing.forget_one(SYNCOOKIES) {
            lower_or_say(journal);
        }
        self.undoing.again(journal)
    }
}

/// Whether `tcp_syncookies` must not have its old value yet: it was 0, with which
/// the kernel takes no cookie's connection.
fn stays_on<S: System>(journal: &Journal<S>, needs_cookies: bool) -> bool {
    needs_cookies
        && journal.changes().iter().any(|change| {
            matches!(change, Change::Sysctl { name, old, .. } if name == SYNCOOKIES && old.trim() == "0")
        })
}

/// From [`ALWAYS`] to what every guard needs, unless somebody else set another
/// value since.
fn lower<S: System>(journal: &mut Journal<S>) -> Result<(), UndoError> {
    if !is_changed(journal, SYNCOOKIES) || journal.forget_if_overwritten(SYNCOOKIES)? {
        return Ok(());
    }
    journal.change(SYNCOOKIES, WHEN_FULL)
}

fn lower_or_say<S: System>(journal: &mut Journal<S>) {
    if let Err(error) = lower(journal) {
        error!("{error}; it is set back when syn-guard stops");
    }
}

impl Controller {
    /// Changes what the engine needs while a service protects, and undoes it
    /// after.
    pub(super) fn keep_kernel_engine(&mut self) -> Result<(), ControllerError> {
        let kernel = self.engine.is_kernel();
        if kernel && self.services.any_protecting() {
            let ending = self.services.cookie_timestamps().ending;
            self.settings.undoing.forget();
            if need(&mut self.journal)? || ending || self.settings.phase != Phase::Forced {
                self.settings.phase = Phase::Forced;
                self.services.cookie_timestamps().ending = false;
                self.services
                    .refresh(&mut self.datapath, &mut self.event_log)?;
            }
            return Ok(());
        }
        match self.settings.phase {
            Phase::AsTheyWere => {
                let cookies = self.needs_cookies();
                for outcome in self.settings.undo_again(&mut self.journal, cookies) {
                    info!("{outcome}, tried again");
                }
                Ok(())
            }
            Phase::Forced => self.relax_kernel_engine(),
            Phase::Draining(until) if now_ns() < until => Ok(()),
            Phase::Draining(_) if kernel && self.services.any_cookies_out() => Ok(()),
            Phase::Draining(_) => self.restore_kernel_engine(),
        }
    }

    /// The stack makes no more cookies than before, but goes on reading those
    /// that are out. An earlier guard may have left it making them.
    pub(super) fn relax_kernel_engine(&mut self) -> Result<(), ControllerError> {
        lower(&mut self.journal)?;
        if self.settings.phase == Phase::Forced {
            self.settings.phase = Phase::Draining(now_ns() + DRAIN_NS);
        }
        Ok(())
    }

    fn restore_kernel_engine(&mut self) -> Result<(), ControllerError> {
        // First no more cookies that need them: a service may begin to protect
        // at any moment.
        self.services.cookie_timestamps().ending = true;
        self.services
            .refresh(&mut self.datapath, &mut self.event_log)?;
        if self.services.any_protecting() {
            return Ok(());
        }
        let cookies = self.needs_cookies();
        self.settings.undo(&mut self.journal, cookies);
        self.settings.phase = Phase::AsTheyWere;
        Ok(())
    }

    /// Whether the kernel must take a cookie's connection, with either engine.
    fn needs_cookies(&self) -> bool {
        self.options.may_protect() || self.services.may_protect() || self.services.any_cookies_out()
    }

    /// The same, and says what went wrong: cookies then go without options, or
    /// SYNs to the stack.
    pub(super) fn keep_kernel_engine_or_say(&mut self) {
        if let Err(error) = self.keep_kernel_engine() {
            warn!("settings of the kernel engine: {}", one_line(&error));
        }
    }
}

fn is_changed<S: System>(journal: &Journal<S>, sysctl: &str) -> bool {
    let is = |change: &Change| matches!(change, Change::Sysctl { name, .. } if name == sysctl);
    journal.changes().iter().any(is)
}

/// Makes the settings what the engine needs; whether any was not.
/// Timestamps that the operator turned off stay off.
pub(super) fn need(journal: &mut Journal) -> Result<bool, ControllerError> {
    let mut changed = false;
    // In this order, and undone in the other one: a cookie whose timestamp the
    // stack reads with another offset than it was made with breaks its
    // connection.
    for (name, value, is_fine) in [
        (TIMESTAMPS, WITHOUT_OFFSET, [0, 2]),
        (SYNCOOKIES, ALWAYS, [2, 2]),
    ] {
        let found = sysctl::get_u64(name)?;
        if !is_fine.contains(&found) {
            journal.change(name, value)?;
            info!("{name} was {found}: it is {value} while a service protects");
            changed = true;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::tests::Fake;

    fn timestamps(engine: EngineKind, ending: bool, setting: u8) -> u8 {
        let settings = TcpSettings {
            timestamps: setting,
            ..TcpSettings::read().unwrap()
        };
        let cookies = CookieTimestamps {
            ending,
            ..CookieTimestamps::new(engine)
        };
        cookies.apply(settings).timestamps
    }

    #[test]
    fn cookies_of_the_kernels_carry_options_only_without_an_offset() {
        assert_eq!(timestamps(EngineKind::Kernel, false, 1), 0);
        assert_eq!(timestamps(EngineKind::Kernel, false, 2), 2);
        assert_eq!(timestamps(EngineKind::Kernel, true, 2), 0);
        for ending in [false, true] {
            assert_eq!(timestamps(EngineKind::Reqsk, ending, 1), 1);
        }
    }

    /// A journal whose `tcp_syncookies` was 0 and is 2.
    fn forced(directory: &tempfile::TempDir) -> (Fake, Journal<Fake>, KernelSettings) {
        let fake = Fake::new(directory.path());
        fake.put(SYNCOOKIES, "0");
        fake.put(TIMESTAMPS, "1");
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        journal.change(SYNCOOKIES, WHEN_FULL).unwrap();
        journal.change(TIMESTAMPS, WITHOUT_OFFSET).unwrap();
        journal.change(SYNCOOKIES, ALWAYS).unwrap();
        let settings = KernelSettings {
            phase: Phase::Draining(0),
            undoing: Undoing::default(),
        };
        (fake, journal, settings)
    }

    fn both(fake: &Fake) -> [String; 2] {
        [SYNCOOKIES, TIMESTAMPS].map(|name| fake.get(name).unwrap())
    }

    #[test]
    fn cookies_are_never_off_while_a_service_may_protect() {
        let directory = tempfile::tempdir().unwrap();
        let (fake, mut journal, mut settings) = forced(&directory);
        settings.undo(&mut journal, true);
        assert_eq!(both(&fake), ["1", "1"]);
        assert!(settings.undo_again(&mut journal, true).is_empty());
        assert_eq!(both(&fake), ["1", "1"]);
        // The stop still knows the way back.
        assert_eq!(journal.restore_all().unwrap().len(), 1);
        assert_eq!(both(&fake), ["0", "1"]);

        let (fake, mut journal, mut settings) = forced(&directory);
        settings.undo(&mut journal, false);
        assert_eq!(both(&fake), ["0", "1"]);
        assert!(journal.changes().is_empty());
    }

    #[test]
    fn what_is_tried_again_does_not_turn_cookies_off_either() {
        let directory = tempfile::tempdir().unwrap();
        let (fake, mut journal, mut settings) = forced(&directory);
        fake.refuse(true);
        settings.undo(&mut journal, false);
        fake.refuse(false);
        // Since then a service may protect.
        let done = settings.undo_again(&mut journal, true);
        assert_eq!(done.len(), 1, "{done:?}");
        assert_eq!(both(&fake), ["1", "1"]);
        assert!(settings.undo_again(&mut journal, false).is_empty());
        assert_eq!(both(&fake), ["1", "1"], "until the stop");
    }

    #[test]
    fn what_was_on_is_as_it_was_and_what_others_set_stays() {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        fake.put(SYNCOOKIES, "1");
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        journal.change(SYNCOOKIES, ALWAYS).unwrap();
        let mut settings = KernelSettings {
            phase: Phase::Draining(0),
            undoing: Undoing::default(),
        };
        settings.undo(&mut journal, true);
        assert_eq!(fake.get(SYNCOOKIES).unwrap(), "1");
        assert!(journal.changes().is_empty());

        fake.put(SYNCOOKIES, "0");
        journal.change(SYNCOOKIES, WHEN_FULL).unwrap();
        fake.put(SYNCOOKIES, "2");
        settings.undo(&mut journal, true);
        assert_eq!(fake.get(SYNCOOKIES).unwrap(), "2");
    }
}

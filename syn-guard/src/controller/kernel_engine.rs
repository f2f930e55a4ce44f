//! What the `kernel` engine changes while a service protects, and how the data
//! path is kept from sending cookies that the stack would misread.
//!
//! The stack validates: it must make cookies at all times
//! (`tcp_syncookies=2`), and it reads the options of a connection from the
//! timestamp that the ACK echoes, after taking away a secret offset unless
//! `tcp_timestamps` is 2 (`cookie_timestamp_decode`, Linux 6.1). So while it is
//! not 2 a cookie goes without timestamps.

use tracing::{error, info, warn};

use super::clock::now_ns;
use super::guarded::DRAIN_NS;
use super::undoing::Undoing;
use super::{Controller, ControllerError, SYNCOOKIES};
use crate::datapath::{Engine, one_line};
use crate::kernel::{TcpSettings, sysctl};
use crate::undo::{Change, Journal, Outcome};

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
    /// For this engine.
    pub const fn new(engine: &Engine) -> Self {
        Self {
            by_stack: matches!(engine, Engine::Kernel),
            ending: false,
        }
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
    /// At the start: an earlier guard may have left them changed.
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
}

impl Controller {
    /// Changes what the engine needs while a service protects, and undoes it
    /// after.
    pub(super) fn keep_kernel_engine(&mut self) -> Result<(), ControllerError> {
        let kernel = matches!(self.datapath.features.engine, Engine::Kernel);
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
                for outcome in self.settings.undoing.again(&mut self.journal) {
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
    /// that are out.
    pub(super) fn relax_kernel_engine(&mut self) -> Result<(), ControllerError> {
        if self.settings.phase == Phase::Forced {
            if is_changed(&self.journal, SYNCOOKIES) {
                self.journal.change(SYNCOOKIES, WHEN_FULL)?;
            }
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
        for name in [SYNCOOKIES, TIMESTAMPS] {
            match self.settings.undoing.undo(&mut self.journal, name) {
                Ok(Some(outcome @ Outcome::ChangedMeanwhile { .. })) => warn!("{outcome}"),
                Ok(Some(outcome)) => info!("{outcome}"),
                Ok(None) => {}
                Err(failed) => error!("{failed}"),
            }
        }
        self.settings.phase = Phase::AsTheyWere;
        Ok(())
    }

    /// The same, and says what went wrong: cookies then go without options, or
    /// SYNs to the stack.
    pub(super) fn keep_kernel_engine_or_say(&mut self) {
        if let Err(error) = self.keep_kernel_engine() {
            warn!("settings of the kernel engine: {}", one_line(&error));
        }
    }
}

fn is_changed(journal: &Journal, sysctl: &str) -> bool {
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

    fn timestamps(engine: &Engine, ending: bool, setting: u8) -> u8 {
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
        assert_eq!(timestamps(&Engine::Kernel, false, 1), 0);
        assert_eq!(timestamps(&Engine::Kernel, false, 2), 2);
        assert_eq!(timestamps(&Engine::Kernel, true, 2), 0);
        for ending in [false, true] {
            assert_eq!(timestamps(&Engine::Reqsk { function: 1 }, ending, 1), 1);
        }
    }
}

//! What the `kernel` engine changes while a service protects, and how the data
//! path is kept from sending cookies that the stack would misread.
//!
//! The stack validates: it must make cookies at all times
//! (`tcp_syncookies=2`), and it reads the options of a connection from the
//! timestamp that the ACK echoes, after taking away a secret offset unless
//! `tcp_timestamps` is 2 (`cookie_timestamp_decode`, Linux 6.1). So while it is
//! not 2 a cookie goes without timestamps.

use tracing::{error, info, warn};

use super::{Controller, ControllerError, SYNCOOKIES};
use crate::datapath::{Engine, one_line};
use crate::kernel::{TcpSettings, sysctl};
use crate::undo::{Journal, Outcome};

const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";
/// Cookies whether the queue is full or not.
const ALWAYS: &str = "2";
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

impl Controller {
    /// Changes what the engine needs while cookies are out, and undoes it
    /// after.
    pub(super) fn keep_kernel_engine(&mut self) -> Result<(), ControllerError> {
        if !matches!(self.datapath.features.engine, Engine::Kernel) {
            return Ok(());
        }
        let needed = self.services.any_cookies_out();
        if needed {
            if need(&mut self.journal)? || !self.needs_kernel_settings {
                self.needs_kernel_settings = true;
                self.services.cookie_timestamps().ending = false;
                self.services.refresh(&mut self.datapath)?;
            }
        } else if self.needs_kernel_settings {
            // First no more cookies that need them: a service may begin to
            // protect at any moment.
            self.services.cookie_timestamps().ending = true;
            self.services.refresh(&mut self.datapath)?;
            if self.services.any_cookies_out() {
                return Ok(());
            }
            for name in [TIMESTAMPS, SYNCOOKIES] {
                match self.journal.restore(name)? {
                    Some(outcome @ Outcome::Failed { .. }) => error!("{outcome}"),
                    Some(outcome @ Outcome::ChangedMeanwhile { .. }) => warn!("{outcome}"),
                    Some(outcome) => info!("{outcome}"),
                    None => {}
                }
            }
            self.needs_kernel_settings = false;
        }
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

/// Makes the settings what the engine needs; whether any was not.
/// Timestamps that the operator turned off stay off.
pub(super) fn need(journal: &mut Journal) -> Result<bool, ControllerError> {
    let mut changed = false;
    for (name, value, is_fine) in [
        (SYNCOOKIES, ALWAYS, [2, 2]),
        (TIMESTAMPS, WITHOUT_OFFSET, [0, 2]),
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

//! How many connections the stack refuses for want of backlog.

use tracing::warn;

use crate::controller::SYNCOOKIES;
use crate::kernel::sysctl;
use crate::kernel::tcp_ext::TcpExt;

/// The counters of this network namespace, second by second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused {
    last: Option<(u64, TcpExt)>,
}

impl Refused {
    /// Connections refused a second since the last call, whatever the service:
    /// the kernel does not tell.
    pub fn rate(&mut self, now_ns: u64) -> u64 {
        let counters = match TcpExt::read() {
            Ok(counters) => counters,
            Err(error) => {
                warn!("refused connections are not counted: {error}");
                self.last = None;
                return 0;
            }
        };
        // With 2 the stack sends a cookie whether its backlog is full or not.
        let always = sysctl::get_u64(SYNCOOKIES).is_ok_and(|value| value == 2);
        let last = self.last.replace((now_ns, counters));
        let Some((last_ns, last)) = last else {
            return 0;
        };
        let count = counters.refused_since(&last, always);
        let passed = u128::from(now_ns.saturating_sub(last_ns).max(1));
        // Rounded: seconds are never quite as long.
        let rate = (u128::from(count) * 1_000_000_000 + passed / 2) / passed;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

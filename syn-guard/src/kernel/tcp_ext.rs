//! The kernel's own counters of SYN queues and cookies.

use std::{fs, io};

const PATH: &str = "/proc/thread-self/net/netstat";

/// Why the counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TcpExtError {
    /// The file could not be read.
    #[error("cannot read {PATH}")]
    Read(#[source] io::Error),
    /// The file has no such lines.
    #[error("{PATH} has no TcpExt counters")]
    Missing,
}

/// Counters of this network namespace since it was made (`TcpExt` of
/// `/proc/net/netstat`; a counter that the kernel lacks is 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpExt {
    /// Connections refused because the accept queue was full.
    pub listen_overflows: u64,
    /// SYNs and final ACKs dropped at a listener, whatever the reason.
    pub listen_drops: u64,
    /// SYN cookies sent by the stack.
    pub syncookies_sent: u64,
    /// Cookies that came back and were valid.
    pub syncookies_recv: u64,
    /// ACKs without a socket and without a valid cookie.
    pub syncookies_failed: u64,
    /// SYNs answered with a cookie because the SYN queue was full.
    pub req_q_full_do_cookies: u64,
    /// SYNs dropped because the SYN queue was full.
    pub req_q_full_drop: u64,
}

impl TcpExt {
    /// Reads them for the calling thread's network namespace.
    pub fn read() -> Result<Self, TcpExtError> {
        let text = fs::read_to_string(PATH).map_err(TcpExtError::Read)?;
        Self::parse(&text).ok_or(TcpExtError::Missing)
    }

    /// Connections that were refused since `earlier` because a listener had as
    /// many half-open ones as its backlog allows, or, without cookies, nearly
    /// so. `always_cookies`: `tcp_syncookies` is 2, with which every SYN counts
    /// as one that found the queue full.
    ///
    /// `tcp_conn_request` (Linux 6.18) counts a SYN that it drops as
    /// `ListenDrops`, and one that the full accept queue stopped as
    /// `ListenOverflows` too: that the program is slow to accept is no flood.
    /// Final ACKs that the full accept queue stopped count as both as well.
    #[must_use]
    pub fn refused_since(&self, earlier: &Self, always_cookies: bool) -> u64 {
        let since = |count: fn(&Self) -> u64| count(self).saturating_sub(count(earlier));
        let dropped = since(|counters| counters.listen_drops)
            .saturating_sub(since(|counters| counters.listen_overflows))
            .max(since(|counters| counters.req_q_full_drop));
        if always_cookies {
            return dropped;
        }
        dropped.saturating_add(since(|counters| counters.req_q_full_do_cookies))
    }

    /// Names on one line, values on the next, both after `TcpExt:`.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, values) = (lines.next()?, lines.next()?);
        let mut read = Self::default();
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let counter = match name {
                "ListenOverflows" => &mut read.listen_overflows,
                "ListenDrops" => &mut read.listen_drops,
                "SyncookiesSent" => &mut read.syncookies_sent,
                "SyncookiesRecv" => &mut read.syncookies_recv,
                "SyncookiesFailed" => &mut read.syncookies_failed,
                "TCPReqQFullDoCookies" => &mut read.req_q_full_do_cookies,
                "TCPReqQFullDrop" => &mut read.req_q_full_drop,
                _ => continue,
            };
            *counter = value.parse().ok()?;
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_values() {
        let text = "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed Pruned ListenOverflows ListenDrops TCPReqQFullDoCookies TCPReqQFullDrop\n\
                    TcpExt: 1 2 3 99 4 5 6 18446744073709551615\n\
                    IpExt: InNoRoutes\nIpExt: 7\n";
        let expected = TcpExt {
            syncookies_sent: 1,
            syncookies_recv: 2,
            syncookies_failed: 3,
            listen_overflows: 4,
            listen_drops: 5,
            req_q_full_do_cookies: 6,
            req_q_full_drop: u64::MAX,
        };
        assert_eq!(TcpExt::parse(text), Some(expected));
    }

    #[test]
    fn tells_what_it_cannot_read() {
        assert_eq!(TcpExt::parse(""), None);
        assert_eq!(TcpExt::parse("TcpExt: ListenDrops\n"), None);
        assert_eq!(TcpExt::parse("TcpExt: ListenDrops\nTcpExt: x\n"), None);
    }

    #[test]
    fn what_a_slow_program_refuses_is_no_want_of_backlog() {
        let earlier = TcpExt {
            listen_drops: 100,
            ..TcpExt::default()
        };
        let later = TcpExt {
            listen_drops: 160,
            listen_overflows: 40,
            req_q_full_drop: 15,
            req_q_full_do_cookies: 7,
            ..TcpExt::default()
        };
        assert_eq!(later.refused_since(&earlier, false), 20 + 7);
        assert_eq!(later.refused_since(&earlier, true), 20);
        let slow = TcpExt {
            listen_drops: 140,
            listen_overflows: 45,
            ..TcpExt::default()
        };
        assert_eq!(slow.refused_since(&earlier, false), 0);
        assert_eq!(earlier.refused_since(&later, false), 0, "another namespace");
    }

    #[test]
    fn reads_this_kernel() {
        TcpExt::read().unwrap();
    }
}

//! Rows as net-tools' netstat prints them.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use crate::kernel::sock_diag::HalfOpen;

/// An address and a port take at most this, without the colon between them
/// (`addr_do_one`, net-tools 2.10).
const SHORT: usize = 22;

/// The lines of `netstat -nat | grep SYN_RECV`.
pub(super) fn write(half_open: &[HalfOpen], out: &mut dyn Write) -> io::Result<()> {
    for each in half_open {
        writeln!(
            out,
            "{:<4}  {:>6} {:>6} {:<23} {:<23} {:<11}",
            if each.ipv6_socket { "tcp6" } else { "tcp" },
            0,
            0,
            end(each.local),
            end(each.remote),
            "SYN_RECV",
        )?;
    }
    Ok(())
}

/// `ADDRESS:PORT` with the address cut to what the port leaves.
fn end(end: SocketAddr) -> String {
    let mut address = match end.ip() {
        IpAddr::V6(address) => ipv6(address),
        address => address.to_string(),
    };
    let port = match end.port() {
        0 => "*".to_owned(),
        port => port.to_string(),
    };
    address.truncate(SHORT - port.len());
    format!("{address}:{port}")
}

/// As inet_ntop(3), which writes `::192.0.2.1` for the long deprecated
/// IPv4-compatible addresses. A forged source may be one.
fn ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_addresses_are_cut() {
        let end = |text: &str| super::end(text.parse().unwrap());
        assert_eq!(end("198.18.0.1:80"), "198.18.0.1:80");
        assert_eq!(end("198.118.100.100:65535"), "198.118.100.100:65535");
        assert_eq!(
            end("[2001:db8:1234:5678:9abc:def0:1234:5678]:8080"),
            "2001:db8:1234:5678:8080"
        );
        assert_eq!(
            end("[2001:db8:ffff:ffff::1]:61254"),
            "2001:db8:ffff:fff:61254"
        );
        assert_eq!(end("[2001:db8::1]:443"), "2001:db8::1:443");
        assert_eq!(end("[::c000:201]:443"), "::192.0.2.1:443");
        assert_eq!(end("[::1]:443"), "::1:443");
        assert_eq!(end("[fe80::1%3]:443"), "fe80::1:443");
    }
}

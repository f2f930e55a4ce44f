//! The virtual services of IPVS in this network namespace: their connections are led to
//! another host or socket, by functions in netfilter that no table shows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `ip_vs_info_seq_show` (net/netfilter/ipvs/ip_vs_ctl.c).
const FILE: &str = "/proc/thread-self/net/ip_vs";
/// So many bytes of it are read: whether there are any services stands at its begin, and a
/// host of Kubernetes has thousands.
const MOST: u64 = 64 * 1024;
/// The header's first words.
const HEADER: [&str; 2] = ["IP Virtual Server version ", "Prot LocalAddress:Port "];

/// The services, a line each; the first ones, where there are hundreds. None where the
/// kernel has no IPVS.
#[must_use]
pub fn services() -> Vec<String> {
    let text = read().unwrap_or_default();
    listed(&String::from_utf8_lossy(&text))
}

/// Addresses and ports of services of TCP; port 0 is all of an address. What goes by a mark
/// of the firewall's has none.
#[must_use]
pub fn addresses(services: &[String]) -> BTreeSet<(IpAddr, u16)> {
    services.iter().filter_map(|line| address(line)).collect()
}

/// Both are written in hexadecimal, but for IPv6 addresses, which are in brackets.
fn address(line: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.split_whitespace();
    let (address, port) = (words.next()? == "TCP")
        .then(|| words.next())?
        .and_then(|at| at.rsplit_once(':'))?;
    let address = match address.strip_prefix('[') {
        Some(ipv6) => ipv6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

fn read() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(FILE)?.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// The lines of services. The real servers' are indented, and count connections, which
/// change all the time.
fn listed(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .filter(|line| !HEADER.iter().any(|header| line.starts_with(header)))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.12 writes it.
    const NONE: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  \
          -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    #[test]
    fn a_kernel_that_has_no_services_lists_none() {
        assert!(listed("").is_empty());
        assert!(listed(NONE).is_empty());
    }

    #[test]
    fn each_service_counts_and_what_its_servers_do_does_not() {
        let with = |connections: u32| {
            format!(
                "{NONE}\
                 TCP  0A60000A:1F90 rr \n  \
                   -> 0AC80002:1F90      Masq    1      {connections}          3         \n\
                 TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:1F90 rr persistent 300 FFFFFFFF\n  \
                   -> [2001:0db8:0000:0200:0000:0000:0000:0002]:1F90      Masq    1      0          0\n\
                 FWM  00000001 wlc \n"
            )
        };
        let found = listed(&with(0));
        assert_eq!(
            found,
            [
                "TCP  0A60000A:1F90 rr",
                "TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:1F90 rr persistent 300 FFFFFFFF",
                "FWM  00000001 wlc",
            ]
        );
        assert_eq!(listed(&with(17)), found);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10);
        assert_eq!(
            addresses(&found),
            [
                (Ipv4Addr::new(10, 96, 0, 10).into(), 8080),
                (ipv6.into(), 8080)
            ]
            .into()
        );
    }

    #[test]
    fn only_services_of_tcp_have_an_address() {
        for line in [
            "UDP  0A60000A:1F90 rr",
            "FWM  00000001 wlc",
            "TCP  0A60000A",
            "TCP",
        ] {
            assert_eq!(address(line), None, "{line}");
        }
    }
}

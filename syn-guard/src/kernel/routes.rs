//! The interfaces of the default routes.

use std::{fs, io};

const IPV4: &str = "/proc/thread-self/net/route";
const IPV6: &str = "/proc/thread-self/net/ipv6_route";

/// `RTF_UP` and `RTF_REJECT` of `route.h`.
const RTF_UP: u32 = 1;
const RTF_REJECT: u32 = 0x200;

/// Why the routes could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct RouteError {
    path: &'static str,
    source: io::Error,
}

type Parse = for<'a> fn(&'a str) -> Vec<(u32, &'a str)>;

/// The interfaces that default routes leave by, the preferred first: IPv4's
/// by metric, then IPv6's. Each once; the loopback interface never.
pub fn default_route() -> Result<Vec<String>, RouteError> {
    let mut found = Vec::new();
    let files: [(_, Parse); 2] = [(IPV4, parse_ipv4), (IPV6, parse_ipv6)];
    for (path, parse) in files {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // Without IPv6 there is no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(RouteError { path, source }),
        };
        let mut routes = parse(&text);
        routes.sort_by_key(|&(metric, _)| metric);
        for (_, interface) in routes {
            if interface != "lo" && !found.iter().any(|name| name == interface) {
                found.push(interface.to_owned());
            }
        }
    }
    Ok(found)
}

/// Metric and interface of each default route in `/proc/net/route`:
/// `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT`.
fn parse_ipv4(text: &str) -> Vec<(u32, &str)> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[interface, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice()
            else {
                return None;
            };
            let default = destination == "00000000" && mask == "00000000";
            (default && usable(flags)).then_some((metric.parse().ok()?, interface))
        })
        .collect()
}

/// The same for `/proc/net/ipv6_route`: destination, its prefix length,
/// source, its length, next hop, metric, references, uses, flags, interface.
fn parse_ipv6(text: &str) -> Vec<(u32, &str)> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[destination, length, _, _, _, metric, _, _, flags, interface] = fields.as_slice()
            else {
                return None;
            };
            let default = length == "00" && destination.bytes().all(|byte| byte == b'0');
            let metric = u32::from_str_radix(metric, 16).ok()?;
            (default && usable(flags)).then_some((metric, interface))
        })
        .collect()
}

fn usable(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (RTF_UP | RTF_REJECT) == RTF_UP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
*\t00000000\t00000000\t0200\t0\t0\t4278198272\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000080\t0\t0\t0
";

    const IPV6_ROUTE: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00450003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn finds_the_default_routes() {
        assert_eq!(parse_ipv4(ROUTE), [(600, "wlan0"), (100, "eth0")]);
        assert_eq!(parse_ipv6(IPV6_ROUTE), [(1024, "eth1")]);
        assert_eq!(parse_ipv4(""), []);
        assert_eq!(parse_ipv6("nonsense\n"), []);
    }

    #[test]
    fn reads_this_kernel() {
        assert!(!default_route().unwrap().contains(&"lo".to_owned()));
    }
}

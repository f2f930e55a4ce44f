//! Routes of the main table, with what a SYN-ACK by them depends on.
//!
//! Routes of other tables (policy routing, VRF), routes for one TOS, and what
//! path MTU discovery learned of single clients are left out.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NlasIterator, parse_u32};

use super::interfaces::{InterfaceError, PROTOCOL};
use super::netlink::{NetlinkError, attributes, dump};

/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;
/// `RTN_UNICAST`, `RTN_BLACKHOLE`, `RTN_UNREACHABLE`, `RTN_PROHIBIT` and `RT_TABLE_MAIN` of
/// `rtnetlink.h`.
const UNICAST: u8 = 1;
const SILENT: [u8; 3] = [6, 7, 8];
const MAIN: u32 = 254;
/// `RTN_LOCAL`, `RTN_BROADCAST` and `RTN_ANYCAST`, and `RT_TABLE_LOCAL`.
const OWN: [u8; 3] = [2, 3, 4];
const LOCAL: u32 = 255;
/// `RTNH_F_DEAD`: its device is down.
const DEAD: u32 = 1;
/// Bytes of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// Rules that there are where nobody made any: for the tables `local`, `main` and, with
/// IPv4, `default` (`fib_default_rules_init`, `fib6_rules_net_init`, Linux 6.18).
const IPV4_RULES: usize = 3;
const IPV6_RULES: usize = 2;
/// More routes than this are not kept, only their [`Way`]s.
const MAX_ROUTES: usize = 65_536;
/// `RTAX_*` of `rtnetlink.h`.
const RTAX_MTU: u16 = 2;
const RTAX_WINDOW: u16 = 3;
const RTAX_ADVMSS: u16 = 8;
const RTAX_HOPLIMIT: u16 = 10;
const RTAX_FEATURES: u16 = 12;
const RTAX_INITRWND: u16 = 14;
/// `RTAX_FEATURE_ECN`.
const FEATURE_ECN: u32 = 1;

/// What a route says of itself; 0: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metrics {
    /// MTU, bytes.
    pub mtu: u32,
    /// Largest window, bytes.
    pub window: u32,
    /// MSS to advertise, bytes.
    pub advmss: u32,
    /// TTL or hop limit.
    pub hop_limit: u32,
    /// First window, segments.
    pub initrwnd: u32,
    /// ECN is accepted whatever `net.ipv4.tcp_ecn` says (`features ecn`).
    pub ecn: bool,
    /// Nothing goes there (`blackhole`, `unreachable`, `prohibit`).
    pub silent: bool,
}

/// How a route leaves this host: metrics and devices, several for a route
/// with several next hops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Way {
    /// The route's metrics.
    pub metrics: Metrics,
    /// Indexes of the devices.
    pub devices: Vec<u32>,
}

/// A prefix of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Its bits.
    pub length: u8,
    /// Its first address.
    pub address: IpAddr,
}

/// All routes of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The different ways.
    pub ways: Vec<Way>,
    /// The preferred route of each prefix, as an index of `ways`.
    pub by_prefix: HashMap<Prefix, usize>,
    /// There were more than are kept.
    pub cut: bool,
    /// The host's own addresses and the broadcast addresses of its links.
    pub own: BTreeSet<IpAddr>,
    /// Other tables have routes, or rules send some packets elsewhere: where this one has
    /// no route, others may.
    pub others: bool,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// A route of the main table with its metric.
    Route(Prefix, u32, Way),
    /// An own address, or a link's broadcast address.
    Own(IpAddr),
    /// A route of another table.
    Other,
}

/// Reads the routes of IPv4 or IPv6.
pub fn routes(ipv6: bool) -> Result<Routes, InterfaceError> {
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let mut request = [0; HEADER];
    request[0] = family;
    let mut found = Collected::default();
    let outcome = dump(PROTOCOL, libc::RTM_GETROUTE, &request, |kind, payload| {
        if kind == libc::RTM_NEWROUTE
            && let Some(message) = route(payload, ipv6)?
        {
            match message {
                Message::Route(prefix, metric, way) => found.add(prefix, metric, way),
                Message::Own(address) => {
                    found.routes.own.insert(address);
                }
                Message::Other => found.routes.others = true,
            }
        }
        Ok(())
    });
    match outcome {
        // A change meanwhile makes it be read again anyway.
        Ok(_) => {
            let mut routes = found.routes;
            routes.others |= rules(family)? > if ipv6 { IPV6_RULES } else { IPV4_RULES };
            Ok(routes)
        }
        // A kernel without IPv6 knows no such routes.
        Err(NetlinkError::Refused(_)) if ipv6 => Ok(Routes::default()),
        Err(error) => Err(error.into()),
    }
}

/// The number of rules of a family.
fn rules(family: u8) -> Result<usize, InterfaceError> {
    let mut request = [0; HEADER];
    request[0] = family;
    let mut count = 0;
    let outcome = dump(PROTOCOL, libc::RTM_GETRULE, &request, |kind, _| {
        count += usize::from(kind == libc::RTM_NEWRULE);
        Ok(())
    });
    match outcome {
        Ok(_) => Ok(count),
        // A kernel without policy routing.
        Err(NetlinkError::Refused(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Routes as they come.
#[derive(Default)]
struct Collected {
    routes: Routes,
    numbers: HashMap<Way, usize>,
    /// The metric of the preferred route of each prefix.
    metric: HashMap<Prefix, u32>,
}

impl Collected {
    fn add(&mut self, prefix: Prefix, metric: u32, way: Way) {
        let ways = &mut self.routes.ways;
        let number = *self.numbers.entry(way).or_insert_with_key(|way| {
            ways.push(way.clone());
            ways.len() - 1
        });
        if self.metric.get(&prefix).is_some_and(|best| *best <= metric) {
            return;
        }
        // The default route is what clients in general are reached by.
        if self.metric.len() >= MAX_ROUTES && prefix.length != 0 {
            self.routes.cut = true;
            return;
        }
        self.metric.insert(prefix, metric);
        self.routes.by_prefix.insert(prefix, number);
    }
}

/// One `RTM_NEWROUTE`; none where it says nothing of clients.
fn route(payload: &[u8], ipv6: bool) -> Result<Option<Message>, NetlinkError> {
    // struct rtmsg: destination's and source's bits at 1 and 2, TOS at 3,
    // table at 4, type at 7, flags at 8.
    let &[_, length, from, tos, table, _, _, kind, ..] = payload else {
        return Ok(None);
    };
    let flags = parse_u32(payload.get(8..12).unwrap_or_default())?;
    let unusable = flags & DEAD != 0;
    let silent = SILENT.contains(&kind);
    let own = OWN.contains(&kind);
    if (kind != UNICAST && !silent && !own) || from != 0 || tos != 0 || unusable {
        return Ok(None);
    }
    let mut address: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let (mut table, mut metric, mut way) = (u32::from(table), 0, Way::default());
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            libc::RTA_DST => {
                address = match (<[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
                    (Ok(octets), _) => octets.into(),
                    (_, Ok(octets)) => octets.into(),
                    // Another family's, such as MPLS.
                    _ => return Ok(None),
                }
            }
            libc::RTA_TABLE => table = parse_u32(value)?,
            libc::RTA_PRIORITY => metric = parse_u32(value)?,
            libc::RTA_OIF => way.devices.push(parse_u32(value)?),
            libc::RTA_METRICS => way.metrics = metrics(value)?,
            libc::RTA_MULTIPATH => way.devices.extend(next_hops(value)?),
            _ => {}
        }
    }
    way.devices.sort_unstable();
    way.devices.dedup();
    if silent {
        // IPv6 names the loopback device.
        way = Way::default();
        way.metrics.silent = true;
    }
    let whole = if ipv6 { 128 } else { 32 };
    Ok(match table {
        LOCAL if own && length == whole => Some(Message::Own(address)),
        _ if own => None,
        MAIN => Some(Message::Route(Prefix { length, address }, metric, way)),
        LOCAL => None,
        _ => Some(Message::Other),
    })
}

/// The nested attributes of `RTA_METRICS`.
fn metrics(nested: &[u8]) -> Result<Metrics, NetlinkError> {
    let mut read = Metrics::default();
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute?;
        // The congestion control's name has another size.
        let Ok(value) = parse_u32(attribute.value()) else {
            continue;
        };
        match attribute.kind() {
            RTAX_MTU => read.mtu = value,
            RTAX_WINDOW => read.window = value,
            RTAX_ADVMSS => read.advmss = value,
            RTAX_HOPLIMIT => read.hop_limit = value,
            RTAX_FEATURES => read.ecn = value & FEATURE_ECN != 0,
            RTAX_INITRWND => read.initrwnd = value,
            _ => {}
        }
    }
    Ok(read)
}

/// The devices of `RTA_MULTIPATH`: `struct rtnexthop` (length at 0, device at
/// 4), each with attributes behind it.
fn next_hops(mut rest: &[u8]) -> Result<Vec<u32>, NetlinkError> {
    let mut devices = Vec::new();
    while let Some(&[low, high, ..]) = rest.get(..NEXT_HOP) {
        devices.push(parse_u32(&rest[4..8])?);
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let step = length.max(NEXT_HOP).next_multiple_of(4);
        rest = rest.get(step..).unwrap_or_default();
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn word(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_ne_bytes())
    }

    fn message(length: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![2, length, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn a_route_is_read_with_its_metrics() {
        let inner = [
            word(RTAX_MTU, 1400),
            word(RTAX_ADVMSS, 1000),
            word(RTAX_INITRWND, 20),
            word(RTAX_FEATURES, 1),
            attribute(16, b"cubic\0"),
        ];
        let bytes = message(
            8,
            UNICAST,
            &[
                attribute(libc::RTA_DST, &[10, 0, 0, 0]),
                word(libc::RTA_PRIORITY, 100),
                word(libc::RTA_OIF, 3),
                attribute(libc::RTA_METRICS, &inner.concat()),
            ],
        );
        let Some(Message::Route(prefix, metric, way)) = route(&bytes, false).unwrap() else {
            panic!("no route");
        };
        assert_eq!(prefix.length, 8);
        assert_eq!(prefix.address, IpAddr::from([10, 0, 0, 0]));
        assert_eq!((metric, way.devices.as_slice()), (100, &[3][..]));
        let expected = Metrics {
            mtu: 1400,
            advmss: 1000,
            initrwnd: 20,
            ecn: true,
            ..Metrics::default()
        };
        assert_eq!(way.metrics, expected);
        // A local prefix, and a route of another table.
        assert_eq!(route(&message(8, 2, &[]), false).unwrap(), None);
        let other = message(0, UNICAST, &[word(libc::RTA_TABLE, 1000)]);
        assert_eq!(route(&other, false).unwrap(), Some(Message::Other));
        assert!(route(&[2, 8], false).unwrap().is_none());
    }

    #[test]
    fn own_and_broadcast_addresses_are_told() {
        let address = attribute(libc::RTA_DST, &[198, 18, 0, 255]);
        for kind in OWN {
            let local = word(libc::RTA_TABLE, LOCAL);
            let bytes = message(32, kind, &[address.clone(), local]);
            let expected = Message::Own([198, 18, 0, 255].into());
            assert_eq!(route(&bytes, false).unwrap(), Some(expected));
        }
        // Not those of other tables, as a VRF's.
        assert_eq!(route(&message(32, 2, &[address]), false).unwrap(), None);
    }

    #[test]
    fn every_next_hop_counts() {
        let hop = |device: u32| {
            let mut bytes = vec![16, 0, 0, 0];
            bytes.extend_from_slice(&device.to_ne_bytes());
            bytes.extend(attribute(libc::RTA_GATEWAY, &[10, 0, 0, 1]));
            bytes
        };
        let hops = [hop(7), hop(5), hop(7)].concat();
        let bytes = message(0, UNICAST, &[attribute(libc::RTA_MULTIPATH, &hops)]);
        let Some(Message::Route(_, _, way)) = route(&bytes, false).unwrap() else {
            panic!("no route");
        };
        assert_eq!(way.devices, [5, 7]);
    }

    #[test]
    fn the_lowest_metric_of_a_prefix_wins() {
        let prefix = Prefix {
            length: 8,
            address: IpAddr::from([10, 0, 0, 0]),
        };
        let way = |device| Way {
            devices: vec![device],
            ..Way::default()
        };
        let mut found = Collected::default();
        for (metric, device) in [(100, 1), (50, 2), (50, 3), (70, 1)] {
            found.add(prefix, metric, way(device));
        }
        assert_eq!(found.routes.ways[found.routes.by_prefix[&prefix]], way(2));
    }

    #[test]
    fn a_huge_table_is_cut_but_for_its_default_route() {
        let mut found = Collected::default();
        let prefix = |number: u32, length| Prefix {
            length,
            address: Ipv4Addr::from(number).into(),
        };
        for number in 0..=MAX_ROUTES as u32 {
            found.add(prefix(number, 32), 0, Way::default());
        }
        found.add(prefix(0, 0), 0, Way::default());
        assert!(found.routes.cut);
        assert_eq!(found.routes.by_prefix.len(), MAX_ROUTES + 1);
        assert_eq!(found.routes.ways.len(), 1);
    }

    #[test]
    fn reads_this_kernel() {
        for ipv6 in [false, true] {
            for (prefix, way) in routes(ipv6).unwrap().by_prefix {
                assert_eq!(prefix.address.is_ipv6(), ipv6, "{prefix:?} {way}");
            }
        }
    }
}

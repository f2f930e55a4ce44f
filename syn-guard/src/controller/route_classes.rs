//! Route classes: sets of clients whose route makes the SYN-ACK another one.

use std::collections::{BTreeMap, HashMap};

use syn_guard_common::abi::RouteKey;

use super::closed::{Closed, Closures};
use super::place::Place;
use crate::kernel::TcpSettings;
use crate::kernel::route_metrics::{Routes, Way};

/// Classes of a family at most, that of clients in general among them.
pub const MAX_CLASSES: usize = 16;
/// Bytes of the headers that the MTU holds beside the payload.
const IPV4_HEADERS: u32 = 40;
const IPV6_HEADERS: u32 = 60;
/// The largest MSS: `IPV4_MAX_PMTU` without the headers, and what stands for
/// "any" in IPv6 (`ip6_default_advmss`, Linux 6.18).
const IPV4_MOST_MSS: u32 = 65_495;
const IPV6_MOST_MSS: u32 = 65_515;
const ANY_MSS: u32 = 65_535;
/// The least MTU of IPv6, that of a device without IPv6 addresses too.
const IPV6_LEAST_MTU: u32 = 1280;

/// What a route gives a SYN-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The MSS to advertise, bytes.
    pub mss: u16,
    /// The largest window, bytes; 0: any.
    pub window: u32,
    /// The first window, segments; 0: any.
    pub segments: u32,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// ECN is accepted whatever the settings say.
    pub ecn: bool,
    /// Nothing goes there: the stack answers no SYN from there.
    pub silent: bool,
    /// The services that answer no SYN from there.
    pub closed: Closed,
}

/// A device that routes leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its MTU for IPv6, bytes.
    pub ipv6_mtu: u32,
    /// Its hop limit for IPv6.
    pub ipv6_hop_limit: u8,
}

impl Path {
    /// The path of a route (`ipv4_default_advmss`, `ip6_default_advmss`,
    /// `ip4_dst_hoplimit` and `ip6_dst_hoplimit`, Linux 6.18); the least MSS of
    /// its next hops.
    #[must_use]
    pub fn new(
        way: &Way,
        ipv6: bool,
        devices: &HashMap<u32, Device>,
        settings: &TcpSettings,
    ) -> Self {
        let metrics = &way.metrics;
        let there = || way.devices.iter().filter_map(|index| devices.get(index));
        let least = |mtu: fn(&Device) -> u32| {
            if metrics.mtu != 0 {
                metrics.mtu
            } else {
                there().map(mtu).min().unwrap_or(IPV6_LEAST_MTU)
            }
        };
        let mss = match (metrics.advmss, ipv6) {
            (0, false) => least(|device| device.mtu)
                .saturating_sub(IPV4_HEADERS)
                .max(settings.least_mss)
                .min(IPV4_MOST_MSS),
            (0, true) => {
                let mss = least(|device| device.ipv6_mtu)
                    .saturating_sub(IPV6_HEADERS)
                    .max(settings.ipv6_least_mss);
                if mss > IPV6_MOST_MSS { ANY_MSS } else { mss }
            }
            (mss, _) => mss,
        };
        let hop_limit = match (metrics.hop_limit, ipv6) {
            (0, false) => settings.default_ttl,
            (0, true) => there()
                .map(|device| device.ipv6_hop_limit)
                .min()
                .unwrap_or(settings.ipv6_hop_limit),
            (limit, _) => limit.min(255) as u8,
        };
        Self {
            mss: mss.min(ANY_MSS) as u16,
            window: metrics.window,
            segments: metrics.initrwnd,
            hop_limit,
            ecn: metrics.ecn,
            silent: metrics.silent,
            closed: 0,
        }
    }
}

/// The clients of a family, whatever their routes.
#[derive(Clone, Copy, Debug)]
pub struct Clients<'a> {
    /// Of IPv6, or of IPv4.
    pub ipv6: bool,
    /// The path where there is no route.
    pub otherwise: Path,
    /// To whom services are closed.
    pub closures: &'a Closures,
}

/// The route classes of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// The path of each class. The first is that of clients in general.
    paths: [Option<Path>; MAX_CLASSES],
    /// The prefixes of clients whose class is another than that of the prefix
    /// around them.
    pub prefixes: HashMap<RouteKey, u32>,
    /// There were too many to tell all apart.
    pub cut: bool,
}

impl Classes {
    /// One class for everybody.
    #[must_use]
    pub fn one(path: Path) -> Self {
        let mut paths = [None; MAX_CLASSES];
        paths[0] = Some(path);
        Self {
            paths,
            prefixes: HashMap::new(),
            cut: false,
        }
    }

    /// The classes of these routes, whose ways have these `paths`. A path that had a class `before`
    /// keeps it: connections that are being made go by it. With more classes or
    /// prefixes than there is room for, everybody gets the least MSS, and a service that
    /// is closed to some is closed to all.
    #[must_use]
    pub fn new(
        routes: &Routes,
        paths: &[Path],
        clients: &Clients<'_>,
        before: Option<&Self>,
        max_prefixes: usize,
    ) -> Self {
        let mut all: BTreeMap<Place, Path> = routes
            .by_prefix
            .iter()
            .filter_map(|(prefix, way)| {
                let place = Place::new(prefix.address, prefix.length);
                Some((place, *paths.get(*way)?))
            })
            .collect();
        // The default route's; without one, that of the largest prefix.
        let mut answered = all.values().filter(|path| !path.silent);
        let mut base = *answered.next().unwrap_or(&clients.otherwise);
        let everybody = Place::everybody(clients.ipv6);
        if !(routes.others || routes.cut || all.is_empty()) {
            // No way back to anybody else.
            all.entry(everybody).or_insert(Path {
                silent: true,
                ..base
            });
        }
        clients.closures.apply(clients.ipv6, &mut all, &mut base);
        let too_many = || Self {
            cut: true,
            ..Self::one(Path {
                mss: paths
                    .iter()
                    .filter(|path| !path.silent)
                    .fold(base.mss, |least, path| least.min(path.mss)),
                closed: clients.closures.all(),
                ..base
            })
        };
        let mut others: Vec<Path> = Vec::new();
        for path in all.values().filter(|path| **path != base) {
            if !others.contains(path) {
                others.push(*path);
            }
            if others.len() >= MAX_CLASSES {
                return too_many();
            }
        }
        if routes.cut && (!others.is_empty() || paths.iter().any(|path| *path != base)) {
            return too_many();
        }
        let mut classes = Self::one(base);
        classes.number(&others, before);
        classes.prefixes = classes.distinct(&all);
        if classes.prefixes.len() > max_prefixes {
            return too_many();
        }
        classes
    }

    fn number(&mut self, paths: &[Path], before: Option<&Self>) {
        let old = |path: &Path| {
            before?
                .paths
                .iter()
                .skip(1)
                .position(|p| p.as_ref() == Some(path))
        };
        let (known, new): (Vec<&Path>, Vec<&Path>) =
            paths.iter().partition(|path| old(path).is_some());
        for path in known {
            if let Some(at) = old(path) {
                self.paths[at + 1] = Some(*path);
            }
        }
        let mut free: Vec<&mut Option<Path>> = self
            .paths
            .iter_mut()
            .filter(|path| path.is_none())
            .collect();
        for (place, path) in free.iter_mut().zip(new) {
            **place = Some(*path);
        }
    }

    /// The prefixes of `all`, shortest first, with another class than their
    /// surroundings'.
    fn distinct(&self, all: &BTreeMap<Place, Path>) -> HashMap<RouteKey, u32> {
        let numbers: HashMap<Path, u32> = self.all().map(|(class, path)| (*path, class)).collect();
        let mut kept: HashMap<Place, u32> = HashMap::new();
        let mut lengths: Vec<u32> = Vec::new();
        for (place, path) in all {
            let class = numbers.get(path).copied().unwrap_or(0);
            let around = lengths
                .iter()
                .rev()
                .find_map(|bits| kept.get(&place.shortened(*bits)))
                .copied()
                .unwrap_or(0);
            if class == around {
                continue;
            }
            kept.insert(*place, class);
            if lengths.last() != Some(&place.bits()) {
                lengths.push(place.bits());
            }
        }
        kept.iter()
            .map(|(place, class)| (place.route_key(), *class))
            .collect()
    }

    /// The classes with their paths, that of clients in general first.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Path)> {
        (0..)
            .zip(&self.paths)
            .filter_map(|(class, path)| Some((class, path.as_ref()?)))
    }
}

#[cfg(test)]
/// A path as most are.
pub const PATH: Path = Path {
    mss: 1460,
    window: 0,
    segments: 0,
    hop_limit: 64,
    ecn: false,
    silent: false,
    closed: 0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::route_metrics::{Metrics, Prefix};

    fn clients(closures: &Closures) -> Clients<'_> {
        Clients {
            ipv6: false,
            otherwise: PATH,
            closures,
        }
    }

    fn with_mss(mss: u16) -> Path {
        Path { mss, ..PATH }
    }

    /// Routes given as prefix and index of a path.
    fn routes(all: &[(&str, usize)]) -> Routes {
        let by_prefix = all
            .iter()
            .map(|(text, way)| {
                let (address, length) = text.split_once('/').unwrap();
                let prefix = Prefix {
                    length: length.parse().unwrap(),
                    address: address.parse().unwrap(),
                };
                (prefix, *way)
            })
            .collect();
        Routes {
            by_prefix,
            others: true,
            ..Routes::default()
        }
    }

    fn classes(all: &[(&str, usize)], paths: &[Path]) -> Classes {
        let ipv6 = all.iter().any(|(text, _)| text.contains(':'));
        let closures = Closures::default();
        let clients = Clients {
            ipv6,
            ..clients(&closures)
        };
        Classes::new(&routes(all), paths, &clients, None, 100)
    }

    /// The MSS that the longest prefix around an address leads to.
    fn mss(classes: &Classes, address: &str) -> u16 {
        let address = Place::new(
            address.parse().unwrap(),
            if address.contains(':') { 128 } else { 32 },
        );
        let class = (0..=128)
            .rev()
            .find_map(|bits| classes.prefixes.get(&address.shortened(bits).route_key()))
            .copied()
            .unwrap_or(0);
        classes
            .all()
            .find(|(number, _)| *number == class)
            .unwrap()
            .1
            .mss
    }

    #[test]
    fn only_what_differs_from_its_surroundings_is_told() {
        let paths = [PATH, with_mss(1000), with_mss(8960)];
        let all = classes(
            &[
                ("0.0.0.0/0", 0),
                ("198.18.0.0/24", 0),
                ("10.0.0.0/8", 1),
                ("10.1.0.0/16", 1),
                ("10.2.0.0/16", 0),
                ("10.2.3.0/24", 2),
                ("10.2.3.4/32", 0),
            ],
            &paths,
        );
        assert_eq!(all.prefixes.len(), 4);
        for (address, expected) in [
            ("1.1.1.1", 1460),
            ("198.18.0.9", 1460),
            ("10.9.0.1", 1000),
            ("10.1.0.1", 1000),
            ("10.2.0.1", 1460),
            ("10.2.3.9", 8960),
            ("10.2.3.4", 1460),
        ] {
            assert_eq!(mss(&all, address), expected, "{address}");
        }
        let key = all.prefixes.keys().map(|key| key.bits).max();
        assert_eq!(key, Some(128));
    }

    #[test]
    fn where_nothing_goes_is_a_class_of_its_own_and_never_the_first() {
        let silent = Path {
            silent: true,
            ..PATH
        };
        let paths = [silent, with_mss(1000)];
        let all = classes(&[("0.0.0.0/0", 0), ("198.18.0.0/15", 1)], &paths);
        let is_silent = |class| {
            all.all()
                .any(|(number, path)| number == class && path.silent)
        };
        assert!(!is_silent(0));
        assert_eq!(mss(&all, "198.18.0.1"), 1000);
        let everybody = Place::everybody(false).route_key();
        assert!(
            all.prefixes
                .get(&everybody)
                .is_some_and(|class| is_silent(*class))
        );
    }

    #[test]
    fn without_a_default_route_in_any_table_nobody_else_is_answered() {
        let closures = Closures::default();
        let silent = |others, list: &[(&str, usize)]| {
            let routes = Routes {
                others,
                ..routes(list)
            };
            let all = Classes::new(&routes, &[PATH], &clients(&closures), None, 100);
            all.all().any(|(_, path)| path.silent)
        };
        let on_link = [("198.18.0.0/24", 0)];
        assert!(silent(false, &on_link));
        assert!(!silent(true, &on_link));
        assert!(!silent(false, &[("0.0.0.0/0", 0), ("198.18.0.0/24", 0)]));
        assert!(!silent(false, &[]), "nothing is known");
    }

    #[test]
    fn ipv6_prefixes_are_told_as_they_are() {
        let paths = [with_mss(1440), with_mss(1220)];
        let all = classes(&[("::/0", 0), ("2001:db8::/32", 1)], &paths);
        assert_eq!(mss(&all, "2001:db8::7"), 1220);
        assert_eq!(mss(&all, "2001:db9::7"), 1440);
        assert_eq!(all.prefixes.keys().next().unwrap().bits, 32);
    }

    #[test]
    fn without_a_default_route_the_largest_prefix_is_the_first_class() {
        let paths = [PATH, with_mss(8960)];
        let all = classes(&[("198.18.0.0/24", 0), ("10.0.0.0/8", 1)], &paths);
        assert_eq!(all.all().next().unwrap().1.mss, 8960);
        assert_eq!(mss(&all, "198.18.0.9"), 1460);
        assert_eq!(classes(&[], &[]), Classes::one(PATH));
    }

    #[test]
    fn a_path_keeps_its_class() {
        let paths = [PATH, with_mss(1000), with_mss(1100)];
        let before = classes(&[("0.0.0.0/0", 0), ("10.0.0.0/8", 2)], &paths);
        let now = routes(&[("0.0.0.0/0", 0), ("10.0.0.0/8", 2), ("11.0.0.0/8", 1)]);
        let all = Classes::new(
            &now,
            &paths,
            &clients(&Closures::default()),
            Some(&before),
            100,
        );
        let numbers: Vec<_> = all.all().map(|(class, path)| (class, path.mss)).collect();
        assert_eq!(numbers, [(0, 1460), (1, 1100), (2, 1000)]);
    }

    #[test]
    fn too_many_get_the_least_mss() {
        let paths: Vec<Path> = (0..MAX_CLASSES as u16)
            .map(|n| with_mss(1460 - n))
            .collect();
        let text: Vec<String> = (0..=MAX_CLASSES).map(|n| format!("{n}.0.0.0/8")).collect();
        let list = |count: usize| -> Vec<(&str, usize)> {
            (0..count).map(|n| (text[n].as_str(), n)).collect()
        };
        let fits = classes(&list(MAX_CLASSES), &paths);
        assert!(!fits.cut);
        assert_eq!(fits.all().count(), MAX_CLASSES);
        assert_eq!(mss(&fits, "15.0.0.1"), 1445);

        let open = Closures::default();
        let few = Classes::new(
            &routes(&list(MAX_CLASSES)),
            &paths,
            &clients(&open),
            None,
            14,
        );
        let expected = Classes {
            cut: true,
            ..Classes::one(with_mss(1445))
        };
        assert_eq!(few, expected);
        let more = [paths, vec![with_mss(999)]].concat();
        let all = classes(&list(MAX_CLASSES + 1), &more);
        assert!(all.cut && all.prefixes.is_empty());
        assert_eq!(mss(&all, "3.0.0.1"), 999);
        // A cut table says nothing of where the others are.
        let cut = Routes {
            cut: true,
            ..routes(&[("0.0.0.0/0", 0)])
        };
        let all = Classes::new(&cut, &more, &clients(&open), None, 100);
        assert_eq!(mss(&all, "3.0.0.1"), 999);
        assert!(!Classes::new(&cut, &[PATH], &clients(&open), None, 100).cut);
    }

    fn settings() -> TcpSettings {
        super::super::listeners::tests::settings()
    }

    fn path(ipv6: bool, metrics: Metrics, devices: &[u32]) -> Path {
        let there = [(1, 1500), (2, 9000), (3, 100_000), (4, 200)];
        let there = there.into_iter().map(|(index, mtu)| {
            let device = Device {
                mtu,
                ipv6_mtu: mtu,
                ipv6_hop_limit: 60 + index as u8,
            };
            (index, device)
        });
        let way = Way {
            metrics,
            devices: devices.to_vec(),
        };
        Path::new(&way, ipv6, &there.collect(), &settings())
    }

    #[test]
    fn the_mss_comes_from_the_route_or_its_devices() {
        let none = Metrics::default();
        let mss = |ipv6, metrics, devices| path(ipv6, metrics, devices).mss;
        assert_eq!(
            (mss(false, none, &[1]), mss(true, none, &[1])),
            (1460, 1440)
        );
        assert_eq!(
            (mss(false, none, &[2]), mss(true, none, &[2, 1])),
            (8960, 1440)
        );
        assert_eq!(
            (mss(false, none, &[3]), mss(true, none, &[3])),
            (65_495, 65_535)
        );
        // The settings' least.
        assert_eq!((mss(false, none, &[4]), mss(true, none, &[4])), (256, 1220));
        let mtu = Metrics { mtu: 1400, ..none };
        assert_eq!((mss(false, mtu, &[2]), mss(true, mtu, &[2])), (1360, 1340));
        let advmss = Metrics { advmss: 100, ..mtu };
        assert_eq!(
            (mss(false, advmss, &[2]), mss(true, advmss, &[2])),
            (100, 100)
        );
    }

    #[test]
    fn the_hop_limit_comes_from_the_route_the_device_or_the_settings() {
        let none = Metrics::default();
        assert_eq!(path(false, none, &[1]).hop_limit, 64);
        assert_eq!(path(true, none, &[1]).hop_limit, 61);
        let limit = Metrics {
            hop_limit: 9,
            ..none
        };
        assert_eq!(path(false, limit, &[1]).hop_limit, 9);
        assert_eq!(path(true, limit, &[1]).hop_limit, 9);
    }
}

//! Clients to whom a service is closed: a firewall lets only some in, or they must sign
//! what they send. The stack answers none of their SYNs, and so must nobody else.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::ServiceOptions;
use super::place::Place;
use super::route_classes::Path;
use crate::kernel::sock_diag::Signed;

/// A set of services, a bit each ([`Closures::bit`]).
pub type Closed = u32;

/// Services at most that are closed to some clients.
pub const MAX_CLOSURES: usize = Closed::BITS as usize;

/// To whom services are closed, by prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closures {
    /// Each service's port with whether it is closed: to all that no prefix says more of,
    /// and to those of a prefix.
    by_port: Vec<(u16, Closure)>,
}

/// To whom one service is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Closure {
    /// To those of no prefix.
    otherwise: bool,
    /// To those of a prefix; the longest decides.
    prefixes: BTreeMap<Place, bool>,
}

impl Closures {
    /// What the configuration says (`open_to`), and peers (port and address) whose every
    /// segment must be signed.
    #[must_use]
    pub fn new(services: &BTreeMap<u16, ServiceOptions>, signed: &Signed) -> Self {
        let mut by_port: BTreeMap<u16, Closure> = BTreeMap::new();
        for (port, options) in services {
            if options.open_to.is_empty() {
                continue;
            }
            let open = options.open_to.iter().map(|prefix| (place(*prefix), false));
            let closure = by_port.entry(*port).or_default();
            closure.otherwise = true;
            closure.prefixes.extend(open);
        }
        for (port, peer) in signed {
            let closure = by_port.entry(*port).or_default();
            closure.prefixes.insert(place(*peer), true);
        }
        Self {
            by_port: by_port.into_iter().collect(),
        }
    }

    /// The bit of a service; none where it is open to all. Those for which there is no bit
    /// share the last one: all of them are closed where one is.
    #[must_use]
    pub fn bit(&self, port: u16) -> Closed {
        self.by_port
            .binary_search_by_key(&port, |(port, _)| *port)
            .map_or(0, bit)
    }

    /// Every service that is closed to anybody.
    #[must_use]
    pub fn all(&self) -> Closed {
        (0..self.by_port.len()).fold(0, |all, number| all | bit(number))
    }

    /// Adds to the paths of a family to whom services are closed; `base` is the path of
    /// clients that no route says more of.
    pub fn apply(&self, ipv6: bool, paths: &mut BTreeMap<Place, Path>, base: &mut Path) {
        if self.by_port.is_empty() {
            return;
        }
        let everybody = Place::everybody(ipv6);
        let places: BTreeSet<Place> = self
            .by_port
            .iter()
            .flat_map(|(_, closure)| closure.prefixes.keys())
            .filter(|place| place.is_ipv6() == ipv6)
            .copied()
            .collect();
        for place in places {
            if !paths.contains_key(&place) {
                let path = around(paths, place).copied().unwrap_or(*base);
                paths.insert(place, path);
            }
        }
        base.closed = self.at(everybody);
        for (place, path) in paths {
            path.closed = self.at(*place);
        }
    }

    /// The services that are closed to a prefix.
    fn at(&self, place: Place) -> Closed {
        let services = self.by_port.iter().enumerate();
        services
            .filter(|(_, (_, closure))| {
                around(&closure.prefixes, place)
                    .copied()
                    .unwrap_or(closure.otherwise)
            })
            .fold(0, |closed, (number, _)| closed | bit(number))
    }
}

fn bit(number: usize) -> Closed {
    1 << number.min(MAX_CLOSURES - 1)
}

fn place(prefix: IpNet) -> Place {
    Place::new(prefix.network(), prefix.prefix_len())
}

/// What the longest prefix around a place has, itself among them.
fn around<T>(all: &BTreeMap<Place, T>, place: Place) -> Option<&T> {
    let bits = (0..=place.bits()).rev();
    bits.filter_map(|bits| all.get(&place.shortened(bits)))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::route_classes::PATH;

    fn open_to(port: u16, prefixes: &[&str]) -> (u16, ServiceOptions) {
        let options = ServiceOptions {
            open_to: prefixes.iter().map(|it| it.parse().unwrap()).collect(),
            ..ServiceOptions::default()
        };
        (port, options)
    }

    fn place_of(prefix: &str) -> Place {
        place(prefix.parse().unwrap())
    }

    #[test]
    fn a_service_is_open_to_those_named_and_closed_to_others() {
        let services = BTreeMap::from([
            open_to(22, &["10.1.0.0/16", "2001:db8::/32"]),
            open_to(80, &[]),
            open_to(443, &["10.0.0.0/8"]),
        ]);
        let all = Closures::new(&services, &Signed::new());
        let (ssh, https) = (all.bit(22), all.bit(443));
        assert_eq!((all.bit(80), all.bit(23)), (0, 0));
        assert_eq!(all.all(), ssh | https);
        let mut base = PATH;
        let mut paths = BTreeMap::from([
            (Place::everybody(false), PATH),
            (place_of("10.1.2.0/24"), Path { mss: 900, ..PATH }),
        ]);
        all.apply(false, &mut paths, &mut base);
        assert_eq!(base.closed, ssh | https);
        let found: Vec<_> = paths
            .iter()
            .map(|(at, path)| (*at, path.mss, path.closed))
            .collect();
        let expected = [
            (Place::everybody(false), 1460, ssh | https),
            (place_of("10.0.0.0/8"), 1460, ssh),
            (place_of("10.1.0.0/16"), 1460, 0),
            (place_of("10.1.2.0/24"), 900, 0),
        ];
        assert_eq!(found, expected);

        let mut paths = BTreeMap::new();
        all.apply(true, &mut paths, &mut base);
        let only: Vec<_> = paths.iter().map(|(at, path)| (*at, path.closed)).collect();
        assert_eq!(only, [(place_of("2001:db8::/32"), https)]);
    }

    #[test]
    fn peers_that_must_sign_are_shut_out_and_others_are_not() {
        let peer = "10.9.9.9/32".parse().unwrap();
        let all = Closures::new(&BTreeMap::new(), &Signed::from([(179, peer)]));
        let mut base = PATH;
        let mut paths = BTreeMap::from([(Place::everybody(false), PATH)]);
        all.apply(false, &mut paths, &mut base);
        assert_eq!(base.closed, 0);
        assert_eq!(paths[&place_of("10.9.9.9/32")].closed, all.bit(179));
        assert_eq!(paths[&Place::everybody(false)].closed, 0);
    }

    #[test]
    fn services_past_the_last_bit_share_it() {
        let services = (1..=MAX_CLOSURES as u16 + 2).map(|port| open_to(port, &["10.0.0.0/8"]));
        let all = Closures::new(&services.collect(), &Signed::new());
        assert_eq!(all.all(), Closed::MAX);
        assert_eq!(
            all.bit(MAX_CLOSURES as u16),
            all.bit(MAX_CLOSURES as u16 + 2)
        );
        assert_ne!(all.bit(1), all.bit(2));
    }
}

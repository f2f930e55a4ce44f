//! Follows routes, and gives their clients classes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use syn_guard_common::abi::MAX_ROUTES;
use tracing::warn;

use super::ControllerError;
use super::closed::Closures;
use super::route_classes::{Classes, Clients, Device, MAX_CLASSES, Path};
use crate::kernel::TcpSettings;
use crate::kernel::changes::RouteChanges;
use crate::kernel::interfaces::Interface;
use crate::kernel::route_metrics::{Routes, Way, routes};
use crate::kernel::tcp_settings::{ipv6_hop_limit, ipv6_mtu};

/// Routes are read anew that often although nothing seems to have changed.
const AT_LATEST: Duration = Duration::from_secs(60);
/// Reading a large table takes at most such a part of the time: one in so many.
const PART: u32 = 20;

/// The route classes of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteClasses {
    /// Of IPv4 clients.
    pub ipv4: Classes,
    /// Of IPv6 clients.
    pub ipv6: Classes,
}

/// Reads routes when they change.
pub struct RouteReader {
    changes: RouteChanges,
    ipv4: Routes,
    ipv6: Routes,
    /// When they were read, and how long that took.
    read: Option<(Instant, Duration)>,
    stale: bool,
    said_cut: bool,
}

impl RouteReader {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self {
            changes: RouteChanges::listen(),
            ipv4: Routes::default(),
            ipv6: Routes::default(),
            read: None,
            stale: true,
            said_cut: false,
        }
    }

    /// The classes of now. Where there is no route, SYN-ACKs leave by a
    /// `guarded` interface.
    pub fn classes(
        &mut self,
        settings: &TcpSettings,
        interfaces: &[Interface],
        guarded: &[String],
        closures: &Closures,
        before: Option<&RouteClasses>,
    ) -> Result<RouteClasses, ControllerError> {
        self.follow()?;
        let used: Vec<&Interface> = interfaces
            .iter()
            .filter(|interface| {
                let uses = |way: &Way| way.devices.contains(&interface.index);
                guarded.contains(&interface.name)
                    || self.ipv4.ways.iter().any(uses)
                    || self.ipv6.ways.iter().any(uses)
            })
            .collect();
        let devices: HashMap<u32, Device> = used
            .iter()
            .map(|interface| (interface.index, device(interface, settings)))
            .collect();
        let otherwise = Way {
            devices: used
                .iter()
                .filter(|interface| guarded.contains(&interface.name))
                .map(|interface| interface.index)
                .collect(),
            ..Way::default()
        };
        let classes = |routes: &Routes, ipv6, before, max_prefixes| {
            let path = |way: &Way| Path::new(way, ipv6, &devices, settings);
            let paths: Vec<Path> = routes.ways.iter().map(path).collect();
            let clients = Clients {
                ipv6,
                otherwise: path(&otherwise),
                closures,
            };
            Classes::new(routes, &paths, &clients, before, max_prefixes)
        };
        let room = MAX_ROUTES as usize;
        let ipv4 = classes(&self.ipv4, false, before.map(|all| &all.ipv4), room);
        let room = room - ipv4.prefixes.len();
        let ipv6 = classes(&self.ipv6, true, before.map(|all| &all.ipv6), room);
        let cut = ipv4.cut || ipv6.cut;
        if cut && !self.said_cut {
            if closures.all() == 0 {
                warn!(
                    "too many routes differ in MTU, advmss, window or hop limit to answer each client as its own says: cookies advertise the least MSS"
                );
            } else {
                warn!(
                    "services are open to too many different sets of prefixes (open_to; {} at most, with the routes that differ): services with open_to send no cookies, and those of the others advertise the least MSS",
                    MAX_CLASSES - 1
                );
            }
        }
        self.said_cut = cut;
        Ok(RouteClasses { ipv4, ipv6 })
    }

    /// The host's own addresses and the broadcast addresses of its links, as they were read
    /// last.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.own.iter().chain(&self.ipv6.own).copied()
    }

    fn follow(&mut self) -> Result<(), ControllerError> {
        self.stale |= self.changes.any();
        let due = self.read.is_none_or(|(at, took)| {
            let age = at.elapsed();
            age > AT_LATEST || (self.stale && age > took * PART)
        });
        if due {
            let begun = Instant::now();
            self.ipv4 = routes(false)?;
            self.ipv6 = routes(true)?;
            self.read = Some((Instant::now(), begun.elapsed()));
            self.stale = false;
        }
        Ok(())
    }
}

/// An interface that is just going away has the defaults.
fn device(interface: &Interface, settings: &TcpSettings) -> Device {
    let name = &interface.name;
    Device {
        mtu: interface.mtu,
        ipv6_mtu: ipv6_mtu(name).ok().flatten().unwrap_or(interface.mtu),
        ipv6_hop_limit: ipv6_hop_limit(name)
            .ok()
            .flatten()
            .unwrap_or(settings.ipv6_hop_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_host() {
        let settings = TcpSettings::read().unwrap();
        let interfaces = crate::kernel::interfaces::interfaces().unwrap();
        let mut reader = RouteReader::new();
        let open = Closures::default();
        let first = reader
            .classes(&settings, &interfaces, &[], &open, None)
            .unwrap();
        let again = reader
            .classes(&settings, &interfaces, &[], &open, Some(&first))
            .unwrap();
        assert_eq!(first.ipv4.all().next(), again.ipv4.all().next());
    }
}

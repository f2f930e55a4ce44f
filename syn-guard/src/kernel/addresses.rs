//! The host's own addresses.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_core::parse_u32;

use super::{
    interfaces::{InterfaceError, PROTOCOL, interfaces},
    netlink::{NetlinkError, attributes, collect},
};

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// An own unicast address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface it is on.
    pub interface_index: u32,
    /// That interface's name.
    pub interface: String,
    /// That interface's MTU, bytes.
    pub mtu: u32,
    /// That interface belongs to a VRF.
    pub in_vrf: bool,
}

/// All own unicast addresses but those of loopback scope (`127.0.0.0/8`,
/// `::1`). An address of a wider scope on the loopback interface counts: load
/// balancers put their service addresses there. Addresses known only from
/// `local` routes are not told.
pub fn local_addresses() -> Result<Vec<LocalAddress>, InterfaceError> {
    let interfaces: HashMap<u32, _> = interfaces()?
        .into_iter()
        .map(|interface| (interface.index, interface))
        .collect();
    let addresses = collect(
        PROTOCOL,
        libc::RTM_GETADDR,
        &[0; HEADER],
        |kind, payload| {
            if kind == libc::RTM_NEWADDR {
                address(payload)
            } else {
                Ok(None)
            }
        },
    )?;
    Ok(addresses
        .into_iter()
        .filter(|(_, address)| !address.is_loopback())
        .filter_map(|(index, address)| {
            // An interface that came between the two dumps is read next time.
            let interface = interfaces.get(&index)?;
            Some(LocalAddress {
                address,
                interface_index: index,
                interface: interface.name.clone(),
                mtu: interface.mtu,
                in_vrf: interface.is_in_vrf(),
            })
        })
        .collect())
}

/// Those that a guard may answer for. In a VRF no look-up from an interface outside of it
/// finds a connection: a bridge of a VRF, whose port is guarded, has its own address there.
#[must_use]
pub fn guardable(addresses: &[LocalAddress]) -> Vec<IpAddr> {
    let in_vrf: HashSet<IpAddr> = addresses
        .iter()
        .filter(|local| local.in_vrf)
        .map(|local| local.address)
        .collect();
    addresses
        .iter()
        .map(|local| local.address)
        // Nobody outside reaches loopback addresses.
        .filter(|address| !address.is_loopback() && !in_vrf.contains(address))
        .collect()
}

/// Interface index and address of one message.
fn address(payload: &[u8]) -> Result<Option<(u32, IpAddr)>, NetlinkError> {
    let index = parse_u32(payload.get(4..8).unwrap_or_default())?;
    let (mut local, mut other) = (None, None);
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFA_LOCAL => local = ip(attribute.value()),
            // The peer's address on a point-to-point link, else the own one.
            libc::IFA_ADDRESS => other = ip(attribute.value()),
            _ => {}
        }
    }
    Ok(local.or(other).map(|address| (index, address)))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(value).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_end_of_a_point_to_point_link_counts() {
        let mut message = vec![2, 32, 0, 0];
        message.extend_from_slice(&5u32.to_ne_bytes());
        for (kind, last) in [(libc::IFA_ADDRESS, 2), (libc::IFA_LOCAL, 1)] {
            message.extend_from_slice(&8u16.to_ne_bytes());
            message.extend_from_slice(&kind.to_ne_bytes());
            message.extend_from_slice(&[10, 0, 0, last]);
        }
        let expected = (5, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(address(&message).unwrap(), Some(expected));
        assert_eq!(address(&message[..8]).unwrap(), None);
        assert!(address(&[]).is_err());
    }

    #[test]
    fn addresses_of_a_vrf_are_left_out_also_where_others_have_them() {
        let local = |last: u8, in_vrf: bool| LocalAddress {
            address: IpAddr::from([10, 0, 0, last]),
            interface_index: 7,
            interface: "eth0".to_owned(),
            mtu: 1500,
            in_vrf,
        };
        let all = [
            local(1, false),
            local(2, true),
            local(3, false),
            local(3, true),
        ];
        assert_eq!(guardable(&all), [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn reads_this_kernel() {
        for local in local_addresses().unwrap() {
            assert!(!local.address.is_loopback(), "{local:?}");
            assert!(!local.interface.is_empty(), "{local:?}");
        }
    }
}

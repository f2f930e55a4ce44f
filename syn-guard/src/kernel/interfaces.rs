//! Interfaces: their index, and the XDP program that is already there.

use std::fmt;

use netlink_packet_core::{NlasIterator, parse_u8, parse_u32};

use super::netlink::{NetlinkError, ask, attributes, collect};

pub use super::routes::{RouteError, default_route};

/// `NETLINK_ROUTE`.
pub(super) const PROTOCOL: isize = libc::NETLINK_ROUTE as isize;

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;

/// `IFLA_XDP_ATTACHED` and `IFLA_XDP_PROG_ID` of `if_link.h`.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// Of `rtnetlink.h`: counters of packets are left out.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// Why interfaces could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// Its frames have no Ethernet header.
    #[error(
        "{0} is no Ethernet interface but a tunnel or the like, which syn-guard cannot guard: name the interface that carries it with --iface"
    )]
    NotEthernet(String),
    /// Socket look-ups do not find connections there.
    #[error(
        "{0} is a port of a VRF, where the kernel's socket look-ups do not find connections: it cannot be guarded, the kernel's own SYN cookies protect it"
    )]
    VrfPort(String),
    /// What comes in for it comes in by its ports.
    #[error(
        "{0} is a VRF, by which no packet comes in: it cannot be guarded, the kernel's own SYN cookies protect it"
    )]
    Vrf(String),
    /// There is none of that name.
    #[error("no such interface {name}; there are: {}", there.join(", "))]
    NoSuchInterface {
        /// What was asked for.
        name: String,
        /// All names in this network namespace.
        there: Vec<String>,
    },
    /// There is none of that index.
    #[error("no interface has the index {0}")]
    NoSuchIndex(u32),
    /// They could not be read.
    #[error("cannot read the interfaces")]
    Read(#[from] NetlinkError),
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver (native).
    Driver,
    /// After the driver, on the socket buffer (generic).
    Generic,
    /// In the device.
    Hardware,
    /// In more than one of these.
    Multiple,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "native",
            Self::Generic => "generic",
            Self::Hardware => "hardware",
            Self::Multiple => "multiple",
        })
    }
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Its id, as `bpftool prog show` tells it.
    pub id: u32,
    /// How it is attached.
    pub mode: XdpMode,
}

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its hardware address, if that has six bytes.
    pub mac: Option<[u8; 6]>,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// Its frames begin with an Ethernet header (`ARPHRD_ETHER`, and loopback).
    pub ethernet: bool,
    /// Receive queues that it could use; see [`super::channels`].
    pub receive_queues: u32,
    /// It has a kind (`IFLA_INFO_KIND`): no hardware, but a bridge, a VLAN or the
    /// like.
    pub software: bool,
    /// It is a VRF.
    pub is_vrf: bool,
    /// The XDP program on it.
    pub xdp: Option<XdpProgram>,
    /// The other end, if it is a veth.
    pub veth_peer: Option<VethPeer>,
    /// What it is a port of: `bridge`, `vrf`, `bond` and the like
    /// (`IFLA_INFO_SLAVE_KIND`).
    pub port_of: Option<String>,
}

impl Interface {
    /// Whether it is a VRF or a port of one.
    #[must_use]
    pub fn is_in_vrf(&self) -> bool {
        self.is_vrf || self.port_of.as_deref() == Some("vrf")
    }
}

/// The other end of a veth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VethPeer {
    /// Its index in its own network namespace.
    pub index: u32,
    /// The number that this network namespace gives to that one, if it is
    /// another.
    pub namespace: Option<i32>,
}

/// All interfaces of this network namespace.
pub fn interfaces() -> Result<Vec<Interface>, InterfaceError> {
    dump(&[0; HEADER])
}

/// All interfaces of another network namespace, by its number here.
pub(super) fn interfaces_of(namespace: i32) -> Result<Vec<Interface>, InterfaceError> {
    let mut request = vec![0; HEADER];
    append(
        &mut request,
        libc::IFLA_TARGET_NETNSID,
        &namespace.to_ne_bytes(),
    );
    dump(&request)
}

/// The interface `name`, if there is one: cheaper than all of them.
fn named(name: &str) -> Result<Option<Interface>, NetlinkError> {
    let mut request = vec![0; HEADER];
    append(&mut request, libc::IFLA_IFNAME, name.as_bytes());
    let skip = RTEXT_FILTER_SKIP_STATS.to_ne_bytes();
    append(&mut request, libc::IFLA_EXT_MASK, &skip);
    let found = ask(PROTOCOL, libc::RTM_GETLINK, &request, one)?;
    // The kernel knows interfaces by their other names, too.
    Ok(found.filter(|found| found.name == name))
}

/// Appends a `struct nlattr`: length and kind, then the value, padded.
fn append(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // As long as a name or a number.
    let length = 4 + value.len() as u16;
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

fn dump(request: &[u8]) -> Result<Vec<Interface>, InterfaceError> {
    Ok(collect(PROTOCOL, libc::RTM_GETLINK, request, one)?)
}

/// The interface of a message, if it is of one.
fn one(kind: u16, payload: &[u8]) -> Result<Option<Interface>, NetlinkError> {
    (kind == libc::RTM_NEWLINK)
        .then(|| interface(payload))
        .transpose()
}

/// The index of the interface `name`.
pub fn index_of(name: &str) -> Result<u32, InterfaceError> {
    find(name).map(|interface| interface.index)
}

/// Whether the interface `name` is there and can be guarded.
pub fn check(name: &str) -> Result<(), InterfaceError> {
    guardable(find(name)?).map(|_| ())
}

/// The same of an interface that was found.
///
/// # Errors
/// It cannot be guarded.
pub fn guardable(interface: Interface) -> Result<Interface, InterfaceError> {
    if !interface.ethernet {
        return Err(InterfaceError::NotEthernet(interface.name));
    }
    if interface.is_vrf {
        return Err(InterfaceError::Vrf(interface.name));
    }
    if interface.is_in_vrf() {
        return Err(InterfaceError::VrfPort(interface.name));
    }
    Ok(interface)
}

/// The interface `name`.
pub fn find(name: &str) -> Result<Interface, InterfaceError> {
    // That there is none is said with those that there are.
    if let Ok(Some(found)) = named(name) {
        return Ok(found);
    }
    let mut all = interfaces()?;
    match all.iter().position(|interface| interface.name == name) {
        Some(place) => Ok(all.swap_remove(place)),
        None => Err(InterfaceError::NoSuchInterface {
            name: name.to_owned(),
            there: all.into_iter().map(|interface| interface.name).collect(),
        }),
    }
}

/// The XDP program on the interface of that index.
pub fn xdp_program(index: u32) -> Result<Option<XdpProgram>, InterfaceError> {
    interfaces()?
        .into_iter()
        .find(|interface| interface.index == index)
        .map(|interface| interface.xdp)
        .ok_or(InterfaceError::NoSuchIndex(index))
}

fn interface(payload: &[u8]) -> Result<Interface, NetlinkError> {
    // struct ifinfomsg: type at 2, index at 4, flags at 8.
    let word = |at: usize| parse_u32(payload.get(at..at + 4).unwrap_or_default());
    let mut read = Interface {
        index: word(4)?,
        name: String::new(),
        mtu: 0,
        mac: None,
        loopback: word(8)? & libc::IFF_LOOPBACK as u32 != 0,
        ethernet: matches!(
            payload.get(2..4),
            Some(kind) if [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK]
                .iter()
                .any(|ethernet| ethernet.to_ne_bytes() == kind)
        ),
        receive_queues: 1,
        software: false,
        is_vrf: false,
        xdp: None,
        veth_peer: None,
        port_of: None,
    };
    let (mut veth, mut peer, mut namespace) = (false, None, None);
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
                read.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_MTU => read.mtu = parse_u32(value)?,
            libc::IFLA_ADDRESS => read.mac = value.try_into().ok(),
            libc::IFLA_NUM_RX_QUEUES => read.receive_queues = parse_u32(value)?,
            libc::IFLA_XDP => read.xdp = xdp(value)?,
            libc::IFLA_LINK => peer = Some(parse_u32(value)?),
            libc::IFLA_LINK_NETNSID => namespace = Some(parse_u32(value)?.cast_signed()),
            libc::IFLA_LINKINFO => {
                let kind = nested(value, libc::IFLA_INFO_KIND)?;
                veth = kind.as_deref() == Some("veth");
                read.software = kind.is_some();
                read.is_vrf = kind.as_deref() == Some("vrf");
                read.port_of = nested(value, libc::IFLA_INFO_SLAVE_KIND)?;
            }
            _ => {}
        }
    }
    read.veth_peer = peer
        .filter(|_| veth)
        .map(|index| VethPeer { index, namespace });
    Ok(read)
}

/// The text of one of the nested attributes of `IFLA_LINKINFO`.
fn nested(attributes: &[u8], kind: u16) -> Result<Option<String>, NetlinkError> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() == kind {
            let text = attribute.value().split(|byte| *byte == 0).next();
            return Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()));
        }
    }
    Ok(None)
}

/// The nested attributes of `IFLA_XDP`.
fn xdp(nested: &[u8]) -> Result<Option<XdpProgram>, NetlinkError> {
    let (mut attached, mut only, mut any) = (0, None, None);
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_XDP_ATTACHED => attached = parse_u8(value)?,
            // Absent when programs are attached in more than one mode.
            IFLA_XDP_PROG_ID => only = Some(parse_u32(value)?),
            IFLA_XDP_DRV_PROG_ID | IFLA_XDP_SKB_PROG_ID | IFLA_XDP_HW_PROG_ID => {
                any = any.or(Some(parse_u32(value)?));
            }
            _ => {}
        }
    }
    let mode = match attached {
        0 => return Ok(None),
        1 => XdpMode::Driver,
        2 => XdpMode::Generic,
        3 => XdpMode::Hardware,
        _ => XdpMode::Multiple,
    };
    Ok(only.or(any).map(|id| XdpProgram { id, mode }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_loopback_interface() {
        let all = interfaces().unwrap();
        let lo = all.iter().find(|interface| interface.loopback).unwrap();
        assert_eq!(lo.name, "lo");
        assert_eq!(index_of("lo").unwrap(), lo.index);
        assert_eq!(xdp_program(lo.index).unwrap(), lo.xdp);
        assert!(lo.mtu > 1000);
    }

    #[test]
    fn one_alone_is_read_as_among_all() {
        let all = interfaces().unwrap();
        for interface in all {
            assert_eq!(named(&interface.name).unwrap(), Some(interface));
        }
        assert!(named("eht0").is_err());
        assert!(named("longer-than-a-name-may-be").is_err());
    }

    #[test]
    fn names_what_there_is() {
        let error = index_of("eht0").unwrap_err().to_string();
        assert!(
            error.starts_with("no such interface eht0; there are: "),
            "{error}"
        );
        assert!(error.contains("lo"), "{error}");
        assert!(matches!(
            xdp_program(u32::MAX),
            Err(InterfaceError::NoSuchIndex(_))
        ));
    }

    /// `struct nlattr`: length, kind, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn reads_the_attached_program() {
        assert_eq!(xdp(&attribute(IFLA_XDP_ATTACHED, &[0])).unwrap(), None);
        let id = 42u32.to_ne_bytes();
        let generic = [
            attribute(IFLA_XDP_ATTACHED, &[2]),
            attribute(IFLA_XDP_PROG_ID, &id),
            attribute(IFLA_XDP_SKB_PROG_ID, &id),
        ];
        let expected = XdpProgram {
            id: 42,
            mode: XdpMode::Generic,
        };
        assert_eq!(xdp(&generic.concat()).unwrap(), Some(expected));
        let both = [
            attribute(IFLA_XDP_ATTACHED, &[4]),
            attribute(IFLA_XDP_DRV_PROG_ID, &id),
            attribute(IFLA_XDP_SKB_PROG_ID, &7u32.to_ne_bytes()),
        ];
        let expected = XdpProgram {
            id: 42,
            mode: XdpMode::Multiple,
        };
        assert_eq!(xdp(&both.concat()).unwrap(), Some(expected));
    }
}

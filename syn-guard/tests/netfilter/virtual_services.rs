//! Virtual services of IPVS, made by its generic netlink family (`linux/ip_vs.h`).

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `_NAME`.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `IPVS_CMD_NEW_SERVICE`, `_NEW_DEST` and `_FLUSH`.
const NEW_SERVICE: u8 = 1;
const NEW_DEST: u8 = 5;
const FLUSH: u8 = 17;
/// `IPVS_CMD_ATTR_SERVICE` and `_DEST`, and that an attribute holds others.
const SERVICE: u16 = 1;
const DEST: u16 = 2;
const NESTED: u16 = 0x8000;
/// `NLM_F_REQUEST | NLM_F_ACK`, and `NLMSG_ERROR`.
const FLAGS: u16 = 1 | 4;
const ERROR: u16 = 2;
/// Bytes of `struct nlmsghdr` and of `struct genlmsghdr`.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// IPVS of the calling thread's network namespace.
#[derive(Clone, Copy)]
pub struct Ipvs {
    family: u16,
}

impl Ipvs {
    /// None where the kernel has none.
    pub fn open() -> Option<Self> {
        let control = Self { family: CONTROL };
        let answer = control.ask(GET_FAMILY, &attribute(FAMILY_NAME, b"IPVS\0"));
        let mut rest = answer.ok()?.split_off(HEADER + GENERIC);
        loop {
            let [length, kind] = [0, 2].map(|at| u16::from_ne_bytes([rest[at], rest[at + 1]]));
            if kind == FAMILY_ID {
                return Some(Self {
                    family: u16::from_ne_bytes([rest[4], rest[5]]),
                });
            }
            rest.drain(..usize::from(length).next_multiple_of(4));
        }
    }

    /// A service of TCP that takes its servers in turn.
    pub fn add_service(self, address: IpAddr, port: u16) {
        let all = if address.is_ipv4() { u32::MAX } else { 128 };
        let service = [
            named(address, port),
            attribute(6, b"rr\0"),
            // No flags of all.
            attribute(7, &[[0; 4], [0xff; 4]].concat()),
            attribute(8, &[0; 4]),
            attribute(9, &all.to_ne_bytes()),
        ];
        let service = attribute(SERVICE | NESTED, &service.concat());
        self.ask(NEW_SERVICE, &service).unwrap();
    }

    /// Another server of a service, which gets its connections by NAT.
    pub fn add_server(self, service: IpAddr, port: u16, server: IpAddr) {
        let dest = [
            attribute(11, &family(server).to_ne_bytes()),
            attribute(1, &bytes(server)),
            attribute(2, &port.to_be_bytes()),
            // IP_VS_CONN_F_MASQ, weight 1, no thresholds.
            attribute(3, &0_u32.to_ne_bytes()),
            attribute(4, &1_u32.to_ne_bytes()),
            attribute(5, &[0; 4]),
            attribute(6, &[0; 4]),
        ];
        let both = [
            attribute(SERVICE | NESTED, &named(service, port)),
            attribute(DEST | NESTED, &dest.concat()),
        ];
        self.ask(NEW_DEST, &both.concat()).unwrap();
    }

    /// Ends all services.
    pub fn remove_all(self) {
        self.ask(FLUSH, &[]).unwrap();
    }

    /// The first answer to a request.
    fn ask(self, command: u8, attributes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let length = u32::try_from(HEADER + GENERIC + attributes.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(self.family.to_ne_bytes());
        message.extend(FLAGS.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([command, 1, 0, 0]);
        message.extend(attributes);
        socket.send(&message, 0)?;
        let (answer, _) = socket.recv_from_full()?;
        if u16::from_ne_bytes([answer[4], answer[5]]) == ERROR {
            let code = answer[HEADER..HEADER + 4].try_into().unwrap();
            match i32::from_ne_bytes(code) {
                0 => {}
                code => return Err(std::io::Error::from_raw_os_error(-code)),
            }
        }
        Ok(answer)
    }
}

/// Which service is meant.
fn named(address: IpAddr, port: u16) -> Vec<u8> {
    let tcp = u16::try_from(libc::IPPROTO_TCP).unwrap();
    [
        attribute(1, &family(address).to_ne_bytes()),
        attribute(2, &tcp.to_ne_bytes()),
        attribute(3, &bytes(address)),
        attribute(4, &port.to_be_bytes()),
    ]
    .concat()
}

fn family(address: IpAddr) -> u16 {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u16::try_from(family).unwrap()
}

/// `union nf_inet_addr`.
fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

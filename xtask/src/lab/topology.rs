//! The namespaces, the link between them, addresses, routes and neighbours.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    CLIENT_INTERFACE, CLIENT_IPV4, CLIENT_IPV6, CLIENT_MAC, Namespace, Offload, SERVER_INTERFACE,
    SERVER_IPV4, SERVER_IPV6, SERVER_MAC,
    cleaner::Cleaner,
    wire::{WIRE_TO_CLIENT, WIRE_TO_SERVER},
};

/// Makes both namespaces and the veth pair between them.
pub(super) fn make(cleaner: &Cleaner) -> Result<()> {
    let (server, client) = (cleaner.server_name(), cleaner.client_name());
    batch(
        None,
        &format!(
            "netns add {server}\n\
             netns add {client}\n\
             link add {SERVER_INTERFACE} netns {server} address {} numrxqueues 1 numtxqueues 1 \
             type veth peer name {CLIENT_INTERFACE} netns {client} address {} \
             numrxqueues 1 numtxqueues 1\n",
            mac(SERVER_MAC),
            mac(CLIENT_MAC)
        ),
    )?;
    make_sides(cleaner)
}

/// Makes both namespaces and one between them, where a [`Wire`](super::Wire) joins two veth pairs.
pub(super) fn make_with_wire(cleaner: &Cleaner) -> Result<()> {
    let wire = cleaner.wire_name();
    let mut lines = format!("netns add {wire}\n");
    for (namespace, interface, address, inner) in [
        (
            cleaner.server_name(),
            SERVER_INTERFACE,
            SERVER_MAC,
            WIRE_TO_SERVER,
        ),
        (
            cleaner.client_name(),
            CLIENT_INTERFACE,
            CLIENT_MAC,
            WIRE_TO_CLIENT,
        ),
    ] {
        lines += &format!(
            "netns add {namespace}\n\
             link add {interface} netns {namespace} address {} numrxqueues 1 numtxqueues 1 \
             type veth peer name {inner} netns {wire} numrxqueues 1 numtxqueues 1\n",
            mac(address)
        );
    }
    batch(None, &lines)?;
    make_sides(cleaner)?;
    let mut lines = String::new();
    for inner in [WIRE_TO_SERVER, WIRE_TO_CLIENT] {
        // GRO must join no frames: what is longer than the MTU could not be sent on.
        lines += &format!("link set {inner} gro_max_size 1 addrgenmode none up\n");
    }
    batch(Some(&wire), &lines)
}

/// Addresses and routes of both sides.
fn make_sides(cleaner: &Cleaner) -> Result<()> {
    let (server, client) = (cleaner.server_name(), cleaner.client_name());
    batch(
        Some(&server),
        &(side(SERVER_INTERFACE, &SERVER, &CLIENT)
            + &format!(
                "route add default via {CLIENT_IPV4}\n\
                 route add default via {CLIENT_IPV6}\n"
            )),
    )?;
    batch(
        Some(&client),
        &(side(CLIENT_INTERFACE, &CLIENT, &SERVER)
            + "route add local 198.19.0.0/16 dev lo\n\
               route add local 2001:db8:1000::/36 dev lo\n"),
    )
}

/// Sysctls and offloads of both sides.
pub(super) fn tune(server: &Namespace, client: &Namespace) -> Result<()> {
    for namespace in [server, client] {
        namespace.set_sysctl("net.ipv4.ip_forward", "0")?;
        namespace.set_sysctl("net.ipv6.conf.all.forwarding", "0")?;
        namespace.set_sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    }
    server.set_sysctl(&format!("net.ipv4.conf.{SERVER_INTERFACE}.rp_filter"), "0")?;
    client.set_sysctl(&format!("net.ipv4.conf.{CLIENT_INTERFACE}.rp_filter"), "0")?;
    // Binding any of the local prefix needs no more than the route with IPv4, this with IPv6.
    client.set_sysctl("net.ipv6.ip_nonlocal_bind", "1")?;
    // Redirected frames reach a veth only where it runs NAPI.
    server.set_offload(SERVER_INTERFACE, Offload::Gro, true)
}

/// Offloads of both sides of a [`Wire`](super::Wire): packet sockets get whole checksums and frames
/// within the MTU.
pub(super) fn tune_for_wire(server: &Namespace, client: &Namespace) -> Result<()> {
    for (namespace, interface) in [(server, SERVER_INTERFACE), (client, CLIENT_INTERFACE)] {
        for offload in [Offload::TxChecksum, Offload::Tso, Offload::Gso] {
            namespace.set_offload(interface, offload, false)?;
        }
    }
    Ok(())
}

struct Addresses {
    ipv4: std::net::Ipv4Addr,
    ipv6: std::net::Ipv6Addr,
    mac: [u8; 6],
}

const SERVER: Addresses = Addresses {
    ipv4: SERVER_IPV4,
    ipv6: SERVER_IPV6,
    mac: SERVER_MAC,
};
const CLIENT: Addresses = Addresses {
    ipv4: CLIENT_IPV4,
    ipv6: CLIENT_IPV6,
    mac: CLIENT_MAC,
};

fn side(interface: &str, own: &Addresses, peer: &Addresses) -> String {
    let mac = mac(peer.mac);
    format!(
        "link set lo up\n\
         link set {interface} addrgenmode none up\n\
         addr add {}/24 dev {interface}\n\
         addr add {}/64 dev {interface} nodad\n\
         neigh add {} lladdr {mac} dev {interface} nud permanent\n\
         neigh add {} lladdr {mac} dev {interface} nud permanent\n",
        own.ipv4, own.ipv6, peer.ipv4, peer.ipv6
    )
}

fn mac(address: [u8; 6]) -> String {
    let mut text = String::new();
    for (i, byte) in address.iter().enumerate() {
        let colon = if i == 0 { "" } else { ":" };
        // Writing to a string does not fail.
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running ip (package iproute2)")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).context("writing to ip")?;
    }
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        bail!(
            "ip -batch failed: {}\n{lines}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

//! The other end of a veth.

use super::interfaces::{Interface, InterfaceError, XdpMode, interfaces, interfaces_of};

/// Whether the interface of that index is a veth whose other end does not
/// receive what a native XDP program sends back: it does only while it runs
/// one itself (`veth_xdp_flush`, Linux 6.18; GRO is not enough). What cannot be
/// found out counts as so.
///
/// # Errors
/// There is no such interface, or interfaces cannot be read.
pub fn loses_answers(index: u32) -> Result<bool, InterfaceError> {
    let all = interfaces()?;
    let Some(own) = find(&all, index) else {
        return Err(InterfaceError::NoSuchIndex(index));
    };
    let Some(peer) = own.veth_peer else {
        return Ok(false);
    };
    let runs_xdp = |there: &[Interface]| {
        find(there, peer.index)
            .and_then(|peer| peer.xdp)
            .is_some_and(|xdp| matches!(xdp.mode, XdpMode::Driver | XdpMode::Multiple))
    };
    Ok(match peer.namespace {
        None => !runs_xdp(&all),
        Some(id) => !interfaces_of(id).is_ok_and(|there| runs_xdp(&there)),
    })
}

fn find(interfaces: &[Interface], index: u32) -> Option<&Interface> {
    interfaces.iter().find(|interface| interface.index == index)
}

//! Dumps and requests over a netlink socket.

use std::io;

use netlink_packet_core::{
    DecodeError, DoneBuffer, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlaBuffer, NlasIterator,
};
use netlink_packet_core::{Emitable, NLM_F_DUMP_INTR};
use netlink_sys::{Socket, SocketAddr};

/// A dump's part is never larger than 32 KiB (`netlink_dump`, Linux 4.9 and
/// later), so this holds every message.
const BUFFER: usize = 64 * 1024;

/// How often a dump that changed under our hands is read anew.
const ATTEMPTS: usize = 5;

/// Why a netlink dump failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The request was not sent.
    #[error("cannot send the netlink request")]
    Send(#[source] io::Error),
    /// The answer could not be read.
    #[error("cannot read the netlink answer")]
    Receive(#[source] io::Error),
    /// The kernel refused the request.
    #[error("the kernel refused the netlink request")]
    Refused(#[source] io::Error),
    /// The answer is not what the kernel's headers describe.
    #[error("cannot understand the netlink answer")]
    Malformed(#[from] DecodeError),
    /// It changed each time that it was read.
    #[error("it changed while it was read, {ATTEMPTS} times over; try again")]
    Interrupted,
}

/// Sends a dump request and calls `each` with every message's type and
/// payload. True when the kernel says that what it dumped changed meanwhile
/// (`NLM_F_DUMP_INTR`): messages may be missing or doubled.
pub fn dump(
    protocol: isize,
    message_type: u16,
    request: &[u8],
    each: impl FnMut(u16, &[u8]) -> Result<(), NetlinkError>,
) -> Result<bool, NetlinkError> {
    exchange(protocol, message_type, NLM_F_DUMP, request, each)
}

/// Asks for one thing, and returns what `parse` makes of the answer.
pub(super) fn ask<T>(
    protocol: isize,
    message_type: u16,
    request: &[u8],
    mut parse: impl FnMut(u16, &[u8]) -> Result<Option<T>, NetlinkError>,
) -> Result<Option<T>, NetlinkError> {
    let mut found = None;
    // With the acknowledgement that it is all, as the end of a dump does.
    exchange(
        protocol,
        message_type,
        NLM_F_ACK,
        request,
        |kind, payload| {
            found = parse(kind, payload)?;
            Ok(())
        },
    )?;
    Ok(found)
}

/// Sends a request with these flags, and reads its answer to the end.
fn exchange(
    protocol: isize,
    message_type: u16,
    flags: u16,
    request: &[u8],
    mut each: impl FnMut(u16, &[u8]) -> Result<(), NetlinkError>,
) -> Result<bool, NetlinkError> {
    let socket = Socket::new(protocol).map_err(NetlinkError::Open)?;
    let mut message = vec![0; 16];
    let mut header = NetlinkHeader::default();
    header.message_type = message_type;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = 1;
    header.length = (message.len() + request.len()) as u32;
    header.emit(&mut message);
    message.extend_from_slice(request);
    socket
        .send_to(&message, &SocketAddr::new(0, 0), 0)
        .map_err(NetlinkError::Send)?;

    let mut interrupted = false;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, libc::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => {
                let error = io::Error::other(format!("a message of {length} bytes was cut"));
                return Err(NetlinkError::Receive(error));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(NetlinkError::Receive(error)),
        }
        let mut rest = buffer.as_slice();
        if rest.is_empty() {
            return Err(NetlinkError::Receive(io::ErrorKind::UnexpectedEof.into()));
        }
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            match message.message_type() {
                NLMSG_DONE => {
                    let code = DoneBuffer::new_checked(message.payload())?.code();
                    return refusal(code).map_or(Ok(interrupted), Err);
                }
                NLMSG_ERROR => {
                    let code = ErrorBuffer::new_checked(message.payload())?.code();
                    return refusal(code.map_or(0, |code| code.get())).map_or(Ok(interrupted), Err);
                }
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => interrupted = true,
                kind => each(kind, message.payload())?,
            }
            // Messages start at multiples of four; the last one may lack its padding.
            let length = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Collects what `parse` makes of each message, and reads anew when the
/// kernel says that it changed meanwhile.
pub fn collect<T>(
    protocol: isize,
    message_type: u16,
    request: &[u8],
    mut parse: impl FnMut(u16, &[u8]) -> Result<Option<T>, NetlinkError>,
) -> Result<Vec<T>, NetlinkError> {
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let interrupted = dump(protocol, message_type, request, |kind, payload| {
            found.extend(parse(kind, payload)?);
            Ok(())
        })?;
        if !interrupted {
            return Ok(found);
        }
    }
    Err(NetlinkError::Interrupted)
}

/// The attributes behind a fixed header of `header` bytes.
pub(crate) fn attributes(
    payload: &[u8],
    header: usize,
) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, NetlinkError>> {
    NlasIterator::new(payload.get(header..).unwrap_or_default())
        .map(|attribute| attribute.map_err(NetlinkError::from))
}

/// `code` is a negated errno, or nothing.
fn refusal(code: i32) -> Option<NetlinkError> {
    (code < 0).then(|| NetlinkError::Refused(io::Error::from_raw_os_error(-code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_code_is_an_errno() {
        assert!(refusal(0).is_none());
        let Some(NetlinkError::Refused(error)) = refusal(-libc::EPERM) else {
            panic!("no refusal");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn an_unknown_request_is_refused() {
        // 255 is no message of sock_diag.
        let outcome = dump(4, 255, &[0; 4], |_, _| Ok(()));
        assert!(
            matches!(outcome, Err(NetlinkError::Refused(_))),
            "{outcome:?}"
        );
    }
}

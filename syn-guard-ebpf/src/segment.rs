//! Segments to a service that are no SYN: they end half-open connections.

use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Tcp, flags};

use crate::half_open::{self, End};
use crate::state::Service;
use crate::{clock, filters};

/// Sequence numbers ahead of the expected one that the stack still takes: the
/// first window is never larger.
const WINDOW: u32 = 65_536;

/// Takes note of a segment that goes to the stack.
#[inline(always)]
pub fn handle(flow: &Flow, hash: u32, tcp: &Tcp, service: &Service) {
    filters::mark_connection(hash);
    if tcp.flags & (flags::ACK | flags::RST) == 0
        || tcp.flags & flags::SYN != 0
        || service.half_open() == 0
        || !filters::may_be_half_open(hash)
    {
        return;
    }
    let Some(found) = half_open::find(flow) else {
        return;
    };
    // `tcp_check_req` (Linux 6.18) looks at segments within the window only.
    let ahead = tcp.sequence.wrapping_sub(found.sequence.wrapping_add(1));
    if ahead >= WINDOW {
        return;
    }
    let how = if tcp.flags & flags::RST != 0 {
        End::Reset
    } else {
        End::Completed
    };
    half_open::end(flow, hash, found, how, clock::now_ns());
}

//! Carries out the controller's commands, by the data path's own counting.

use aya_ebpf::programs::XdpContext;
use syn_guard_common::abi::{Command, Operation, SourceKey, State};
use syn_guard_common::address::Address;
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::Frame as _;

use crate::frame::Packet;
use crate::half_open::{self, End};
use crate::state::Service;
use crate::{filters, sources};

/// The command was carried out.
const DONE: u32 = 1;
/// There was nothing to do.
const NOTHING: u32 = 0;

/// Carries out the command that is the packet.
#[inline(always)]
pub fn handle(context: &XdpContext) -> u32 {
    run(context).unwrap_or(NOTHING)
}

#[inline(always)]
fn run(context: &XdpContext) -> Option<u32> {
    let packet = Packet::of_xdp(context);
    let command = packet.chunk::<{ Command::SIZE }>(0)?;
    let operation = command.word::<0>();
    let slot = command.word::<4>();
    let value = command.word::<8>();
    let flow = Flow {
        remote: Address([
            command.word::<12>(),
            command.word::<16>(),
            command.word::<20>(),
            command.word::<24>(),
        ]),
        local: Address([
            command.word::<28>(),
            command.word::<32>(),
            command.word::<36>(),
            command.word::<40>(),
        ]),
        remote_port: command.word::<44>() as u16,
        local_port: (command.word::<44>() >> 16) as u16,
    };
    let time_ns = u64::from(command.word::<48>()) | (u64::from(command.word::<52>()) << 32);
    if operation == Operation::MarkConnection as u32 {
        filters::mark_connection(flow.hash());
    } else if operation == Operation::MarkSource as u32 {
        let key = SourceKey {
            source: flow.remote,
            slot,
        };
        filters::mark_has_counters(sources::hash(&key));
    } else if operation == Operation::SetState as u32 {
        Service::of_slot(slot)?.set_state(State::from_u32(value), time_ns);
    } else if operation == Operation::StopValidating as u32 {
        Service::of_slot(slot)?.stop_validating();
    } else {
        let how = if operation == Operation::Forget as u32 {
            End::Forgotten
        } else {
            End::Expired
        };
        let found = half_open::find(&flow)?;
        // Another one may have begun meanwhile.
        if how == End::Expired && found.started_ns != time_ns {
            return Some(NOTHING);
        }
        half_open::end(&flow, flow.hash(), found, how, time_ns);
    }
    Some(DONE)
}

//! What a listener says to the clients of a route class.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use syn_guard_common::abi::{Listener as Entry, listener_flags};
use syn_guard_common::window::{ReceiveWindow, payload_space};

use crate::controller::closed::Closures;
use crate::controller::route_classes::{Classes, Path};
use crate::controller::routes::RouteClasses;
use crate::controller::rules::VirtualAddresses;
use crate::kernel::TcpSettings;
use crate::kernel::sock_diag::Listener;
use crate::kernel::socket_options::SocketOptions;

/// For how long a full accept queue counts as full unless it is told again.
pub(super) const FULL_NS: u64 = 1_000_000_000;

/// What the entries go by beside the listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The own addresses.
    pub own: Vec<IpAddr>,
    /// The settings.
    pub settings: TcpSettings,
    /// The clients' routes.
    pub routes: RouteClasses,
    /// To whom services are closed, which the routes go by.
    pub closures: Closures,
    /// What is known of the options of listeners, by inode.
    pub options: HashMap<u64, SocketOptions>,
    /// Sizes of a receive buffer that nobody set: `tcp_rmem[1]`, now and
    /// before, for a listener keeps what it began with.
    pub default_buffers: BTreeSet<u32>,
    /// Firewall rules may drop, change or redirect a SYN or its answer, and the data path
    /// sees what leaves the host.
    pub needs_proof: bool,
    /// What IPVS leads elsewhere.
    pub virtual_addresses: VirtualAddresses,
}

impl Host {
    /// The route classes of clients of an own address.
    #[must_use]
    pub fn classes(&self, own: IpAddr) -> &Classes {
        if own.is_ipv4() {
            &self.routes.ipv4
        } else {
            &self.routes.ipv6
        }
    }

    /// Whether IPVS takes the connections to an own address and port.
    pub(super) fn is_virtual(&self, own: IpAddr, port: u16) -> bool {
        [port, 0]
            .iter()
            .any(|port| self.virtual_addresses.contains(&(own, *port)))
    }

    /// The entry of a listener on an own address for the clients of a class.
    pub(super) fn entry(
        &self,
        listener: &Listener,
        own: IpAddr,
        class: u32,
        path: &Path,
        now_ns: u64,
    ) -> Entry {
        let settings = &self.settings;
        let known = self.options.get(&listener.inode).copied();
        let options = known.unwrap_or_default();
        let mss = match options.max_segment {
            0 => path.mss,
            most => most.min(path.mss),
        };
        let window = ReceiveWindow {
            space: payload_space(listener.rcvbuf, settings.adv_win_scale),
            // Where nobody tells: one whose listener is older than this
            // controller and a change of tcp_rmem seems set.
            locked: options
                .buffer_locked
                .unwrap_or_else(|| !self.default_buffers.contains(&listener.rcvbuf)),
            clamp: options.window_clamp,
            route_window: path.window,
            route_segments: path.segments,
            tcp_rmem_max: settings.rmem[2],
            rmem_max: settings.rmem_max,
            signed: settings.signed_windows,
        };
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let first = class == 0;
        let full = first && listener.is_full();
        let routed = first && !self.classes(own).prefixes.is_empty();
        let closed = path.closed & self.closures.bit(listener.local.port()) != 0;
        Entry {
            full_until_ns: if full { now_ns + FULL_NS } else { 0 },
            flags: flag(settings.timestamps != 0, listener_flags::TIMESTAMPS)
                | flag(settings.sack, listener_flags::SACK)
                | flag(settings.window_scaling, listener_flags::WINDOW_SCALING)
                | flag(settings.ecn != 0 || path.ecn, listener_flags::ECN)
                // `bpf_sk_assign_tcp_reqsk` refuses an MPTCP listener; one that is picky
                // answers only some SYNs. To some clients there is no way back.
                | flag(
                    listener.mptcp
                        || options.is_picky
                        || (path.silent && !first)
                        || (closed && !routed),
                    listener_flags::NO_COOKIES,
                )
                | flag(closed && routed, listener_flags::CLOSED)
                | flag(routed, listener_flags::ROUTED)
                | flag(self.needs_proof, listener_flags::PROOF)
                | flag(settings.reflect_tos, listener_flags::REFLECT_TOS)
                | flag(
                    own.is_ipv6() && self.has_flow_label(&options),
                    listener_flags::FLOW_LABEL,
                ),
            mss,
            window: window.window(mss, false),
            window_with_timestamps: window.window(mss, true),
            scale: window.scale(mss),
            ttl: if own.is_ipv4() {
                options.ttl
            } else {
                options.hop_limit
            }
            .unwrap_or(path.hop_limit),
            most_mss: options.max_segment,
            tos: if own.is_ipv4() {
                listener.tos
            } else {
                listener.traffic_class
            },
            ..Entry::default()
        }
    }

    /// `ip6_make_flowlabel` and `ip6_autoflowlabel`, Linux 6.18.
    fn has_flow_label(&self, options: &SocketOptions) -> bool {
        match self.settings.auto_flow_labels {
            0 => false,
            3 => true,
            by_default => options.auto_flow_label.unwrap_or(by_default == 1),
        }
    }
}

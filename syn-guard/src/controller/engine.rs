//! Which engine makes cookies, and when the other one takes over.
//!
//! The engine `reqsk` hangs a connection's request on the packet that completes its
//! handshake. What lets go of it between TC and the socket has the stack reset the
//! connection:
//!
//! | what | where (Linux 6.18) |
//! | --- | --- |
//! | NAT, where conntrack is in use | `nf_nat_ipv4_local_in`, `nf_nat_ipv6_local_in` take the packet for mangled: the request has no remote port yet |
//! | a bridge's port, where br_netfilter gives its packets to the firewall | `br_nf_pre_routing_finish`, before the bridge passes it up |
//!
//! The kernel's own cookies are validated behind all of it.

use syn_guard_common::abi::{EngineKind, settings_flags};
use tracing::info;

use super::rules::{Rules, VirtualAddresses};
use crate::datapath::{Engine, Features};
use crate::kernel::interfaces::{InterfaceError, interfaces};
use crate::kernel::netfilter::Netfilter;
use crate::kernel::sysctl;

/// For how long nothing must be in its way before the engine `reqsk` makes cookies
/// again: rules that a reload takes away are back within a moment.
const GIVE_BACK_NS: u64 = 60_000_000_000;

/// Whether br_netfilter gives packets of bridges to the firewall.
const BRIDGE_CALLS: [&str; 2] = [
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
];

/// Whether conntrack takes up connections whose SYN it did not see.
const LOOSE: &str = "net.netfilter.nf_conntrack_tcp_loose";

/// What is in the way of the engine `reqsk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// NAT in this network namespace.
    Nat,
    /// A guarded interface is a port of a bridge, whose packets the firewall gets.
    BridgePort(String),
}

impl Obstacle {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Nat => "NAT is in use here (docker, podman, firewalld and the like), with \
                which the kernel resets connections of the engine reqsk"
                .to_owned(),
            Self::BridgePort(interface) => format!(
                "{interface} is a port of a bridge and br_netfilter gives its packets to the \
                firewall, with which the kernel resets connections of the engine reqsk"
            ),
        }
    }
}

/// What the data path is told of making cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// Who makes them.
    pub engine: EngineKind,
    /// See [`settings_flags`].
    pub flags: u32,
}

/// What there is around the sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// What netfilter does.
    pub netfilter: Netfilter,
    /// What IPVS leads elsewhere.
    pub virtual_addresses: VirtualAddresses,
    /// What is in the way of the engine `reqsk`.
    pub obstacle: Option<Obstacle>,
    /// conntrack takes up no connection whose SYN it did not see.
    pub no_pick_up: bool,
}

impl Surroundings {
    /// Looks around.
    ///
    /// # Errors
    /// The kernel does not tell of interfaces.
    pub fn look(guarded: &[String], rules: &mut Rules) -> Result<Self, InterfaceError> {
        let netfilter = rules.read();
        Ok(Self {
            netfilter,
            virtual_addresses: rules.virtual_addresses(),
            obstacle: obstacle(netfilter, guarded)?,
            no_pick_up: sysctl::get_u64(LOOSE).is_ok_and(|loose| loose == 0),
        })
    }

    /// Says what else the start goes by.
    pub fn say(&self) {
        if !self.netfilter.rules {
            return;
        }
        info!(
            "there are firewall rules: cookies go out where the kernel itself was seen to answer"
        );
        if self.no_pick_up {
            info!(
                "{LOOSE} is 0: conntrack takes up no connection whose SYN it did not see, so it is told of those that cookies begin"
            );
        }
    }

    /// What the data path is told.
    #[must_use]
    pub fn making(&self, engine: EngineKind) -> Making {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        Making {
            engine,
            flags: flag(
                self.no_pick_up && self.netfilter.rules,
                settings_flags::NO_PICK_UP,
            ),
        }
    }
}

/// What is in the way of the engine `reqsk`.
fn obstacle(netfilter: Netfilter, guarded: &[String]) -> Result<Option<Obstacle>, InterfaceError> {
    if netfilter.nat {
        return Ok(Some(Obstacle::Nat));
    }
    let calls = |name: &&str| sysctl::get_u64(name).is_ok_and(|calls| calls != 0);
    if !BRIDGE_CALLS.iter().any(calls) {
        return Ok(None);
    }
    Ok(interfaces()?
        .into_iter()
        .find(|it| guarded.contains(&it.name) && it.port_of.as_deref() == Some("bridge"))
        .map(|it| Obstacle::BridgePort(it.name)))
}

/// The engine that makes cookies.
#[derive(Clone, Debug)]
pub struct EngineInUse {
    preferred: Engine,
    preferred_why: String,
    /// The programs can do both, and the operator leaves the choice.
    can_change: bool,
    kind: EngineKind,
    obstacle: Option<Obstacle>,
    /// Since when nothing is in the way, `CLOCK_MONOTONIC` ns.
    clear_since: Option<u64>,
}

impl EngineInUse {
    /// The engine to begin with.
    #[must_use]
    pub fn new(features: &Features, obstacle: Option<Obstacle>) -> Self {
        let can_change = matches!(features.engine, Engine::Reqsk { .. }) && features.generates;
        let obstacle = obstacle.filter(|_| can_change);
        Self {
            preferred: features.engine.clone(),
            preferred_why: features.why.clone(),
            can_change,
            kind: if obstacle.is_some() {
                EngineKind::Kernel
            } else {
                features.engine.kind()
            },
            obstacle,
            clear_since: None,
        }
    }

    /// Who makes cookies.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Whether the kernel makes them.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        self.kind == EngineKind::Kernel
    }

    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (&self.preferred, self.kind) {
            (Engine::None { .. }, _) => self.preferred.name(),
            (_, EngineKind::Kernel) => Engine::Kernel.name(),
            (_, EngineKind::Reqsk) => "reqsk",
        }
    }

    /// Why that one, and what it costs.
    #[must_use]
    pub fn why(&self) -> String {
        let why = match &self.obstacle {
            Some(obstacle) => obstacle.words(),
            None => self.preferred_why.clone(),
        };
        if self.is_kernel() {
            format!(
                "{why}; clients without timestamps (most of Windows) get neither window scaling nor SACK, and two sysctls change while a service protects"
            )
        } else {
            why
        }
    }

    /// Goes by what is in the way at `now_ns`; whether another engine makes cookies
    /// from now on.
    pub fn follow(&mut self, obstacle: Option<Obstacle>, now_ns: u64) -> bool {
        if !self.can_change {
            return false;
        }
        if obstacle.is_some() {
            self.clear_since = None;
            self.obstacle = obstacle;
            return std::mem::replace(&mut self.kind, EngineKind::Kernel) != EngineKind::Kernel;
        }
        if self.kind == EngineKind::Reqsk {
            return false;
        }
        let since = *self.clear_since.get_or_insert(now_ns);
        if now_ns.saturating_sub(since) < GIVE_BACK_NS {
            return false;
        }
        self.kind = EngineKind::Reqsk;
        self.obstacle = None;
        self.clear_since = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn features(engine: Engine) -> Features {
        Features {
            assign: Some(7),
            generates: true,
            engine,
            why: "it is the best".to_owned(),
            signatures: 0,
        }
    }

    #[test]
    fn the_kernel_takes_over_at_once_and_gives_back_after_a_while() {
        let mut engine = EngineInUse::new(&features(Engine::Reqsk { function: 7 }), None);
        assert_eq!(
            (engine.name(), engine.why()),
            ("reqsk", "it is the best".to_owned())
        );
        assert!(!engine.follow(None, 0));
        assert!(engine.follow(Some(Obstacle::Nat), SECOND));
        assert!(engine.is_kernel());
        assert!(engine.why().contains("NAT"), "{}", engine.why());
        assert!(engine.why().contains("SACK"), "{}", engine.why());
        // A reload: gone for a moment.
        assert!(!engine.follow(None, 2 * SECOND));
        assert!(!engine.follow(Some(Obstacle::Nat), 3 * SECOND));
        assert!(!engine.follow(None, 4 * SECOND));
        assert!(!engine.follow(None, 63 * SECOND));
        assert!(engine.follow(None, 64 * SECOND));
        assert_eq!(engine.name(), "reqsk");
    }

    #[test]
    fn a_start_behind_nat_begins_with_the_kernels() {
        let reqsk = features(Engine::Reqsk { function: 7 });
        let engine = EngineInUse::new(&reqsk, Some(Obstacle::BridgePort("p1".to_owned())));
        assert_eq!(engine.name(), "kernel");
        assert!(engine.why().contains("p1"), "{}", engine.why());
    }

    #[test]
    fn what_the_operator_chose_or_the_kernel_lacks_does_not_change() {
        let mut engine = EngineInUse::new(&features(Engine::Kernel), Some(Obstacle::Nat));
        assert!(!engine.follow(Some(Obstacle::Nat), SECOND));
        assert!(!engine.follow(None, 100 * SECOND));
        assert!(
            engine.why().starts_with("it is the best"),
            "{}",
            engine.why()
        );
        let none = Engine::None {
            reason: "too old".to_owned(),
        };
        assert_eq!(
            EngineInUse::new(&features(none), Some(Obstacle::Nat)).name(),
            "none"
        );
    }
}

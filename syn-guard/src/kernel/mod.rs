//! What the kernel tells user space: sockets, counters, sysctls, interfaces
//! and owners.
//!
//! All functions are synchronous, read the network namespace of the calling
//! thread, and need no privilege unless they say so.

pub mod addresses;
pub mod bpf_owners;
pub mod changes;
pub mod channels;
pub mod cpus;
pub mod interfaces;
pub mod netfilter;
pub mod netlink;
pub mod owners;
pub mod route_metrics;
pub mod routes;
pub mod sock_diag;
pub mod socket_options;
pub mod sysctl;
pub mod tcp_ext;
pub mod tcp_settings;
pub mod veth;

pub use tcp_settings::TcpSettings;

//! What the eBPF programs and the controller of syn-guard share: the layout of
//! the maps ([`abi`]), reading SYNs and writing SYN-ACKs ([`wire`]), the
//! [`cookie`], the filter before the lists of prefixes ([`prefix_filter`]), and
//! the decisions ([`policy`]). Nothing here knows maps, BPF
//! helpers or files, so all of it is tested on the host.

#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod address;
pub mod bucket;
pub mod cookie;
pub mod flow;
pub mod life;
pub mod policy;
pub mod prefix_filter;
pub mod sketch;
pub mod window;
pub mod wire;

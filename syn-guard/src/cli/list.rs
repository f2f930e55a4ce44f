//! `syn-guard list`, with the states of the running guard where there is one.

use std::collections::HashMap;

use super::args::Paths;
use super::runtime;
use crate::client;
use crate::list::{GuardView, ListArgs};

/// The states of the services by port; empty without a guard.
struct States(HashMap<u16, String>);

impl GuardView for States {
    fn service_state(&self, port: u16) -> Option<String> {
        self.0.get(&port).cloned()
    }
}

pub(super) fn run(args: &ListArgs, paths: &Paths) -> anyhow::Result<()> {
    // No guard, or one that this user may not ask: the kernel knows the rest.
    let report = runtime()?.block_on(client::status(&paths.control())).ok();
    let states = report
        .map(|report| {
            report
                .services
                .into_iter()
                .map(|service| (service.port, service.state))
                .collect()
        })
        .unwrap_or_default();
    crate::list::run(args, &States(states))
}

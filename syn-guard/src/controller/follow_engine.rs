//! The other engine takes over while the guard runs.

use tracing::warn;

use super::clock::now_ns;
use super::engine::{Making, Surroundings};
use super::{Controller, ControllerError};
use crate::datapath::one_line;
use crate::events::{EventKind, Level};

impl Controller {
    /// Looks around, and goes by what is there.
    pub(super) fn keep_engine(&mut self) {
        self.follow_engine();
        if self.rules.take_other_services() {
            self.forget_proofs();
        }
    }

    /// Has the other engine make cookies where something is in the way of this one, or
    /// is no more.
    fn follow_engine(&mut self) {
        let found = Surroundings::look(&self.options.interfaces, &mut self.rules);
        match found {
            Ok(found) => self.surroundings = found,
            Err(error) => {
                warn!("engine: {}", one_line(&error));
                return;
            }
        }
        let needs_proof = self.needs_proof();
        let virtual_addresses = self.surroundings.virtual_addresses.clone();
        let is_news = self.services.go_by(needs_proof, virtual_addresses);
        if !self
            .engine
            .follow(self.surroundings.obstacle.clone(), now_ns())
        {
            if is_news {
                self.tell("listeners", |controller| {
                    controller
                        .services
                        .refresh(&mut controller.datapath, &mut controller.event_log)
                });
            }
            self.keep_conntrack_program();
            return;
        }
        let kind = self.engine.kind();
        // At once, for what the other engine still makes is lost. The kernel makes no
        // cookies before its settings are made, and they are last.
        self.tell("engine", Self::tell_limits);
        // What the stack would misread no cookie carries.
        self.services.cookie_timestamps().set_engine(kind);
        self.tell("engine", |controller| {
            controller
                .services
                .refresh(&mut controller.datapath, &mut controller.event_log)
        });
        self.keep_kernel_engine_or_say();
        let text = format!(
            "engine {} makes cookies from now on: {}",
            self.engine.name(),
            self.engine.why()
        );
        let level = if self.engine.is_kernel() {
            Level::Warn
        } else {
            Level::Info
        };
        self.event_log
            .push(EventKind::Engine, level, None, text, &[]);
        self.keep_conntrack_program();
    }

    /// Firewall rules changed.
    pub(super) fn rules_changed(&mut self) {
        self.rules.changed();
        self.keep_engine();
        self.forget_proofs();
    }

    /// What the stack answered before says nothing any more.
    fn forget_proofs(&mut self) {
        self.tell("listeners", |controller| {
            controller.services.forget_proofs(&mut controller.datapath)
        });
    }

    /// Whether cookies wait for the stack's own answer: where the programs that see it are.
    pub(super) fn needs_proof(&self) -> bool {
        self.surroundings.netfilter.rules && self.datapath.features.assign.is_some()
    }

    /// What the data path is told of making cookies.
    pub(super) fn making(&self) -> Making {
        self.surroundings.making(self.engine.kind())
    }

    /// Tells the data path of limits, and of making cookies.
    pub(super) fn tell_limits(&mut self) -> Result<(), ControllerError> {
        let making = self.making();
        self.limits.tell(
            &self.options.limits,
            &self.options.interfaces,
            making,
            &mut self.datapath,
        )
    }

    /// Has conntrack forget earlier connections where it may remember any.
    fn keep_conntrack_program(&mut self) {
        if !self.surroundings.netfilter.rules || self.conntrack_said {
            return;
        }
        match self.datapath.load_conntrack() {
            Ok(_) => {}
            Err(error) => {
                self.conntrack_said = true;
                warn!(
                    "conntrack is not made to forget earlier connections ({}): a client that uses its port again within two minutes may be refused by the firewall while its service protects",
                    one_line(&error)
                );
            }
        }
    }
}

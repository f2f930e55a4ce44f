//! The other engine takes over while the guard runs.

use tracing::warn;

use super::clock::now_ns;
use super::{Controller, engine};
use crate::datapath::one_line;
use crate::events::{EventKind, Level};

impl Controller {
    /// Has the other engine make cookies where something is in the way of this one, or
    /// is no more.
    pub(super) fn keep_engine(&mut self) {
        let netfilter = engine::look(&mut self.netfilter_said);
        let obstacle = match engine::obstacle(netfilter, &self.options.interfaces) {
            Ok(obstacle) => obstacle,
            Err(error) => {
                warn!("engine: {}", one_line(&error));
                return;
            }
        };
        if !self.engine.follow(obstacle, now_ns()) {
            return;
        }
        let kind = self.engine.kind();
        // What the stack would misread no cookie carries, before the first one of the
        // kernel's goes.
        self.services.cookie_timestamps().set_engine(kind);
        self.tell("engine", |controller| {
            controller
                .services
                .refresh(&mut controller.datapath, &mut controller.event_log)?;
            controller.limits.tell(
                &controller.options.limits,
                &controller.options.interfaces,
                kind,
                &mut controller.datapath,
            )
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
        self.event_log.push(EventKind::Engine, level, None, text, &[]);
    }
}

//! What other tasks ask for, one at a time: nothing here waits.

use syn_guard_common::abi::{ListKind, Mode};

use super::{Controller, ControllerError, ModeError, Request, keep_syncookies, mode_name};
use crate::events::{EventKind, Level};
use crate::report::ModeReport;

impl Controller {
    pub(super) fn answer(&mut self, request: Request) {
        // Who asked may have gone away.
        match request {
            Request::Report(reply) => drop(reply.send(self.report())),
            Request::Alive(reply) => drop(reply.send(())),
            Request::Sources(reply) => drop(reply.send(self.sources())),
            Request::Events(after, reply) => drop(reply.send(self.event_log.follow(&after))),
            Request::Config(reply) => drop(reply.send(self.config_report())),
            Request::Reload(reply) => drop(reply.send(self.reload())),
            Request::Set { key, value, reply } => drop(reply.send(self.set(&key, &value))),
            Request::Prefixes { list, after, reply } => {
                let lists = ListKind::ALL.into_iter();
                let wanted = lists.filter(|each| list.is_none_or(|list| list == *each));
                let prefixes = wanted.flat_map(|list| self.prefixes(list, after)).collect();
                drop(reply.send(prefixes));
            }
            Request::AddPrefix {
                list,
                prefix,
                lasting,
                reply,
            } => drop(reply.send(self.add_prefix(list, &prefix, lasting))),
            Request::RemovePrefix {
                list,
                prefix,
                reply,
            } => drop(reply.send(self.remove_prefix(list, &prefix))),
            Request::SetMode { port, mode, reply } => {
                drop(reply.send(self.set_mode(port, mode)));
            }
        }
    }

    /// What a service may do from now on; none: what the configuration says.
    fn set_mode(&mut self, port: u16, mode: Option<Mode>) -> Result<ModeReport, ModeError> {
        let from = self.services.detection(port).mode;
        self.services.set_mode(port, mode)?;
        let to = self.services.detection(port).mode;
        self.event_log.push(
            EventKind::Config,
            Level::Info,
            Some(port),
            format!(
                "mode: {} -> {}, asked by `syn-guard protect`",
                mode_name(from),
                mode_name(to)
            ),
            &[],
        );
        self.tell("modes", Self::apply_modes);
        let state = self
            .services
            .guarded()
            .find(|guarded| guarded.port == port)
            .map_or("off", |guarded| guarded.state().name());
        Ok(ModeReport {
            port,
            from: mode_name(from).to_owned(),
            to: mode_name(to).to_owned(),
            state: state.to_owned(),
        })
    }

    /// Makes services follow their modes. What fails is tried again each second.
    fn apply_modes(&mut self) -> Result<(), ControllerError> {
        self.services
            .apply(&mut self.datapath, &mut self.event_log)?;
        self.keep_kernel_engine_or_say();
        keep_syncookies(self.services.may_protect(), &mut self.journal)
    }
}

//! What the data path is told of services: their limits and modes.

use syn_guard_common::abi::{MAX_HALF_OPEN, ServiceConfig};
use syn_guard_common::policy::Limits;

use super::Services;
use crate::controller::{ControllerError, Detection};
use crate::datapath::DataPath;

impl Services {
    pub(super) fn write_configs(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let detections: Vec<Detection> = self
            .guarded
            .keys()
            .map(|port| self.detection(*port))
            .collect();
        for (guarded, detection) in self.guarded.values_mut().zip(detections) {
            let backlog = self
                .backlogs
                .get(&guarded.port)
                .map_or(0, |backlog| backlog.backlog);
            guarded.backlog = backlog;
            guarded.mode = detection.mode;
            guarded.limit_is_set = detection.max_half_open.is_some();
            let capacity = u64::from(MAX_HALF_OPEN) / 2;
            guarded.limits = Limits::new(backlog, detection.max_half_open, capacity);
            let config = ServiceConfig {
                limit: guarded.limits.on,
                life_ns: self.life_ns,
                unanswered_rate: 0,
                mode: guarded.mode as u32,
                port: u32::from(guarded.port),
            };
            if datapath.maps.config(guarded.slot)? != config {
                datapath.maps.set_config(guarded.slot, config)?;
            }
        }
        Ok(())
    }
}

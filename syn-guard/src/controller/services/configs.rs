//! What the data path is told of services: their limits and modes.

use syn_guard_common::abi::{MAX_HALF_OPEN, ServiceConfig};
use syn_guard_common::policy::Limits;

use super::Services;
use crate::controller::{ControllerError, Detection};
use crate::datapath::DataPath;

/// Where it is not set, a service may have this many unanswered SYNs a second.
const LEAST_RATE: u64 = 1000;

/// The rate of unanswered SYNs at which a service protects: as many a second as it
/// may have half-open connections, unless it is set.
fn unanswered_rate(detection: &Detection, half_open: u64) -> u64 {
    detection
        .max_unanswered_rate
        .unwrap_or(half_open.max(LEAST_RATE))
}

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
                unanswered_rate: unanswered_rate(&detection, guarded.limits.on),
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

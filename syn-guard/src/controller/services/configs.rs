//! What the data path is told of services: their limits and modes.

use syn_guard_common::abi::{MAX_HALF_OPEN, ServiceConfig};
use syn_guard_common::policy::Threshold;

use super::Services;
use crate::controller::ControllerError;
use crate::datapath::DataPath;

impl Services {
    pub(super) fn write_configs(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let capacity = u64::from(MAX_HALF_OPEN) / 2;
        let ports: Vec<u16> = self.guarded.keys().copied().collect();
        for port in ports {
            let (detection, origins) = (self.detection(port), self.origins(port));
            let life_ns = self.life_ns;
            let Some(guarded) = self.guarded.get_mut(&port) else {
                continue;
            };
            guarded.follow(&detection, origins, capacity, self.lives.usual_ns());
            let limits = guarded.rules.limits;
            let unanswered_rate = match limits.unanswered {
                Threshold::NEVER => 0,
                threshold => threshold.on,
            };
            let config = ServiceConfig {
                limit: limits.half_open.on,
                life_ns,
                unanswered_rate,
                mode: guarded.mode() as u32,
                port: u32::from(port),
            };
            if self.told_configs.get(&port) != Some(&config) {
                datapath.maps.set_config(guarded.slot, config)?;
                self.told_configs.insert(port, config);
            }
        }
        Ok(())
    }
}

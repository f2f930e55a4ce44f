//! What limits go by, and what they are to be judged by.

use aya::maps::PerCpuValues;
use syn_guard_common::abi::{Settings, SourceSample};

use super::{Maps, broken};
use crate::datapath::DataPathError;

impl Maps {
    /// What the data path was told for all services.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settings(&self) -> Result<Settings, DataPathError> {
        self.settings
            .get(&0, 0)
            .map_err(|error| broken("SETTINGS", &error))
    }

    /// Tells the data path what holds for all services.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), DataPathError> {
        self.settings
            .set(0, settings, 0)
            .map_err(|error| broken("SETTINGS", &error))
    }

    /// Forgets all sources: they are counted by another prefix from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear_sources(&mut self) -> Result<(), DataPathError> {
        let mut sources = Vec::new();
        self.each_source(|key, _| sources.push(*key))?;
        for key in sources {
            // Gone already is as good.
            let _ = self.sources.remove(&key);
        }
        Ok(())
    }

    /// Takes the samples of a service's sources since the last time, one a CPU;
    /// those of SYNs that come meanwhile may be lost.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_samples(&mut self, slot: u32) -> Result<Vec<SourceSample>, DataPathError> {
        let samples = self
            .samples
            .get(&slot, 0)
            .map_err(|error| broken("SAMPLES", &error))?;
        if samples.iter().any(|sample| sample.syns != 0) {
            let empty = vec![SourceSample::default(); samples.len()];
            let empty = PerCpuValues::try_from(empty).map_err(|error| broken("SAMPLES", &error))?;
            self.samples
                .set(slot, empty, 0)
                .map_err(|error| broken("SAMPLES", &error))?;
        }
        Ok(samples.to_vec())
    }
}

//! What the guard itself uses.

use procfs::process::Process;
use prometheus::proto::MetricType::{COUNTER, GAUGE};

use super::family::{Family, encode};

/// Memory and processor time of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUsage {
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// User and system time, seconds.
    pub cpu_seconds: f64,
}

impl ProcessUsage {
    /// Of this process; none when `/proc` cannot be read.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = Process::myself().ok()?.stat().ok()?;
        Some(Self {
            resident_bytes: stat.rss * procfs::page_size(),
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        })
    }
}

/// The usage in Prometheus' text format.
///
/// # Errors
///
/// When a family is not one that Prometheus takes.
pub fn render_process(usage: ProcessUsage) -> Result<String, prometheus::Error> {
    encode(vec![
        Family::new(
            GAUGE,
            "process_resident_memory_bytes",
            "Resident memory of the guard.",
        )
        .value(usage.resident_bytes as f64),
        Family::new(
            COUNTER,
            "process_cpu_seconds_total",
            "User and system processor time of the guard; what the eBPF programs take is not in it.",
        )
        .value(usage.cpu_seconds),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = ProcessUsage::read().unwrap();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.cpu_seconds >= 0.0);
    }
}

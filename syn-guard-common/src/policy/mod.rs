//! When a service protects, and when it stops; when the system is hardened.
//! Pure: counts and times in, decisions out.

mod counts;
pub mod estimate;
mod flood;
pub mod harden;
mod hold;
mod limits;
mod load;
mod reason;
mod service;

pub use counts::Counts;
pub use estimate::Sources;
pub use flood::{Assessment, Kind, Numbers};
pub use hold::Hold;
pub use limits::{LEAST_HALF_OPEN, Limits, Threshold, Wanted};
pub use load::Load;
pub use reason::{Reason, Trigger, Why};
pub use service::{Change, DRAIN_NS, Outcome, Rules, Sample, Service, Signals, Switch};

/// `percent` of a value, rounded up.
const fn percent_of(value: u64, percent: u64) -> u64 {
    let share = (value as u128 * percent as u128).div_ceil(100);
    if share > u64::MAX as u128 {
        u64::MAX
    } else {
        share as u64
    }
}

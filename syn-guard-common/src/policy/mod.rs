//! When a service protects, and when it stops; when the system is hardened.
//! Pure: counts and times in, decisions out.

pub mod harden;
mod hold;
mod limits;
mod load;

pub use hold::Hold;
pub use limits::Limits;
pub use load::Load;

/// `percent` of a value, rounded up.
const fn percent_of(value: u64, percent: u64) -> u64 {
    let share = (value as u128 * percent as u128).div_ceil(100);
    if share > u64::MAX as u128 {
        u64::MAX
    } else {
        share as u64
    }
}

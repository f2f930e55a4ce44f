//! The machine's CPUs.

use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The same in every network namespace.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// How many CPUs are online. Packets come on any of them, whatever the affinity
/// and the quota of this process, which only count where the kernel does not tell.
#[must_use]
pub fn online() -> u64 {
    fs::read_to_string(ONLINE)
        .ok()
        .and_then(|list| count(&list))
        .unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get) as u64)
}

/// The CPUs of a list as `0-3,8`, the format of "CPU lists" in
/// `Documentation/admin-guide/cputopology.rst`; none where it is not one.
fn count(list: &str) -> Option<u64> {
    let mut sum = 0_u64;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_single_cpus_and_ranges() {
        for (list, expected) in [
            ("0\n", Some(1)),
            ("0-1\n", Some(2)),
            ("0-3,8", Some(5)),
            ("0,2,4-7,63\n", Some(7)),
            ("", None),
            ("3-1", None),
            ("0-", None),
            ("all", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(count(list), expected, "{list:?}");
        }
    }

    #[test]
    fn the_affinity_of_this_process_does_not_count() {
        let before = online();
        std::thread::spawn(move || {
            let mut first = nix::sched::CpuSet::new();
            let all = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
            let cpu = (0..nix::sched::CpuSet::count()).find(|&cpu| all.is_set(cpu).unwrap());
            first.set(cpu.unwrap()).unwrap();
            nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &first).unwrap();
            assert_eq!(available_parallelism().unwrap().get(), 1);
            assert_eq!(online(), before);
        })
        .join()
        .unwrap();
    }
}

//! What is recommended, and why. Pure but for its inputs.
//!
//! What the settings do: `Documentation/networking/ip-sysctl.rst` of the kernel.

use serde::Serialize;

use crate::kernel::sysctl::SysctlError;
use crate::undo::UndoError;

/// Memory from which large queues cost nothing that matters, bytes: 16,384
/// half-open connections take some 5 MB.
const MUCH_MEMORY: u64 = 2 << 30;
const LARGE_QUEUE: u64 = 16_384;
const QUEUE: u64 = 4_096;

/// What a setting is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Exactly(u64),
    AtMost(u64),
    AtLeast(u64),
    /// Whatever it is: only what it means is told.
    Any,
}

impl Wish {
    /// What is wished where that is not met.
    fn unmet(self, current: u64) -> Option<u64> {
        let (met, value) = match self {
            Self::Exactly(value) => (current == value, value),
            Self::AtMost(most) => (current <= most, most),
            Self::AtLeast(least) => (current >= least, least),
            Self::Any => return None,
        };
        (!met).then_some(value)
    }
}

/// What is said of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Its name, as `net.ipv4.tcp_syncookies`.
    pub setting: &'static str,
    /// Its value; none where the kernel does not show it here.
    pub current: Option<String>,
    /// What it should be; none where it is good as it is.
    pub recommended: Option<String>,
    /// Why.
    pub reason: &'static str,
    /// The running guard changed it for now: `current` is what it will be
    /// again.
    pub held: bool,
}

/// The settings, with what is wished of each and why.
fn wishes(memory_bytes: u64) -> [(&'static str, Wish, &'static str); 9] {
    let queue = if memory_bytes >= MUCH_MEMORY {
        LARGE_QUEUE
    } else {
        QUEUE
    };
    [
        (
            "net.ipv4.tcp_syncookies",
            Wish::Exactly(1),
            "cookies when a queue is full: 0 drops SYNs and takes no cookie, 2 sends them without need",
        ),
        (
            "net.ipv4.tcp_synack_retries",
            Wish::AtMost(3),
            "a half-open connection is given up after 15 s, not after 63 s; a client that is there sends its SYN again anyway",
        ),
        (
            "net.ipv4.tcp_max_syn_backlog",
            Wish::AtLeast(queue),
            "half-open connections that the kernel keeps where cookies are off",
        ),
        (
            "net.core.somaxconn",
            Wish::AtLeast(queue),
            "the most that a program gets when it asks listen() for a queue; counts from its next start on",
        ),
        (
            "net.ipv4.tcp_timestamps",
            Wish::AtLeast(1),
            "window scale and SACK of a cookie's connection travel in timestamps",
        ),
        (
            "net.ipv4.tcp_window_scaling",
            Wish::Exactly(1),
            "without it no connection has more than 64 KiB under way",
        ),
        (
            "net.ipv4.tcp_sack",
            Wish::Exactly(1),
            "without it each lost segment costs a round trip",
        ),
        (
            "net.ipv4.tcp_abort_on_overflow",
            Wish::Exactly(0),
            "1 resets clients whose connection finds the accept queue full; with 0 they try again",
        ),
        (
            "net.netfilter.nf_conntrack_tcp_loose",
            Wish::Any,
            "0: conntrack takes up no connection whose SYN it did not see; syn-guard tells it of those that cookies begin, or, where the kernel has no function for that (bpf_skb_ct_alloc, Linux 6.0), stands back after some are lost",
        ),
    ]
}

/// What is to be said of every setting. `get` reads one; `held` gives the value
/// that the running guard will restore, where it changed one.
///
/// # Errors
/// A value is no number, or it is not known what the guard holds.
pub fn advice(
    memory_bytes: u64,
    get: impl Fn(&str) -> Result<String, SysctlError>,
    held: impl Fn(&str) -> Result<Option<String>, UndoError>,
) -> Result<Vec<Advice>, UndoError> {
    let mut all = Vec::new();
    for (setting, wish, reason) in wishes(memory_bytes) {
        // In this order: a guard writes down the old value before it sets another.
        let found = get(setting);
        let held = held(setting)?;
        let current = match (&held, found) {
            (Some(value), _) => Some(value.clone()),
            (None, Ok(value)) => Some(value),
            // Not in every network namespace.
            (None, Err(SysctlError::Missing(_))) => None,
            (None, Err(error)) => return Err(error.into()),
        };
        let recommended = match &current {
            None => None,
            Some(value) => {
                let number = value.parse().map_err(|_| SysctlError::Value {
                    name: setting.to_owned(),
                    value: value.clone(),
                    expected: "a number",
                })?;
                wish.unmet(number).map(|value| value.to_string())
            }
        };
        all.push(Advice {
            setting,
            current,
            recommended,
            reason,
            held: held.is_some(),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(setting: &'static str, value: &'static str, memory: u64) -> Advice {
        let get = |name: &str| {
            Ok(match name {
                name if name == setting => value.to_owned(),
                "net.ipv4.tcp_synack_retries" => "3".to_owned(),
                "net.ipv4.tcp_abort_on_overflow" => "0".to_owned(),
                "net.core.somaxconn" | "net.ipv4.tcp_max_syn_backlog" => "65536".to_owned(),
                _ => "1".to_owned(),
            })
        };
        let mut all = advice(memory, get, |_| Ok(None)).unwrap();
        let at = all.iter().position(|one| one.setting == setting).unwrap();
        let one = all.swap_remove(at);
        assert!(
            all.iter().all(|other| other.recommended.is_none()),
            "{all:?}"
        );
        one
    }

    #[test]
    fn what_is_good_stays() {
        for (setting, value) in [
            ("net.ipv4.tcp_syncookies", "1"),
            ("net.ipv4.tcp_synack_retries", "1"),
            ("net.core.somaxconn", "65536"),
            ("net.ipv4.tcp_timestamps", "2"),
        ] {
            assert_eq!(with(setting, value, 0).recommended, None, "{setting}");
        }
    }

    #[test]
    fn what_is_not_is_told_with_its_value() {
        for (setting, value, expected) in [
            ("net.ipv4.tcp_syncookies", "0", "1"),
            ("net.ipv4.tcp_syncookies", "2", "1"),
            ("net.ipv4.tcp_synack_retries", "5", "3"),
            ("net.ipv4.tcp_max_syn_backlog", "128", "16384"),
            ("net.ipv4.tcp_timestamps", "0", "1"),
            ("net.ipv4.tcp_abort_on_overflow", "1", "0"),
        ] {
            let one = with(setting, value, u64::MAX);
            assert_eq!(one.recommended.as_deref(), Some(expected), "{setting}");
            assert_eq!(one.current.as_deref(), Some(value));
        }
        let small = with("net.core.somaxconn", "128", 512 << 20);
        assert_eq!(small.recommended.as_deref(), Some("4096"));
    }

    #[test]
    fn what_the_guard_changed_for_now_is_judged_by_what_it_will_be_again() {
        let get = |_: &str| Ok("1".to_owned());
        let held = |name: &str| Ok((name == "net.ipv4.tcp_synack_retries").then(|| "5".to_owned()));
        let all = advice(0, get, held).unwrap();
        let retries = all.iter().find(|one| one.held).unwrap();
        assert_eq!(retries.current.as_deref(), Some("5"));
        assert_eq!(retries.recommended.as_deref(), Some("3"));
    }

    #[test]
    fn what_is_missing_here_is_no_error_and_words_are() {
        let missing = |name: &str| Err(SysctlError::Missing(name.to_owned()));
        let all = advice(0, missing, |_| Ok(None)).unwrap();
        assert!(all.iter().all(|one| one.recommended.is_none()));
        assert!(advice(0, |_| Ok("x".to_owned()), |_| Ok(None)).is_err());
    }
}

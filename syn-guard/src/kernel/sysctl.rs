//! Sysctls by name, in the calling thread's network namespace.

use std::{fs, io, path::PathBuf};

const ROOT: &str = "/proc/sys";

/// Why a sysctl could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Not a sysctl's name.
    #[error("{0:?} is no sysctl's name")]
    Name(String),
    /// The kernel does not have it, or not in this namespace.
    #[error("sysctl {0} does not exist: this kernel, or this network namespace, lacks it")]
    Missing(String),
    /// Not allowed.
    #[error("may not {action} sysctl {name}: run as root (CAP_NET_ADMIN)")]
    Denied {
        /// The sysctl.
        name: String,
        /// `read` or `set`.
        action: &'static str,
    },
    /// /proc/sys is mounted read-only.
    #[error(
        "cannot set sysctl {name}: /proc/sys is read-only here (a container?); run outside of it: sysctl -w '{name}={value}'"
    )]
    ReadOnly {
        /// The sysctl.
        name: String,
        /// What it was to become.
        value: String,
    },
    /// The kernel does not take that value.
    #[error("the kernel does not accept {value:?} for sysctl {name}")]
    Refused {
        /// The sysctl.
        name: String,
        /// What it was to become.
        value: String,
    },
    /// Another failure.
    #[error("cannot {action} sysctl {name}")]
    Io {
        /// The sysctl.
        name: String,
        /// `read` or `set`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not the value that was expected.
    #[error("sysctl {name} is {value:?}, not {expected}")]
    Value {
        /// The sysctl.
        name: String,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// The value of `name` (`net.ipv4.tcp_syncookies`), without the line's end.
pub fn get(name: &str) -> Result<String, SysctlError> {
    let text =
        fs::read_to_string(path(name)?).map_err(|source| failure(name, "read", "", source))?;
    Ok(text.trim_end().to_owned())
}

/// The value as a number.
pub fn get_u64(name: &str) -> Result<u64, SysctlError> {
    number(name, &get(name)?)
}

/// The value as a list of numbers (`net.ipv4.tcp_rmem`).
pub fn get_list(name: &str) -> Result<Vec<u64>, SysctlError> {
    get(name)?
        .split_whitespace()
        .map(|word| number(name, word))
        .collect()
}

/// Sets `name` to `value`. Needs CAP_NET_ADMIN.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    fs::write(path(name)?, value).map_err(|source| failure(name, "set", value, source))
}

fn number(name: &str, value: &str) -> Result<u64, SysctlError> {
    value.parse().map_err(|_| SysctlError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected: "a number",
    })
}

/// As sysctl(8) reads names: the first separator decides which of `.` and `/`
/// separates, the other one is part of a name (an interface `eth0.100`).
fn path(name: &str) -> Result<PathBuf, SysctlError> {
    let separator = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    let relative: String = match separator {
        Some(b'.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if !relative.split('/').all(plain) {
        return Err(SysctlError::Name(name.to_owned()));
    }
    Ok(PathBuf::from(ROOT).join(relative))
}

fn failure(name: &str, action: &'static str, value: &str, source: io::Error) -> SysctlError {
    let (name, value) = (name.to_owned(), value.to_owned());
    match source.raw_os_error() {
        Some(libc::ENOENT) => SysctlError::Missing(name),
        Some(libc::EACCES | libc::EPERM) => SysctlError::Denied { name, action },
        Some(libc::EROFS) => SysctlError::ReadOnly { name, value },
        Some(libc::EINVAL | libc::ERANGE) if action == "set" => {
            SysctlError::Refused { name, value }
        }
        _ => SysctlError::Io {
            name,
            action,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        let path = |name| super::path(name).unwrap().display().to_string();
        assert_eq!(path("net.ipv4.tcp_rmem"), "/proc/sys/net/ipv4/tcp_rmem");
        assert_eq!(path("net/ipv4/tcp_rmem"), "/proc/sys/net/ipv4/tcp_rmem");
        assert_eq!(
            path("net.ipv4.conf.eth0/100.forwarding"),
            "/proc/sys/net/ipv4/conf/eth0.100/forwarding"
        );
    }

    #[test]
    fn names_stay_below_proc_sys() {
        for name in [
            "",
            ".",
            "..",
            "net..x",
            "/etc/passwd",
            "net/../../x",
            "net.//.x",
            "net.",
        ] {
            assert!(matches!(path(name), Err(SysctlError::Name(_))), "{name}");
        }
    }

    #[test]
    fn failures_say_what_to_do() {
        let says =
            |code| failure("net.x", "set", "1", io::Error::from_raw_os_error(code)).to_string();
        assert!(says(libc::ENOENT).contains("does not exist"));
        assert!(says(libc::EACCES).contains("run as root"));
        assert!(says(libc::EROFS).contains("sysctl -w 'net.x=1'"));
        assert!(says(libc::EINVAL).contains("does not accept \"1\""));
        assert!(says(libc::EIO).contains("cannot set sysctl net.x"));
    }

    #[test]
    fn reads_this_kernel() {
        assert!(get_u64("net.ipv4.ip_default_ttl").unwrap() > 0);
        assert_eq!(get_list("net.ipv4.tcp_rmem").unwrap().len(), 3);
        assert!(matches!(
            get("net.ipv4.no_such"),
            Err(SysctlError::Missing(_))
        ));
        assert!(matches!(
            get_u64("net.ipv4.tcp_rmem"),
            Err(SysctlError::Value { .. })
        ));
    }
}

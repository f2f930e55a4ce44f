//! The sysctls that a listener's SYN-ACK depends on.

use super::sysctl::{self, SysctlError};

/// `SK_RMEM_MAX`: what `net.core.rmem_max` is unless somebody changed it.
const RMEM_MAX: u32 = 212_992;

/// `net.ipv4.route.min_adv_mss` unless somebody changed it; older kernels show
/// it in the first network namespace only.
const LEAST_MSS: u32 = 256;
/// The same of IPv6: its least MTU without the headers.
const IPV6_LEAST_MSS: u32 = 1220;

/// `IPV6_DEFAULT_HOPLIMIT`.
const HOP_LIMIT: u8 = 64;

type Get<'a> = &'a dyn Fn(&str) -> Result<String, SysctlError>;

/// TCP's settings in the calling thread's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// `net.ipv4.tcp_synack_retries`.
    pub synack_retries: u8,
    /// `net.ipv4.tcp_timestamps`: 0 off, 1 with a secret offset, 2 without.
    pub timestamps: u8,
    /// `net.ipv4.tcp_sack`.
    pub sack: bool,
    /// `net.ipv4.tcp_window_scaling`.
    pub window_scaling: bool,
    /// `net.ipv4.tcp_ecn`: 0 off, 1 ask and accept, 2 accept; newer kernels have
    /// more values, all of which accept.
    pub ecn: u8,
    /// `net.ipv4.tcp_rmem`: smallest, first and largest receive buffer, bytes.
    pub rmem: [u32; 3],
    /// `net.core.rmem_max`, bytes. Older kernels show it in the first network
    /// namespace only; then the kernel's default.
    pub rmem_max: u32,
    /// `net.ipv4.tcp_workaround_signed_windows`.
    pub signed_windows: bool,
    /// `net.ipv4.tcp_adv_win_scale`, which counts before Linux 6.6 only.
    pub adv_win_scale: Option<i32>,
    /// `net.ipv4.tcp_reflect_tos` (Linux 5.10).
    pub reflect_tos: bool,
    /// `net.ipv4.route.min_adv_mss`, bytes.
    pub least_mss: u32,
    /// `net.ipv6.route.min_adv_mss`, bytes.
    pub ipv6_least_mss: u32,
    /// `net.ipv6.auto_flowlabels`: 0 off, 1 on unless a socket turns it off, 2
    /// on where a socket turns it on, 3 on.
    pub auto_flow_labels: u8,
    /// `net.ipv4.ip_default_ttl`.
    pub default_ttl: u8,
    /// `net.ipv6.conf.default.hop_limit`: what an interface starts with. An
    /// interface's own wins (`ip6_dst_hoplimit`), see [`ipv6_hop_limit`].
    pub ipv6_hop_limit: u8,
    /// `net.ipv6.conf.all.hop_limit`: what a socket says that has none.
    pub ipv6_all_hop_limit: u8,
}

impl TcpSettings {
    /// Reads them.
    pub fn read() -> Result<Self, SysctlError> {
        Self::read_with(&sysctl::get)
    }

    fn read_with(get: Get<'_>) -> Result<Self, SysctlError> {
        let flag = |name: &str| Ok(small::<u64>(name, &get(name)?)? != 0);
        let rmem = "net.ipv4.tcp_rmem";
        let value = get(rmem)?;
        let words: Vec<_> = value.split_whitespace().collect();
        let &[smallest, first, largest] = words.as_slice() else {
            return Err(unexpected(rmem, &value, "three numbers"));
        };
        Ok(Self {
            synack_retries: number(get, "net.ipv4.tcp_synack_retries")?,
            timestamps: number(get, "net.ipv4.tcp_timestamps")?,
            sack: flag("net.ipv4.tcp_sack")?,
            window_scaling: flag("net.ipv4.tcp_window_scaling")?,
            ecn: number(get, "net.ipv4.tcp_ecn")?,
            rmem: [
                small(rmem, smallest)?,
                small(rmem, first)?,
                small(rmem, largest)?,
            ],
            rmem_max: number_or(get, "net.core.rmem_max", RMEM_MAX)?,
            signed_windows: flag("net.ipv4.tcp_workaround_signed_windows")?,
            adv_win_scale: if splits_by_setting(&get("kernel.osrelease")?) {
                Some(number(get, "net.ipv4.tcp_adv_win_scale")?)
            } else {
                None
            },
            reflect_tos: number_or::<u8>(get, "net.ipv4.tcp_reflect_tos", 0)? != 0,
            least_mss: number_or(get, "net.ipv4.route.min_adv_mss", LEAST_MSS)?,
            ipv6_least_mss: number_or(get, "net.ipv6.route.min_adv_mss", IPV6_LEAST_MSS)?,
            auto_flow_labels: number_or(get, "net.ipv6.auto_flowlabels", 0)?,
            default_ttl: number(get, "net.ipv4.ip_default_ttl")?,
            ipv6_hop_limit: number_or(get, "net.ipv6.conf.default.hop_limit", HOP_LIMIT)?,
            ipv6_all_hop_limit: number_or(get, "net.ipv6.conf.all.hop_limit", HOP_LIMIT)?,
        })
    }
}

/// The hop limit of what leaves by `interface`
/// (`net.ipv6.conf.INTERFACE.hop_limit`); none without IPv6 on it.
pub fn ipv6_hop_limit(interface: &str) -> Result<Option<u8>, SysctlError> {
    let name = format!("net/ipv6/conf/{interface}/hop_limit");
    match number(&sysctl::get, &name) {
        Err(SysctlError::Missing(_)) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// The MTU of IPv6 packets that leave by `interface`
/// (`net.ipv6.conf.INTERFACE.mtu`); none without IPv6 on it.
pub fn ipv6_mtu(interface: &str) -> Result<Option<u32>, SysctlError> {
    let name = format!("net/ipv6/conf/{interface}/mtu");
    match number(&sysctl::get, &name) {
        Err(SysctlError::Missing(_)) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Whether a kernel of that release splits a receive buffer by
/// `net.ipv4.tcp_adv_win_scale`: before 6.6.
fn splits_by_setting(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    (numbers.next(), numbers.next()) < (Some(6), Some(6))
}

fn number<T: std::str::FromStr>(get: Get<'_>, name: &str) -> Result<T, SysctlError> {
    small(name, &get(name)?)
}

fn number_or<T: std::str::FromStr>(get: Get<'_>, name: &str, or: T) -> Result<T, SysctlError> {
    match number(get, name) {
        Err(SysctlError::Missing(_)) => Ok(or),
        outcome => outcome,
    }
}

fn small<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, SysctlError> {
    let number = value.trim().parse();
    number.map_err(|_| unexpected(name, value, "a number of the expected size"))
}

fn unexpected(name: &str, value: &str, expected: &'static str) -> SysctlError {
    SysctlError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_namespace_lacks_has_the_kernels_default() {
        let get = |name: &str| match name {
            "net.ipv4.tcp_rmem" => Ok("4096\t131072\t6291456".to_owned()),
            "net.core.rmem_max"
            | "net.ipv6.conf.default.hop_limit"
            | "net.ipv4.route.min_adv_mss" => Err(SysctlError::Missing(name.to_owned())),
            "kernel.osrelease" => Ok("6.1.0-18-amd64".to_owned()),
            _ => Ok("1".to_owned()),
        };
        let read = TcpSettings::read_with(&get).unwrap();
        assert_eq!(read.rmem, [4096, 131_072, 6_291_456]);
        assert_eq!((read.rmem_max, read.ipv6_hop_limit), (212_992, 64));
        assert_eq!((read.least_mss, read.adv_win_scale), (256, Some(1)));
        assert!(read.sack);
    }

    #[test]
    fn releases_are_told_apart() {
        for (release, before) in [
            ("5.15.0", true),
            ("6.1.0-18-amd64", true),
            ("6.5.13", true),
            ("6.6.1", false),
            ("6.18.44", false),
            ("7.0-rc1", false),
            ("odd", false),
        ] {
            assert_eq!(splits_by_setting(release), before, "{release}");
        }
    }

    #[test]
    fn an_odd_value_is_named() {
        let get = |name: &str| match name {
            "net.ipv4.tcp_rmem" => Ok("4096 131072".to_owned()),
            _ => Ok("1".to_owned()),
        };
        let error = TcpSettings::read_with(&get).unwrap_err().to_string();
        assert!(error.contains("net.ipv4.tcp_rmem"), "{error}");
    }

    #[test]
    fn reads_this_kernel() {
        TcpSettings::read().unwrap();
        assert!(ipv6_hop_limit("lo").unwrap().is_none_or(|limit| limit > 0));
        assert_eq!(ipv6_hop_limit("no-such").unwrap(), None);
    }
}

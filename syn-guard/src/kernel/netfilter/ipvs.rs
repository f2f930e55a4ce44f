//! The virtual services of IPVS in this network namespace: their connections are led to
//! another host or socket, by functions in netfilter that no table shows.

use std::fs::File;
use std::io::{self, Read as _};

/// `ip_vs_info_seq_show` (net/netfilter/ipvs/ip_vs_ctl.c).
const FILE: &str = "/proc/thread-self/net/ip_vs";
/// So many bytes of it are read: whether there are any services stands at its begin, and a
/// host of Kubernetes has thousands.
const MOST: u64 = 64 * 1024;
/// The header's first words.
const HEADER: [&str; 2] = ["IP Virtual Server version ", "Prot LocalAddress:Port "];

/// The services, a line each; the first ones, where there are hundreds. None where the
/// kernel has no IPVS.
#[must_use]
pub fn services() -> Vec<String> {
    let text = read().unwrap_or_default();
    listed(&String::from_utf8_lossy(&text))
}

fn read() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(FILE)?.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// The lines of services. The real servers' are indented, and count connections, which
/// change all the time.
fn listed(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .filter(|line| !HEADER.iter().any(|header| line.starts_with(header)))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::listed;

    /// As Linux 6.12 writes it.
    const NONE: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  \
          -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    #[test]
    fn a_kernel_that_has_no_services_lists_none() {
        assert!(listed("").is_empty());
        assert!(listed(NONE).is_empty());
    }

    #[test]
    fn each_service_counts_and_what_its_servers_do_does_not() {
        let with = |connections: u32| {
            format!(
                "{NONE}\
                 TCP  0A60000A:1F90 rr \n  \
                   -> 0AC80002:1F90      Masq    1      {connections}          3         \n\
                 TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:1F90 rr persistent 300 FFFFFFFF\n  \
                   -> [2001:0db8:0000:0200:0000:0000:0000:0002]:1F90      Masq    1      0          0\n\
                 FWM  00000001 wlc \n"
            )
        };
        let found = listed(&with(0));
        assert_eq!(
            found,
            [
                "TCP  0A60000A:1F90 rr",
                "TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:1F90 rr persistent 300 FFFFFFFF",
                "FWM  00000001 wlc",
            ]
        );
        assert_eq!(listed(&with(17)), found);
    }
}

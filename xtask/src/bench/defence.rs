//! What stands against a flood.

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Floor, Guard, Lab};

/// What may stand against a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defence {
    /// Nothing: `tcp_syncookies` 0.
    Nothing,
    /// The kernel's cookies when a queue is full: `tcp_syncookies` 1.
    KernelCookies,
    /// The kernel's cookies always: `tcp_syncookies` 2.
    KernelCookiesAlways,
    /// SYNPROXY of nftables.
    Synproxy,
    /// syn-guard.
    SynGuard,
    /// The floor: a program that sends forged SYNs back and passes all else.
    Bounce,
}

/// SYNPROXY for the service at port 80 as `nft(8)` has it, with the options that nginx's listener
/// has here.
const SYNPROXY: &str = "
table ip sg_lab {
    chain before {
        type filter hook prerouting priority raw;
        tcp dport 80 tcp flags & (fin|syn|rst|ack) == syn notrack
    }
    chain proxy {
        type filter hook input priority filter;
        tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 10 timestamp sack-perm
        tcp dport 80 ct state invalid drop
    }
}";

/// A defence at its place. Dropping it takes it away.
pub enum Standing<'a> {
    /// Nothing to take away.
    Plain,
    /// Rules of nftables.
    Rules(&'a Lab),
    /// A guard.
    Guard(Guard),
    /// The floor.
    Floor(Floor),
}

impl Defence {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Nothing,
        Self::KernelCookies,
        Self::KernelCookiesAlways,
        Self::Synproxy,
        Self::SynGuard,
        Self::Bounce,
    ];

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no guard",
            Self::KernelCookies => "kernel cookies (tcp_syncookies 1)",
            Self::KernelCookiesAlways => "kernel cookies (tcp_syncookies 2)",
            Self::Synproxy => "nftables SYNPROXY",
            Self::SynGuard => "syn-guard",
            Self::Bounce => "floor (swap and send back)",
        }
    }

    /// What keeps it from being put up here, in one line.
    ///
    /// # Errors
    /// There is no lab.
    pub fn obstacle(self) -> Result<Option<String>> {
        let lab = Lab::new()?;
        let outcome = self.set_up(&lab).and_then(Standing::take_away);
        Ok(outcome.err().map(|error| {
            let text = format!("{error:#}");
            text.lines().next().unwrap_or_default().to_owned()
        }))
    }

    /// Puts it up.
    ///
    /// # Errors
    /// A setting, nftables or the guard refuses.
    pub fn set_up(self, lab: &Lab) -> Result<Standing<'_>> {
        let cookies = match self {
            Self::Nothing => "0",
            Self::KernelCookiesAlways => "2",
            _ => "1",
        };
        lab.server()
            .set_sysctl("net.ipv4.tcp_syncookies", cookies)?;
        Ok(match self {
            Self::Nothing | Self::KernelCookies | Self::KernelCookiesAlways => Standing::Plain,
            Self::Synproxy => {
                let file = lab.path("synproxy.nft");
                std::fs::write(&file, SYNPROXY)?;
                let file = file.to_str().context("the lab's folder")?;
                lab.server().output("nft", &["-f", file])?;
                // A handshake is taken up in the middle only with this at 0 (`nft(8)`).
                lab.server()
                    .set_sysctl("net.netfilter.nf_conntrack_tcp_loose", "0")?;
                Standing::Rules(lab)
            }
            Self::SynGuard => Standing::Guard(Guard::start(lab, &["--mode", "auto"])?),
            Self::Bounce => Standing::Floor(lab.attach_floor()?),
        })
    }
}

impl Standing<'_> {
    /// Takes it away.
    ///
    /// # Errors
    /// It does not go.
    pub fn take_away(self) -> Result<()> {
        match self {
            Self::Plain | Self::Floor(_) => {}
            Self::Rules(lab) => {
                lab.server()
                    .output("nft", &["delete", "table", "ip", "sg_lab"])?;
            }
            Self::Guard(guard) => {
                let status = guard.stop_at_once()?;
                ensure!(status.success(), "the guard ended with {status}");
            }
        }
        Ok(())
    }
}

//! Many listening ports.

use std::net::{Ipv6Addr, TcpListener};

use anyhow::{Context as _, Result, bail};

use super::Lab;

/// The first of many ports. None of the 10,000 from it on is an ephemeral one.
pub const FIRST_PORT: u16 = 20_000;
/// Files that this process has open beside its listeners, at most.
const OTHER_FILES: u64 = 1_000;

/// Ports of both families that this process listens on, in the server's namespace, from
/// [`FIRST_PORT`] on. Nobody accepts.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Opens so many.
    pub fn open(lab: &Lab, count: u16) -> Result<Self> {
        allow_files(u64::from(count) + OTHER_FILES)?;
        let ports = FIRST_PORT..FIRST_PORT + count;
        let open = || ports.map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
        let listeners: std::io::Result<_> = lab.server().run(|| open().collect())?;
        Ok(Self(listeners.context("listening on many ports")?))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Lets this process have so many files open.
fn allow_files(count: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes the limits there.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("reading the limit of open files");
    }
    if limit.rlim_cur >= count {
        return Ok(());
    }
    limit.rlim_cur = count;
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: the kernel reads the limits.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        bail!(
            "this process may not have {count} files open ({}): raise `ulimit -n`",
            std::io::Error::last_os_error()
        );
    }
    Ok(())
}

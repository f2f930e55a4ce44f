//! A real service whose server and client both speak first: OpenSSH in the server's namespace, with
//! keys of its own.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Child, Lab, SERVER_IPV4, SERVER_IPV6, START};
use crate::command;

/// Where sshd locks its unprivileged half in. It is compiled in, and the package leaves it to the
/// service, which does not run.
const EMPTY: &str = "/run/sshd";
/// The name that the client knows the host key by.
const ALIAS: &str = "lab";

/// A running sshd; dropping it ends it.
#[derive(Debug)]
pub struct Sshd {
    port: u16,
    client_key: PathBuf,
    known_hosts: PathBuf,
    _process: Child,
    _empty: Empty,
}

impl Sshd {
    /// Starts it and waits until it listens.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        let prefix = lab.path("sshd");
        fs::create_dir_all(&prefix).with_context(|| format!("making {}", prefix.display()))?;
        let (host_key, client_key) = (prefix.join("host-key"), prefix.join("client-key"));
        make_key(&host_key)?;
        make_key(&client_key)?;
        let known_hosts = prefix.join("known-hosts");
        fs::write(
            &known_hosts,
            format!("{ALIAS} {}", fs::read_to_string(public(&host_key))?),
        )?;
        let config = prefix.join("sshd_config");
        fs::write(&config, configuration(port, &host_key, &client_key))?;

        let empty = Empty::make()?;
        // It starts itself again for each connection, and so wants its whole path.
        let program = command::find_program("sshd")
            .context("no sshd: is Debian's package openssh-server installed?")?;
        let mut process = lab.server().spawn(
            lab.server()
                .command(program)
                .args(["-D", "-e", "-f"])
                .arg(&config),
        )?;
        for address in [SERVER_IPV4.to_string(), SERVER_IPV6.to_string()] {
            process.wait_for_line(&format!("Server listening on {address} port"), START)?;
        }
        Ok(Self {
            port,
            client_key,
            known_hosts,
            _process: process,
            _empty: empty,
        })
    }

    /// A client that logs in as root and runs a command there.
    #[must_use]
    pub fn login(&self, lab: &Lab, server: IpAddr, command: &str) -> Command {
        let mut client = lab.client().command_within_a_minute("ssh");
        client
            .args(["-F", "none", "-T", "-a", "-x"])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "ConnectTimeout=30", "-o", "StrictHostKeyChecking=yes"])
            .arg("-o")
            .arg(format!("HostKeyAlias={ALIAS}"))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
            .arg("-i")
            .arg(&self.client_key)
            .args(["-p", &self.port.to_string()])
            .args(["-l", "root", &server.to_string(), command]);
        client
    }
}

fn make_key(path: &Path) -> Result<()> {
    command::output(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path),
    )
    .map(drop)
    .context("making a key (package openssh-client)")
}

fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

fn configuration(port: u16, host_key: &Path, client_key: &Path) -> String {
    // Without PAM sshd turns a locked root away, with it the session must be one that systemd knows.
    let locked = fs::read_to_string("/etc/shadow")
        .is_ok_and(|shadow| shadow.lines().any(|line| line.starts_with("root:!")));
    format!(
        "Port {port}
ListenAddress {SERVER_IPV4}
ListenAddress {SERVER_IPV6}
HostKey {}
AuthorizedKeysFile {}
PidFile none
UsePAM {}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 200
",
        host_key.display(),
        public(client_key).display(),
        if locked { "yes" } else { "no" }
    )
}

/// [`EMPTY`], removed at the end where it was not there before.
#[derive(Debug)]
struct Empty {
    made: bool,
}

impl Empty {
    fn make() -> Result<Self> {
        let made = !Path::new(EMPTY).exists();
        if made {
            fs::create_dir(EMPTY).with_context(|| format!("making {EMPTY}"))?;
        }
        Ok(Self { made })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        if self.made {
            // An error means that somebody uses it now.
            let _ = fs::remove_dir(EMPTY);
        }
    }
}

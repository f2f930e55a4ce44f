//! A real database: PostgreSQL in the server's namespace, and its own load generator.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::signal::Signal, unistd::User};

use super::{Child, Lab, SERVER_IPV4, SERVER_IPV6, START};
use crate::command;

/// It refuses to run as root; its package makes this user.
const USER: &str = "postgres";
/// Its administrator.
const ROLE: &str = "lab";
/// How long an immediate shutdown may take.
const STOP: Duration = Duration::from_secs(5);

/// A running PostgreSQL; dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    process: Child,
}

/// Transactions that pgbench runs, each of one SELECT.
#[derive(Clone, Copy, Debug)]
pub struct Pgbench {
    /// Clients at a time.
    pub clients: u64,
    /// Transactions of each, every one over a connection of its own.
    pub transactions: u64,
}

impl Postgres {
    /// Makes a cluster with pgbench's tables, starts it and waits until it listens.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        let programs = programs()?;
        let prefix = lab.path("postgres");
        let user = User::from_name(USER)
            .with_context(|| format!("looking up user {USER}"))?
            .with_context(|| format!("no user {USER}"))?;
        fs::create_dir_all(&prefix).with_context(|| format!("making {}", prefix.display()))?;
        chown(&prefix, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let data = prefix.join("data");
        command::output(
            unprivileged(Command::new("setpriv"), &programs.join("initdb"))
                .args(["--no-sync", "--no-locale", "--encoding", "UTF8"])
                .args(["--auth", "trust", "--username", ROLE])
                // Its first log has the size of a segment, 16 MiB otherwise.
                .args(["--wal-segsize", "1", "--pgdata"])
                .arg(&data),
        )?;
        let access = data.join("pg_hba.conf");
        fs::OpenOptions::new()
            .append(true)
            .open(&access)
            .and_then(|mut file| file.write_all(b"host all all all trust\n"))
            .with_context(|| format!("writing {}", access.display()))?;

        let mut server = unprivileged(lab.server().command("setpriv"), &programs.join("postgres"));
        server.arg("-D").arg(&data);
        for setting in [
            format!("listen_addresses={SERVER_IPV4},{SERVER_IPV6}"),
            format!("port={port}"),
            format!("unix_socket_directories={}", prefix.display()),
            "max_connections=200".into(),
            "fsync=off".into(),
            "shared_buffers=16MB".into(),
            // In its folder, where the lab's end removes it.
            "dynamic_shared_memory_type=mmap".into(),
        ] {
            server.arg("-c").arg(setting);
        }
        let mut process = lab.server().spawn(&mut server)?;
        process.wait_for_line("ready to accept connections", START)?;
        let postgres = Self {
            port,
            programs,
            process,
        };
        command::output(
            postgres
                .pgbench(Command::new(postgres.programs.join("pgbench")), &prefix)
                .args(["--initialize", "--quiet", "postgres"]),
        )?;
        Ok(postgres)
    }

    fn pgbench(&self, mut command: Command, host: impl AsRef<OsStr>) -> Command {
        command.arg("--host").arg(host).args([
            "--port",
            &self.port.to_string(),
            "--username",
            ROLE,
        ]);
        command
    }

    /// Runs pgbench with a new connection for each transaction and returns how many came through.
    /// One more connection comes before them all.
    pub fn transactions(&self, lab: &Lab, server: IpAddr, load: Pgbench) -> Result<u64> {
        let mut pgbench = self.pgbench(
            lab.client()
                .command_within_a_minute(self.programs.join("pgbench")),
            server.to_string(),
        );
        pgbench
            .args(["--connect", "--select-only", "--no-vacuum"])
            .args(["--client", &load.clients.to_string()])
            .args(["--transactions", &load.transactions.to_string()])
            .arg("postgres");
        let output = pgbench.output().context("starting pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // It goes on when a client is cut off, says so, and ends with an error.
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            eprintln!("pgbench: {}: {errors}", output.status);
        }
        text.lines()
            .find_map(|line| line.strip_prefix("number of transactions actually processed: "))
            .and_then(|line| line.split('/').next()?.parse().ok())
            .with_context(|| format!("pgbench ran nothing: {text}{errors}"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once: what it would still write goes away with the lab. It has no other way to end
        // without waiting for its clients. Errors mean that it has ended.
        let _ = self.process.signal(Signal::SIGQUIT);
        let _ = self.process.wait(STOP);
    }
}

/// Where server, initdb and pgbench of one version are. What Debian has on `PATH` chooses among
/// the clusters of the machine.
fn programs() -> Result<PathBuf> {
    let initdb = command::find_program("initdb")
        .context("no initdb: is Debian's package postgresql installed?")?;
    let initdb = fs::canonicalize(initdb)?;
    let folder = initdb.parent().context("initdb is nowhere")?;
    for name in ["postgres", "pgbench"] {
        ensure!(
            folder.join(name).is_file(),
            "no {name} in {}",
            folder.display()
        );
    }
    Ok(folder.to_path_buf())
}

/// A program as the unprivileged user. It takes the place of `setpriv`, so it has its process id.
fn unprivileged(mut setpriv: Command, program: &Path) -> Command {
    setpriv
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        // A change of user forgets the signal that was asked for before.
        .args(["--pdeathsig", "QUIT"])
        .arg(program)
        // The user may not look into the folder of whoever runs the test.
        .current_dir("/");
    setpriv
}

//! A real service: nginx in the server's namespace.

use std::{
    fs,
    io::{BufWriter, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::{
    Certificate, Child, Lab, SERVER_IPV4, SERVER_IPV6,
    http::{self, fetch},
    patience::patiently,
};

/// What `GET /` answers.
pub const PAGE: &str = "syn-guard lab: this page came through\n";

const PROGRAM: &str = "/usr/sbin/nginx";
/// Blocks of the big file.
const BLOCKS: usize = 320;
/// Length of a block in bytes.
const BLOCK: usize = 64 << 10;
/// How long it may take to start.
const READY: Duration = Duration::from_secs(5);

/// How nginx is to run.
#[derive(Clone, Debug)]
pub struct NginxSetup {
    /// Port, on all addresses of both families.
    pub port: u16,
    /// Length of the queues for half-open and for accepted connections.
    pub backlog: u32,
    /// Worker processes.
    pub workers: u32,
    /// Also `/big`: 20 MiB that [`Nginx::is_big_file`] knows.
    pub big_file: bool,
    /// Several requests on a connection, instead of one.
    pub keep_alive: bool,
    /// A port for HTTP/2 without TLS.
    pub http2_port: Option<u16>,
    /// A port for TLS, HTTP/1.1 and HTTP/2, with its certificate.
    pub tls: Option<(u16, Certificate)>,
}

impl Default for NginxSetup {
    fn default() -> Self {
        Self {
            port: 80,
            backlog: 511,
            workers: 1,
            big_file: false,
            keep_alive: false,
            http2_port: None,
            tls: None,
        }
    }
}

/// A running nginx; dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    process: Child,
}

impl Nginx {
    /// Starts it on port 80 with a backlog of 511.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, &NginxSetup::default())
    }

    /// Starts it and waits until it answers.
    pub fn start_with(lab: &Lab, setup: &NginxSetup) -> Result<Self> {
        let prefix = lab.path(format!("nginx-{}", setup.port));
        let root = prefix.join("www");
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        fs::write(root.join("index.html"), PAGE).context("writing the page")?;
        if setup.big_file {
            write_big_file(&root.join("big")).context("writing the big file")?;
        }
        let config = prefix.join("nginx.conf");
        fs::write(&config, configuration(&prefix, setup))
            .with_context(|| format!("writing {}", config.display()))?;
        let mut process = lab
            .server()
            .spawn(
                lab.server()
                    .command(PROGRAM)
                    .arg("-p")
                    .arg(&prefix)
                    .arg("-c")
                    .arg(&config),
            )
            .context("is Debian's package nginx installed?")?;
        wait_until_ready(lab, setup.port, &mut process)?;
        Ok(Self {
            port: setup.port,
            process,
        })
    }

    /// Its IPv4 service.
    #[must_use]
    pub fn ipv4(&self) -> SocketAddr {
        (SERVER_IPV4, self.port).into()
    }

    /// Its IPv6 service.
    #[must_use]
    pub fn ipv6(&self) -> SocketAddr {
        (SERVER_IPV6, self.port).into()
    }

    /// Connections that it accepted since it started, the one that asks among them.
    pub fn accepted(&self, lab: &Lab) -> Result<u64> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let body = fetch(lab.server(), None, target, "/connections")?;
        let text = String::from_utf8(body).context("counts that are not UTF-8")?;
        // "server accepts handled requests\n 1 1 1"
        text.lines()
            .nth(2)
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("no count of connections in {text:?}"))
    }

    /// Process id of its master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it at once, workers included.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(Duration::from_secs(5))?;
        Ok(())
    }

    /// Whether this is what `/big` holds.
    #[must_use]
    pub fn is_big_file(body: &[u8]) -> bool {
        body.len() == BLOCKS * BLOCK
            && body
                .chunks(BLOCK)
                .zip(0..)
                .all(|(found, number)| found == block(number))
    }
}

fn configuration(prefix: &Path, setup: &NginxSetup) -> String {
    let (workers, backlog) = (setup.workers, setup.backlog);
    let mut listens = listen(setup.port, backlog, "");
    if let Some(port) = setup.http2_port {
        listens += &listen(port, backlog, "http2");
    }
    if let Some((port, certificate)) = &setup.tls {
        listens += &listen(*port, backlog, "ssl http2");
        listens += &format!(
            "ssl_certificate {};\nssl_certificate_key {};\n",
            certificate.certificate.display(),
            certificate.key.display()
        );
    }
    let keep_alive = if setup.keep_alive { 60 } else { 0 };
    let prefix = prefix.display();
    format!(
        "user root;
daemon off;
worker_processes {workers};
pid {prefix}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout {keep_alive};
    sendfile on;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
{listens}root {prefix}/www;
        location = /connections {{ stub_status; }}
    }}
}}
"
    )
}

/// Both families have a listener of their own.
fn listen(port: u16, backlog: u32, how: &str) -> String {
    format!(
        "listen {port} backlog={backlog} {how};\n\
         listen [::]:{port} backlog={backlog} ipv6only=on {how};\n"
    )
}

/// Asks over the server's loopback, so that nothing of it crosses the link.
fn wait_until_ready(lab: &Lab, port: u16, process: &mut Child) -> Result<()> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + patiently(READY);
    loop {
        let answer = lab.server().run(|| {
            http::runtime()?.block_on(http::within(
                Duration::from_secs(1),
                http::get(None, target, "/"),
            ))
        })?;
        match answer {
            Ok(page) if page == PAGE.as_bytes() => return Ok(()),
            Ok(_) => bail!("something else than nginx answers on port {port}"),
            Err(error) if !process.is_running()? || Instant::now() > deadline => {
                let log = process.stderr()?;
                return Err(error).with_context(|| format!("nginx does not answer: {log}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn write_big_file(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for number in 0..BLOCKS as u64 {
        file.write_all(&block(number))?;
    }
    Ok(file.flush()?)
}

/// A block that no other equals: its number, then bytes that do not repeat along a segment.
fn block(number: u64) -> Vec<u8> {
    let mut bytes = BASE.to_vec();
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

static BASE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    (0..BLOCK as u64 / 8)
        .flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect()
});

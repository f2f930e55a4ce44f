//! curl and h2load against nginx.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use xtask::lab::{Certificate, Lab, Nginx, NginxSetup, PAGE};

use crate::compare::{Job, Tally, run, without_and_with_a_guard};

const HTTP: u16 = 80;
const HTTP2: u16 = 81;
const TLS: u16 = 443;

/// Pages that are fetched by one curl.
#[derive(Clone, Copy)]
struct Fetch<'a> {
    port: u16,
    /// What curl is told.
    arguments: &'a [&'a str],
    /// The version that must be spoken.
    version: &'a str,
    /// How often curl runs.
    runs: u64,
    /// Pages that each fetches.
    pages: u64,
    /// Connections that it may use for them.
    connections: u64,
}

impl Fetch<'_> {
    /// A connection counts when all its pages came whole.
    fn work(&self, lab: &Lab, server: IpAddr) -> Tally {
        let mut succeeded = 0;
        for _ in 0..self.runs {
            let output = run(curl(lab)
                .args([
                    "--write-out",
                    "%{http_code} %{http_version} %{num_connects}\n",
                ])
                .args(self.arguments)
                .arg(url(self.port, server, &format!("?[1-{}]", self.pages))));
            let text = String::from_utf8_lossy(&output.stdout);
            let expected = format!("200 {} ", self.version);
            let connections: u64 = text
                .split(PAGE)
                .filter_map(|line| line.strip_prefix(&expected)?.trim().parse::<u64>().ok())
                .sum();
            let pages = text.matches(PAGE).count() as u64;
            if output.status.success() && pages == self.pages && connections == self.connections {
                succeeded += self.connections;
            } else {
                eprintln!("{pages} pages over {connections} connections: {text}");
            }
        }
        Tally::new(self.runs * self.connections, succeeded)
    }
}

/// A curl that says what goes wrong, and ends.
fn curl(lab: &Lab) -> Command {
    let mut command = lab.client().command_within_a_minute("curl");
    command.args(["-q", "--silent", "--show-error", "--fail"]);
    command.args(["--max-time", "60"]);
    command
}

fn url(port: u16, server: IpAddr, path: &str) -> String {
    let scheme = if port == TLS { "https" } else { "http" };
    format!("{scheme}://{}/{path}", SocketAddr::from((server, port)))
}

fn big_file(lab: &Lab, port: u16, arguments: &[&str], server: IpAddr) -> Tally {
    let output = run(curl(lab).args(arguments).arg(url(port, server, "big")));
    let whole = output.status.success() && Nginx::is_big_file(&output.stdout);
    Tally::new(1, u64::from(whole))
}

/// Many requests at a time on each connection. curl 7.88 cannot use one twice
/// that it began without TLS.
fn h2load(lab: &Lab, port: u16, server: IpAddr) -> Tally {
    const CONNECTIONS: u64 = 50;
    let output = run(lab
        .client()
        .command_within_a_minute("h2load")
        .args(["--requests", "2000", "--max-concurrent-streams", "10"])
        .args(["--clients", &CONNECTIONS.to_string()])
        .arg(url(port, server, "")));
    let text = String::from_utf8_lossy(&output.stdout);
    let whole = output.status.success()
        && text.contains("2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout");
    if !whole {
        eprintln!("{text}");
    }
    Tally::new(CONNECTIONS, if whole { CONNECTIONS } else { 0 })
}

#[test]
fn nginx_serves_every_version_of_http() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let certificate = Certificate::new(&lab).unwrap();
    let trusted = certificate.certificate.clone();
    let trust = ["--cacert", trusted.to_str().unwrap()];
    let _nginx = Nginx::start_with(
        &lab,
        &NginxSetup {
            port: HTTP,
            keep_alive: true,
            big_file: true,
            http2_port: Some(HTTP2),
            tls: Some((TLS, certificate)),
            ..NginxSetup::default()
        },
    )
    .unwrap();

    let with = |more: &[&'static str]| -> Vec<&str> { [&trust, more].concat() };
    let (tls, tls_close, tls_http2) = (
        with(&["--http1.1"]),
        with(&["--http1.1", "--header", "Connection: close"]),
        with(&["--http2"]),
    );
    let fetch = |port, arguments, version, runs, pages, connections| Fetch {
        port,
        arguments,
        version,
        runs,
        pages,
        connections,
    };
    let fetches: [(&str, Fetch<'_>); 6] = [
        (
            "HTTP/1.1, 50 requests a connection",
            fetch(HTTP, &[], "1.1", 10, 50, 1),
        ),
        (
            "HTTP/1.1, one connection a request",
            fetch(HTTP, &["--header", "Connection: close"], "1.1", 2, 100, 100),
        ),
        (
            "HTTP/2, one request a connection",
            fetch(HTTP2, &["--http2-prior-knowledge"], "2", 20, 1, 1),
        ),
        (
            "TLS, 50 requests a connection",
            fetch(TLS, &tls, "1.1", 5, 50, 1),
        ),
        (
            "TLS, one connection a request",
            fetch(TLS, &tls_close, "1.1", 1, 50, 50),
        ),
        (
            "HTTP/2 over TLS, 50 requests a connection",
            fetch(TLS, &tls_http2, "2", 10, 50, 1),
        ),
    ];
    let fetches = fetches.map(|(what, fetch)| {
        let lab = &lab;
        (what, fetch.port, move |server| fetch.work(lab, server))
    });
    let h2 = |server| h2load(&lab, HTTP2, server);
    let h2_tls = |server| h2load(&lab, TLS, server);
    let big = |server| big_file(&lab, HTTP, &[], server);
    let big_tls = |server| big_file(&lab, TLS, &tls_http2, server);
    let mut jobs: Vec<_> = fetches
        .iter()
        .map(|(what, port, work)| Job::new(what, *port, work))
        .collect();
    jobs.extend([
        Job::new("h2load", HTTP2, &h2),
        Job::new("h2load over TLS", TLS, &h2_tls),
        Job::new("20 MiB", HTTP, &big),
        Job::new("20 MiB over TLS and HTTP/2", TLS, &big_tls),
    ]);
    without_and_with_a_guard(&lab, &jobs);
}

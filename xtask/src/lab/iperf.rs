//! Bulk data: iperf3's server in the server's namespace and its client in the client's.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Child, Lab, START};

/// A running server of iperf3; dropping it ends it.
#[derive(Debug)]
pub struct Iperf {
    port: u16,
    _process: Child,
}

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
    /// Both, over a connection each.
    Both,
}

/// Gigabits a second that were received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throughput {
    /// By the server.
    pub up: f64,
    /// By the client.
    pub down: f64,
}

impl Direction {
    /// Connections of a measurement: one for control and those with data.
    #[must_use]
    pub fn connections(self) -> u64 {
        match self {
            Self::Up | Self::Down => 2,
            Self::Both => 3,
        }
    }
}

impl Iperf {
    /// Starts it and waits until it listens.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        let process = lab.server().spawn(lab.server().command("iperf3").args([
            "--server",
            "--port",
            &port.to_string(),
        ]))?;
        let iperf = Self {
            port,
            _process: process,
        };
        iperf.wait_until_listening(lab)?;
        Ok(iperf)
    }

    /// It takes one client at a time, and opens its port anew after each.
    fn wait_until_listening(&self, lab: &Lab) -> Result<()> {
        let port = format!("sport = :{}", self.port);
        let deadline = Instant::now() + START;
        while lab.server().output("ss", &["-Hltn", &port])?.is_empty() {
            if Instant::now() > deadline {
                bail!("iperf3 does not listen on {}", self.port);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends what goes for some seconds.
    pub fn measure(
        &self,
        lab: &Lab,
        server: IpAddr,
        direction: Direction,
        seconds: u32,
    ) -> Result<Throughput> {
        let report = self.run(lab, server, direction, &format!("--time={seconds}"))?;
        let [up, down] = received(&report, direction, "bits_per_second")?;
        Ok(Throughput {
            up: up / 1e9,
            down: down / 1e9,
        })
    }

    /// Sends so many bytes each way, however long that takes; returns how many the server and the
    /// client received.
    pub fn carry(
        &self,
        lab: &Lab,
        server: IpAddr,
        direction: Direction,
        bytes: u64,
    ) -> Result<[u64; 2]> {
        let report = self.run(lab, server, direction, &format!("--bytes={bytes}"))?;
        Ok(received(&report, direction, "bytes")?.map(|bytes| bytes as u64))
    }

    /// A client's report.
    fn run(&self, lab: &Lab, server: IpAddr, direction: Direction, amount: &str) -> Result<Value> {
        self.wait_until_listening(lab)?;
        let mut client = lab.client().command_within_a_minute("iperf3");
        client
            .args(["--json", "--client", &server.to_string()])
            .args(["--port", &self.port.to_string(), amount]);
        match direction {
            Direction::Up => {}
            Direction::Down => {
                client.arg("--reverse");
            }
            Direction::Both => {
                client.arg("--bidir");
            }
        }
        let output = client.output().context("starting iperf3")?;
        let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("iperf3 wrote no report: {}: {errors}", output.status)
        })?;
        if let Some(error) = report.get("error") {
            bail!("iperf3 to {server}, {direction:?}: {error}");
        }
        Ok(report)
    }
}

/// What a report says that the server and the client received; 0 where nothing was sent.
fn received(report: &Value, direction: Direction, unit: &str) -> Result<[f64; 2]> {
    let sum = |name: &str| {
        report["end"][name][unit]
            .as_f64()
            .with_context(|| format!("no {unit} of {name} in {report}"))
    };
    Ok(match direction {
        Direction::Up => [sum("sum_received")?, 0.0],
        Direction::Down => [0.0, sum("sum_received")?],
        Direction::Both => [sum("sum_received")?, sum("sum_received_bidir_reverse")?],
    })
}

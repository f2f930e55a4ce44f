//! What the programs alone take for each line of the budget: frames that are on no wire, in the
//! namespace of a lab with a real listener and real connections.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::ProgramFd;
use etherparse::PacketBuilder;

use super::{
    budget::{Floor, Line},
    row::Row,
    stats::Spread,
};
use crate::lab::{
    Alone, CLIENT_MAC, Flags, Flood, Frames, Guard, Lab, Nginx, Part, Program, Programs,
    SERVER_IPV4, SERVER_MAC, Segment, TcpOptions,
};

/// Runs in one go: some milliseconds.
const RUNS: u32 = 20_000;
/// Runs before it is measured: more than `SENT_MANY`.
const WARM_UP: u32 = 150_000;
/// Runs that a guard tracks all of: it begins so many at once and 20 more each millisecond.
const FEW_RUNS: u32 = 2_000;
/// How long it needs for as many more.
const REFILL: Duration = Duration::from_millis(120);

/// `XDP_*` and `TCX_*` codes (`linux/bpf.h`).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// What was measured, and what the verifier did for it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The lines.
    pub rows: Vec<Row>,
    /// Instructions that the verifier looked at: XDP and TC.
    pub verified: [u32; 2],
}

/// Measures every line in so many interleaved rounds.
///
/// # Errors
/// The lab or the guard fails, or a program does something else with a frame than the line says.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Report> {
    let nginx = Nginx::start(lab)?;
    let bench = Bench {
        lab,
        rounds,
        yardstick: Mutex::new(Alone::new(Part::Xdp, &Frames::Same(udp()?))?),
        ipv4: nginx.ipv4(),
        ipv6: nginx.ipv6(),
    };
    let mut rows = Vec::new();
    let observing = Guard::start(lab, &["--mode", "observe"])?;
    bench.observing(&observing.programs()?, &mut rows)?;
    stop(observing)?;
    let protecting = Guard::start(lab, &["--mode", "protect"])?;
    let programs = protecting.programs()?;
    bench.protecting(&programs, &mut rows)?;
    stop(protecting)?;
    let deny = "lists.deny=10.200.0.0/16";
    let denying = Guard::start(lab, &["--mode", "protect", "--set", deny])?;
    bench.denying(&denying.programs()?, &mut rows)?;
    stop(denying)?;
    let kernel = Guard::start(lab, &["--mode", "protect", "--engine", "kernel"])?;
    bench.with_kernel_cookies(&kernel.programs()?, &mut rows)?;
    stop(kernel)?;
    nginx.stop()?;
    rows.sort_by_key(|row| Line::ALL.iter().position(|line| *line == row.line));
    Ok(Report {
        rows,
        verified: programs.verified,
    })
}

fn stop(guard: Guard) -> Result<()> {
    let status = guard.stop_at_once()?;
    ensure!(status.success(), "the guard ended with {status}");
    Ok(())
}

struct Bench<'a> {
    lab: &'a Lab,
    rounds: usize,
    yardstick: Mutex<Alone>,
    ipv4: SocketAddr,
    ipv6: SocketAddr,
}

impl Bench<'_> {
    fn observing(&self, programs: &Programs, rows: &mut Vec<Row>) -> Result<()> {
        rows.push(self.established(Line::Established, programs)?);
        let udp = Frames::Same(udp()?);
        rows.push(self.line(Line::NotTcp, &udp, &programs.xdp, XDP_PASS)?);
        let closed = Frames::Flood(Flood::new(SocketAddr::new(SERVER_IPV4.into(), 9)));
        rows.push(self.line(Line::NotGuarded, &closed, &programs.xdp, XDP_PASS)?);
        rows.push(self.tracked(programs)?);
        rows.push(self.untracked(programs)?);
        Ok(())
    }

    fn protecting(&self, programs: &Programs, rows: &mut Vec<Row>) -> Result<()> {
        let xdp = &programs.xdp;
        rows.push(self.established(Line::EstablishedUnderAttack, programs)?);
        // Before cookies go out: whom none went to is known then.
        let acks = Flood::new(self.ipv4).acks();
        rows.push(self.line(Line::BogusAck, &Frames::Flood(acks), xdp, XDP_DROP)?);
        for (line, target) in [(Line::CookieIpv4, self.ipv4), (Line::CookieIpv6, self.ipv6)] {
            rows.push(self.line(line, &Frames::Flood(Flood::new(target)), xdp, XDP_TX)?);
        }
        let few = Flood::new(self.ipv4).few_sources(4);
        rows.push(self.line(Line::OverLimit, &Frames::Flood(few), xdp, XDP_DROP)?);
        Ok(())
    }

    fn denying(&self, programs: &Programs, rows: &mut Vec<Row>) -> Result<()> {
        let denied = Flood::new(self.ipv4).sources([10, 200, 0, 0].into(), 1 << 16);
        rows.push(self.line(
            Line::Denied,
            &Frames::Flood(denied),
            &programs.xdp,
            XDP_DROP,
        )?);
        Ok(())
    }

    fn with_kernel_cookies(&self, programs: &Programs, rows: &mut Vec<Row>) -> Result<()> {
        for (line, target) in [
            (Line::KernelCookieIpv4, self.ipv4),
            (Line::KernelCookieIpv6, self.ipv6),
        ] {
            let frames = Frames::Flood(Flood::new(target));
            rows.push(self.line(line, &frames, &programs.xdp, XDP_TX)?);
        }
        Ok(())
    }

    /// A line whose frames all go the same way.
    fn line(&self, line: Line, frames: &Frames, guard: &ProgramFd, action: u32) -> Result<Row> {
        let mut alone = Alone::new(Part::Xdp, frames)?;
        // What the guard learns of the frames, it has learnt; and of a flood's cookies it remembers
        // none any more.
        alone.run(self.lab, Program::Guard(guard), WARM_UP)?;
        self.rounds(line, |_| {
            let floor = alone.run(self.lab, floor(line), RUNS)?;
            let cost = alone.run(self.lab, Program::Guard(guard), RUNS)?;
            expect(line, cost.action, action)?;
            Ok((nanoseconds(floor.time), nanoseconds(cost.time)))
        })
    }

    /// Data of a connection that is there.
    fn established(&self, line: Line, programs: &Programs) -> Result<Row> {
        let connection = self
            .lab
            .client()
            .run(|| TcpStream::connect(self.ipv4))?
            .context("connecting to nginx")?;
        let frames = Frames::Same(data(connection.local_addr()?, self.ipv4)?);
        let mut xdp = Alone::new(Part::Xdp, &frames)?;
        let mut tc = Alone::new(Part::Tc, &frames)?;
        self.rounds(line, |_| {
            let mut floor = xdp.run(self.lab, Program::Pass, RUNS)?.time;
            let cost = xdp.run(self.lab, Program::Guard(&programs.xdp), RUNS)?;
            expect(line, cost.action, XDP_PASS)?;
            let mut cost = cost.time;
            if let Some(program) = &programs.tc {
                let passed = tc.run(self.lab, Program::Pass, RUNS)?;
                let seen = tc.run(self.lab, Program::Guard(program), RUNS)?;
                expect(line, seen.action, passed.action)?;
                floor += passed.time;
                cost += seen.time;
            }
            Ok((nanoseconds(floor), nanoseconds(cost)))
        })
    }

    fn tracked(&self, programs: &Programs) -> Result<Row> {
        let mut alone = Alone::new(Part::Xdp, &Frames::Flood(Flood::new(self.ipv4)))?;
        self.rounds(Line::Tracked, |_| {
            thread::sleep(REFILL);
            let floor = alone.run(self.lab, Program::Pass, RUNS)?;
            let cost = alone.run(self.lab, Program::Guard(&programs.xdp), FEW_RUNS)?;
            expect(Line::Tracked, cost.action, XDP_PASS)?;
            Ok((nanoseconds(floor.time), nanoseconds(cost.time)))
        })
    }

    fn untracked(&self, programs: &Programs) -> Result<Row> {
        let mut alone = Alone::new(Part::Xdp, &Frames::Flood(Flood::new(self.ipv4)))?;
        // What may be tracked at once is used up.
        alone.run(self.lab, Program::Guard(&programs.xdp), RUNS)?;
        self.rounds(Line::Untracked, |_| {
            let floor = alone.run(self.lab, Program::Pass, RUNS)?;
            // And what may be tracked since.
            alone.run(self.lab, Program::Guard(&programs.xdp), RUNS / 4)?;
            let cost = alone.run(self.lab, Program::Guard(&programs.xdp), RUNS)?;
            expect(Line::Untracked, cost.action, XDP_PASS)?;
            Ok((nanoseconds(floor.time), nanoseconds(cost.time)))
        })
    }

    /// Rounds of the floor and the cost, nanoseconds.
    fn rounds(
        &self,
        line: Line,
        mut round: impl FnMut(usize) -> Result<(f64, f64)>,
    ) -> Result<Row> {
        let (mut floors, mut above) = (Vec::new(), Vec::new());
        let mut yardsticks = Vec::new();
        let mut yardstick = self
            .yardstick
            .lock()
            .map_err(|_| anyhow!("measuring it panicked"))?;
        for index in 0..self.rounds {
            let work = yardstick.run(self.lab, Program::Yardstick, RUNS)?;
            let passing = yardstick.run(self.lab, Program::Pass, RUNS)?;
            yardsticks.push(nanoseconds(work.time) - nanoseconds(passing.time));
            let (floor, cost) =
                round(index).with_context(|| format!("measuring: {}", line.name()))?;
            floors.push(floor);
            above.push(cost - floor);
        }
        Ok(Row {
            line,
            floor: Spread::of(floors).context("no round")?,
            above: Spread::of(above).context("no round")?,
            // All frames are in this core's cache.
            touch: None,
            yardstick: Spread::of(yardsticks),
        })
    }
}

const fn floor(line: Line) -> Program<'static> {
    match line.floor() {
        Floor::Pass => Program::Pass,
        Floor::Bounce => Program::Bounce,
    }
}

fn expect(line: Line, found: u32, wanted: u32) -> Result<()> {
    ensure!(
        found == wanted,
        "the program returned {found}, not {wanted}: {}",
        line.name()
    );
    Ok(())
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// A datagram to a port that would be guarded if it were TCP's.
fn udp() -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC)
        .ipv4([10, 0, 0, 1], SERVER_IPV4.octets(), 57)
        .udp(5000, 80)
        .write(&mut frame, &[0; 64])
        .context("making a datagram")?;
    Ok(frame)
}

/// Data from the client's end of a connection.
pub(super) fn data(source: SocketAddr, destination: SocketAddr) -> Result<Vec<u8>> {
    Segment {
        source,
        destination,
        seq: 1,
        ack: 1,
        flags: Flags {
            ack: true,
            psh: true,
            ..Flags::default()
        },
        window: 501,
        options: TcpOptions {
            timestamps: Some((1, 1)),
            ..TcpOptions::NONE
        },
        ttl: 57,
        payload: vec![b'x'; 512],
    }
    .frame(CLIENT_MAC, SERVER_MAC)
}

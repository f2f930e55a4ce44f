//! What the programs take for each line of the budget in the real path: real frames over the lab's
//! veth, the kernel's own statistics (`kernel.bpf_stats_enabled`).

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    programs::ProgramFd,
    sys::{Stats, enable_stats},
};

use super::{
    budget::{Floor, Line},
    row::Row,
    stats::Spread,
};
use crate::lab::{Flood, Guard, Lab, Nginx, SERVER_IPV4, cores};

/// How long traffic runs before it is measured.
const BEFORE: Duration = Duration::from_millis(200);
/// How long after its start a guard has marked all connections, which strays go by.
const MARKING: Duration = Duration::from_secs(3);
/// How long it is measured.
const MEASURED: Duration = Duration::from_millis(500);
/// Frames a second of a flood: far below what any of the programs could do.
const RATE: u64 = 1_000_000;
/// SYNs a second of which all are tracked.
const FEW: u64 = 15_000;
/// A port whose connections are kept busy.
const BUSY: u16 = 8080;

/// What a program did so far.
#[derive(Clone, Copy, Debug)]
struct Runs {
    nanoseconds: u64,
    count: u64,
}

/// Measures these lines in so many interleaved rounds.
///
/// # Errors
/// The lab or the guard fails, or there were too few frames.
pub fn measure(lab: &Lab, lines: &[Line], rounds: usize) -> Result<Vec<Row>> {
    lab.separate_cores()?;
    let nginx = Nginx::start(lab)?;
    let sink = Sink::start(lab)?;
    // While this is open the kernel measures each run of a BPF program, as with
    // `kernel.bpf_stats_enabled`, which would stay on when the bench is killed.
    let statistics =
        enable_stats(Stats::RunTime).context("turning the statistics of BPF programs on")?;
    let mut all = vec![Rounds::default(); lines.len()];
    for _ in 0..rounds {
        for setting in Setting::ALL {
            let here = || {
                lines
                    .iter()
                    .enumerate()
                    .filter(move |(_, line)| Setting::of(**line) == setting)
            };
            if here().next().is_none() {
                continue;
            }
            for (index, line) in here() {
                let floor = floor(lab, *line, &nginx)?;
                all[index].floors.push(floor);
                // The floor of lines with TC has a program more than this.
                if line.floor() == Floor::Pass && !with_tc(*line) {
                    let touching = lab.attach_touching()?;
                    let program = touching.program()?;
                    let touch = mean(&[&program], || Traffic::start(lab, *line, &nginx))?;
                    all[index].touches.push(touch - floor);
                }
            }
            let guard = Guard::start(lab, setting.arguments())?;
            let programs = guard.programs()?;
            if setting == Setting::Strays {
                thread::sleep(MARKING);
            }
            for (index, line) in here() {
                let mut both = vec![&programs.xdp];
                both.extend(programs.tc.as_ref().filter(|_| with_tc(*line)));
                let cost = mean(&both, || Traffic::start(lab, *line, &nginx))?;
                all[index].costs.push(cost);
            }
            let status = guard.stop_at_once()?;
            ensure!(status.success(), "the guard ended with {status}");
        }
    }
    drop((statistics, sink));
    nginx.stop()?;
    let rows = lines.iter().zip(all).map(|(line, it)| it.row(*line));
    rows.collect::<Option<_>>().context("no round")
}

/// What the rounds of a line took, nanoseconds.
#[derive(Clone, Debug, Default)]
struct Rounds {
    floors: Vec<f64>,
    costs: Vec<f64>,
    /// Above the floor.
    touches: Vec<f64>,
}

impl Rounds {
    fn row(self, line: Line) -> Option<Row> {
        let above = self.costs.iter().zip(&self.floors);
        let above = above.map(|(cost, floor)| cost - floor).collect();
        Some(Row {
            line,
            above: Spread::of(above)?,
            floor: Spread::of(self.floors)?,
            touch: Spread::of(self.touches),
            yardstick: None,
        })
    }
}

/// Whether the TC program sees the line's packets and its time counts.
const fn with_tc(line: Line) -> bool {
    matches!(line, Line::Established | Line::EstablishedUnderAttack)
}

/// Guards that lines are measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Observing,
    Strays,
    Protecting,
    Denying,
    KernelCookies,
}

impl Setting {
    const ALL: [Self; 5] = [
        Self::Observing,
        // Before cookies go out: whom none went to is known then.
        Self::Strays,
        Self::Protecting,
        Self::Denying,
        Self::KernelCookies,
    ];

    const fn of(line: Line) -> Self {
        match line {
            Line::Established
            | Line::NotTcp
            | Line::NotGuarded
            | Line::Tracked
            | Line::Untracked => Self::Observing,
            Line::KernelCookieIpv4 | Line::KernelCookieIpv6 => Self::KernelCookies,
            Line::BogusAck => Self::Strays,
            Line::Denied => Self::Denying,
            _ => Self::Protecting,
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Observing => &["--mode", "observe"],
            Self::Strays | Self::Protecting => &["--mode", "protect"],
            Self::Denying => &["--mode", "protect", "--set", "lists.deny=10.200.0.0/16"],
            Self::KernelCookies => &["--mode", "protect", "--engine", "kernel"],
        }
    }
}

/// The floor of a line, nanoseconds.
fn floor(lab: &Lab, line: Line, nginx: &Nginx) -> Result<f64> {
    match line.floor() {
        Floor::Pass => {
            let mut passing = lab.attach_passing()?;
            // To measure a program takes some 20 ns, which it counts as the program's.
            let tc = with_tc(line).then(|| passing.attach_tc(lab)).transpose()?;
            let xdp = passing.program()?;
            let both: Vec<_> = std::iter::once(&xdp).chain(&tc).collect();
            mean(&both, || Traffic::start(lab, line, nginx))
        }
        Floor::Bounce => {
            let bouncing = lab.attach_floor()?;
            mean(&[&bouncing.program()?], || Traffic::start(lab, line, nginx))
        }
    }
}

/// The mean time of these programs for a packet that passes all of them, nanoseconds.
fn mean(programs: &[&ProgramFd], traffic: impl FnOnce() -> Result<Traffic>) -> Result<f64> {
    let traffic = traffic()?;
    thread::sleep(BEFORE);
    let before = programs.iter().map(|program| runs(program));
    let before: Vec<_> = before.collect::<Result<_>>()?;
    thread::sleep(MEASURED);
    let mut sum = 0.0;
    for (program, before) in programs.iter().zip(before) {
        let after = runs(program)?;
        let count = after.count - before.count;
        ensure!(count > 1000, "only {count} frames");
        sum += (after.nanoseconds - before.nanoseconds) as f64 / count as f64;
    }
    traffic.stop()?;
    Ok(sum)
}

fn runs(program: &ProgramFd) -> Result<Runs> {
    let fd = program.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let number = |name: &str| -> Result<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .with_context(|| format!("the kernel shows no {name}"))
    };
    Ok(Runs {
        nanoseconds: number("run_time_ns:")?,
        count: number("run_cnt:")?,
    })
}

/// Takes whatever connections to a guarded port send.
struct Sink;

impl Sink {
    fn start(lab: &Lab) -> Result<Self> {
        let listener = lab
            .server()
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, BUSY)))??;
        // Ends with the process; the lab's connections end before.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                thread::spawn(move || {
                    let mut bytes = vec![0; 1 << 16];
                    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
                });
            }
        });
        Ok(Self)
    }
}

/// The packets of a line under way.
enum Traffic {
    Flood(crate::lab::RunningFlood),
    Thread {
        stop: Arc<AtomicBool>,
        thread: JoinHandle<()>,
    },
}

impl Traffic {
    fn start(lab: &Lab, line: Line, nginx: &Nginx) -> Result<Self> {
        let flood = |flood: Flood, rate| {
            let flood = flood.rate(rate).duration(Duration::from_secs(10));
            Ok(Self::Flood(flood.start(lab)?))
        };
        let ipv4 = Flood::new(nginx.ipv4());
        match line {
            Line::Established | Line::EstablishedUnderAttack => {
                let stream = lab
                    .client()
                    .run(|| TcpStream::connect((SERVER_IPV4, BUSY)))??;
                stream.set_write_timeout(Some(Duration::from_secs(1)))?;
                Self::thread(move || (&stream).write(&[0; 1 << 16]).is_ok())
            }
            Line::NotTcp => {
                let socket = lab
                    .client()
                    .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
                socket.connect((SERVER_IPV4, 80))?;
                // Nobody listens there, which some calls hear of.
                Self::thread(move || {
                    let _ = socket.send(&[0; 64]);
                    true
                })
            }
            Line::NotGuarded => flood(Flood::new(SocketAddr::new(SERVER_IPV4.into(), 9)), RATE),
            Line::Tracked => flood(ipv4, FEW),
            Line::Untracked | Line::CookieIpv4 | Line::KernelCookieIpv4 => flood(ipv4, RATE),
            Line::CookieIpv6 | Line::KernelCookieIpv6 => flood(Flood::new(nginx.ipv6()), RATE),
            Line::Denied => {
                let first = IpAddr::from([10, 200, 0, 0]);
                flood(ipv4.sources(first, 1 << 16), RATE)
            }
            Line::OverLimit => flood(ipv4.few_sources(4), RATE),
            Line::BogusAck => flood(ipv4.acks(), RATE),
        }
    }

    /// Does it over and over again on the core of floods.
    fn thread(mut work: impl FnMut() -> bool + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let core = cores::last()?;
        let thread = thread::spawn(move || {
            // On another core it is the same, but slower.
            let _ = cores::pin(core);
            while !stopped.load(Ordering::Relaxed) && work() {}
        });
        Ok(Self::Thread { stop, thread })
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Flood(flood) => flood.stop().map(drop),
            Self::Thread { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                thread.join().ok().context("the traffic panicked")
            }
        }
    }
}

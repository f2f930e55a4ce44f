//! Connections that are open while the guard comes, protects and goes carry
//! data on, idle ones too. Needs root; without it the tests say so and pass,
//! except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::io::{Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::wait_until;
use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, Lab, SERVER_IPV4, SERVER_IPV6};

const PORT: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends back what it gets.
fn start_echo(lab: &Lab) {
    let listener = lab.server().run(|| TcpListener::bind(("::", PORT)));
    let listener = listener.unwrap().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut read = client.try_clone()?;
                std::io::copy(&mut read, &mut client)
            });
        }
    });
}

fn connect(lab: &Lab, target: SocketAddr) -> Result<TcpStream> {
    let stream = lab
        .client()
        .run(|| TcpStream::connect_timeout(&target, PATIENCE))
        .unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Open connections with what they are for, and what failed.
struct Open<'a> {
    lab: &'a Lab,
    talking: Vec<TcpStream>,
    idle: Vec<TcpStream>,
    tried: usize,
    failed: Vec<String>,
}

impl Open<'_> {
    /// Opens ten of either family, half of which stay idle to the end.
    fn open(&mut self, when: &str) {
        for ip in [SERVER_IPV4.into(), SERVER_IPV6.into()] {
            let target = SocketAddr::new(ip, PORT);
            for index in 0..10 {
                self.tried += 1;
                match connect(self.lab, target) {
                    Ok(stream) if index % 2 == 0 => self.idle.push(stream),
                    Ok(stream) => self.talking.push(stream),
                    Err(error) => self.failed.push(format!("{when}: {target}: {error}")),
                }
            }
        }
    }

    /// Data goes both ways on all that talk.
    fn talk(&mut self, when: &str) {
        for stream in &mut self.talking {
            if let Err(error) = talk(stream) {
                self.failed.push(format!("{when}: {error}"));
            }
        }
        assert!(self.failed.is_empty(), "{:?}", self.failed);
    }
}

fn talk(stream: &mut TcpStream) -> Result<()> {
    // More than a segment.
    let sent: Vec<u8> = (0..5000_u32).map(|i| (i * 7) as u8).collect();
    stream.write_all(&sent)?;
    let mut got = vec![0; sent.len()];
    stream.read_exact(&mut got)?;
    assert_eq!(got, sent);
    Ok(())
}

fn across_a_life(end: impl FnOnce(&Lab, Guard, &mut Open<'_>)) {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    start_echo(&lab);
    let mut open = Open {
        lab: &lab,
        talking: Vec::new(),
        idle: Vec::new(),
        tried: 0,
        failed: Vec::new(),
    };
    open.open("before the guard");
    open.talk("before the guard");
    let guard = Guard::start(&lab, &["--mode", "auto", "--max-half-open", "40"]).unwrap();
    open.open("observing");
    open.talk("observing");
    let flood = Flood::new((SERVER_IPV4, PORT).into())
        .rate(5000)
        .duration(Duration::from_secs(30))
        .start(&lab)
        .unwrap();
    wait_until("it protects", Duration::from_secs(10), || {
        guard.service(&lab, PORT).unwrap()["state"] == "protecting"
    });
    open.open("protecting");
    open.talk("protecting");
    end(&lab, guard, &mut open);
    flood.stop().unwrap();
    open.talk("after the guard");
    open.open("after the guard");
    let idle = std::mem::take(&mut open.idle);
    open.talking.extend(idle);
    open.talk("the idle ones");
    println!("{} tried, {} failed", open.tried, open.failed.len());
    assert_eq!(open.talking.len(), open.tried);
}

#[test]
fn until_it_stops() {
    across_a_life(|_, mut guard, open| {
        guard.child().signal(Signal::SIGTERM).unwrap();
        let waits = "no more cookies are sent";
        guard.child().wait_for_line(waits, PATIENCE).unwrap();
        open.talk("stopping");
        open.open("stopping");
        assert!(guard.child().wait(PATIENCE).unwrap().success());
    });
}

#[test]
fn until_it_stops_at_once() {
    across_a_life(|_, guard, _| assert!(guard.stop_at_once().unwrap().success()));
}

#[test]
fn until_it_is_killed_and_detached() {
    across_a_life(|lab, guard, open| {
        assert!(!guard.stop(Signal::SIGKILL).unwrap().success());
        open.talk("dead");
        open.open("dead");
        lab.syn_guard_output(&["detach"]).unwrap();
        open.talk("detached");
    });
}

#[test]
fn until_another_one_takes_over() {
    across_a_life(|lab, guard, open| {
        assert!(!guard.stop(Signal::SIGKILL).unwrap().success());
        open.talk("dead");
        let guard = Guard::start(lab, &["--mode", "protect"]).unwrap();
        open.talk("taken over");
        open.open("taken over");
        assert!(guard.stop_at_once().unwrap().success());
    });
}

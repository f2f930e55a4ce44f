//! Protocols in which the server speaks first, at once or after a while.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use xtask::lab::Lab;

use crate::compare::{FAMILIES, Job, Tally, without_and_with_a_guard};

const CONNECTIONS: u64 = 20;
const BANNER: &str = "220 the lab is ready\r\n";
const PATIENCE: Duration = Duration::from_secs(30);
/// Each service with its delay before the banner.
const SERVICES: [(u16, Duration); 3] = [
    (2500, Duration::ZERO),
    (2501, Duration::from_millis(300)),
    (2502, Duration::from_secs(1)),
];

/// Banner, then every line back until the client quits.
fn serve(stream: TcpStream, delay: Duration) -> std::io::Result<()> {
    thread::sleep(delay);
    let mut writer = stream.try_clone()?;
    writer.write_all(BANNER.as_bytes())?;
    for line in BufReader::new(stream).lines() {
        writer.write_all(format!("250 {}\r\n", line?).as_bytes())?;
    }
    Ok(())
}

fn talk(target: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut text = String::new();
    lines.read_line(&mut text)?;
    if text != BANNER {
        return Ok(false);
    }
    stream.write_all(b"HELO lab\r\n")?;
    text.clear();
    lines.read_line(&mut text)?;
    Ok(text == "250 HELO lab\r\n")
}

fn work(lab: &Lab, target: SocketAddr) -> Tally {
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| lab.client().start(move || Ok(talk(target))))
        .collect();
    let mut succeeded = 0;
    for client in clients {
        match client.join().unwrap().unwrap() {
            Ok(true) => succeeded += 1,
            other => eprintln!("{target}: {other:?}"),
        }
    }
    Tally::new(CONNECTIONS, succeeded)
}

#[test]
fn the_server_may_speak_first() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    for (port, delay) in SERVICES {
        for (_, address) in FAMILIES {
            let listener = lab.server().run(|| TcpListener::bind((address, port)));
            let listener = listener.unwrap().unwrap();
            // They end with the test.
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || serve(stream, delay));
                }
            });
        }
    }
    let jobs = SERVICES.map(|(port, delay)| {
        let lab = &lab;
        let work = move |server: IpAddr| work(lab, (server, port).into());
        (format!("banner after {delay:?}"), port, work)
    });
    let jobs: Vec<_> = jobs
        .iter()
        .map(|(what, port, work)| Job::new(what, *port, work))
        .collect();
    without_and_with_a_guard(&lab, &jobs);
}

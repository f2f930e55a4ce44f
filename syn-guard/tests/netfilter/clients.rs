//! Clients that fetch a page.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use xtask::lab::{Guard, Lab, patiently};

use crate::common::REQUEST;
use crate::counter;

/// Connections of each kind.
pub const COUNT: usize = 20;
/// So many of them are to be made from cookies: some SYNs ask the stack.
const FROM_COOKIES: u64 = 15;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fetches the page in the calling thread's network namespace.
pub fn get(target: SocketAddr, within: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(REQUEST)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) => Ok(body.to_owned()),
        None => Err(Error::new(ErrorKind::UnexpectedEof, answer)),
    }
}

/// Fetches the page as the client.
pub fn fetch(lab: &Lab, target: SocketAddr) -> Result<String> {
    let within = patiently(PATIENCE);
    lab.client().run(|| get(target, within)).unwrap()
}

/// Fetches this page 20 times from each of these, one after the other.
#[track_caller]
pub fn all_get(lab: &Lab, what: &str, page: &str, targets: &[SocketAddr]) {
    for target in targets {
        let mut slowest = Duration::ZERO;
        let failed: Vec<_> = (0..COUNT)
            .map(|_| {
                let begun = Instant::now();
                let got = fetch(lab, *target);
                slowest = slowest.max(begun.elapsed());
                got
            })
            .filter(|got| got.as_ref().ok().is_none_or(|got| got != page))
            .collect();
        println!(
            "{what}: {target}: {COUNT} tried, {} failed, the slowest took {slowest:?}",
            failed.len()
        );
        assert!(failed.is_empty(), "{what}: {target}: {failed:?}");
    }
}

/// The same, of a service that protects: most connections are made from cookies.
#[track_caller]
pub fn all_get_by_cookies(
    lab: &Lab,
    guard: &Guard,
    what: &str,
    page: &str,
    targets: &[SocketAddr],
) {
    for target in targets {
        let of_port = || counter(guard, lab, target.port(), "cookies_validated");
        let before = of_port();
        all_get(lab, what, page, &[*target]);
        let made = of_port() - before;
        let status = lab.syn_guard_output(&["status"]).unwrap();
        assert!(
            made >= FROM_COOKIES,
            "{what}: {target}: {made} by cookies\n{status}"
        );
    }
}

//! The standard output, whose reader may go away: `| head`.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::sleep;

/// How often it is looked whether anybody reads.
const LOOK: Duration = Duration::from_millis(250);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// It is open.
    Written,
    /// Nobody reads it any more.
    Closed,
}

/// Writes all of it at once.
pub(super) fn write(text: &str) -> anyhow::Result<Output> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Output::Written),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Output::Closed),
        Err(error) => Err(error).context("cannot write to the standard output"),
    }
}

/// Ends when nobody reads any more. A pipe says so without a write (`POLLERR`,
/// poll(2)).
pub(super) async fn closed() {
    loop {
        let out = io::stdout();
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let gone = |fd: &PollFd| {
            fd.revents()
                .is_some_and(|events| events.contains(PollFlags::POLLERR))
        };
        if polled.is_ok() && fds.iter().any(gone) {
            return;
        }
        sleep(LOOK).await;
    }
}

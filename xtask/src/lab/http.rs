//! Just enough HTTP to fetch a page from a chosen source.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    runtime::{Builder, Runtime},
};

use super::{Namespace, patience::patiently};

/// Fetches a path within 20 s, from a chosen source (port 0: any) or the client's own; returns the
/// body.
pub fn fetch(
    namespace: &Namespace,
    source: Option<SocketAddr>,
    target: SocketAddr,
    path: &str,
) -> anyhow::Result<Vec<u8>> {
    namespace
        .run(|| runtime()?.block_on(within(Duration::from_secs(20), get(source, target, path))))?
        .with_context(|| format!("fetching http://{target}{path}"))
}

/// A single-threaded runtime.
pub(super) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Gives up after a while.
pub(super) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(patiently(timeout), work)
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// One connection, one request, the whole body. The server closes first.
pub(super) async fn get(
    source: Option<SocketAddr>,
    target: SocketAddr,
    path: &str,
) -> Result<Vec<u8>> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
    }
    let mut stream = socket.connect(target).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    stream.read_to_end(&mut answer).await?;
    body(answer)
}

fn body(mut answer: Vec<u8>) -> Result<Vec<u8>> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| wrong("the answer has no end of headers"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(wrong(head.lines().next().unwrap_or_default()));
    }
    let length: Option<usize> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse().ok());
    answer.drain(..end + 4);
    if length != Some(answer.len()) {
        return Err(wrong("the body is cut short"));
    }
    Ok(answer)
}

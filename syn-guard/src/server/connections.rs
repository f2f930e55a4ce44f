//! Connections under limits of number, time and size.

use std::time::Duration;

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{task::JoinSet, time::timeout};

/// A connection's time for request and response together.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);

/// A request's headers, and what is buffered of a response, in bytes.
const BUFFER: usize = 16 * 1024;

/// Serves `most` connections at a time until dropped, which ends them too; more
/// wait in the listener's backlog.
pub(super) async fn serve<L: Listener>(mut listener: L, router: Router, most: usize) {
    let mut http = http1::Builder::new();
    // Kept open, an idle connection would hold a place, and the time limit
    // could cut a later response.
    http.keep_alive(false)
        .max_buf_size(BUFFER)
        .timer(TokioTimer::new());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= most {
            connections.join_next().await;
            continue;
        }
        let (stream, _) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(timeout(LIFETIME, connection));
    }
}

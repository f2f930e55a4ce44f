use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixListener as StdListener},
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{connections::LIFETIME, metrics::CONNECTIONS, *};
use crate::{
    client::{self, ClientError},
    config::ConfigSource,
    controller::{ControllerHandle, ModeError, Request, requests},
    events::{EventKind, EventLog, Level},
    prefixes::PrefixReport,
    report::{ModeReport, SourceReport},
    status::tests::sample,
};

fn source() -> SourceReport {
    SourceReport {
        source: "2001:db8::/64".to_owned(),
        port: 80,
        half_open: 1,
        syns: 2,
        completed: 3,
        reset: 4,
        expired: 5,
    }
}

fn denied() -> PrefixReport {
    PrefixReport {
        list: "deny".to_owned(),
        prefix: "192.0.2.0/24".to_owned(),
        origin: "config".to_owned(),
        ends_in_seconds: None,
    }
}

/// Stands in for the controller, which guards port 80 and has one event.
pub(super) fn controller() -> ControllerHandle {
    let (handle, mut requests) = requests();
    tokio::spawn(async move {
        let mut log = EventLog::default();
        log.push(EventKind::Config, Level::Info, None, "begun", &[]);
        let mut config = ConfigSource::default();
        while let Some(request) = requests.recv().await {
            match request {
                Request::Report(to) => drop(to.send(sample())),
                Request::Alive(to) => drop(to.send(())),
                Request::Sources(to) => drop(to.send(vec![source()])),
                Request::Events(after, to) => drop(to.send(log.follow(&after))),
                Request::Config(to) => drop(to.send(config.report())),
                Request::Reload(to) => drop(to.send(config.reload())),
                Request::Set { key, value, reply } => drop(reply.send(config.set(&key, &value))),
                Request::Prefixes { reply, .. } => drop(reply.send(vec![denied()])),
                Request::AddPrefix { prefix, reply, .. } => {
                    let parsed = crate::prefixes::parse(&prefix);
                    drop(reply.send(parsed.map(|_| denied()).map_err(Into::into)));
                }
                Request::RemovePrefix { reply, .. } => drop(reply.send(Ok(Some(denied())))),
                Request::SetMode {
                    port: 80, reply, ..
                } => {
                    log.push(EventKind::State, Level::Info, Some(80), "asked", &[]);
                    let report = ModeReport {
                        port: 80,
                        from: "auto".to_owned(),
                        to: "protect".to_owned(),
                        state: "protecting".to_owned(),
                    };
                    drop(reply.send(Ok(report)));
                }
                Request::SetMode { port, reply, .. } => {
                    drop(reply.send(Err(ModeError::NotGuarded(port))));
                }
            }
        }
    });
    handle
}

async fn metrics_server(handle: ControllerHandle) -> (SocketAddr, JoinHandle<()>) {
    let listener = bind_metrics(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve_metrics(listener, handle)))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

pub(super) fn socket_path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/control.sock");
    (folder, path)
}

#[tokio::test]
async fn metrics_are_text_of_prometheus() {
    let (address, _server) = metrics_server(controller()).await;
    let response = get(address, "/metrics").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(
        response.contains("content-type: text/plain; version=0.0.4\r\n"),
        "{response}"
    );
    assert!(response.contains("\nsyn_guard_half_open{service=\"80\"} 37\n"));
    assert!(response.contains("\nsyn_guard_process_resident_memory_bytes "));
}

#[tokio::test]
async fn health_and_index() {
    let (address, _server) = metrics_server(controller()).await;
    let health = get(address, "/healthz").await;
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(get(address, "/").await.contains("/metrics"));
    let missing = get(address, "/secrets").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
}

#[tokio::test]
async fn a_stopped_controller_is_unhealthy() {
    let (handle, requests) = requests();
    drop(requests);
    let (address, _server) = metrics_server(handle).await;
    for path in ["/healthz", "/metrics"] {
        let response = get(address, path).await;
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        assert!(response.ends_with("the controller has stopped\n"));
    }
}

#[tokio::test]
async fn a_hanging_controller_is_unhealthy() {
    let (handle, _requests) = requests();
    let (address, _server) = metrics_server(handle).await;
    let response = timeout(Duration::from_secs(60), get(address, "/healthz"))
        .await
        .unwrap();
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.ends_with("the controller does not answer\n"));
}

#[tokio::test]
async fn a_busy_port_names_the_way_out() {
    let first = bind_metrics(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind_metrics(address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address} for metrics: address already in use; another syn-guard \
             or exporter has it: choose another with --metrics-listen"
        )
    );
    let error = bind_metrics(([192, 0, 2, 1], 0).into()).await.unwrap_err();
    assert!(
        matches!(error, ServerError::NoSuchAddress { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn connections_have_a_bound() {
    let (address, server) = metrics_server(controller()).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    sleep(Duration::from_millis(100)).await;
    let mut waiting = Box::pin(get(address, "/healthz"));
    let early = timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "served past the bound");
    idle.pop();
    // Before the connections end by themselves.
    let response = timeout(LIFETIME / 2, waiting).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");

    server.abort();
    let mut byte = [0];
    let closed = timeout(LIFETIME / 4, idle[0].read(&mut byte)).await;
    assert!(
        matches!(closed, Ok(Ok(0) | Err(_))),
        "outlived the server: {closed:?}"
    );
}

#[tokio::test]
async fn the_control_socket_answers_and_goes() {
    let (_folder, path) = socket_path();
    let socket = bind_control(&path).unwrap();
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let server = tokio::spawn(serve_control(socket, controller()));
    assert_eq!(client::status(&path).await.unwrap(), sample());
    assert_eq!(client::sources(&path).await.unwrap(), [source()]);
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_makes_room() {
    let (_folder, path) = socket_path();
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists());
    let _socket = bind_control(&path).unwrap();
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_living_guard_keeps_its_socket() {
    let (_folder, path) = socket_path();
    let _first = bind_control(&path).unwrap();
    let error = bind_control(&path).unwrap_err();
    assert!(
        matches!(error, ServerError::AlreadyRunning { .. }),
        "{error}"
    );
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    fs::write(&path, "mine").unwrap();
    let error = bind_control(&path).unwrap_err();
    assert!(matches!(error, ServerError::NoSocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[tokio::test]
async fn a_successors_socket_stays() {
    let (_folder, path) = socket_path();
    let first = bind_control(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = bind_control(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test]
async fn no_guard_is_said_so() {
    let (_folder, path) = socket_path();
    let expected = format!(
        "no guard answers at {}: start it with `syn-guard run`",
        path.display()
    );
    assert_eq!(
        client::status(&path).await.unwrap_err().to_string(),
        expected
    );
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(StdListener::bind(&path).unwrap());
    assert_eq!(
        client::sources(&path).await.unwrap_err().to_string(),
        expected
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_answer() {
    let (_folder, path) = socket_path();
    let (handle, requests) = requests();
    drop(requests);
    let socket = bind_control(&path).unwrap();
    let _server = tokio::spawn(serve_control(socket, handle));
    let error = client::status(&path).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guard does not give /v1/status (503): the controller has stopped"
    );

    fs::remove_file(&path).unwrap();
    let deaf = bind_control(&path).unwrap();
    let error = client::status(&path).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    drop(deaf);
}

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinSet,
};

use super::{BODY, FOLLOWERS};
use crate::{
    client,
    control::ProtectMode,
    events::Position,
    server::{
        bind_control, serve_control,
        tests::{controller, socket_path},
    },
};

/// Status, headers and body of an answer.
async fn exchange(path: &Path, request: &str, body: &str) -> (u16, String, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: guard\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A body that is too long is refused before all of it is read.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn position(path: &Path) -> Position {
    let begin = Position::default();
    let page = client::events(path, &begin, Duration::ZERO).await.unwrap();
    Position {
        run: Some(page.run),
        after: page.last,
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_one_line_of_json() {
    let (_folder, path) = socket_path();
    let socket = bind_control(&path).unwrap();
    let _server = tokio::spawn(serve_control(socket, controller()));
    let long = format!("{{\"key\": \"{}\"}}", "k".repeat(BODY));
    let mode = "POST /v1/services/80/mode";
    for (request, body, status, says) in [
        (
            "GET /v1/nothing",
            "",
            404,
            "there is no /v1/nothing: docs/control.md has all that there is",
        ),
        (
            "DELETE /v1/status",
            "",
            405,
            "/v1/status takes no DELETE: docs/control.md has what it takes",
        ),
        (mode, "", 400, "the body is empty: expected a JSON object"),
        (
            mode,
            "{\"mode\"",
            400,
            "the body is not as expected: EOF while parsing an object at line 1 column 7",
        ),
        (
            mode,
            "{\"mode\": \"maybe\"}",
            400,
            "the body is not as expected: unknown variant `maybe`, expected one of `on`, `off`, `auto`, `default` at line 1 column 16",
        ),
        (
            mode,
            "{\"mode\": \"on\", \"a\\nb\": 1}",
            400,
            "the body is not as expected: unknown field `a b`, expected `mode` at line 1 column 21",
        ),
        (
            "POST /v1/services/http/mode",
            "{\"mode\": \"on\"}",
            400,
            "\"http\" is no service: expected a TCP port from 1 to 65535, as [services.443]",
        ),
        (
            "POST /v1/services/%ff/mode",
            "{\"mode\": \"on\"}",
            400,
            "\"\" is no service: expected a TCP port from 1 to 65535, as [services.443]",
        ),
        (
            "POST /v1/services/443/mode",
            "{\"mode\": \"on\"}",
            404,
            "no service at port 443 is guarded: `syn-guard status` lists those that are; a port is guarded while somebody listens there and `ports` does not leave it out",
        ),
        (
            "POST /v1/config",
            "{\"key\": \"detection.hold\", \"value\": 0}",
            400,
            "detection.hold = 0: expected seconds from 1 to 86400",
        ),
        (
            "POST /v1/config",
            "{\"key\": \"detection.hold\", \"value\": null}",
            400,
            "\"value\" of detection.hold is null: expected a text, a number, true, false, or a list of those",
        ),
        (
            "POST /v1/config",
            &long,
            413,
            "the body is longer than 65536 bytes",
        ),
        (
            "POST /v1/prefixes",
            "{\"list\": \"deny\", \"prefix\": \"192.0.2.1/24\"}",
            400,
            "192.0.2.1/24 has host bits set: did you mean 192.0.2.0/24?",
        ),
        (
            "GET /v1/prefixes?list=grey",
            "",
            400,
            "unknown parameter \"list=grey\": there are list=allow, list=deny and after=PREFIX",
        ),
        (
            "GET /v1/prefixes?list=deny&after=192.0.2.1/24",
            "",
            400,
            "after: 192.0.2.1/24 has host bits set: did you mean 192.0.2.0/24?",
        ),
        (
            "GET /v1/prefixes?after=192.0.2.0/24",
            "",
            400,
            "after=PREFIX is of one list: say list=allow or list=deny, too",
        ),
        (
            "GET /v1/events?wait=60",
            "",
            400,
            "wait=60: expected seconds from 0 to 8",
        ),
    ] {
        let (found, head, answer) = exchange(&path, request, body).await;
        assert_eq!(found, status, "{request} {body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer, serde_json::json!({ "error": says }), "{request}");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_done_and_said() {
    let (_folder, path) = socket_path();
    let socket = bind_control(&path).unwrap();
    let _server = tokio::spawn(serve_control(socket, controller()));
    let report = client::set_mode(&path, 80, ProtectMode::On).await.unwrap();
    assert_eq!((report.port, report.to.as_str()), (80, "protect"));
    let refused = client::set_mode(&path, 81, ProtectMode::On).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("no service at port 81 is guarded: "));
    let applied = client::set(&path, "detection.hold", "30").await.unwrap();
    assert_eq!(applied.changes[0].to_string(), "detection.hold: 60 -> 30");
    let (status, _, answer) = exchange(
        &path,
        "POST /v1/config",
        "{\"key\": \"guard.ports\", \"value\": [80, 443]}",
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let config = client::config(&path).await.unwrap();
    let hold = config.entries.iter().find(|it| it.key == "detection.hold");
    assert_eq!(hold.unwrap().value.as_ref().unwrap().to_string(), "30");
}

#[tokio::test]
async fn whoever_waits_gets_an_event_at_once_or_none_after_the_wait() {
    let (_folder, path) = socket_path();
    let socket = bind_control(&path).unwrap();
    let _server = tokio::spawn(serve_control(socket, controller()));
    let here = position(&path).await;
    assert_eq!(here.after, 1);
    let begun = Instant::now();
    let wait = Duration::from_secs(1);
    let page = client::events(&path, &here, wait).await.unwrap();
    assert!(page.events.is_empty() && page.last == 1, "{page:?}");
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());

    // At once: before the wait is over.
    let begun = Instant::now();
    let wait = Duration::from_secs(8);
    let waiting = client::events(&path, &here, wait);
    let (page, asked) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client::set_mode(&path, 80, ProtectMode::On).await
    });
    asked.unwrap();
    assert_eq!(page.unwrap().events[0].text, "asked");
    assert!(begun.elapsed() < wait, "at once");

    let elsewhere = Position {
        run: Some("another".to_owned()),
        after: 1,
    };
    let begun = Instant::now();
    let page = client::events(&path, &elsewhere, wait);
    assert_eq!(page.await.unwrap().events.len(), 2, "from the first one on");
    assert!(begun.elapsed() < wait, "at once");
}

#[tokio::test]
async fn followers_have_a_bound_and_leave_room_for_others() {
    let (_folder, path) = socket_path();
    let socket = bind_control(&path).unwrap();
    let server = tokio::spawn(serve_control(socket, controller()));
    let here = position(&path).await;
    let mut followers = JoinSet::new();
    let (begun, wait) = (Instant::now(), Duration::from_secs(8));
    for _ in 0..FOLLOWERS {
        let (path, here) = (path.clone(), here.clone());
        followers.spawn(async move { client::events(&path, &here, wait).await });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(followers.try_join_next().is_none(), "all of them wait");
    client::status(&path).await.unwrap();
    let error = client::events(&path, &here, Duration::from_secs(1)).await;
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guard does not give /v1/events (503): 128 others wait for events: ask again later, or without wait"
    );
    assert!(error.is_gone(), "a follower tries again");
    client::set_mode(&path, 80, ProtectMode::On).await.unwrap();
    while let Some(page) = followers.join_next().await {
        assert_eq!(page.unwrap().unwrap().events.len(), 1);
    }
    assert!(begun.elapsed() < wait, "at once");
    // What waits goes with the server.
    let here = position(&path).await;
    let waiting = client::events(&path, &here, Duration::from_secs(8));
    let (gone, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.abort();
    });
    assert!(gone.unwrap_err().is_gone());
}

#[test]
fn the_document_has_every_route() {
    let document = include_str!("../../../../docs/control.md");
    let routes = include_str!("mod.rs").split("\"/v1/").skip(1);
    let paths: Vec<_> = routes.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let path = format!("/v1/{}", path.replace("{port}", "PORT"));
        let titles = document.lines().filter(|line| line.starts_with("## "));
        let found = titles.filter(|line| line.ends_with(&format!(" {path}")));
        assert!(found.count() > 0, "{path}");
    }
}

//! What docs/control.md says is what happens.

use std::fs;

use serde_json::Value;
use xtask::lab::{Guard, Lab, Nginx};

const DOCUMENT: &str = include_str!("../../../docs/control.md");

/// A call of curl, and what is said to come of it.
struct Example {
    command: String,
    status: String,
    answer: String,
}

fn examples() -> Vec<Example> {
    let blocks = DOCUMENT.split("```console\n").skip(1);
    let texts = blocks.map(|rest| rest.split("```").next().unwrap());
    let calls = texts.flat_map(|text| text.split("# curl ").skip(1));
    calls
        .map(|call| {
            let mut lines = call.lines();
            Example {
                command: lines.next().unwrap().to_owned(),
                status: lines.next().unwrap().split(' ').nth(1).unwrap().to_owned(),
                answer: lines.collect(),
            }
        })
        .collect()
}

/// Whether everything that is said is there: keys of objects, elements of lists
/// if there are any, and kinds of values; the very text of errors.
fn is_there(said: &Value, found: &Value) -> bool {
    match (said, found) {
        (Value::Object(said), Value::Object(found)) => said.iter().all(|(key, value)| {
            found.get(key).is_some_and(|it| {
                if key == "error" {
                    it == value
                } else {
                    is_there(value, it)
                }
            })
        }),
        (Value::Array(said), Value::Array(found)) => {
            found.is_empty()
                || said
                    .iter()
                    .all(|said| found.iter().any(|found| is_there(said, found)))
        }
        (Value::Null, _) | (_, Value::Null) => true,
        (said, found) => std::mem::discriminant(said) == std::mem::discriminant(found),
    }
}

#[test]
fn every_example_of_the_document_is_true() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let socket = lab.guard_state().join("control.sock");
    let answer = lab.path("answer");
    let examples = examples();
    assert!(examples.len() >= 15, "{}", examples.len());
    for example in examples {
        let command = &example.command;
        let (socket, answer_file) = (socket.to_str().unwrap(), answer.to_str().unwrap());
        let here = command.replace("/run/syn-guard/control.sock", socket);
        assert_ne!(here, *command, "the socket's name");
        let script = format!("curl -sS -o '{answer_file}' -w '%{{http_code}}' {here}");
        let status = lab.server().output("sh", &["-c", &script]).unwrap();
        let found = fs::read_to_string(&answer).unwrap();
        assert_eq!(status, example.status, "{command}: {found}");
        let said: Value = serde_json::from_str(&example.answer).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        assert!(is_there(&said, &found), "{command}: {said} in {found}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}

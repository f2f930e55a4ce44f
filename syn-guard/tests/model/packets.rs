//! Every row of `docs/packets.md` is true.

use std::collections::BTreeMap;
use std::path::Path;

use syn_guard_common::abi::{Action, REASONS, Reason, State};
use xtask::lab::Lab;

use crate::kinds::{SIGNED_AND_KNOWN, SIGNED_AND_UNKNOWN, kinds, limited};
use crate::reference::Engine;
use crate::rig::{Rig, lab_for};
use crate::setting::{SERVICES, set_up};

/// What a row says of one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gets {
    action: Action,
    reason: Reason,
}

/// The document, in the binary, which may run on another machine.
const DOCUMENT: &str = include_str!("../../../docs/packets.md");

/// The cells of a table's rows, by the heading that it stands under.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        // The head and the line below it.
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// Reads `passed (`segment`)`.
fn gets(cell: &str) -> Gets {
    let (word, reason) = cell.split_once(" (`").unwrap();
    let name = reason.strip_suffix("`)").unwrap();
    let action = match word {
        "passed" => Action::Pass,
        "answered" => Action::Cookie,
        "dropped" => Action::Drop,
        _ => panic!("{cell}"),
    };
    let reason = REASONS.iter().find(|reason| reason.name() == name);
    let reason = *reason.unwrap_or_else(|| panic!("no reason {name}"));
    assert_eq!(reason.action(), action, "{cell}");
    Gets { action, reason }
}

#[test]
fn every_kind_of_packet_gets_what_the_table_says() {
    let mut table = BTreeMap::new();
    for row in rows("In XDP") {
        let [kind, observe, protect] = row.as_slice() else {
            panic!("{row:?}")
        };
        let observe = gets(observe);
        if observe.reason != Reason::Denied {
            assert_eq!(observe.action, Action::Pass, "{kind}: the rule");
        }
        let old = table.insert(kind.clone(), [observe, gets(protect)]);
        assert_eq!(old, None, "{kind} stands there twice");
    }
    for engine in [Engine::Reqsk, Engine::Kernel] {
        if let Some(lab) = lab_for(engine) {
            let work = || check(&lab, engine, table.clone());
            lab.server().run(work).unwrap();
        }
    }
}

fn check(lab: &Lab, engine: Engine, mut table: BTreeMap<String, [Gets; 2]>) {
    let mut rig = Rig::new(lab, engine);
    set_up(&mut rig, lab, 1);
    let unlimited = kinds()
        .into_iter()
        .map(|(kind, segments)| (kind, None, segments));
    let limited = limited()
        .into_iter()
        .map(|(kind, limit, segments)| (kind, Some(limit), segments));
    for (kind, limit, segments) in unlimited.chain(limited) {
        let says = table.remove(kind);
        let says = says.unwrap_or_else(|| panic!("no row for: {kind}"));
        // One of the two is of other kernels.
        let other = if rig.world.knows_ao {
            SIGNED_AND_UNKNOWN
        } else {
            SIGNED_AND_KNOWN
        };
        if kind == other {
            continue;
        }
        for (state, says) in [State::Observing, State::Protecting].into_iter().zip(says) {
            for port in SERVICES {
                rig.set_state(port, state);
                if state == State::Observing {
                    rig.stop_validating(port);
                }
                rig.forget_half_open(port);
            }
            if let Some(limit) = limit
                && state == State::Protecting
            {
                rig.exceed(limit, &segments);
            }
            for (index, segment) in segments.iter().enumerate() {
                let frame = rig.fit(segment.build());
                let got = rig.run(&frame).unwrap_or_else(|wrong| {
                    panic!("{kind}, {}: number {index}\n{wrong}", state.name())
                });
                assert_eq!(got, says.reason, "{kind}, {}: number {index}", state.name());
            }
        }
        rig.forget_limits();
    }
    assert!(
        table.is_empty(),
        "rows without a frame: {:#?}",
        table.keys()
    );
}

#[test]
fn the_tests_that_the_table_names_are_there() {
    let rows = rows("Behind XDP");
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        let [kind, _, test] = row.as_slice() else {
            panic!("{row:?}")
        };
        let (file, name) = test.split_once(": ").unwrap();
        let (file, name) = (file.trim_matches('`'), name.trim_matches('`'));
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let text = std::fs::read_to_string(tests.join(file)).unwrap();
        assert!(
            text.contains(&format!("\nfn {name}() {{\n")),
            "{kind}: {test}"
        );
    }
}

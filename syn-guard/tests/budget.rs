//! What the programs do with a packet of each line of the budget, and how much of them the verifier
//! looks at. What a packet costs, `cargo xtask bench --check` compares.

use xtask::bench::{alone, budget::Line};
use xtask::lab::Lab;

/// Instructions that the verifier may look at, of the million that it allows: half, so that another
/// kernel's or another compiler's have room.
const MOST_VERIFIED: u32 = 500_000;

#[test]
fn every_kind_of_packet_goes_its_way_and_the_verifier_has_room() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // It fails where a program does something else with a frame than the line says.
    let report = alone::measure(&lab, 1).unwrap();
    let lines: Vec<_> = report.rows.iter().map(|row| row.line).collect();
    assert_eq!(lines, Line::ALL);
    println!("verified instructions: {:?}", report.verified);
    for verified in report.verified {
        assert!((1..=MOST_VERIFIED).contains(&verified), "{verified}");
    }
}

//! What a packet costs the programs, against what it may.

use xtask::bench::alone;
use xtask::lab::Lab;

const ROUNDS: usize = 21;
/// How much more than its budget a line may take.
const TOO_MUCH: f64 = 1.5;

#[test]
fn every_kind_of_packet_costs_what_it_may() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let report = alone::measure(&lab, ROUNDS).unwrap();
    println!("verified instructions: {:?}", report.verified);
    let mut over = Vec::new();
    for row in &report.rows {
        let (line, above) = (row.line, row.above);
        println!("{}", row.text());
        if above.median > line.budget_ns() * TOO_MUCH {
            over.push(line);
        }
    }
    assert!(over.is_empty(), "{over:?}");
}

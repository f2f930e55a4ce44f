//! PostgreSQL, with a connection a transaction.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::IpAddr;

use xtask::lab::{Lab, Pgbench, Postgres};

use crate::compare::{Job, Tally, without_and_with_a_guard};

const PORT: u16 = 5432;

fn work(lab: &Lab, postgres: &Postgres, load: Pgbench, server: IpAddr) -> Tally {
    let succeeded = postgres.transactions(lab, server, load).unwrap();
    // The first one looks which tables there are.
    Tally::new(load.clients * load.transactions + 1, succeeded + 1)
}

#[test]
fn pgbench_connects_for_each_transaction() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let postgres = Postgres::start(&lab, PORT).unwrap();
    let loads = [(1, 100), (20, 20)].map(|(clients, transactions)| Pgbench {
        clients,
        transactions,
    });
    let [one, many] = loads.map(|load| {
        let (lab, postgres) = (&lab, &postgres);
        move |server| work(lab, postgres, load, server)
    });
    without_and_with_a_guard(
        &lab,
        &[
            Job::new("pgbench -C", PORT, &one),
            Job::new("pgbench -C -c 20", PORT, &many),
        ],
    );
}

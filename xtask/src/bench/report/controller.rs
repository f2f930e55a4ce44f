//! What the controller costs, as tables.

use super::tables::{Table, number, range};
use crate::bench::{
    Spread,
    controller::{Controller, GOALS, ManySources, Point},
};
use crate::digits::grouped;

/// By services, under very many sources, until the first cookie.
pub(super) fn tables(measured: &Controller) -> [Table; 3] {
    [
        by_services(&measured.services),
        many_sources(&measured.sources),
        first_cookie(measured.first_cookie_ms),
    ]
}

fn by_services(points: &[Point]) -> Table {
    let mut table = Table::new(
        "The controller by the number of services",
        "Its CPU time as a share of a core: without an attack, while 300,000 forged SYN/s go to one \
         service, while as many go to all of them; `auto` protects in both. Memory is resident at \
         the end, and at most at any time; maps are kernel memory (`memlock`). A start is from the \
         call of the program until it guards all.",
        &[
            "services",
            "idle, %",
            "rounds",
            "flood on one, %",
            "rounds",
            "on all, %",
            "rounds",
            "resident, MiB",
            "at most, MiB",
            "maps, MiB",
            "start, ms",
        ],
    );
    for point in points {
        let mut cells = vec![grouped(point.services.into())];
        for cpu in [point.idle, point.one, point.all] {
            cells.extend([number(cpu.median, 2), range(cpu, 2)]);
        }
        for memory in [point.resident, point.most_resident, point.maps] {
            cells.push(number(memory.median, 1));
        }
        cells.push(number(point.start_ms.median, 0));
        table.rows.push(cells);
    }
    if let Some(point) = points.iter().find(|point| point.services == GOALS.services) {
        for (what, value, most, unit) in [
            ("CPU idle", point.idle.median, GOALS.idle, "%"),
            (
                "CPU with a flood on one",
                point.one.median,
                GOALS.attacked,
                "%",
            ),
            (
                "CPU with a flood on all",
                point.all.median,
                GOALS.attacked,
                "%",
            ),
            ("maps", point.maps.median, GOALS.maps, "MiB"),
        ] {
            table.notes.push(format!(
                "{} services, {what}: {} {unit}; goal: under {most} {unit}, {}.",
                grouped(GOALS.services.into()),
                number(value, 2),
                reached(value < most),
            ));
        }
    }
    table
}

fn many_sources(rows: &[ManySources]) -> Table {
    let mut table = Table::new(
        "The controller under a flood from 10 million sources",
        "As many SYNs to one service as one core makes in 20 s, while somebody asks for \
         `syn-guard status` twice a second.",
        &[
            "mode",
            "SYNs",
            "CPU, %",
            "rounds",
            "resident at most, MiB",
            "rounds",
        ],
    );
    for row in rows {
        let mode = if row.protects { "auto" } else { "observe" };
        table.rows.push(vec![
            mode.to_owned(),
            number(row.syns.median, 0),
            number(row.cpu.median, 2),
            range(row.cpu, 2),
            number(row.most_resident.median, 1),
            range(row.most_resident, 1),
        ]);
        let most = row.most_resident.most;
        table.notes.push(format!(
            "{mode}: {} MiB resident at most; goal: {} MiB, {}.",
            number(most, 1),
            GOALS.resident,
            reached(most <= GOALS.resident),
        ));
    }
    table
}

fn first_cookie(ms: Spread) -> Table {
    let mut table = Table::new(
        "From a flood to the first cookie",
        "Mode `auto`, 300,000 forged SYN/s to nginx (backlog 511, limit 255): from the first SYN \
         until the program answers with cookies.",
        &["", "milliseconds", "rounds"],
    );
    table.rows.push(vec![
        "first SYN to first cookie".to_owned(),
        number(ms.median, 2),
        range(ms, 2),
    ]);
    table
}

const fn reached(is: bool) -> &'static str {
    if is { "reached" } else { "not reached" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::examples;

    #[test]
    fn goals_are_named_with_what_was_measured() {
        let report = examples::report();
        let [services, sources, _] = tables(report.controller.as_ref().unwrap());
        assert_eq!(services.rows[1][..3], ["1,000", "0.50", "0.40 to 0.70"]);
        assert_eq!(
            services.notes[0],
            "1,000 services, CPU idle: 0.50 %; goal: under 1 %, reached."
        );
        assert!(services.notes[2].ends_with("3.20 %; goal: under 3 %, not reached."));
        assert_eq!(
            sources.notes,
            ["auto: 34.0 MiB resident at most; goal: 40 MiB, reached."]
        );
    }
}

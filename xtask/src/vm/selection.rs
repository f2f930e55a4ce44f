//! Which tests run in the emulated machine, and why the others do not.

use LeftOut::{All, Nothing, Some};

/// A file of integration tests.
#[derive(Debug)]
pub(super) struct TestFile {
    pub(super) package: &'static str,
    pub(super) name: &'static str,
    pub(super) left_out: LeftOut,
}

/// What of a file does not run.
#[derive(Debug)]
pub(super) enum LeftOut {
    Nothing,
    /// These tests, each for a reason.
    Some(&'static [(&'static str, &'static str)]),
    /// The file, for a reason.
    All(&'static str),
}

const fn file(package: &'static str, name: &'static str, left_out: LeftOut) -> TestFile {
    TestFile {
        package,
        name,
        left_out,
    }
}

const FAST: &str = "floods faster than an emulated processor can";
const MANY: &str = "a hundred thousand prefixes take long there";
const BOTH_ENGINES: &str = "needs both engines: Linux 6.9 for reqsk";
const REQSK: &str = "needs Linux 6.9 for reqsk";
const PROOF: &str = "goes by the stack's own answers, which are seen from Linux 6.9 on";
/// Reasons that are none from Linux 6.9 on.
const OLD: [&str; 3] = [BOTH_ENGINES, REQSK, PROOF];

/// All files of tests that need a kernel.
pub(super) const FILES: &[TestFile] = &[
    file(
        "syn-guard",
        "acks",
        Some(&[
            ("a_flood_of_acks_touches_no_connection", FAST),
            ("a_flood_of_syns_and_acks_touches_no_connection", FAST),
            (
                "a_flood_of_cookies_that_is_over_opens_the_way_for_few_tries",
                FAST,
            ),
            (
                "a_service_that_is_switched_off_takes_the_cookies_that_are_out_and_few_tries",
                REQSK,
            ),
        ]),
    ),
    file("syn-guard", "attach", Nothing),
    file("syn-guard", "bad_wire", All("takes minutes there")),
    file("syn-guard", "budget", All(BOTH_ENGINES)),
    file("syn-guard", "config", Nothing),
    file(
        "syn-guard",
        "control",
        Some(&[(
            "every_example_of_the_document_is_true",
            "curl is not in the machine",
        )]),
    ),
    file("syn-guard", "cookie", Nothing),
    file("syn-guard", "detection", All(FAST)),
    file(
        "syn-guard",
        "engine",
        Some(&[
            (
                "a_guard_that_is_killed_is_undone_by_detach_or_the_next_engine",
                BOTH_ENGINES,
            ),
            (
                "a_guard_that_is_stopped_at_once_lets_the_stack_make_no_more_cookies",
                BOTH_ENGINES,
            ),
        ]),
    ),
    file("syn-guard", "errors", Nothing),
    file(
        "syn-guard",
        "firewalls",
        All("the firewalls and container engines are not in the machine"),
    ),
    file("syn-guard", "flood", All(FAST)),
    file("syn-guard", "half_open", Nothing),
    file(
        "syn-guard",
        "harden",
        Some(&[(
            "below_the_limit_it_hardens_only_and_counts_as_the_kernel_does",
            "goes by time-outs of the kernel, to the second",
        )]),
    ),
    file(
        "syn-guard",
        "interfaces",
        All("counts cookies that the guard validates, and makes bridges"),
    ),
    file("syn-guard", "life", Nothing),
    file("syn-guard", "lifecycle", Nothing),
    file(
        "syn-guard",
        "list",
        Some(&[(
            "what_prometheus_gets_is_clean",
            "promtool is not in the machine",
        )]),
    ),
    file("syn-guard", "listeners", Nothing),
    file(
        "syn-guard",
        "kernel_counters",
        All("counts what engines of Linux 6.18 count"),
    ),
    file(
        "syn-guard",
        "many_services",
        Some(&[("a_thousand_services_are_guarded_within_bounds", FAST)]),
    ),
    file("syn-guard", "metrics", All("needs no kernel")),
    file(
        "syn-guard",
        "model",
        Some(&[(
            "the_tests_that_the_table_names_are_there",
            "needs no kernel",
        )]),
    ),
    file("syn-guard", "netfilter", All(PROOF)),
    file("syn-guard", "open_connections", Nothing),
    file(
        "syn-guard",
        "prefixes",
        Some(&[
            ("a_hundred_thousand_prefixes_load_into_little_memory", MANY),
            (
                "a_controller_has_a_hundred_thousand_prefixes_in_force_when_it_begins",
                MANY,
            ),
            ("many_that_end_together_do_not_hold_the_controller_up", MANY),
            (
                "an_allowed_source_gets_no_cookie_and_is_not_dropped_under_a_flood",
                "with the engine kernel the stack answers it with a cookie of its own",
            ),
            (
                "what_there_is_room_for_stays_in_force_and_the_rest_is_said_once",
                "a million prefixes take minutes there",
            ),
        ]),
    ),
    file(
        "syn-guard",
        "programs",
        All("its programs (PostgreSQL, sshd, wrk, iperf3) are not in the machine"),
    ),
    file(
        "syn-guard",
        "reuse_port",
        All("says which member the stack of Linux 6.18 chooses"),
    ),
    file(
        "syn-guard",
        "shared_lines",
        All("reads ring buffers and counts by the moment"),
    ),
    file(
        "syn-guard",
        "sources",
        Some(&[
            ("few_sources_are_dropped_and_honest_clients_served", FAST),
            (
                "without_limits_nobody_is_dropped_and_they_change_under_a_flood",
                FAST,
            ),
            ("replies_to_one_prefix_have_a_limit", FAST),
        ]),
    ),
    file("syn-guard", "stack", Nothing),
    file("syn-guard", "switch", All(FAST)),
    file("syn-guard", "syn_ack", Nothing),
    file("syn-guard", "silence", Nothing),
    file("syn-guard", "tune", Nothing),
    file("syn-guard", "virtio", Nothing),
    file("syn-guard", "vrf", Nothing),
    file(
        "syn-guard",
        "wire",
        Some(&[(
            "tshark_finds_nothing_wrong_with_cookies",
            "tshark is not in the machine",
        )]),
    ),
    file("xtask", "lab", All("tests the lab, not the guard")),
];

/// Whether a reason is one on this series of kernels.
fn holds(reason: &str, series: &str) -> bool {
    let mut numbers = series.split('.').map_while(|number| number.parse().ok());
    let version: (u32, u32) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    version < (6, 9) || !OLD.contains(&reason)
}

/// The file of that name.
pub(super) fn find(name: &str) -> Option<&'static TestFile> {
    FILES.iter().find(|file| file.name == name)
}

impl TestFile {
    /// Why nothing of it runs on this series of kernels, if so.
    pub(super) fn left_out(&self, series: &str) -> Option<&'static str> {
        match self.left_out {
            All(reason) if holds(reason, series) => Option::Some(reason),
            All(_) | Some(_) | Nothing => None,
        }
    }

    /// Tests of it that do not run on this series of kernels, with the reason.
    pub(super) fn skipped(
        &self,
        series: &str,
    ) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let tests = match self.left_out {
            Some(tests) => tests,
            Nothing | All(_) => &[],
        };
        tests
            .iter()
            .filter(move |(_, reason)| holds(reason, series))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn workspace() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    /// All of a file of tests, or of the folder that stands for it.
    fn source(path: &Path) -> String {
        if !path.is_dir() {
            return fs::read_to_string(path.with_extension("rs")).unwrap();
        }
        let files = fs::read_dir(path).unwrap();
        files
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| fs::read_to_string(path).unwrap())
            .collect()
    }

    #[test]
    fn every_file_of_tests_is_listed() {
        for package in ["syn-guard", "xtask"] {
            let there: BTreeSet<String> = fs::read_dir(workspace().join(package).join("tests"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| {
                    path.extension().is_some_and(|it| it == "rs") || path.join("main.rs").exists()
                })
                .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            let listed: BTreeSet<String> = FILES
                .iter()
                .filter(|file| file.package == package)
                .map(|file| file.name.to_owned())
                .collect();
            assert_eq!(listed, there, "{package}");
        }
    }

    #[test]
    fn what_is_left_out_is_there() {
        for file in FILES.iter().filter(|file| matches!(file.left_out, Some(_))) {
            let path = format!("{}/tests/{}", file.package, file.name);
            let source = source(&workspace().join(&path));
            for (test, _) in file.skipped("6.1") {
                assert!(source.contains(&format!("fn {test}()")), "{path}: {test}");
            }
        }
    }

    #[test]
    fn what_an_old_kernel_lacks_runs_on_a_newer_one() {
        assert_eq!(
            find("netfilter").unwrap().left_out("6.1"),
            Option::Some(PROOF)
        );
        for series in ["6.9", "6.12", "7.0"] {
            assert_eq!(find("netfilter").unwrap().left_out(series), None);
            assert_eq!(find("flood").unwrap().left_out(series), Option::Some(FAST));
        }
    }
}

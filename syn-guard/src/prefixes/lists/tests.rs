//! The latest word, contradictions, ends, pages, and what there is no room for.

use super::entries::plain;
use super::*;
use crate::prefixes::PrefixReport;
use ListKind::{Allow, Deny};

const SECOND: u64 = 1_000_000_000;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn lines(prefixes: &[&str]) -> Vec<Line> {
    prefixes.iter().map(|text| net(text)).zip(1..).collect()
}

/// Allowed by the configuration, denied by it, denied by a file.
fn lists(allow: &[&str], deny: &[&str], file: &[&str]) -> (Lists, Vec<String>) {
    let mut lists = Lists::default();
    let origins = [Origin::Config, Origin::File("/etc/denied".into())];
    let said = lists.set_parts(&[
        Part {
            list: Deny,
            origin: &origins[1],
            prefixes: &lines(file),
        },
        Part {
            list: Deny,
            origin: &origins[0],
            prefixes: &lines(deny),
        },
        Part {
            list: Allow,
            origin: &origins[0],
            prefixes: &lines(allow),
        },
    ]);
    (lists, said)
}

fn shown(lists: &Lists, list: ListKind) -> Vec<String> {
    let reports = lists.reports(list, None, usize::MAX, 0);
    let show = |it: PrefixReport| match it.ends_in_seconds {
        Some(seconds) => format!("{} {} {seconds} s", it.prefix, it.origin),
        None => format!("{} {}", it.prefix, it.origin),
    };
    reports.into_iter().map(show).collect()
}

#[test]
fn the_same_prefix_allowed_and_denied_is_allowed_and_both_places_are_named() {
    let (lists, said) = lists(&["192.0.2.0/24"], &[], &["10.0.0.0/8", "192.0.2.0/24"]);
    assert_eq!(
        said,
        [
            "192.0.2.0/24 is allowed (config) and denied (/etc/denied:2): it is allowed; take it off one of the lists"
        ]
    );
    assert_eq!(shown(&lists, Allow), ["192.0.2.0/24 config"]);
    assert_eq!(shown(&lists, Deny), ["10.0.0.0/8 file /etc/denied"]);
}

#[test]
fn of_many_contradictions_only_the_first_are_said() {
    let many: Vec<_> = (0..20).map(|index| format!("10.{index}.0.0/16")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let (_, said) = lists(&many, &[], &many);
    assert_eq!(said.len(), SAID + 1);
    assert!(said[SAID].starts_with("15 more prefixes"), "{said:?}");
}

#[test]
fn at_run_time_wins_until_it_ends_and_then_the_configuration_is_back() {
    let (mut lists, _) = lists(&[], &["192.0.2.0/24"], &[]);
    let prefix = net("192.0.2.0/24");
    lists.add(Allow, prefix, 10 * SECOND);
    assert_eq!(shown(&lists, Allow), ["192.0.2.0/24 run time 10 s"]);
    assert!(shown(&lists, Deny).is_empty());
    let entry = lists.entry(prefix).unwrap();
    assert_eq!(entry.list, Allow as u32);
    assert_eq!(entry.afterwards, Deny as u8);
    assert_eq!((entry.ends_ns, entry.bits), (10 * SECOND, 120));
    assert!(lists.expire(10 * SECOND - 1).is_empty());
    assert_eq!(lists.expire(10 * SECOND), [(prefix, Allow)]);
    assert_eq!(shown(&lists, Deny), ["192.0.2.0/24 config"]);
    assert_eq!(lists.entry(prefix).unwrap(), plain(prefix, Deny));
}

#[test]
fn only_what_was_listed_at_run_time_is_taken_out_and_the_rest_is_explained() {
    let (mut lists, _) = lists(&[], &[], &["10.0.0.0/8", "192.0.2.0/24"]);
    let says =
        |lists: &mut Lists, list, prefix| lists.remove(list, net(prefix)).unwrap_err().to_string();
    assert_eq!(
        says(&mut lists, Deny, "192.0.2.0/24"),
        "192.0.2.0/24 is on the list `deny` by /etc/denied:2: take it out there, or put it on the other list at run time with `syn-guard allow add 192.0.2.0/24`"
    );
    assert_eq!(
        says(&mut lists, Allow, "192.0.2.0/24"),
        "192.0.2.0/24 is not on the list `allow`: `syn-guard allow list` shows what is"
    );
    lists.add(Deny, net("192.0.3.0/24"), 0);
    assert!(says(&mut lists, Allow, "192.0.3.0/24").contains("is not on"));
    assert_eq!(lists.remove(Deny, net("192.0.3.0/24")), Ok(()));
    assert!(says(&mut lists, Deny, "192.0.3.0/24").contains("is not on"));
}

#[test]
fn a_restarted_controller_keeps_what_was_said_at_run_time() {
    let (mut lists, _) = lists(&["10.0.0.0/8"], &[], &[]);
    lists.add(Deny, net("192.0.2.0/24"), 0);
    lists.add(Allow, net("2001:db8::/32"), 5 * SECOND);
    lists.add(Deny, net("2001:db8:1::/48"), SECOND);
    let (held, left_out) = lists.entries(4);
    assert_eq!((held.len(), left_out), (4, 0));
    let after = Lists::continued(&held, SECOND);
    assert_eq!(shown(&after, Deny), ["192.0.2.0/24 run time"]);
    assert_eq!(shown(&after, Allow), ["2001:db8::/32 run time 5 s"]);
}

#[test]
fn what_there_is_room_for_is_in_force_in_its_order_and_the_rest_is_counted() {
    let (mut lists, _) = lists(
        &["10.9.0.0/16"],
        &["10.1.0.0/16"],
        &["10.5.0.0/16", "10.4.0.0/16", "10.3.0.0/16"],
    );
    lists.add(Deny, net("10.8.0.0/16"), 0);
    // At run time, though the file lists it, too.
    lists.add(Deny, net("10.3.0.0/16"), 0);
    let order = [
        "10.3.0.0/16",
        "10.8.0.0/16",
        "10.9.0.0/16",
        "10.5.0.0/16",
        "10.4.0.0/16",
        "10.1.0.0/16",
    ];
    assert_eq!(lists.count(), order.len());
    for room in 0..8 {
        let (entries, left_out) = lists.entries(room);
        let fit = &order[..room.min(order.len())];
        assert_eq!(
            (entries.len(), left_out),
            (fit.len(), order.len() - fit.len())
        );
        for prefix in fit {
            assert!(entries.contains_key(&net(prefix)), "{room} {prefix}");
        }
        // What was listed at run time makes no room.
        let last = fit.iter().skip(2).next_back().map(|prefix| net(prefix));
        assert_eq!(lists.last(entries.into_keys()), last, "{room}");
    }
}

#[test]
fn pages_follow_one_another() {
    let (mut lists, _) = lists(&["10.9.0.0/16"], &["2001:db8::/32", "10.1.0.0/16"], &[]);
    lists.add(Deny, net("10.1.0.0/24"), 0);
    lists.add(Deny, net("10.0.0.0/8"), 0);
    let all = shown(&lists, Deny);
    assert_eq!(all.len(), 4);
    for most in 1..6 {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = lists.reports(Deny, after, most, 0);
            assert!(page.len() <= most);
            let Some(last) = page.last() else { break };
            after = Some(net(&last.prefix));
            let shown = page.iter().map(|it| format!("{} {}", it.prefix, it.origin));
            paged.extend(shown);
        }
        assert_eq!(paged, all, "{most}");
    }
}

//! What the demo prints, within [`WIDTH`] columns.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::{
    Options,
    guarded::Observed,
    round::{HONEST_RATE, HONEST_TIMEOUT, Outcome, Round},
};
use crate::{digits::grouped, lab::HonestReport};

/// Longest line.
const WIDTH: usize = 100;
/// How many connections of `syn-guard list` are shown.
const CONNECTIONS: usize = 5;

pub(super) const OBSERVING: &str = "  syn-guard run --mode auto: attached, observes\n";
pub(super) const LOOKING: &str = "       (asking syn-guard for list, status and metrics)\n";
pub(super) const STOPPING: &str =
    "  stopping syn-guard: it validates the cookies that are out, then goes\n";

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// With the terminal's colours.
    pub colour: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Green when it is good, red when not.
    fn judged(self, good: bool, text: &str) -> String {
        self.paint(if good { "32" } else { "31" }, text)
    }
}

pub(super) fn introduction(style: Style, options: Options) -> String {
    format!(
        "\n{}\n\
         Each round has a new lab: two network namespaces joined by a cable. Nothing of it reaches this\n\
         machine's own interfaces. Ctrl-C ends the demo at any time and leaves nothing behind.\n",
        style.bold(&format!(
            "Three rounds of {} s: {} spoofed SYNs a second against nginx",
            options.seconds,
            grouped(options.rate)
        ))
    )
}

pub(super) fn heading(style: Style, round: Round) -> String {
    let (number, name) = name(round);
    let how = match round {
        Round::NoGuard | Round::KernelCookies => "",
        Round::SynGuard => ", it decides itself when to protect",
    };
    let title = format!(
        "Round {number} of 3: {name} (net.ipv4.tcp_syncookies={}){how}",
        round.syncookies()
    );
    format!("\n{}\n", style.bold(&title))
}

fn name(round: Round) -> (u8, &'static str) {
    match round {
        Round::NoGuard => (1, "no guard"),
        Round::KernelCookies => (2, "kernel cookies"),
        Round::SynGuard => (3, "syn-guard"),
    }
}

pub(super) fn before(report: &HonestReport) -> String {
    format!(
        "  before: lab and nginx are new, nothing is half-open, {} of {} honest connections work\n",
        report.succeeded, report.tried
    )
}

pub(super) fn flooding(target: SocketAddr) -> String {
    format!(
        "  flood: any of 10.0.0.0/8 -> {target}; honest clients: {HONEST_RATE} a second, each from \
         a new address\n"
    )
}

pub(super) fn second(second: u64, sent: u64, answered: u64) -> String {
    format!(
        "  {second:>3} s  {:>9} SYNs/s sent  {:>9} SYN-ACKs/s back\n",
        grouped(sent),
        grouped(answered)
    )
}

pub(super) fn after(report: &HonestReport) -> String {
    format!(
        "  honest connections that got their page: {} of {} ({})\n",
        grouped(report.succeeded as u64),
        grouped(report.tried as u64),
        percent(report.share())
    )
}

/// The table of all rounds.
pub(super) fn results(style: Style, outcomes: &[Outcome]) -> String {
    let rounds = [Round::NoGuard, Round::KernelCookies, Round::SynGuard];
    let header = format!(
        "{:<17}{:>12}{:>11}{:>11}{:>13}{:>17}",
        "Round", "Honest", "p50", "p99", "SYNs sent/s", "SYN-ACKs back/s"
    );
    let mut text = format!("\n{}\n", style.bold(&header));
    for (round, outcome) in rounds.into_iter().zip(outcomes) {
        let (number, name) = name(round);
        let Outcome {
            honest,
            sent,
            answered,
        } = outcome;
        let share = format!("{:>12}", percent(honest.share()));
        let time = |time| match honest.succeeded {
            0 => "-".to_owned(),
            _ => milliseconds(time),
        };
        line(
            &mut text,
            &format!(
                "{:<17}{}{:>11}{:>11}{:>13}{:>17}",
                format!("{number} {name}"),
                style.judged(honest.share() >= super::WANTED, &share),
                time(honest.p50),
                time(honest.p99),
                grouped(*sent),
                grouped(*answered)
            ),
        );
    }
    let timeout = HONEST_TIMEOUT.as_secs();
    line(
        &mut text,
        &format!(
            "Honest: share of connections that got the whole page within {timeout} s; p50 and p99 \
             are of those,\nfrom SYN to page. SYN-ACKs back: answers that reached the flood's \
             sources, resent ones too."
        ),
    );
    text
}

/// What syn-guard said during the attack.
pub(super) fn observed(style: Style, observed: &Observed) -> String {
    let mut text = String::new();
    let mut part = |title: &str, lines: Vec<String>| {
        line(&mut text, &format!("\n{}", style.bold(title)));
        for it in lines {
            line(&mut text, format!("  {it}").trim_end());
        }
    };
    let switch = observed
        .switch()
        .map_or_else(|| vec!["nothing".to_owned()], |it| wrapped(it, WIDTH - 2));
    part("What it logged of its switch", switch);
    part(
        "During the attack: syn-guard list --by-service",
        clipped(&observed.by_service),
    );
    part(
        "During the attack: syn-guard list",
        shortened(clipped(&observed.list)),
    );
    part(
        "During the attack: syn-guard status",
        clipped(&observed.status),
    );
    part(
        "During the attack: some of /metrics",
        telling(&observed.metrics),
    );
    text
}

pub(super) fn left(style: Style, left: &[String]) -> String {
    let mut text = format!("\n{}\n", style.bold("After it stopped"));
    if left.is_empty() {
        text += "  no pin, no program (XDP or TC), every net.ipv4.tcp_* sysctl as before; the lab \
                 is gone too\n";
    }
    for it in left {
        line(&mut text, &format!("  left: {it}"));
    }
    text
}

pub(super) fn verdict(style: Style, share: f64) -> String {
    let words = format!(
        "syn-guard noticed the flood by itself and brought {} of the honest connections through.",
        percent(share)
    );
    format!("\n{}\n", style.judged(true, &words))
}

/// Rounded down: 99.96 % are not all.
pub(super) fn percent(share: f64) -> String {
    // The small part makes up for shares such as 0.29, which are a little less.
    format!("{:.1} %", (share * 1000.0 + 1e-6).floor() / 10.0)
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{} ms", grouped(milliseconds.round() as u64))
    }
}

/// The metrics that tell most of the flood; samples of 0 only where that says something.
fn telling(metrics: &str) -> Vec<String> {
    const ALWAYS: [&str; 9] = [
        "half_open{",
        "kernel_half_open{",
        "half_open_limit{",
        "pressure{",
        "service_state{",
        "protections_total{",
        "cookies_sent_total{",
        "cookies_validated_total{",
        "cookies_failed_total{",
    ];
    let wanted = |sample: &&str| {
        let Some(name) = sample.strip_prefix("syn_guard_") else {
            return false;
        };
        let web = name.contains("service=\"80\"");
        (web && ALWAYS.iter().any(|it| name.starts_with(it)))
            || (name.starts_with("packets_total{") && !name.ends_with(" 0"))
    };
    metrics
        .lines()
        .filter(wanted)
        .map(|sample| clip(sample, WIDTH - 2))
        .collect()
}

fn clipped(text: &str) -> Vec<String> {
    text.lines().map(|line| clip(line, WIDTH - 2)).collect()
}

/// At most `width` characters, the last a `…` where some are missing.
fn clip(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let start: String = line.chars().take(width - 1).collect();
    format!("{}…", start.trim_end())
}

/// The header, the first connections, and the last line: the sum.
fn shortened(lines: Vec<String>) -> Vec<String> {
    let kept = 1 + CONNECTIONS;
    let Some((sum, rows)) = lines.split_last().filter(|(_, rows)| rows.len() > kept) else {
        return lines;
    };
    let mut short = rows[..kept].to_vec();
    short.push(format!(
        "… {} more lines",
        grouped((rows.len() - kept) as u64)
    ));
    short.push(sum.clone());
    short
}

/// Broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            *line = word.to_owned();
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            *line += " ";
            *line += word;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colour: false };

    fn outcome(succeeded: usize, p99: u64, answered: u64) -> Outcome {
        Outcome {
            honest: HonestReport {
                tried: 600,
                succeeded,
                p50: Duration::from_micros(640),
                p99: Duration::from_millis(p99),
                ..HonestReport::default()
            },
            sent: 300_012,
            answered,
        }
    }

    #[test]
    fn the_table() {
        let outcomes = [
            outcome(0, 0, 93),
            outcome(211, 2_071, 231_877),
            outcome(600, 4, 299_990),
        ];
        let expected = "
Round                  Honest        p50        p99  SYNs sent/s  SYN-ACKs back/s
1 no guard              0.0 %          -          -      300,012               93
2 kernel cookies       35.1 %     0.6 ms   2,071 ms      300,012          231,877
3 syn-guard           100.0 %     0.6 ms     4.0 ms      300,012          299,990
Honest: share of connections that got the whole page within 3 s; p50 and p99 are of those,
from SYN to page. SYN-ACKs back: answers that reached the flood's sources, resent ones too.
";
        assert_eq!(results(PLAIN, &outcomes), expected);
        let coloured = results(Style { colour: true }, &outcomes);
        assert!(coloured.contains("\x1b[31m       0.0 %\x1b[0m"));
        assert!(coloured.contains("\x1b[32m     100.0 %\x1b[0m"));
    }

    #[test]
    fn no_line_is_too_long() {
        let long = format!("{}\n", "word ".repeat(60)).repeat(20);
        let shown = observed(
            PLAIN,
            &Observed {
                by_service: long.clone(),
                list: long.clone(),
                status: long.clone(),
                metrics: String::new(),
                log: format!("observing -> protecting {long}"),
                left: Vec::new(),
            },
        );
        let options = Options {
            rate: 10_000_000,
            seconds: 60,
        };
        let target = SocketAddr::from(([198, 18, 0, 1], 80));
        let all = [
            shown,
            introduction(PLAIN, options),
            heading(PLAIN, Round::SynGuard),
            flooding(target),
            results(PLAIN, &[outcome(600, 9_999, u64::from(u32::MAX))]),
            left(PLAIN, &[]),
            verdict(PLAIN, 1.0),
        ]
        .concat();
        for line in all.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0_u64), "0");
        assert_eq!(grouped(999_u64), "999");
        assert_eq!(grouped(1_000_u64), "1,000");
        assert_eq!(grouped(12_345_678_u64), "12,345,678");
        assert_eq!(milliseconds(Duration::from_millis(1_234)), "1,234 ms");
    }

    #[test]
    fn shares_are_not_rounded_up() {
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(0.9996), "99.9 %");
        assert_eq!(percent(0.29), "29.0 %");
        assert_eq!(percent(0.0), "0.0 %");
    }

    #[test]
    fn a_long_list_keeps_its_sum() {
        let lines = |count: usize| (0..count).map(|it| it.to_string()).collect::<Vec<_>>();
        assert_eq!(shortened(lines(7)), lines(7));
        assert_eq!(
            shortened(lines(10)),
            ["0", "1", "2", "3", "4", "5", "… 3 more lines", "9"]
        );
        assert!(shortened(Vec::new()).is_empty());
    }

    #[test]
    fn the_telling_metrics() {
        let metrics = "\
# HELP syn_guard_half_open Half-open connections as XDP counts them.
syn_guard_half_open{service=\"80\"} 37
syn_guard_half_open{service=\"9469\"} 0
syn_guard_syns_total{service=\"80\"} 1000
syn_guard_cookies_failed_total{service=\"80\"} 0
syn_guard_packets_total{action=\"drop\",reason=\"x\"} 0
syn_guard_packets_total{action=\"cookie\",reason=\"protecting\"} 996
";
        assert_eq!(
            telling(metrics),
            [
                "syn_guard_half_open{service=\"80\"} 37",
                "syn_guard_cookies_failed_total{service=\"80\"} 0",
                "syn_guard_packets_total{action=\"cookie\",reason=\"protecting\"} 996",
            ]
        );
    }
}

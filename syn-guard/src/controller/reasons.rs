//! Why a service is in its state, in words: what was reached, the limit, and
//! where that is set.

use syn_guard_common::policy::{Assessment, LEAST_HALF_OPEN, Numbers, Reason, Trigger, Why};

use super::{Detection, ServiceOptions, mode_name};

/// Where a service's limits and mode come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origins {
    /// The service's port.
    pub port: u16,
    /// What holds for all services.
    pub detection: Detection,
    /// What was set for this one.
    pub own: ServiceOptions,
    /// Who said what it may do, see
    /// [`Services::mode_origin`](super::services::Services::mode_origin).
    pub mode: String,
    /// The listeners' backlog.
    pub backlog: u64,
}

impl Origins {
    /// Why a service is in its state.
    pub fn words(&self, why: &Why) -> String {
        match why {
            Why::Begins => "guarding begins".to_owned(),
            Why::Left => "as an earlier syn-guard left it".to_owned(),
            Why::Reached(reason) => self.reached(reason),
            Why::Lost => "a limit was reached (which one was lost)".to_owned(),
            Why::Calm {
                pressure,
                limit,
                hold_ns,
            } => format!(
                "the pressure of {pressure} stayed below {limit} for {} s (detection.calm_percent, detection.hold, --hold)",
                hold_ns / 1_000_000_000
            ),
            Why::Mode(mode) => {
                let name = mode_name(*mode);
                match self.mode.as_str() {
                    "run time" => format!("mode {name}, asked by `syn-guard protect`"),
                    "detection.mode" => format!("mode {name} (detection.mode, --mode)"),
                    origin => format!("mode {name} ({origin})"),
                }
            }
        }
    }

    fn reached(&self, reason: &Reason) -> String {
        let (value, limit) = (reason.value, reason.limit);
        let untracked = match reason.untracked {
            0 => String::new(),
            count => format!(" and {count} untracked SYNs of this second"),
        };
        let what = match reason.trigger {
            Trigger::HalfOpen => "half-open connections",
            Trigger::HalfOpenInKernel => "half-open connections in the kernel",
            Trigger::Retransmitted => "half-open connections retransmitted at least once",
            Trigger::Refused => "connections a second refused for want of backlog",
            Trigger::UnansweredRate => "unanswered SYNs a second",
        };
        let from = match reason.trigger {
            Trigger::HalfOpen | Trigger::HalfOpenInKernel => self.half_open(),
            Trigger::Retransmitted => match self.detection.max_retransmitted {
                Some(_) => "detection.max_retransmitted".to_owned(),
                None => "detection.max_retransmitted: four fifths of max_half_open".to_owned(),
            },
            Trigger::Refused => "detection.max_refused_rate".to_owned(),
            Trigger::UnansweredRate if self.own.max_unanswered_rate.is_some() => {
                format!("services.{}.max_unanswered_rate", self.port)
            }
            Trigger::UnansweredRate => "detection.max_unanswered_rate".to_owned(),
        };
        format!("{value} {what}{untracked} reached the limit of {limit} ({from})")
    }

    /// The limit of half-open connections, and where it is set.
    pub fn half_open_limit(&self, limit: u64) -> String {
        format!("{limit} half-open connections ({})", self.half_open())
    }

    fn half_open(&self) -> String {
        if self.own.max_half_open.is_some() {
            format!("services.{}.max_half_open", self.port)
        } else if self.detection.max_half_open.is_some() {
            "detection.max_half_open, --max-half-open".to_owned()
        } else if self.backlog / 2 < LEAST_HALF_OPEN {
            format!(
                "the least limit, the backlog is {}; detection.max_half_open, --max-half-open",
                self.backlog
            )
        } else {
            format!(
                "half of the backlog of {}; detection.max_half_open, --max-half-open",
                self.backlog
            )
        }
    }
}

/// A kind of flood with its numbers.
pub fn assessment(assessment: &Assessment) -> String {
    let Numbers {
        syns,
        unanswered,
        answered_percent,
        heavy_percent,
        new_percent,
    } = assessment.numbers;
    format!(
        "{}: {syns} SYNs a second, {unanswered} unanswered ({answered_percent} % answered), {heavy_percent} % from heavy sources, {new_percent} % from new ones",
        assessment.kind.name()
    )
}

/// A crowd that needs cookies.
pub fn crowd(numbers: &Numbers) -> String {
    format!(
        "no flood but a crowd: {} % of {} SYNs a second are answered",
        numbers.answered_percent, numbers.syns
    )
}

/// What the value that reached a limit is called in an event.
pub const fn value_name(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::HalfOpen | Trigger::HalfOpenInKernel => "half_open",
        Trigger::Retransmitted => "retransmitted",
        Trigger::Refused => "refused_per_second",
        Trigger::UnansweredRate => "unanswered_syns_per_second",
    }
}

/// The numbers of an assessment for an event.
pub fn numbers(numbers: &Numbers) -> [(&'static str, f64); 5] {
    [
        ("syns_per_second", numbers.syns as f64),
        ("unanswered_syns_per_second", numbers.unanswered as f64),
        ("answered_percent", numbers.answered_percent as f64),
        ("heavy_percent", numbers.heavy_percent as f64),
        ("new_source_percent", numbers.new_percent as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn_guard_common::abi::Mode;

    fn origins() -> Origins {
        Origins {
            port: 80,
            backlog: 511,
            ..Origins::default()
        }
    }

    fn reached(origins: &Origins, trigger: Trigger, untracked: u64) -> String {
        origins.words(&Why::Reached(Reason {
            trigger,
            value: 255,
            limit: 255,
            untracked,
        }))
    }

    #[test]
    fn a_reason_has_value_and_limit_and_where_it_is_set() {
        for (trigger, expected) in [
            (
                Trigger::HalfOpen,
                "255 half-open connections reached the limit of 255 (half of the backlog of 511; detection.max_half_open, --max-half-open)",
            ),
            (
                Trigger::HalfOpenInKernel,
                "255 half-open connections in the kernel reached the limit of 255 (half of the backlog of 511; detection.max_half_open, --max-half-open)",
            ),
            (
                Trigger::Retransmitted,
                "255 half-open connections retransmitted at least once reached the limit of 255 (detection.max_retransmitted: four fifths of max_half_open)",
            ),
            (
                Trigger::Refused,
                "255 connections a second refused for want of backlog reached the limit of 255 (detection.max_refused_rate)",
            ),
            (
                Trigger::UnansweredRate,
                "255 unanswered SYNs a second reached the limit of 255 (detection.max_unanswered_rate)",
            ),
        ] {
            assert_eq!(reached(&origins(), trigger, 0), expected);
        }
        let text = reached(&origins(), Trigger::HalfOpen, 9);
        assert!(
            text.starts_with(
                "255 half-open connections and 9 untracked SYNs of this second reached"
            )
        );
    }

    #[test]
    fn what_was_set_is_named() {
        let mut origins = origins();
        origins.detection.max_half_open = Some(255);
        let text = reached(&origins, Trigger::HalfOpen, 0);
        assert!(
            text.ends_with("(detection.max_half_open, --max-half-open)"),
            "{text}"
        );
        origins.own.max_half_open = Some(255);
        let text = reached(&origins, Trigger::HalfOpen, 0);
        assert!(text.ends_with("(services.80.max_half_open)"), "{text}");
        let mode = Why::Mode(Mode::Protect);
        for (origin, expected) in [
            ("detection.mode", "mode protect (detection.mode, --mode)"),
            ("services.80.mode", "mode protect (services.80.mode)"),
            ("run time", "mode protect, asked by `syn-guard protect`"),
        ] {
            origins.mode = origin.to_owned();
            assert_eq!(origins.words(&mode), expected);
        }
    }
}

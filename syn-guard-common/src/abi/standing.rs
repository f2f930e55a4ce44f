//! Whether cookies may go out for a listener: whether the stack was seen to answer as
//! that listener, and whether connections that were handed to it are there.

/// A time: units of 2^30 ns of `CLOCK_MONOTONIC`, the lower 16 bits of them; 0: never.
/// Comes again after 19 hours. [`ELSEWHERE`] is none.
pub type Moment = u16;

/// In the place of the moment of an answer: the last one was another listener's, to which the
/// port is led.
pub const ELSEWHERE: Moment = u16::MAX;

/// For how long an answer that was seen stands for those that were not, units.
const PROVED: u16 = 15;
/// After so many units the data path asks again.
const ASK_AFTER: u16 = 8;
/// For how long a listener whose connections were lost stands back the first time, units;
/// each further time twice as long, up to `2^DOUBLINGS` times.
const STAND_BACK: u16 = 60;
const DOUBLINGS: u8 = 6;

/// What a connection that was lost adds, and one that is handed over takes away one.
const LOSS: u8 = 8;
/// So much, and the listener stands back: after seven lost connections in a row.
const TOO_MUCH: u8 = 48;
/// What is left of it when cookies are tried again: two more, and it stands back again.
const LEFT: u8 = TOO_MUCH - 2 * LOSS + 2;

/// The moment of a time.
#[inline(always)]
#[must_use]
pub const fn moment(now_ns: u64) -> Moment {
    match (now_ns >> 30) as u16 {
        0 => 1,
        ELSEWHERE => ELSEWHERE - 1,
        moment => moment,
    }
}

/// Whether an answer that was seen at `at` still stands for others.
#[inline(always)]
#[must_use]
pub const fn is_proved(at: Moment, now: Moment) -> bool {
    // 0 and ELSEWHERE are neighbours. As few branches as can be, for the verifier.
    (at.wrapping_add(1) > 1) & (now.wrapping_sub(at) < PROVED)
}

/// Whether the stack gets a SYN, so that its answer is seen: one a moment, once the last
/// answer is a while ago.
#[inline(always)]
#[must_use]
pub const fn asks(proved_at: Moment, asked_at: Moment, now: Moment) -> bool {
    now.wrapping_sub(proved_at) >= ASK_AFTER && asked_at != now
}

/// Whether SYNs that came within the last half a minute were not answered: three moments
/// are left for the answer.
#[must_use]
pub const fn is_unanswered(proved_at: Moment, asked_at: Moment, now: Moment) -> bool {
    let asked = asked_at != 0 && now.wrapping_sub(asked_at) < PROVED;
    // Negative where the answer came after.
    let late = asked_at.wrapping_sub(proved_at).cast_signed();
    asked && (proved_at == 0 || proved_at == ELSEWHERE || late > 3)
}

/// Whether a listener that began to stand back at `since`, for the `times`th time, does.
#[inline(always)]
#[must_use]
pub const fn stands_back(since: Moment, times: u8, now: Moment) -> bool {
    let doublings = times.saturating_sub(1);
    let doublings = if doublings > DOUBLINGS {
        DOUBLINGS
    } else {
        doublings
    };
    since != 0 && now.wrapping_sub(since) < STAND_BACK << doublings
}

/// The count of lost connections with one more; and whether it is too much.
#[inline(always)]
#[must_use]
pub const fn with_loss(lost: u8) -> (u8, bool) {
    let more = lost.saturating_add(LOSS);
    if more >= TOO_MUCH {
        (LEFT, true)
    } else {
        (more, false)
    }
}

/// The same when a connection is handed over.
#[inline(always)]
#[must_use]
pub const fn with_hand_over(lost: u8) -> u8 {
    lost.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_for_half_a_minute_and_is_asked_for_again_before() {
        let at = moment(1 << 40);
        assert!(!is_proved(0, at) && asks(0, 0, at) && !asks(0, at, at));
        for later in 0..PROVED {
            let now = at.wrapping_add(later);
            assert!(is_proved(at, now));
            assert_eq!(asks(at, at, now), later >= ASK_AFTER, "{later}");
            assert!(!asks(at, now, now), "one a moment");
        }
        assert!(!is_proved(at, at.wrapping_add(PROVED)));
        // Also where the count begins anew.
        assert!(is_proved(ELSEWHERE - 1, 1));
        assert!(!is_proved(ELSEWHERE, 1));
        for time in [0, 1 << 46, 0xffff << 30] {
            assert!(!matches!(moment(time), 0 | ELSEWHERE), "{time}");
        }
    }

    #[test]
    fn what_was_asked_lately_and_not_answered_is_unanswered() {
        let now = moment(1000 << 30);
        assert!(!is_unanswered(0, 0, now), "nobody asked");
        assert!(is_unanswered(0, now - 5, now));
        assert!(is_unanswered(now - 20, now - 2, now));
        assert!(!is_unanswered(now - 1, now - 2, now));
        assert!(!is_unanswered(now - 3, now, now), "its time is not over");
        assert!(!is_unanswered(0, now - PROVED, now), "long ago");
        assert!(is_unanswered(ELSEWHERE, now - 5, now), "by another");
    }

    /// At which connection it is too much, where one in `every` is lost.
    fn too_much(mut lost: u8, every: u32, connections: u32) -> Option<u32> {
        (1..=connections).find(|connection| {
            lost = with_hand_over(lost);
            let too_much;
            (lost, too_much) = match connection % every {
                0 => with_loss(lost),
                _ => (lost, false),
            };
            too_much
        })
    }

    #[test]
    fn seven_losses_in_a_row_are_too_much_and_one_in_ten_is_not() {
        assert_eq!(too_much(0, 1, 100), Some(7));
        assert!(too_much(0, 2, 100).is_some_and(|at| at <= 16));
        assert_eq!(too_much(0, 10, 100_000), None);
        assert_eq!(too_much(LEFT, 1, 100), Some(2), "the next time");
    }

    #[test]
    fn it_stands_back_for_a_minute_and_then_for_longer() {
        let since = moment(5 << 30);
        assert!(!stands_back(0, 1, since));
        for (times, units) in [
            (0, 60),
            (1, 60),
            (2, 120),
            (7, 3840),
            (8, 3840),
            (255, 3840),
        ] {
            assert!(stands_back(since, times, since), "{times}");
            assert!(stands_back(since, times, since + units - 1), "{times}");
            assert!(!stands_back(since, times, since + units), "{times}");
        }
    }
}

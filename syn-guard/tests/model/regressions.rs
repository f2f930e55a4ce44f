//! Frames about which the program and the model once disagreed. They come
//! before the generated ones.

use syn_guard_common::abi::Reason;

use crate::build::{Fragment, Segment};
use crate::rig::Rig;
use crate::setting::{MANY_PROTECTING, PROTECTING, own_address, server};

/// What once went wrong, a frame that shows it, and what is right.
fn regressions() -> Vec<(&'static str, Segment, Reason)> {
    let mut zero_mac = Segment::to_port(PROTECTING);
    zero_mac.destination_mac = [0; 6];

    let mut small_mss = Segment::to_port(PROTECTING);
    small_mss.options = vec![2, 4, 2, 0x18, 4, 2, 1, 3, 3, 8, 0, 0];

    let mut mapped = Segment::syn(
        "[::ffff:10.1.2.3]:40000".parse().unwrap(),
        (server(true), PROTECTING).into(),
    );
    mapped.fragment = Some(Fragment {
        offset: 0,
        more: true,
    });

    let mut split = Segment::syn(
        "[2001:db8:2003:e90c::a]:40000".parse().unwrap(),
        (own_address(true, 1), MANY_PROTECTING).into(),
    );
    split.options.clear();
    split.trailer = vec![0; 6];
    split.linear = Some(74);

    vec![
        (
            "in the cell that no own address has, 00:00:00:00:00:00 counted as one",
            zero_mac,
            Reason::OtherHost,
        ),
        (
            "an MSS below every class that has what is granted",
            small_mss,
            Reason::CookieSent,
        ),
        (
            "the stack takes nothing from a mapped address",
            mapped,
            Reason::Fragment,
        ),
        (
            "a frame that no answer fits into was changed before it passed",
            split,
            Reason::Unanswerable,
        ),
    ]
}

/// Runs them all.
pub fn run(rig: &mut Rig) {
    rig.add_and_remove_a_service();
    for (what, segment, right) in regressions() {
        let built = segment.build();
        let frame = rig.fit(built.clone());
        let reason = rig
            .run(&frame)
            .unwrap_or_else(|disagreement| panic!("{what}\n{disagreement}"));
        // A kernel before 6.18 cannot be given some of them.
        if frame == built {
            assert_eq!(reason, right, "{what}");
        }
    }
}

//! The loaded XDP program against a plain model of what it should do. Needs
//! root; without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod build;
mod differential;
mod generate;
mod kinds;
mod lists;
mod packets;
mod reference;
mod regressions;
mod rig;
mod setting;

//! Programs that people use, through a guard that protects from the start, so
//! that no SYN reaches the stack: nothing fails that works without the guard.
//! Needs root; without it the tests say so and pass, except where `CI=true`.

#[path = "../common/mod.rs"]
mod common;

mod banner;
mod compare;
mod http;
mod iperf;
mod postgres;
mod ssh;
mod websocket;
mod wrk;

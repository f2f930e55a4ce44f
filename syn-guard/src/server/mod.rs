//! Two HTTP servers: metrics over TCP for Prometheus, and the control socket
//! for this program's own verbs.
//!
//! Both answer one request a connection, within ten seconds,
//! and only so many connections at a time: what others may do to them has a
//! bound. Who follows events asks again and again.

mod answer;
mod connections;
mod control;
mod error;
mod metrics;
mod socket;

pub use control::serve_control;
pub use error::ServerError;
pub use metrics::{bind_metrics, serve_metrics};
pub use socket::{ControlSocket, bind_control, remove_control};

#[cfg(test)]
mod tests;

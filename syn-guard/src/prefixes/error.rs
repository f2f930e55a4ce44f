//! Why a list stays as it is.

use ipnet::IpNet;

use super::PrefixError;

/// Why a list was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It is no prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// It would end at once.
    #[error("for no time at all: leave the time out, or let it be a second or more")]
    NoTime,
    /// It is not there.
    #[error("{prefix} is not on the list `{list}`: `syn-guard {list} list` shows what is")]
    NotListed {
        /// Which one.
        prefix: IpNet,
        /// `allow` or `deny`.
        list: &'static str,
    },
    /// Only who listed it can take it out.
    #[error(
        "{prefix} is on the list `{list}` by {origin}: take it out there, or put it on the other list at run time with `syn-guard {other} add {prefix}`"
    )]
    NotByRunTime {
        /// Which one.
        prefix: IpNet,
        /// `allow` or `deny`.
        list: &'static str,
        /// The one of them that `list` is not.
        other: &'static str,
        /// Who listed it.
        origin: String,
    },
    /// The kernel refused.
    #[error("{0}")]
    DataPath(String),
}

//! What the running kernel can do.

use aya_obj::btf::{Btf, BtfKind};

use super::DataPathError;

/// Where the kernel describes its types.
pub(super) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Functions that every program here needs, with the version that brought
/// them; the first that is missing is named.
const REQUIRED: [(&str, &str); 3] = [
    ("bpf_xdp_skc_lookup_tcp", "5.2"),
    ("bpf_ktime_get_coarse_ns", "5.11"),
    ("bpf_xdp_get_buff_len", "5.18"),
];

/// The function that the `reqsk` engine needs.
pub(super) const ASSIGN_REQUEST: &str = "bpf_sk_assign_tcp_reqsk";

/// How cookies become connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Own cookies, validated in TC and handed to the stack with
    /// `bpf_sk_assign_tcp_reqsk`, whose BTF id this is.
    Reqsk {
        /// The BTF id of the kernel function.
        function: u32,
    },
    /// None: syn-guard can only observe.
    None {
        /// Why.
        reason: String,
    },
}

impl Engine {
    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reqsk { .. } => "reqsk",
            Self::None { .. } => "none",
        }
    }
}

/// What the running kernel can do.
#[derive(Clone, Debug)]
pub struct Features {
    /// The engine to use.
    pub engine: Engine,
}

impl Features {
    /// Probes the running kernel.
    ///
    /// # Errors
    /// When it cannot even observe.
    pub fn probe() -> Result<Self, DataPathError> {
        if !std::path::Path::new(BTF_PATH).exists() {
            return Err(DataPathError::NoBtf);
        }
        let btf = Btf::from_sys_fs()
            .map_err(|error| DataPathError::Object(format!("{BTF_PATH}: {error}")))?;
        Self::from_functions(&kernel_version(), |name| {
            btf.id_by_type_name_kind(name, BtfKind::Func).ok()
        })
    }

    /// Decides from the ids of the kernel's functions.
    fn from_functions(
        kernel: &str,
        id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, DataPathError> {
        for (missing, since) in REQUIRED {
            if id(missing).is_none() {
                return Err(DataPathError::KernelTooOld {
                    kernel: kernel.to_owned(),
                    missing,
                    since,
                });
            }
        }
        let engine = match id(ASSIGN_REQUEST) {
            Some(function) => Engine::Reqsk { function },
            None => Engine::None {
                reason: format!(
                    "kernel {kernel} lacks {ASSIGN_REQUEST}, which came with Linux 6.9"
                ),
            },
        };
        Ok(Self { engine })
    }
}

/// The running kernel's release, as `uname -r` says it.
fn kernel_version() -> String {
    nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_else(|_| "(unknown)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_told_what_it_lacks() {
        let error = Features::from_functions("5.10.0", |name| {
            (name == "bpf_xdp_skc_lookup_tcp").then_some(1)
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel 5.10.0 is too old: it lacks bpf_ktime_get_coarse_ns, which came with Linux 5.11; boot a newer kernel"
        );
    }

    #[test]
    fn without_the_kernel_function_it_observes_and_says_why() {
        let features =
            Features::from_functions("6.1.0", |name| (name != ASSIGN_REQUEST).then_some(1))
                .unwrap();
        assert_eq!(
            features.engine,
            Engine::None {
                reason: "kernel 6.1.0 lacks bpf_sk_assign_tcp_reqsk, which came with Linux 6.9"
                    .to_owned()
            }
        );
        let features = Features::from_functions("6.12.0", |_| Some(7)).unwrap();
        assert_eq!(features.engine, Engine::Reqsk { function: 7 });
    }
}

//! What the running kernel can do.

use syn_guard_common::abi::EngineKind;
use syn_guard_common::wire::found;

use super::DataPathError;
use super::btf::KernelBtf;

/// Functions that every program here needs, with the version that brought
/// them; the first that is missing is named.
const REQUIRED: [(&str, &str); 3] = [
    ("bpf_xdp_skc_lookup_tcp", "5.2"),
    ("bpf_ktime_get_coarse_ns", "5.11"),
    ("bpf_xdp_get_buff_len", "5.18"),
];

/// The function that the `reqsk` engine needs.
pub(super) const ASSIGN_REQUEST: &str = "bpf_sk_assign_tcp_reqsk";
const ASSIGN_REQUEST_SINCE: &str = "6.9";
/// The function that the `kernel` engine needs.
const GEN_SYNCOOKIE: &str = "bpf_tcp_gen_syncookie";
const GEN_SYNCOOKIE_SINCE: &str = "5.3";

/// Functions that a kernel with TCP-MD5 and with TCP-AO (6.7) has.
const MD5: &str = "tcp_md5_do_add";
const AUTHENTICATION: &str = "tcp_inbound_ao_hash";

/// Those that are looked up besides [`REQUIRED`].
const USED: [&str; 4] = [ASSIGN_REQUEST, GEN_SYNCOOKIE, MD5, AUTHENTICATION];

/// Which engine the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// The best that the kernel has
    #[default]
    Auto,
    /// Own cookies (Linux 6.9)
    Reqsk,
    /// The kernel's cookies (changes two sysctls while a service protects)
    Kernel,
}

/// How cookies become connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Own cookies, validated in TC and handed to the stack with
    /// `bpf_sk_assign_tcp_reqsk`, whose BTF id this is.
    Reqsk {
        /// The BTF id of the kernel function.
        function: u32,
    },
    /// The kernel's own cookies, sent from XDP and validated by the stack.
    Kernel,
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
            Self::Kernel => "kernel",
            Self::None { .. } => "none",
        }
    }

    /// Who makes the cookies.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        match self {
            Self::Reqsk { .. } | Self::None { .. } => EngineKind::Reqsk,
            Self::Kernel => EngineKind::Kernel,
        }
    }
}

/// What the running kernel can do.
#[derive(Clone, Debug)]
pub struct Features {
    /// The engine to use, where nothing around the sockets is in its way.
    pub engine: Engine,
    /// The BTF id of `bpf_sk_assign_tcp_reqsk`, where the kernel has it: the programs
    /// can do what either engine needs.
    pub assign: Option<u32>,
    /// The kernel can make cookies.
    pub generates: bool,
    /// Why that one.
    pub why: String,
    /// The TCP signatures that it knows: [`found::MD5`], [`found::AUTHENTICATION`].
    pub signatures: u32,
}

impl Features {
    /// Probes the running kernel.
    ///
    /// # Errors
    /// When it cannot even observe, or lacks what the chosen engine needs.
    pub fn probe(choice: EngineChoice) -> Result<Self, DataPathError> {
        let btf = KernelBtf::read().map_err(|_| DataPathError::NoBtf)?;
        Self::of(&btf, choice)
    }

    /// Decides from the running kernel's BTF.
    pub(super) fn of(btf: &KernelBtf, choice: EngineChoice) -> Result<Self, DataPathError> {
        let mut names = [""; REQUIRED.len() + USED.len()];
        let all = REQUIRED.iter().map(|(name, _)| *name).chain(USED);
        for (place, name) in names.iter_mut().zip(all) {
            *place = name;
        }
        let ids = btf.functions(names)?;
        Self::from_functions(&kernel_version(), choice, |name| {
            names
                .iter()
                .position(|one| *one == name)
                .and_then(|at| ids[at])
        })
    }

    /// Decides from the ids of the kernel's functions.
    fn from_functions(
        kernel: &str,
        choice: EngineChoice,
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
        let lacks = |function, since| {
            format!("kernel {kernel} lacks {function}, which came with Linux {since}")
        };
        let unavailable = |engine, missing, since| DataPathError::NoEngine {
            engine,
            kernel: kernel.to_owned(),
            missing,
            since,
        };
        let (assign, generate) = (id(ASSIGN_REQUEST), id(GEN_SYNCOOKIE));
        let (engine, why) = match (choice, assign, generate) {
            (EngineChoice::Reqsk, Some(function), _) => {
                (Engine::Reqsk { function }, "--engine reqsk".to_owned())
            }
            (EngineChoice::Reqsk, None, _) => {
                return Err(unavailable("reqsk", ASSIGN_REQUEST, ASSIGN_REQUEST_SINCE));
            }
            (EngineChoice::Kernel, _, Some(_)) => (Engine::Kernel, "--engine kernel".to_owned()),
            (EngineChoice::Kernel, _, None) => {
                return Err(unavailable("kernel", GEN_SYNCOOKIE, GEN_SYNCOOKIE_SINCE));
            }
            (EngineChoice::Auto, Some(function), _) => (
                Engine::Reqsk { function },
                format!("kernel {kernel} has {ASSIGN_REQUEST}"),
            ),
            (EngineChoice::Auto, None, Some(_)) => {
                (Engine::Kernel, lacks(ASSIGN_REQUEST, ASSIGN_REQUEST_SINCE))
            }
            (EngineChoice::Auto, None, None) => {
                let reason = lacks(GEN_SYNCOOKIE, GEN_SYNCOOKIE_SINCE);
                (
                    Engine::None {
                        reason: reason.clone(),
                    },
                    reason,
                )
            }
        };
        let knows = |function, signature| id(function).map_or(0, |_| signature);
        Ok(Self {
            engine,
            assign,
            generates: generate.is_some(),
            why,
            signatures: knows(MD5, found::MD5) | knows(AUTHENTICATION, found::AUTHENTICATION),
        })
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

    fn probe(
        kernel: &str,
        choice: EngineChoice,
        missing: &[&str],
    ) -> Result<Features, DataPathError> {
        Features::from_functions(kernel, choice, |name| {
            (!missing.contains(&name)).then_some(7)
        })
    }

    #[test]
    fn an_old_kernel_is_told_what_it_lacks() {
        let error = probe("5.10.0", EngineChoice::Auto, &["bpf_ktime_get_coarse_ns"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel 5.10.0 is too old: it lacks bpf_ktime_get_coarse_ns, which came with Linux 5.11; boot a newer kernel"
        );
    }

    #[test]
    fn the_best_engine_is_taken_and_the_reason_said() {
        let best = probe("6.12.0", EngineChoice::Auto, &[]).unwrap();
        assert_eq!(best.engine, Engine::Reqsk { function: 7 });
        let older = probe("6.1.0", EngineChoice::Auto, &[ASSIGN_REQUEST]).unwrap();
        assert_eq!(older.engine, Engine::Kernel);
        assert_eq!(
            older.why,
            "kernel 6.1.0 lacks bpf_sk_assign_tcp_reqsk, which came with Linux 6.9"
        );
        let none = probe(
            "6.1.0",
            EngineChoice::Auto,
            &[ASSIGN_REQUEST, GEN_SYNCOOKIE],
        )
        .unwrap();
        assert_eq!(
            none.engine,
            Engine::None {
                reason: "kernel 6.1.0 lacks bpf_tcp_gen_syncookie, which came with Linux 5.3"
                    .to_owned()
            }
        );
    }

    #[test]
    fn a_forced_engine_is_that_or_an_error() {
        let forced = probe("6.12.0", EngineChoice::Kernel, &[]).unwrap();
        assert_eq!(forced.engine, Engine::Kernel);
        let error = probe("6.1.0", EngineChoice::Reqsk, &[ASSIGN_REQUEST]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel 6.1.0 has no engine reqsk: it lacks bpf_sk_assign_tcp_reqsk, which came with Linux 6.9; use --engine auto"
        );
    }
}

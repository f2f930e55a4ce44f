//! Decides the next step of the set-up from what is there. No input, no output.

use std::path::PathBuf;

use super::Tools;

/// Minor version of the oldest rustc 1.x that builds the workspace (its `rust-version`).
pub(super) const OLDEST_RUSTC: u32 = 95;
/// The LLVM that is asked of Debian, newest of those bpf-linker and Debian both have.
const DEBIAN_LLVM: u32 = 22;
/// The LLVMs that bpf-linker 0.13 can be built with.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

const DEBIAN_RUSTC: [&str; 2] = ["rustc-web", "rust-web-src"];
const DEBIAN_CLIPPY: &str = "rust-web-clippy";
const DEBIAN_LLVM_DEV: [&str; 5] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libxml2-dev",
];

/// What the tools are wanted for; each needs all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `cargo xtask build`.
    Build,
    /// `cargo xtask demo`, and `cargo xtask bench` without what others bring.
    Demo,
    /// `cargo xtask bench` with the others that syn-guard is compared with.
    Bench,
    /// `cargo xtask test`, and `cargo xtask bench --check`.
    Test,
    /// `cargo xtask test --kernel`.
    OldKernel,
}

impl Need {
    /// Whether who has this need has the other one too.
    pub(super) fn includes(self, other: Self) -> bool {
        other <= self
    }
}

/// A program the demo or the tests run, and the Debian package it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub name: &'static str,
    pub package: &'static str,
    pub need: Need,
    /// The service the package would start at the next boot.
    pub service: Option<&'static str>,
}

const fn program(
    name: &'static str,
    package: &'static str,
    need: Need,
    service: Option<&'static str>,
) -> Program {
    Program {
        name,
        package,
        need,
        service,
    }
}

pub(super) const PROGRAMS: [Program; 18] = [
    program("ip", "iproute2", Need::Demo, None),
    program("tc", "iproute2", Need::Demo, None),
    program("nginx", "nginx-light", Need::Demo, Some("nginx.service")),
    program("curl", "curl", Need::Test, None),
    program("netstat", "net-tools", Need::Test, None),
    program(
        "promtool",
        "prometheus",
        Need::Test,
        Some("prometheus.service"),
    ),
    program("tshark", "tshark", Need::Test, None),
    program("openssl", "openssl", Need::Test, None),
    program("wrk", "wrk", Need::Test, None),
    program("h2load", "nghttp2-client", Need::Test, None),
    program("ssh", "openssh-client", Need::Test, None),
    program("sshd", "openssh-server", Need::Test, Some("ssh.service")),
    program(
        "initdb",
        "postgresql",
        Need::Test,
        Some("postgresql.service"),
    ),
    program("iperf3", "iperf3", Need::Test, Some("iperf3.service")),
    // For libFuzzer.
    program("c++", "g++", Need::Test, None),
    program("nft", "nftables", Need::Bench, None),
    program("busybox", "busybox-static", Need::OldKernel, None),
    program(
        "qemu-system-x86_64",
        "qemu-system-x86",
        Need::OldKernel,
        None,
    ),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rustc {
    pub path: PathBuf,
    pub cargo: PathBuf,
    pub clippy: Option<PathBuf>,
    /// The 95 of 1.95.0.
    pub minor: u32,
    /// LLVM's major version.
    pub llvm: u32,
    /// The sources of `core` are in its sysroot.
    pub core: bool,
    /// Its name in rustup.
    pub toolchain: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linker {
    pub path: PathBuf,
    /// Not every build of it tells.
    pub llvm: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Llvm {
    pub prefix: PathBuf,
    pub major: u32,
}

/// What is there. The lists are in order of preference.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub rustcs: Vec<Rustc>,
    pub linkers: Vec<Linker>,
    pub llvms: Vec<Llvm>,
    pub cargo_fuzz: Option<PathBuf>,
    /// The firewalls and container engines of the tests are unpacked.
    pub unpacked: bool,
    pub missing: Vec<Program>,
    pub apt: bool,
    pub root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    AddComponent {
        toolchain: String,
        component: &'static str,
    },
    Apt {
        packages: Vec<&'static str>,
        services: Vec<&'static str>,
    },
    InstallLinker {
        llvm: Llvm,
    },
    InstallFuzz,
    /// Packages that the tests use without their being installed. Without them, these tests are
    /// skipped: nothing else waits for this step.
    Unpack,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ready(Tools),
    Do(Step),
    Stuck(String),
}

/// The next step, given the steps that have failed.
pub(super) fn next(found: &Found, need: Need, failed: &[Step]) -> Next {
    let rustc = found.rustc();
    let linker = rustc.and_then(|rustc| found.linker(rustc));
    let wants_clippy = need >= Need::Test;
    let has_clippy = rustc.is_some_and(|rustc| rustc.clippy.is_some());
    let lacks_fuzz = need >= Need::Test && found.cargo_fuzz.is_none();
    let lacks_other = (wants_clippy && !has_clippy) || !found.missing.is_empty();
    if let (Some(rustc), Some(linker)) = (rustc, linker)
        && !lacks_other
        && !lacks_fuzz
    {
        let unpack = need == Need::Test && !found.unpacked && found.may(&Step::Unpack);
        if unpack && !failed.contains(&Step::Unpack) {
            return Next::Do(Step::Unpack);
        }
        return Next::Ready(Tools {
            rustc: rustc.path.clone(),
            cargo: rustc.cargo.clone(),
            cargo_clippy: rustc.clippy.clone(),
            linker: linker.path.clone(),
            cargo_fuzz: found.cargo_fuzz.clone(),
        });
    }

    let ways = found
        .components(rustc, wants_clippy)
        .chain(found.apt(rustc, need))
        .chain(
            // Last, as the one before may bring the LLVM it needs.
            rustc
                .filter(|_| linker.is_none())
                .and_then(|rustc| found.install_linker(rustc)),
        )
        .chain(
            // Not before it is of use.
            (lacks_fuzz && !lacks_other && linker.is_some()).then_some(Step::InstallFuzz),
        );
    let mut open = ways
        .filter(|step| !failed.contains(step))
        .filter(|step| found.may(step));
    open.next()
        .map_or_else(|| Next::Stuck(found.advice(rustc, need)), Next::Do)
}

impl Found {
    /// The compiler to build with: one that a linker is there for, else one that can get it.
    fn rustc(&self) -> Option<&Rustc> {
        let fit = || {
            self.rustcs
                .iter()
                .filter(|rustc| rustc.core && rustc.new_enough())
        };
        fit()
            .find(|rustc| self.linker(rustc).is_some())
            .or_else(|| fit().find(|rustc| self.llvm(rustc).is_some()))
            .or_else(|| fit().find(|rustc| rustc.llvm <= DEBIAN_LLVM))
    }

    /// A linker reads the bitcode of its own LLVM and of older ones.
    fn linker(&self, rustc: &Rustc) -> Option<&Linker> {
        self.linkers
            .iter()
            .find(|linker| linker.llvm.is_none_or(|llvm| llvm >= rustc.llvm))
    }

    fn llvm(&self, rustc: &Rustc) -> Option<&Llvm> {
        let fits = |llvm: &&Llvm| llvm.major >= rustc.llvm && LINKER_LLVMS.contains(&llvm.major);
        self.llvms.iter().find(fits)
    }

    fn components(&self, rustc: Option<&Rustc>, clippy: bool) -> impl Iterator<Item = Step> {
        let add = |rustc: &Rustc, component| {
            let toolchain = rustc.toolchain.clone()?;
            Some(Step::AddComponent {
                toolchain,
                component,
            })
        };
        let sources = self
            .rustcs
            .iter()
            .filter(move |_| rustc.is_none())
            .filter(|rustc| rustc.new_enough() && !rustc.core)
            .filter(|rustc| self.linker(rustc).is_some() || rustc.llvm <= DEBIAN_LLVM)
            .filter_map(move |rustc| add(rustc, "rust-src"));
        let clippy = rustc
            .filter(|rustc| clippy && rustc.clippy.is_none())
            .and_then(|rustc| add(rustc, "clippy"));
        sources.chain(clippy)
    }

    /// All that Debian has of what is missing, in one go.
    fn apt(&self, rustc: Option<&Rustc>, need: Need) -> Option<Step> {
        let mut packages = Vec::new();
        if rustc.is_none() {
            packages.extend(DEBIAN_RUSTC);
        }
        let system = rustc.is_none_or(|rustc| rustc.toolchain.is_none());
        if need >= Need::Test && system && rustc.is_none_or(|rustc| rustc.clippy.is_none()) {
            packages.push(DEBIAN_CLIPPY);
        }
        // With no compiler yet it will be Debian's, whose LLVM is Debian's.
        let linker = rustc.map_or_else(
            || {
                self.linkers
                    .iter()
                    .any(|linker| linker.llvm.is_none_or(|it| it >= DEBIAN_LLVM))
            },
            |rustc| self.linker(rustc).is_some() || self.llvm(rustc).is_some(),
        );
        if !linker {
            packages.extend(DEBIAN_LLVM_DEV);
        }
        packages.extend(self.missing.iter().map(|program| program.package));
        let mut unique: Vec<&str> = Vec::new();
        for package in packages {
            if !unique.contains(&package) {
                unique.push(package);
            }
        }
        let services = self
            .missing
            .iter()
            .filter_map(|program| program.service)
            .collect();
        (!unique.is_empty()).then_some(Step::Apt {
            packages: unique,
            services,
        })
    }

    fn install_linker(&self, rustc: &Rustc) -> Option<Step> {
        self.llvm(rustc)
            .map(|llvm| Step::InstallLinker { llvm: llvm.clone() })
    }

    fn may(&self, step: &Step) -> bool {
        !matches!(step, Step::Apt { .. } | Step::Unpack) || (self.apt && self.root)
    }

    /// What a person has to do, all of it on one line.
    fn advice(&self, rustc: Option<&Rustc>, need: Need) -> String {
        if self.apt
            && !self.root
            && let Some(Step::Apt { packages, .. }) = self.apt(rustc, need)
        {
            return format!(
                "run `sudo apt-get install --no-install-recommends {}`, then this again",
                packages.join(" ")
            );
        }
        let mut wanted = Vec::new();
        if rustc.is_none() {
            wanted.push(format!(
                "a rustc 1.{OLDEST_RUSTC} or newer with its sources \
                 (`rustup component add rust-src`)"
            ));
        }
        if need >= Need::Test && rustc.is_some_and(|rustc| rustc.clippy.is_none()) {
            wanted.push("the clippy of the rustc that has `core`'s sources".into());
        }
        if rustc.is_none_or(|rustc| self.linker(rustc).is_none()) {
            let llvm = rustc.map_or(DEBIAN_LLVM, |rustc| rustc.llvm);
            wanted.push(format!(
                "a bpf-linker with LLVM {llvm} or newer (with LLVM {llvm}'s development files: \
                 `cargo install bpf-linker --no-default-features --features llvm-{llvm}`)"
            ));
        }
        if need >= Need::Test && self.cargo_fuzz.is_none() {
            wanted.push("cargo-fuzz (`cargo install cargo-fuzz`)".into());
        }
        wanted.extend(
            self.missing
                .iter()
                .map(|program| format!("`{}`", program.name)),
        );
        format!("install {}, then run this again", wanted.join("; "))
    }
}

impl Rustc {
    fn new_enough(&self) -> bool {
        self.minor >= OLDEST_RUSTC
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

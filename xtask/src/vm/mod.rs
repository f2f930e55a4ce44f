//! `cargo xtask test --kernel 6.12`: tests on another kernel, in an emulated machine.
//!
//! [`kernel`] fetches Debian's, [`image`] puts the tests and what they run into a RAM file system,
//! [`machine`] boots both. The tests are those of [`selection`], or of the arguments for cargo.

mod collect;
mod image;
mod kernel;
mod machine;
mod modules;
mod selection;

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use self::{collect::Binary, image::Image, kernel::Kernel, selection::FILES};
use crate::{
    build::{self, Built, Paths},
    command,
    setup::Tools,
    test::Tests,
};

/// Kernels that tests are known to run on.
pub const KERNELS: [&str; 2] = [kernel::RELEASES[0].0, kernel::RELEASES[1].0];

/// How long the machine may run.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// This system's programs that the tests run.
const PROGRAMS: [&str; 10] = [
    "chrt", "ip", "netstat", "nft", "nginx", "setpriv", "sh", "ss", "taskset", "tc",
];
/// Kernel modules. Nothing in the machine loads more of them.
const MODULES: [&str; 22] = [
    "br_netfilter",
    "dummy",
    "ip_vs_rr",
    "macvlan",
    "nf_conntrack_netlink",
    "nfnetlink_hook",
    "nft_chain_nat",
    "nft_ct",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_synproxy",
    "nft_tproxy",
    "sch_netem",
    "tcp_diag",
    "tun",
    "veth",
    "virtio_net",
    "virtio_pci",
    "vrf",
];
/// How much longer everything takes there; see `xtask::lab::patience`.
const PATIENCE: u32 = 3;

/// Builds, then runs tests on a kernel of this series.
///
/// # Errors
/// The build fails, the kernel cannot be had, a test fails or the machine does not finish.
pub fn run(tools: &Tools, paths: &Paths, series: &str, args: &[String]) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the machine is an x86-64 one, and runs the tests as they are built here"
    );
    let kernel = Kernel::provide(series, paths)?;
    let built = build::run(tools, paths, true)?;
    let binaries = collect::run(paths, &built, series, args)?;
    ensure!(!binaries.is_empty(), "no test to run on Linux {series}");
    let dir = paths.target.join("vm");
    let initrd = dir.join("initrd");
    make_image(&kernel, &built, series, &binaries, &dir.join("root"))?.pack(&initrd)?;

    let started = Instant::now();
    let mut outcome = Outcome::default();
    let finished = machine::run(&kernel.image(), &initrd, LIMIT, |line| {
        println!("{line}");
        outcome.read(line);
    });
    let mut failed = outcome.judge(&binaries);
    if let Err(error) = finished {
        failed.push(format!("{error:#}"));
    }
    let (passed, seconds) = (outcome.tests.passed, started.elapsed().as_secs());
    say_left_out(series, &binaries);
    if failed.is_empty() {
        println!(
            "xtask: {passed} tests are fine on Linux {} ({seconds} s)",
            kernel.release()
        );
        return Ok(());
    }
    bail!(
        "on Linux {} {passed} tests passed; failed:\n    {}",
        kernel.release(),
        failed.join("\n    ")
    );
}

/// What was left out, and why.
fn say_left_out(series: &str, binaries: &[Binary]) {
    for file in FILES {
        if binaries.iter().any(|binary| binary.name() == file.name) {
            for (test, reason) in file.skipped(series) {
                println!("xtask: left out: {}: {test}: {reason}", file.name);
            }
        } else if let Some(reason) = file.left_out(series) {
            println!("xtask: left out: {}: {reason}", file.name);
        }
    }
}

fn make_image(
    kernel: &Kernel,
    built: &Built,
    series: &str,
    binaries: &[Binary],
    root: &Path,
) -> Result<Image> {
    let image = Image::new(root.to_path_buf())?;
    for program in PROGRAMS {
        image.add_program(program)?;
    }
    image.add_program_at("busybox", "bin/busybox")?;
    let mut loads = String::new();
    for module in modules::in_order(&kernel.modules(), &MODULES)? {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        image.copy(&module, format!("modules/{name}"))?;
        writeln!(loads, "/modules/{name}")?;
    }
    image.write("tests/modules", &loads)?;
    image.add_built(&built.binary, "tests/syn-guard")?;
    image.copy(&built.lab_object, "tests/lab.o")?;
    image.write(
        "tests/environment",
        &format!(
            "export CI=true SYN_GUARD_BIN=/tests/syn-guard SYN_GUARD_LAB_OBJECT=/tests/lab.o \
             SYN_GUARD_LAB_PATIENCE={PATIENCE} SYN_GUARD_LAB_CARDS='{}'\n",
            machine::cards()
        ),
    )?;
    let mut runs = String::new();
    for binary in binaries {
        let program = format!("tests/{}", binary.file_name());
        image.add_built(&binary.path, &program)?;
        let mut words = vec![
            binary.file_name(),
            format!("/{program}"),
            "--test-threads=1".into(),
        ];
        if let Some(file) = selection::find(binary.name()) {
            words.extend(
                file.skipped(series)
                    .map(|(test, _)| format!("--skip={test}")),
            );
        }
        words.extend(binary.args.iter().cloned());
        let words: Vec<_> = words
            .iter()
            .map(|word| command::quoted(word.as_ref()))
            .collect();
        writeln!(runs, "run {}", words.join(" "))?;
    }
    image.write("tests/run", &runs)?;
    Ok(image)
}

/// What the machine said.
#[derive(Default)]
struct Outcome {
    tests: Tests,
    /// Files that came to their end, and whether all was well.
    ended: Vec<(String, bool)>,
    done: bool,
}

impl Outcome {
    fn read(&mut self, line: &str) {
        self.tests.read(line);
        let Some(told) = line.strip_prefix("vm: ") else {
            return;
        };
        match told.split(' ').collect::<Vec<_>>()[..] {
            ["end", name, status] => self.ended.push((name.to_owned(), status == "0")),
            ["done", ..] => self.done = true,
            _ => {}
        }
    }

    /// All that failed or did not happen.
    fn judge(&mut self, binaries: &[Binary]) -> Vec<String> {
        let mut failed = std::mem::take(&mut self.tests.failed);
        let tests_failed = !failed.is_empty();
        for binary in binaries {
            let name = binary.file_name();
            match self.ended.iter().find(|(ended, _)| *ended == name) {
                Some((_, true)) => {}
                Some((_, false)) if tests_failed => {}
                Some((_, false)) => failed.push(name),
                None => failed.push(format!("{name}: did not end")),
            }
        }
        if !self.done {
            failed.push("the machine stopped before its tests were done".to_owned());
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(path: &str) -> Binary {
        Binary {
            path: path.into(),
            args: Vec::new(),
        }
    }

    #[test]
    fn only_a_machine_that_finished_has_passed() {
        let binaries = [binary("/deps/attach-0a"), binary("/deps/list-0b")];
        let mut whole = Outcome::default();
        let lines = [
            "vm: up 6.1.0 3.2",
            "vm: begin attach-0a",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
            "vm: end attach-0a 0",
            "test result: ok. 2 passed; 0 failed; 0 ignored",
            "vm: end list-0b 0",
            "vm: done 7.1",
        ];
        lines.iter().for_each(|line| whole.read(line));
        assert!(whole.judge(&binaries).is_empty());
        assert_eq!(whole.tests.passed, 5);

        let mut cut = Outcome::default();
        lines[..5].iter().for_each(|line| cut.read(line));
        assert_eq!(
            cut.judge(&binaries),
            [
                "list-0b: did not end",
                "the machine stopped before its tests were done"
            ]
        );

        let mut broken = Outcome::default();
        for line in [
            "test a ... FAILED",
            "vm: end attach-0a 101",
            "vm: end list-0b 0",
            "vm: done 1",
        ] {
            broken.read(line);
        }
        assert_eq!(broken.judge(&binaries), ["test a"]);
        let mut killed = Outcome::default();
        for line in ["vm: end attach-0a 0", "vm: end list-0b 137", "vm: done 1"] {
            killed.read(line);
        }
        assert_eq!(killed.judge(&binaries), ["list-0b"]);
    }

    #[test]
    fn a_file_goes_by_its_name() {
        assert_eq!(binary("/deps/half_open-00ff").name(), "half_open");
        assert_eq!(binary("/deps/half_open-00ff").file_name(), "half_open-00ff");
    }
}

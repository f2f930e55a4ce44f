use super::*;

fn rustup(name: &str, minor: u32, llvm: u32, core: bool) -> Rustc {
    let bin = PathBuf::from(format!("/rustup/{name}/bin"));
    Rustc {
        path: bin.join("rustc"),
        cargo: bin.join("cargo"),
        clippy: Some(bin.join("cargo-clippy")),
        minor,
        llvm,
        core,
        toolchain: Some(name.into()),
    }
}

fn debian() -> Rustc {
    let path = "/usr/bin/rustc".into();
    let cargo = "cargo".into();
    Rustc {
        path,
        cargo,
        clippy: None,
        minor: 96,
        llvm: 22,
        core: true,
        toolchain: None,
    }
}

fn linker(llvm: Option<u32>) -> Linker {
    Linker {
        path: format!("/linker/{llvm:?}").into(),
        llvm,
    }
}

fn llvm(major: u32) -> Llvm {
    Llvm {
        prefix: format!("/usr/lib/llvm-{major}").into(),
        major,
    }
}

fn component(toolchain: &str, component: &'static str) -> Step {
    Step::AddComponent {
        toolchain: toolchain.into(),
        component,
    }
}

/// Debian as root, rustup's stable without sources, nothing else.
fn fresh() -> Found {
    Found {
        rustcs: vec![rustup("stable", 95, 22, false)],
        apt: true,
        root: true,
        ..Found::default()
    }
}

#[track_caller]
fn packages(next: Next) -> Vec<&'static str> {
    match next {
        Next::Do(Step::Apt { packages, .. }) => packages,
        other => panic!("not apt: {other:?}"),
    }
}

#[track_caller]
fn stuck(next: Next) -> String {
    match next {
        Next::Stuck(message) => message,
        other => panic!("not stuck: {other:?}"),
    }
}

#[test]
fn all_there() {
    let found = Found {
        rustcs: vec![rustup("stable", 95, 22, true)],
        linkers: vec![linker(Some(22))],
        cargo_fuzz: Some("/cargo/bin/cargo-fuzz".into()),
        ..Found::default()
    };
    let Next::Ready(tools) = next(&found, Need::Test, &[]) else {
        panic!()
    };
    assert_eq!(tools.cargo_fuzz, found.cargo_fuzz);
    assert_eq!(tools.rustc, PathBuf::from("/rustup/stable/bin/rustc"));
    assert_eq!(tools.cargo, PathBuf::from("/rustup/stable/bin/cargo"));
}

#[test]
fn a_fresh_debian_goes_from_step_to_step() {
    let mut found = fresh();
    let add = component("stable", "rust-src");
    assert_eq!(next(&found, Need::Build, &[]), Next::Do(add));
    found.rustcs[0].core = true;
    assert_eq!(packages(next(&found, Need::Build, &[])), DEBIAN_LLVM_DEV);
    found.llvms.push(llvm(22));
    let install = Step::InstallLinker { llvm: llvm(22) };
    assert_eq!(next(&found, Need::Build, &[]), Next::Do(install));
    found.linkers.push(linker(Some(22)));
    assert!(matches!(next(&found, Need::Build, &[]), Next::Ready(_)));
}

#[test]
fn without_rustups_sources_it_takes_debians() {
    let mut found = fresh();
    found.missing = vec![PROGRAMS[0], PROGRAMS[1], PROGRAMS[2]];
    let failed = [component("stable", "rust-src")];
    let packages = packages(next(&found, Need::Test, &failed));
    assert_eq!(
        packages[..3],
        ["rustc-web", "rust-web-src", "rust-web-clippy"]
    );
    assert_eq!(packages[3..8], DEBIAN_LLVM_DEV);
    assert_eq!(packages[8..], ["iproute2", "nginx-light"]);
    found.missing.clear();
    found.rustcs.push(debian());
    found.linkers.push(linker(Some(22)));
    let Next::Ready(tools) = next(&found, Need::Build, &failed) else {
        panic!()
    };
    assert_eq!(tools.rustc, PathBuf::from("/usr/bin/rustc"));
}

#[test]
fn only_the_tests_need_clippy() {
    let mut found = fresh();
    found.rustcs = vec![debian()];
    found.linkers.push(linker(Some(22)));
    assert!(matches!(next(&found, Need::Demo, &[]), Next::Ready(_)));
    assert_eq!(packages(next(&found, Need::Test, &[])), ["rust-web-clippy"]);
    found.rustcs = vec![Rustc {
        clippy: None,
        ..rustup("stable", 95, 22, true)
    }];
    assert_eq!(
        next(&found, Need::Test, &[]),
        Next::Do(component("stable", "clippy"))
    );
}

#[test]
fn only_the_tests_need_cargo_fuzz() {
    let mut found = fresh();
    found.rustcs = vec![rustup("stable", 95, 22, true)];
    found.linkers.push(linker(Some(22)));
    assert!(matches!(next(&found, Need::Demo, &[]), Next::Ready(_)));
    found.missing = PROGRAMS.into_iter().filter(|it| it.name == "c++").collect();
    assert_eq!(packages(next(&found, Need::Test, &[])), ["g++"]);
    found.missing.clear();
    assert_eq!(next(&found, Need::Test, &[]), Next::Do(Step::InstallFuzz));
    let message = stuck(next(&found, Need::Test, &[Step::InstallFuzz]));
    assert_eq!(
        message,
        "install cargo-fuzz (`cargo install cargo-fuzz`), then run this again"
    );
}

#[test]
fn only_the_tests_need_unpacked_packages_and_go_on_without() {
    let mut found = Found {
        rustcs: vec![rustup("stable", 95, 22, true)],
        linkers: vec![linker(Some(22))],
        cargo_fuzz: Some("/cargo/bin/cargo-fuzz".into()),
        ..fresh()
    };
    for need in [Need::Build, Need::Demo, Need::Bench, Need::OldKernel] {
        assert!(matches!(next(&found, need, &[]), Next::Ready(_)));
    }
    assert_eq!(next(&found, Need::Test, &[]), Next::Do(Step::Unpack));
    let failed = next(&found, Need::Test, &[Step::Unpack]);
    assert!(matches!(failed, Next::Ready(_)));
    found.root = false;
    assert!(matches!(next(&found, Need::Test, &[]), Next::Ready(_)));
    found.root = true;
    found.unpacked = true;
    assert!(matches!(next(&found, Need::Test, &[]), Next::Ready(_)));
}

#[test]
fn a_linker_must_not_be_older_than_the_compiler() {
    let mut found = fresh();
    found.rustcs = vec![rustup("nightly", 99, 23, true), debian()];
    found.linkers = vec![linker(Some(22))];
    let Next::Ready(tools) = next(&found, Need::Build, &[]) else {
        panic!()
    };
    assert_eq!(tools.rustc, PathBuf::from("/usr/bin/rustc"));
    found.linkers = vec![linker(Some(21)), linker(Some(23))];
    let Next::Ready(tools) = next(&found, Need::Build, &[]) else {
        panic!()
    };
    assert_eq!(tools.rustc, PathBuf::from("/rustup/nightly/bin/rustc"));
    assert_eq!(tools.linker, linker(Some(23)).path);
    // One that does not tell is taken at its word.
    found.linkers = vec![linker(None)];
    assert!(matches!(next(&found, Need::Build, &[]), Next::Ready(_)));
}

#[test]
fn an_old_compiler_does_not_count() {
    let mut found = fresh();
    found.rustcs = vec![
        Rustc {
            minor: 63,
            ..debian()
        },
        rustup("old", 80, 18, false),
    ];
    assert_eq!(packages(next(&found, Need::Build, &[]))[..2], DEBIAN_RUSTC);
}

#[test]
fn not_root_on_debian_gets_the_line_to_type() {
    let mut found = fresh();
    found.root = false;
    found.rustcs[0].core = true;
    found.missing = vec![PROGRAMS[3]];
    let message = stuck(next(&found, Need::Test, &[]));
    let expected = "run `sudo apt-get install --no-install-recommends llvm-22-dev libpolly-22-dev \
                    zlib1g-dev libzstd-dev libxml2-dev curl`, then this again";
    assert_eq!(message, expected);
}

#[test]
fn elsewhere_it_names_what_is_missing() {
    let mut found = fresh();
    found.apt = false;
    found.missing = vec![PROGRAMS[2]];
    let message = stuck(next(&found, Need::Demo, &[component("stable", "rust-src")]));
    for part in [
        "rustup component add rust-src",
        "bpf-linker with LLVM 22",
        "`nginx`",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_failed_step_is_not_taken_again() {
    let mut found = fresh();
    found.rustcs[0].core = true;
    found.llvms.push(llvm(22));
    let failed = [Step::InstallLinker { llvm: llvm(22) }];
    let message = stuck(next(&found, Need::Build, &failed));
    assert!(
        message.starts_with("install a bpf-linker with LLVM 22"),
        "{message}"
    );
}

#[test]
fn services_of_new_packages_stay_off() {
    let mut found = fresh();
    found.rustcs = vec![debian()];
    found.linkers.push(linker(Some(22)));
    found.missing = vec![PROGRAMS[5]];
    let Next::Do(Step::Apt { services, .. }) = next(&found, Need::Demo, &[]) else {
        panic!()
    };
    assert_eq!(services, ["prometheus.service"]);
}

/// The programs that a need has.
fn names(need: Need) -> Vec<&'static str> {
    let needed = PROGRAMS.into_iter().filter(|it| need.includes(it.need));
    needed.map(|program| program.name).collect()
}

#[test]
fn the_bench_and_the_tests_need_nftables() {
    assert_eq!(names(Need::Bench), ["ip", "tc", "nginx", "nft"]);
    assert!(names(Need::Test).contains(&"nft"));
    for need in [Need::Build, Need::Demo] {
        assert!(!names(need).contains(&"nft"), "{need:?}");
    }
}

#[test]
fn only_an_old_kernel_needs_an_emulator() {
    assert!(!names(Need::Test).contains(&"qemu-system-x86_64"));
    let mut found = fresh();
    found.rustcs = vec![rustup("stable", 95, 22, true)];
    found.linkers.push(linker(Some(22)));
    found.missing = PROGRAMS
        .into_iter()
        .filter(|program| program.need == Need::OldKernel)
        .collect();
    assert_eq!(
        packages(next(&found, Need::OldKernel, &[])),
        ["busybox-static", "qemu-system-x86"]
    );
}

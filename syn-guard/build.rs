//! Hands the eBPF object and the commit to the crate.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const OBJECT: &str = "SYN_GUARD_BPF_OBJECT";

fn main() -> ExitCode {
    commit();
    match object() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn object() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let object = env::var_os(OBJECT).map_or_else(|| built(&out), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    // Read and write, not copy: the file in OUT_DIR must not take over read-only permissions.
    let bytes = fs::read(&object).map_err(|error| {
        format!(
            "no eBPF object at {} ({error}): run `cargo xtask build`",
            object.display()
        )
    })?;
    fs::write(out.join("syn-guard.o"), bytes).map_err(|error| format!("cannot write: {error}"))
}

/// Where `cargo xtask build` put the object: in this build's target folder, wherever that is, or
/// in the workspace's.
fn built(out: &Path) -> PathBuf {
    let object = Path::new("ebpf/syn-guard.o");
    out.ancestors()
        .map(|dir| dir.join(object))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            let workspace = package.parent().unwrap_or(package);
            workspace.join("target").join(object)
        })
}

fn commit() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    println!(
        "cargo::rustc-env=SYN_GUARD_GIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    // Debug builds follow HEAD only: a build after every commit is not worth an exact name there.
    let mut refs = vec!["HEAD".to_owned()];
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        refs.extend(git(&["symbolic-ref", "-q", "HEAD"]));
    }
    for name in refs {
        if let Some(file) = git(&["rev-parse", "--git-path", &name])
            && Path::new(&file).exists()
        {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

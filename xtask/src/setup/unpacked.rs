//! Firewalls and container engines of Debian's, for tests: fetched and unpacked, never installed.
//! A machine is not to get a docker service because it ran our tests.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{build::Paths, command};

/// What is unpacked, with what these need and the machine lacks.
const PACKAGES: [&str; 7] = [
    "busybox-static",
    "crun",
    "docker.io",
    "firewalld",
    "iptables",
    "podman",
    "ufw",
];
/// Folders that are links into `/usr` on today's Debian; older packages still bring them as folders.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Where they are, once all of them are unpacked.
pub(crate) fn tree(paths: &Paths) -> Option<PathBuf> {
    let dir = dir(paths);
    let whole = fs::read_to_string(dir.join("packages")).is_ok_and(|list| list == list_of_all());
    whole.then(|| dir.join("tree"))
}

/// Whether packages can be had here at all.
pub(crate) fn is_debian() -> bool {
    ["apt-get", "dpkg-deb"]
        .iter()
        .all(|name| command::find_program(name).is_some())
}

fn dir(paths: &Paths) -> PathBuf {
    paths.target.join("engines")
}

fn list_of_all() -> String {
    PACKAGES.map(|package| format!("{package}\n")).concat()
}

/// Fetches and unpacks them. To get newer ones, delete the folder.
pub(super) fn provide(paths: &Paths) -> Result<()> {
    let dir = dir(paths);
    fs::create_dir_all(&paths.target)?;
    let work = tempfile::tempdir_in(&paths.target).context("making a folder for packages")?;
    let archives = work.path().join("archives");
    // apt wants both.
    fs::create_dir_all(archives.join("partial"))?;
    if fetch(&archives).is_err() {
        // The lists are absent on a fresh image, and old ones name packages that are gone.
        command::run(Command::new("apt-get").args(["-q", "update"]))?;
        fetch(&archives)?;
    }
    let whole = work.path().join("whole");
    unpack(&archives, &whole.join("tree"))?;
    fs::write(whole.join("packages"), list_of_all())?;
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    // Only a whole one gets the name that is looked for.
    fs::rename(&whole, &dir).with_context(|| format!("making {}", dir.display()))
}

/// Also those that the machine has, for their files as they come.
fn fetch(archives: &Path) -> Result<()> {
    command::run(
        Command::new("apt-get")
            .args(["-q", "-y", "--no-install-recommends", "--reinstall"])
            .arg("--download-only")
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", archives.display()))
            // Root's own folder: apt's user cannot write there, which it would warn of.
            .args(["-o", "APT::Sandbox::User=root"])
            // Nothing of the system changes.
            .args(["-o", "Debug::NoLocking=true", "install"])
            .args(PACKAGES)
            .stdin(Stdio::null()),
    )
}

fn unpack(archives: &Path, tree: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(tree.join("usr").join(name))?;
        if Path::new("/").join(name).is_symlink() {
            symlink(Path::new("usr").join(name), tree.join(name))?;
        }
    }
    eprintln!(
        "+ dpkg-deb --fsys-tarfile, each package into {}",
        tree.display()
    );
    let mut count = 0;
    for entry in fs::read_dir(archives)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|it| it == "deb") {
            unpack_one(&archive, tree)?;
            count += 1;
        }
    }
    ensure!(count > 0, "apt-get fetched no package");
    Ok(())
}

/// `dpkg-deb -x` would put folders in the place of the links.
fn unpack_one(archive: &Path, tree: &Path) -> Result<()> {
    let mut from = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let tar = from.stdout.take().context("dpkg-deb has no output")?;
    let to = Command::new("tar")
        .args(["-x", "--keep-directory-symlink", "-C"])
        .arg(tree)
        .stdin(tar)
        .status()
        .context("cannot start tar")?;
    let from = from.wait()?;
    if !from.success() || !to.success() {
        bail!("unpacking {}: {from}, {to}", archive.display());
    }
    Ok(())
}

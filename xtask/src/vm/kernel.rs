//! A kernel of Debian's: fetched and unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{build::Paths, command};

/// An unpacked kernel package.
#[derive(Debug)]
pub(super) struct Kernel {
    release: String,
    dir: PathBuf,
}

impl Kernel {
    /// The kernel of a series such as 6.1, as fetched once into the target folder. To get a newer
    /// one, delete it there.
    pub(super) fn provide(series: &str, paths: &Paths) -> Result<Self> {
        let dir = paths.target.join("kernels").join(series);
        if let Ok(kernel) = Self::open(&dir) {
            return Ok(kernel);
        }
        let package = find_package(series)?;
        let parent = dir.parent().context("the target folder is no folder")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        let work = tempfile::tempdir_in(parent).context("making a folder for the package")?;
        command::run(
            Command::new("apt-get")
                // Root's own folder: apt's user cannot write there, which it would warn of.
                .args(["-q", "-o", "APT::Sandbox::User=root", "download", &package])
                .current_dir(work.path()),
        )?;
        let archive = files(work.path())?
            .into_iter()
            .find(|file| file.extension().is_some_and(|it| it == "deb"))
            .context("`apt-get download` left no package")?;
        let unpacked = work.path().join("unpacked");
        command::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(&archive)
                .arg(&unpacked),
        )?;
        // Only a whole one gets the name that is looked for.
        fs::rename(&unpacked, &dir).with_context(|| format!("making {}", dir.display()))?;
        Self::open(&dir)
    }

    fn open(dir: &Path) -> Result<Self> {
        let release = files(&dir.join("boot"))?
            .iter()
            .find_map(|file| {
                Some(
                    file.file_name()?
                        .to_str()?
                        .strip_prefix("vmlinuz-")?
                        .to_owned(),
                )
            })
            .with_context(|| format!("no kernel in {}", dir.display()))?;
        Ok(Self {
            release,
            dir: dir.to_path_buf(),
        })
    }

    /// What `uname -r` says there.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// The file to boot.
    pub(super) fn image(&self) -> PathBuf {
        self.dir.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The folder of its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.release)
    }
}

/// The newest package of the series, made for virtual machines: it is the smallest.
fn find_package(series: &str) -> Result<String> {
    let prefix = format!("linux-image-{series}.");
    let list = || command::output(Command::new("apt-cache").args(["pkgnames", &prefix]));
    if let Some(package) = newest(&list()?) {
        return Ok(package);
    }
    if nix::unistd::geteuid().is_root() {
        // The lists are absent on a fresh image.
        command::run(Command::new("apt-get").args(["-q", "update"]))?;
        if let Some(package) = newest(&list()?) {
            return Ok(package);
        }
    }
    bail!(
        "no package `{prefix}*-cloud-amd64` is to be had: run `apt-get update`, with the Debian \
         release among apt's sources that has Linux {series} (6.1: bookworm)"
    )
}

/// The newest of the packages that hold a kernel for virtual machines.
fn newest(names: &str) -> Option<String> {
    let numbers = |name: &str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    names
        .lines()
        .filter(|name| name.ends_with("-cloud-amd64"))
        .max_by_key(|name| numbers(name))
        .map(str::to_owned)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn takes_the_newest_kernel_for_virtual_machines() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-dbg\n\
                     linux-image-6.1.0-12-cloud-amd64\nlinux-image-6.1.0-60-rt-amd64\n";
        let found = newest(names).unwrap();
        assert_eq!(found, "linux-image-6.1.0-12-cloud-amd64");
        assert_eq!(newest("linux-image-6.1.0-60-rt-amd64"), None);
    }
}

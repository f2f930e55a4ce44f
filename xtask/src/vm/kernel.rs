//! A kernel of Debian's: fetched and unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::modules;
use crate::{build::Paths, command};

/// Kernels that tests are known to run on, and the release of Debian that has them.
pub(super) const RELEASES: [(&str, &str); 2] = [("6.1", "bookworm"), ("6.12", "trixie")];
/// The keys of Debian's archive (package debian-archive-keyring).
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
        let parent = dir.parent().context("the target folder is no folder")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        let work = tempfile::tempdir_in(parent).context("making a folder for the package")?;
        let (apt, package) = find_package(series, work.path())?;
        command::run(
            apt.command("apt-get")
                .args(["download", &package])
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
        let kernel = Self::open(&unpacked)?;
        modules::decompress(&kernel.modules())?;
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
        // Below /usr since Debian's trixie.
        ["usr/lib/modules", "lib/modules"]
            .map(|folder| self.dir.join(folder).join(&self.release))
            .into_iter()
            .find(|folder| folder.exists())
            .unwrap_or_default()
    }
}

/// Where apt looks for packages.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// As this system's apt is set up.
    const fn here() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// As if this system had another release of Debian among its sources, and no other. Its lists
    /// are kept in a folder of their own.
    fn with_release(release: &str, dir: &Path) -> Result<Self> {
        let targets = command::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(ORIGIN) $(REPO_URI)",
        ]))?;
        let archive = archive(&targets).context("no archive of Debian's among apt's sources")?;
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let sources = dir.join("sources.list");
        fs::write(
            &sources,
            format!("deb [signed-by={KEYS}] {archive} {release} main\n"),
        )
        .with_context(|| format!("writing {}", sources.display()))?;
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let apt = Self {
            options: vec![
                option("Dir::Etc::SourceList", &sources),
                option("Dir::Etc::SourceParts", Path::new("-")),
                option("Dir::State::Lists", &dir.join("lists")),
                option("Dir::Cache", &dir.join("cache")),
                "Acquire::Languages=none".to_owned(),
                // Nothing of the system changes.
                "Debug::NoLocking=true".to_owned(),
            ],
        };
        command::run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Root's own folder: apt's user cannot write there, which it would warn of.
        command.args(["-q", "-o", "APT::Sandbox::User=root"]);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// The newest package of the series, made for virtual machines: it is the smallest.
    fn newest(&self, series: &str) -> Result<Option<String>> {
        let prefix = format!("linux-image-{series}.");
        let names = command::output(self.command("apt-cache").args(["pkgnames", &prefix]))?;
        Ok(newest(&names))
    }
}

/// The address of Debian's archive among the lists that apt fetches, not that of security fixes.
fn archive(targets: &str) -> Option<&str> {
    targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .find(|address| !address.contains("security"))
}

/// The newest package of the series, and where it is to be had: among this system's own, or in
/// Debian's release that has it.
fn find_package(series: &str, dir: &Path) -> Result<(Apt, String)> {
    let here = Apt::here();
    if let Some(package) = here.newest(series)? {
        return Ok((here, package));
    }
    let release = RELEASES.iter().find(|(known, _)| *known == series);
    if let Some((_, release)) = release {
        let there = Apt::with_release(release, dir)?;
        if let Some(package) = there.newest(series)? {
            return Ok((there, package));
        }
    }
    bail!("no package `linux-image-{series}.*-cloud-amd64` is to be had")
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
    use super::{archive, newest};

    #[test]
    fn the_archive_is_the_one_with_the_whole_release() {
        let targets = "Other http://other.example/\nDebian http://one.example/debian-security/\n\
                       Debian http://two.example/debian/\n";
        assert_eq!(archive(targets), Some("http://two.example/debian/"));
        assert_eq!(archive("Other http://other.example/\n"), None);
    }

    #[test]
    fn takes_the_newest_kernel_for_virtual_machines() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-dbg\n\
                     linux-image-6.1.0-12-cloud-amd64\nlinux-image-6.1.0-60-rt-amd64\n";
        let found = newest(names).unwrap();
        assert_eq!(found, "linux-image-6.1.0-12-cloud-amd64");
        assert_eq!(newest("linux-image-6.1.0-60-rt-amd64"), None);
    }
}

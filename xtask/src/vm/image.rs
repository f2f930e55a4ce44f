//! The test machine's files: a folder that becomes its initial RAM file system.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// Folders that must be there before anything is mounted on them or written into them.
const FOLDERS: [&str; 11] = [
    "bin",
    "dev",
    "etc",
    "proc",
    "root",
    "run",
    "sys",
    "tests",
    "tmp",
    "usr/sbin",
    "var/log/nginx",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// The folder, made anew.
#[derive(Debug)]
pub(super) struct Image {
    root: PathBuf,
}

impl Image {
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
        }
        for folder in FOLDERS {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let image = Self { root };
        image.write("etc/passwd", PASSWD)?;
        image.write("etc/group", GROUP)?;
        image.write("init", include_str!("init.sh"))?;
        fs::set_permissions(image.root.join("init"), fs::Permissions::from_mode(0o755))
            .context("making init executable")?;
        Ok(image)
    }

    /// Writes a file at a path without the leading slash.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.root.join(path);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// Copies a file to a path without the leading slash.
    pub(super) fn copy(&self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        let to = self.root.join(to);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::copy(from, &to)
            .map(drop)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))
    }

    /// Copies one of this system's programs, with its libraries, to where it is here.
    pub(super) fn add_program(&self, name: &str) -> Result<()> {
        let file = find(name)?;
        self.copy(&file, below_root(&file))?;
        self.add_libraries(&file)
    }

    /// Copies one of this system's programs, with its libraries, to another place.
    pub(super) fn add_program_at(&self, name: &str, to: &str) -> Result<()> {
        let file = find(name)?;
        self.copy(&file, to)?;
        self.add_libraries(&file)
    }

    /// Copies a program that was built here, without what only a debugger reads.
    pub(super) fn add_built(&self, file: &Path, to: &str) -> Result<()> {
        command::output(
            Command::new("strip")
                .arg("-o")
                .arg(self.root.join(to))
                .arg(file),
        )?;
        self.add_libraries(file)
    }

    fn add_libraries(&self, program: &Path) -> Result<()> {
        // It fails for programs that are linked statically.
        let Ok(list) = command::output(Command::new("ldd").arg(program)) else {
            return Ok(());
        };
        for library in libraries(&list) {
            let to = below_root(library);
            if !self.root.join(to).exists() {
                self.copy(library, to)?;
            }
        }
        Ok(())
    }

    /// Packs the folder into an archive as the kernel unpacks it.
    pub(super) fn pack(&self, archive: &Path) -> Result<()> {
        let output =
            File::create(archive).with_context(|| format!("creating {}", archive.display()))?;
        let status = Command::new("sh")
            .args(["-c", "find . | busybox cpio -o -H newc"])
            .current_dir(&self.root)
            .stdout(output)
            .stderr(Stdio::null())
            .status()
            .context("cannot start `sh`")?;
        ensure!(
            status.success(),
            "packing {} failed: {status}",
            archive.display()
        );
        Ok(())
    }
}

fn find(program: &str) -> Result<PathBuf> {
    command::find_program(program).with_context(|| format!("no program {program} here"))
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The files that `ldd` names.
fn libraries(list: &str) -> impl Iterator<Item = &Path> {
    list.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_libraries_of_ldd() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(list).collect();
        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}

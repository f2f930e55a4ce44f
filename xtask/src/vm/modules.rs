//! Which kernel modules to load, and in which order.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};

use crate::command;

/// Unpacks each module file in its place.
pub(super) fn decompress(dir: &Path) -> Result<()> {
    command::run(
        Command::new("find")
            .arg(dir)
            .args(["-name", "*.ko.xz", "-exec", "busybox", "unxz", "{}", "+"]),
    )
}

/// The files of the modules and of those that they need, each after what it needs. Nothing for
/// what the kernel has built in; what it lacks is said.
pub(super) fn in_order(dir: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    find(&dir.join("kernel"), &mut files)?;
    let file = dir.join("modules.builtin");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let built_in: Vec<_> = built_in(&text).collect();
    let mut order = Vec::new();
    for name in wanted {
        if built_in.iter().any(|there| there == name) {
            continue;
        }
        match files.get(*name) {
            Some(file) => add(file, &files, &mut order)?,
            None => println!("xtask: no module {name} below {}", dir.display()),
        }
    }
    Ok(order)
}

fn find(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "ko")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            files.insert(own_name(name), path);
        }
    }
    Ok(())
}

/// File names have both signs, the modules' own names only this.
fn own_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The names in `modules.builtin`, a path each line.
fn built_in(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter_map(|path| path.rsplit('/').next()?.strip_suffix(".ko"))
        .map(own_name)
}

fn add(file: &Path, files: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    if order.iter().any(|there| there == file) {
        return Ok(());
    }
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let object = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no kernel module", file.display()))?;
    let info = object
        .section_by_name(".modinfo")
        .with_context(|| format!("{} says nothing of itself", file.display()))?
        .data()?;
    for needed in needs(info) {
        let needed = files
            .get(&needed)
            .with_context(|| format!("{} needs {needed}, which is not there", file.display()))?;
        add(needed, files, order)?;
    }
    order.push(file.to_path_buf());
    Ok(())
}

/// What a module depends on, of its `.modinfo` section.
fn needs(info: &[u8]) -> Vec<String> {
    info.split(|byte| *byte == 0)
        .filter_map(|field| std::str::from_utf8(field).ok()?.strip_prefix("depends="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(own_name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{built_in, needs};

    #[test]
    fn reads_what_is_built_in() {
        let text = "kernel/drivers/virtio/virtio_pci.ko\nkernel/net/ipv4/tcp-x.ko\n";
        assert!(built_in(text).eq(["virtio_pci", "tcp_x"]));
    }

    #[test]
    fn reads_what_a_module_needs() {
        assert_eq!(
            needs(b"license=GPL\0depends=virtio,net-failover\0name=virtio_net\0"),
            ["virtio", "net_failover"]
        );
        assert!(needs(b"license=GPL\0depends=\0retpoline=Y\0").is_empty());
    }
}

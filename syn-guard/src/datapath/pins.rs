//! What stays in the kernel when user space is gone: maps and links, pinned in
//! one directory of a BPF file system.
//!
//! | name | what |
//! | --- | --- |
//! | `SERVICE_STATE`, ... | a map, under its own name |
//! | `xdp-IFACE` | the link of the XDP program |
//! | `tc-IFACE` | the link of the TC program |
//!
//! Maps that cannot go on are replaced only once the programs are loaded: until then
//! the new ones are in a directory beside it, and links go on to the new programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::links::{FdLink, PinnedLink};
use aya_obj::generated::bpf_map_type;

use syn_guard_common::abi::LEAST_SLOTS;

use super::DataPathError;
use super::slots::{self, BY_SLOT};

/// What the directory of maps that are not in their place yet has behind its name;
/// a BPF file system has no names with dots (`bpf_lookup`, kernel/bpf/inode.c).
const NEW: &str = "-new";

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPFFS: i64 = 0xcafe_4a11;

/// What an earlier controller left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing.
    Fresh,
    /// Its maps, which go on.
    Continued,
    /// Maps of another layout, which are replaced.
    Replaced,
    /// Maps with room for fewer services than there are now, which are replaced.
    Outgrown,
}

/// Where the maps come from or go.
pub(super) struct Place {
    /// What is there.
    pub(super) takeover: Takeover,
    /// How many slots the maps have, or are to have.
    pub(super) slots: u32,
    /// Where they are pinned while the programs are loaded.
    pub(super) maps: PinDirectory,
}

/// The directory of the pins.
#[derive(Clone, Debug)]
pub struct PinDirectory(PathBuf);

impl PinDirectory {
    /// Names the directory; nothing is made yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether anything is pinned.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Makes the directory, and looks whether what is pinned there has the layout of
    /// the maps in `object` and room for so many services. Nothing that is pinned is
    /// touched.
    pub(super) fn prepare(&self, object: &[u8], services: usize) -> Result<Place, DataPathError> {
        self.check()?;
        let new = self.beside();
        // Of a start that was killed.
        new.remove_all()?;
        let slots = slots::slots(services);
        let place = |takeover, slots, maps: &Self| Place {
            takeover,
            slots,
            maps: maps.clone(),
        };
        if !self.0.exists() {
            self.make()?;
            return Ok(place(Takeover::Fresh, slots, self));
        }
        let pinned = self.slots();
        let fit = self.maps_fit(object, pinned)?;
        if fit && slots::suffice(pinned, services) {
            return Ok(place(Takeover::Continued, pinned, self));
        }
        let empty = fs::read_dir(&self.0)
            .map_err(|source| self.error(source))?
            .next()
            .is_none();
        if empty {
            return Ok(place(Takeover::Fresh, slots, self));
        }
        new.make()?;
        let takeover = if fit && pinned >= LEAST_SLOTS {
            Takeover::Outgrown
        } else {
            Takeover::Replaced
        };
        Ok(place(takeover, slots, &new))
    }

    /// Removes what [`PinDirectory::prepare`] made for maps that are not to be used.
    pub(super) fn give_up(&self, place: &Place) -> Result<(), DataPathError> {
        if place.takeover == Takeover::Continued {
            return Ok(());
        }
        place.maps.remove_all()
    }

    /// Puts the maps into their place, where they are not yet: those that were there
    /// are removed, links stay for their programs to be swapped. Should this fail
    /// half-way, the programs of the earlier guard go on with maps without pins.
    pub(super) fn settle(&self, place: &Place) -> Result<(), DataPathError> {
        if matches!(place.takeover, Takeover::Fresh | Takeover::Continued) {
            return Ok(());
        }
        self.remove_files(|name| is_ours(name) && !is_link(name))?;
        let maps = fs::read_dir(&place.maps.0).map_err(|source| place.maps.error(source))?;
        for map in maps.flatten() {
            fs::rename(map.path(), self.0.join(map.file_name())).map_err(|source| {
                DataPathError::Pin {
                    path: map.path(),
                    source,
                }
            })?;
        }
        fs::remove_dir(&place.maps.0).map_err(|source| place.maps.error(source))
    }

    /// The directory of maps that are not in their place yet.
    fn beside(&self) -> Self {
        let mut path = self.0.clone().into_os_string();
        path.push(NEW);
        Self(path.into())
    }

    fn make(&self) -> Result<(), DataPathError> {
        fs::create_dir(&self.0).map_err(|source| self.error(source))
    }

    /// The slots of the pinned maps; 0 when there are none.
    fn slots(&self) -> u32 {
        MapInfo::from_pin(self.0.join("SERVICE_CONFIG")).map_or(0, |info| info.max_entries())
    }

    /// Makes sure that the directory is, or may be made, below the root of a
    /// BPF file system: elsewhere, and in the root itself, there are files of
    /// others.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<(), DataPathError> {
        match self.0.parent() {
            Some(parent) if is_bpffs(parent) => Ok(()),
            _ => Err(DataPathError::NotBpffs(self.0.clone())),
        }
    }

    /// Whether every map of the object is pinned, with its layout and, where it has
    /// an entry for each slot, so many slots.
    fn maps_fit(&self, object: &[u8], slots: u32) -> Result<bool, DataPathError> {
        let object = aya_obj::Object::parse(object)
            .map_err(|error| DataPathError::Object(error.to_string()))?;
        let pinned = object
            .maps
            .iter()
            .filter(|(_, map)| map.pinning() == aya_obj::maps::PinningType::ByName);
        for (name, map) in pinned {
            let Ok(info) = MapInfo::from_pin(self.0.join(name)) else {
                return Ok(false);
            };
            // A ring buffer's key and value have no size; per-CPU values are
            // reported as one CPU's.
            let entries = if BY_SLOT.contains(&name.as_str()) {
                slots
            } else {
                map.max_entries()
            };
            let kind = info.map_type().ok().map(|kind| kind as u32);
            let same = kind == Some(map.map_type())
                && info.key_size() == map.key_size()
                && info.value_size() == map.value_size()
                && (info.max_entries() == entries
                    || map.map_type() == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32)
                && info.map_flags() == map.map_flags();
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The link pinned as `name`.
    pub(super) fn link(&self, name: &str) -> Option<PinnedLink> {
        PinnedLink::from_pin(self.0.join(name)).ok()
    }

    /// Pins a link as `name`.
    pub(super) fn pin(&self, link: FdLink, name: &str) -> Result<PinnedLink, DataPathError> {
        let path = self.0.join(name);
        link.pin(&path).map_err(|error| DataPathError::Pin {
            path,
            source: io::Error::other(super::error::one_line(&error)),
        })
    }

    /// Removes the pin `name`, if it is there; a link without a pin and a
    /// holder is detached.
    pub(super) fn unpin(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }

    /// The interfaces that links are pinned for.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("xdp-")
                    .map(str::to_owned)
            })
            .collect()
    }

    /// Removes the links' pins first, then the maps', then the directory:
    /// whatever is still attached is detached. What is not there is no error.
    ///
    /// # Errors
    /// Something is left, perhaps somebody else's; all else is removed.
    pub fn remove(&self) -> Result<(), DataPathError> {
        self.remove_all().and(self.beside().remove_all())
    }

    fn remove_all(&self) -> Result<(), DataPathError> {
        if !self.exists() {
            return Ok(());
        }
        let links = self.remove_files(is_link);
        let maps = self.remove_files(is_ours);
        links.and(maps)?;
        fs::remove_dir(&self.0).map_err(|source| self.error(source))
    }

    /// Removes all these files that it can.
    fn remove_files(&self, which: impl Fn(&str) -> bool) -> Result<(), DataPathError> {
        let entries = fs::read_dir(&self.0).map_err(|source| self.error(source))?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(&which))
            .map(|entry| {
                fs::remove_file(entry.path()).map_err(|source| DataPathError::Pin {
                    path: entry.path(),
                    source,
                })
            })
            .fold(Ok(()), Result::and)
    }

    fn error(&self, source: io::Error) -> DataPathError {
        DataPathError::Pin {
            path: self.0.clone(),
            source,
        }
    }
}

fn is_link(name: &str) -> bool {
    name.starts_with("xdp-") || name.starts_with("tc-")
}

/// Maps are named in capitals, in every version.
fn is_ours(name: &str) -> bool {
    is_link(name) || !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether a path is on a BPF file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == BPFFS)
}

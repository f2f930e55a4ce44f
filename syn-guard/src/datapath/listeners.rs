//! The maps of listeners: most are in an array, in one cell each, the others in a
//! hash map.

use std::collections::HashMap;

use aya::Ebpf;
use aya::maps::{Array, HashMap as HashMapOf, IterableMap as _, MapData, MapError};
use syn_guard_common::abi::{Listener, ListenerKey, NEAR_LISTENERS, NearListener};

use super::maps::{broken, take};
use super::{DataPathError, batch};

const NEAR: &str = "NEAR_LISTENERS";
const FAR: &str = "LISTENERS";

/// Listeners by own address, port and route class.
pub struct ListenerMaps {
    near: Array<MapData, NearListener>,
    far: HashMapOf<MapData, ListenerKey, Listener>,
    /// Whose the cells are.
    cells: HashMap<u32, ListenerKey>,
}

impl ListenerMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataPathError> {
        let near: Array<_, NearListener> = take!(ebpf, "NEAR_LISTENERS");
        let mut cells = HashMap::new();
        // What an earlier controller left.
        batch::each_index(
            near.map().fd(),
            NEAR_LISTENERS,
            1,
            |cell, values: &[NearListener]| {
                let keys = values.iter().map(|near| near.key);
                cells.extend(keys.filter(|key| key.port != 0).map(|key| (cell, key)));
            },
        )
        .map_err(|error| broken(NEAR, &error))?;
        Ok(Self {
            near,
            far: take!(ebpf, "LISTENERS"),
            cells,
        })
    }

    /// Adds or changes a listener; false when there are too many.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn set(&mut self, key: &ListenerKey, listener: &Listener) -> Result<bool, DataPathError> {
        if let Some(cell) = self.near_cell(key) {
            let near = NearListener {
                listener: *listener,
                key: *key,
            };
            self.near
                .set(cell, near, 0)
                .map_err(|error| broken(NEAR, &error))?;
            self.cells.insert(cell, *key);
            return Ok(true);
        }
        match self.far.insert(key, listener, 0) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::E2BIG) =>
            {
                Ok(false)
            }
            Err(error) => Err(broken(FAR, &error)),
        }
    }

    /// The cell that a listener is in, or is to be in: not where another one is, or
    /// while it is in the hash map itself. A cell has no route class.
    fn near_cell(&self, key: &ListenerKey) -> Option<u32> {
        if key.route != 0 {
            return None;
        }
        let cell = NearListener::cell(key);
        match self.cells.get(&cell) {
            Some(there) => (there == key).then_some(cell),
            None => self.far.get(key, 0).is_err().then_some(cell),
        }
    }

    /// Removes a listener, if it is there.
    pub fn remove(&mut self, key: &ListenerKey) {
        let cell = NearListener::cell(key);
        if self.cells.get(&cell) == Some(key) {
            // The next listener of the cell is written over it all the same.
            let _ = self.near.set(cell, NearListener::default(), 0);
            self.cells.remove(&cell);
        } else {
            let _ = self.far.remove(key);
        }
    }

    /// What there is of a listener, with what the data path has written.
    #[must_use]
    pub fn get(&self, key: &ListenerKey) -> Option<Listener> {
        let cell = NearListener::cell(key);
        if key.route == 0 && self.cells.get(&cell) == Some(key) {
            return self.near.get(&cell, 0).ok().map(|near| near.listener);
        }
        self.far.get(key, 0).ok()
    }

    /// The listeners that are there.
    #[must_use]
    pub fn keys(&self) -> Vec<ListenerKey> {
        let far = self.far.keys().flatten();
        self.cells.values().copied().chain(far).collect()
    }
}

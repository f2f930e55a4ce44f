//! The cookies' keys: random, and each replaced when its epoch is long over.

use std::io;

use syn_guard_common::abi::{CookieKeys, KEY_SLOTS};
use syn_guard_common::cookie::{Key, epoch};

use super::ControllerError;

/// Keeps the keys young.
#[derive(Debug)]
pub struct KeyRing {
    renewed: u64,
}

impl KeyRing {
    /// New keys for all epochs.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new(now_ns: u64) -> Result<(Self, CookieKeys), ControllerError> {
        let mut keys = CookieKeys::default();
        for key in &mut keys.slots {
            *key = random_key()?;
        }
        Ok((
            Self {
                renewed: epoch(now_ns),
            },
            keys,
        ))
    }

    /// Goes on with the keys of an earlier controller, whose cookies may still
    /// be on their way.
    #[must_use]
    pub const fn continued(now_ns: u64) -> Self {
        // The two free slots are renewed at once.
        Self {
            renewed: epoch(now_ns).saturating_sub(2),
        }
    }

    /// Renews the keys of the epochs to come, once an epoch; whether `keys`
    /// changed. This epoch's and the last one's stay.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn renew(&mut self, keys: &mut CookieKeys, now_ns: u64) -> Result<bool, ControllerError> {
        let now = epoch(now_ns);
        if now == self.renewed {
            return Ok(false);
        }
        // The next epoch's key may have been used KEY_SLOTS - 1 epochs ago and
        // must not change when that next epoch has begun: the one after it is
        // renewed, and the next one too when this is late.
        let first = if now == self.renewed + 1 { 2 } else { 1 };
        for ahead in first..=2 {
            let slot = (now + ahead) as usize % KEY_SLOTS;
            if let Some(key) = keys.slots.get_mut(slot) {
                *key = random_key()?;
            }
        }
        self.renewed = now;
        Ok(true)
    }
}

fn random_key() -> Result<Key, ControllerError> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the buffer has the length that is given. Up to 256 bytes are
    // delivered whole (getrandom(2)).
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 16 {
        return Err(ControllerError::Random(io::Error::last_os_error()));
    }
    let number = u128::from_ne_bytes(bytes);
    Ok(Key {
        k0: number as u64,
        k1: (number >> 64) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn_guard_common::cookie::EPOCH_SHIFT;

    fn numbers(keys: &CookieKeys) -> Vec<(u64, u64)> {
        keys.slots.iter().map(|key| (key.k0, key.k1)).collect()
    }

    #[test]
    fn keys_in_use_stay_and_every_key_is_renewed_before_it_is_used_again() {
        let (mut ring, mut keys) = KeyRing::new(0).unwrap();
        let mut used = std::collections::HashMap::new();
        for now in 0..40_u64 {
            let before = numbers(&keys);
            let changed = ring.renew(&mut keys, now << EPOCH_SHIFT).unwrap();
            assert_eq!(changed, now != 0);
            let after = numbers(&keys);
            for age in 0..=1_u64 {
                let slot = (now + KEY_SLOTS as u64 - age) as usize % KEY_SLOTS;
                assert_eq!(before[slot], after[slot], "epoch {now}, {age} ago");
            }
            let this = after[now as usize % KEY_SLOTS];
            assert_eq!(used.insert(this, now), None, "epoch {now} uses an old key");
        }
    }
}

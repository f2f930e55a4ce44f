//! The secrets of the cookies.

use crate::cookie::Key;

/// Keys at a time. Cookies of an epoch use the key of slot `epoch %
/// KEY_SLOTS`; with this epoch's and the last one's in use, two are free to
/// be replaced.
pub const KEY_SLOTS: usize = 4;

/// The keys, by epoch.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 4 x 16 | keys |
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CookieKeys {
    /// See [`KEY_SLOTS`].
    pub slots: [Key; KEY_SLOTS],
}

const _: () = assert!(size_of::<CookieKeys>() == 64);

impl core::fmt::Debug for CookieKeys {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("CookieKeys(secret)")
    }
}

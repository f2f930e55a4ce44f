//! What the data path tells the controller at once.

/// A service started to protect.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | when, `CLOCK_MONOTONIC` ns |
/// | 8 | 8 | half-open connections |
/// | 16 | 8 | the limit |
/// | 24 | 4 | slot of the service |
/// | 28 | 4 | SYNs of the running second that passed untracked |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds.
    pub at_ns: u64,
    /// Half-open connections tracked at that moment.
    pub half_open: u64,
    /// The limit that was reached.
    pub limit: u64,
    /// The slot of the service.
    pub slot: u32,
    /// SYNs of the running second that passed untracked and count too.
    pub untracked: u32,
}

const _: () = assert!(size_of::<Event>() == 32);

impl Event {
    /// Reads an event as the ring buffer holds it; none when the length is
    /// another.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.try_into().ok()?;
        let words = bytes.as_chunks::<8>().0;
        let word = |index: usize| {
            words
                .get(index)
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        let halves = word(3).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = halves;
        Some(Self {
            at_ns: word(0),
            half_open: word(1),
            limit: word(2),
            slot: u32::from_ne_bytes([a, b, c, d]),
            untracked: u32::from_ne_bytes([e, f, g, h]),
        })
    }
}

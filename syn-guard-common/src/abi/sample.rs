//! What the kind of a flood is told by: a sample of each second's sources.

/// Bits of a bitmap of sources.
pub const SAMPLE_BITS: usize = 2048;
/// Words of such a bitmap.
pub const SAMPLE_WORDS: usize = SAMPLE_BITS / 64;
/// SYNs that a CPU samples until the controller has read the sample: half as
/// many as there are bits, so that the estimate stays within some percent.
pub const SAMPLE_SYNS: u64 = SAMPLE_BITS as u64 / 2;

/// A sample of a service's sources on one CPU: those of the first
/// [`SAMPLE_SYNS`] SYNs since the controller last cleared it.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | SYNs sampled |
/// | 8 | 256 | a bit for each source of these |
/// | 264 | 256 | a bit for each source that completed a handshake since |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceSample {
    /// SYNs in the sample, [`SAMPLE_SYNS`] at most.
    pub syns: u64,
    /// Bits of the sources of these SYNs.
    pub seen: [u64; SAMPLE_WORDS],
    /// Bits of sources that completed a handshake.
    pub answered: [u64; SAMPLE_WORDS],
}

const _: () = assert!(size_of::<SourceSample>() == 8 + 2 * SAMPLE_BITS / 8);

impl Default for SourceSample {
    fn default() -> Self {
        Self {
            syns: 0,
            seen: [0; SAMPLE_WORDS],
            answered: [0; SAMPLE_WORDS],
        }
    }
}

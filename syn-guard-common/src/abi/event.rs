//! What the data path tells the controller at once.

use crate::address::Address;

/// What happened.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A service started to protect: its half-open connections (`value`) and
    /// the untracked SYNs of this second reached `limit`.
    HalfOpen = 1,
    /// A service started to protect: its unanswered SYNs a second (`value`)
    /// reached `limit`.
    UnansweredRate = 2,
    /// SYNs of `source` began to be dropped: its half-open connections
    /// (`value`) reached `limit`.
    SourceHalfOpen = 3,
    /// SYNs of `source` began to be dropped: its unanswered SYNs a second
    /// (`value`) passed `limit`.
    SourceRate = 4,
    /// A service stands back on the own address in `source`: connections made from
    /// cookies were lost.
    StandsBack = 5,
}

impl EventKind {
    const fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            1 => Self::HalfOpen,
            2 => Self::UnansweredRate,
            3 => Self::SourceHalfOpen,
            4 => Self::SourceRate,
            5 => Self::StandsBack,
            _ => return None,
        })
    }
}

/// Something that happened in the data path.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | when, `CLOCK_MONOTONIC` ns |
/// | 8 | 8 | the value that reached the limit |
/// | 16 | 8 | the limit |
/// | 24 | 16 | source, where it is about one, else 0 |
/// | 40 | 4 | slot of the service |
/// | 44 | 4 | SYNs of the running second that passed untracked |
/// | 48 | 4 | [`EventKind`] |
/// | 52 | 4 | events about sources that were not sent before this one |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds.
    pub at_ns: u64,
    /// See [`EventKind`].
    pub value: u64,
    /// The limit that was reached.
    pub limit: u64,
    /// The source, cut to its prefix; 0 where the event is about a service.
    pub source: Address,
    /// The slot of the service.
    pub slot: u32,
    /// SYNs of the running second that passed untracked and count too.
    pub untracked: u32,
    /// An [`EventKind`].
    pub kind: u32,
    /// Events about sources that this CPU did not send since its last one: they
    /// were too many.
    pub suppressed: u32,
}

const _: () = assert!(size_of::<Event>() == 56);

impl Event {
    /// Reads an event as the ring buffer holds it; none when the length is
    /// another.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.try_into().ok()?;
        let words = bytes.as_chunks::<4>().0;
        let word = |index: usize| words.get(index).map_or(0, |word| u32::from_ne_bytes(*word));
        let long = |index: usize| u64::from(word(index)) | (u64::from(word(index + 1)) << 32);
        Some(Self {
            at_ns: long(0),
            value: long(2),
            limit: long(4),
            source: Address([word(6), word(7), word(8), word(9)]),
            slot: word(10),
            untracked: word(11),
            kind: word(12),
            suppressed: word(13),
        })
    }

    /// What happened; none where it is not known.
    #[must_use]
    pub const fn kind(&self) -> Option<EventKind> {
        EventKind::from_u32(self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = Event {
            at_ns: 1 << 40,
            value: 7 << 33,
            limit: 9,
            source: Address([1, 2, 3, 4]),
            slot: 5,
            untracked: 6,
            kind: EventKind::SourceRate as u32,
            suppressed: 8,
        };
        let words = [
            0,
            1 << 8,
            0,
            7 << 1,
            9,
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            event.kind,
            8_u32,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(Event::read(&bytes), Some(event));
        }
        assert_eq!(event.kind(), Some(EventKind::SourceRate));
        assert_eq!(Event::read(&bytes[1..]), None);
    }
}

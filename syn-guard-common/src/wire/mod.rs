//! Reading frames and writing SYN-ACKs, the same code in the kernel and on
//! the host.

mod checksum;
mod frame;
mod headers;
mod options;
mod syn_ack;
mod verify;

pub use checksum::Sum;
pub use frame::{Chunk, ChunkMut, Frame, FrameMut, Slice};
pub use headers::{Headers, NotASegment, Tcp, flags};
pub use options::{Options, found, read_options};
pub use syn_ack::SynAck;

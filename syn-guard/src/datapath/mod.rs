//! The part in the kernel, seen from outside: loading it, attaching it,
//! reading and writing its maps. All that touches aya stands here.

mod attach;
mod batch;
mod bpf;
mod btf;
mod conntrack;
mod control;
mod error;
mod features;
mod kfunc;
mod listeners;
mod load;
mod log;
mod maps;
mod object;
mod pins;
mod prefixes;
mod slots;
mod test_run;
mod xdp_mode;

pub use attach::Attachment;
pub use btf::BtfError;
pub use control::Control;
pub use error::{DataPathError, one_line};
pub use features::{Engine, EngineChoice, Features};
pub use listeners::ListenerMaps;
pub use load::{DataPath, LoadOptions};
pub use log::{LogLevel, forward_logs};
pub use maps::{EventReader, Maps};
pub use pins::{PinDirectory, Takeover, is_bpffs};
pub use prefixes::{Changed, PrefixMaps, key as prefix_key};
pub use xdp_mode::{AttachMode, XdpModeChoice};

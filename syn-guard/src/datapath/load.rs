//! Loading maps and programs.

use std::collections::BTreeSet;

use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use syn_guard_common::abi::{EngineKind, State};

use super::btf::{AcceptQueue, KernelBtf};
use super::error::one_line;
use super::features::{Engine, EngineChoice, Features};
use super::log::LogLevel;
use super::maps::Maps;
use super::object::{ANSWERS, CONTROL, OBJECT, TC, XDP};
use super::pins::{PinDirectory, Place, Takeover};
use super::slots::BY_SLOT;
use super::xdp_mode::XdpModeChoice;
use super::{Control, DataPathError, kfunc};

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Diagnosis from within the programs; off by default.
    pub log: LogLevel,
    /// Who makes and validates cookies.
    pub engine: EngineChoice,
    /// Where the XDP program is to run.
    pub xdp_mode: XdpModeChoice,
    /// Services that there are now.
    pub services: usize,
    /// As on a kernel before 6.9, which has no `bpf_sk_assign_tcp_reqsk`: with the engine
    /// `kernel`, XDP looks at ACKs, and nothing is in TC. For tests.
    pub without_reqsk: bool,
    /// SYNs with an MSS smaller than any cookie says, which the stack gets in a second on
    /// each CPU.
    pub unusual_rate: u32,
}

impl LoadOptions {
    /// Few: for each of them a forged one takes a place in the queue, for up to 63 s.
    pub const UNUSUAL_RATE: u32 = 8;
}

/// The loaded programs and their maps.
pub struct DataPath {
    pub(super) ebpf: Ebpf,
    pub(super) pins: PinDirectory,
    pub(super) xdp_mode: XdpModeChoice,
    pub(super) conntrack: super::conntrack::Loaded,
    /// The maps.
    pub maps: Maps,
    /// The control program.
    pub control: Control,
    /// What the kernel can do.
    pub features: Features,
    /// What an earlier controller left.
    pub takeover: Takeover,
}

impl DataPath {
    /// Loads the programs; with maps that an earlier controller left in
    /// `pins`, when their layout is this version's.
    ///
    /// # Errors
    /// Says what the kernel lacks or refused. Nothing is attached, no pin is left
    /// that was not there before, and what was attached still is.
    pub fn load(pins: PinDirectory, options: &LoadOptions) -> Result<Self, DataPathError> {
        if !nix::unistd::geteuid().is_root() && !may_load() {
            return Err(DataPathError::NotPermitted);
        }
        let btf = KernelBtf::read().map_err(|_| DataPathError::NoBtf)?;
        let mut features = Features::of(&btf, options.engine)?;
        if options.without_reqsk {
            features.assign = None;
        }
        let accept_queue = btf.accept_queue()?;
        // Megabytes.
        drop(btf);
        let mut object = OBJECT.to_vec();
        if let Some(function) = features.assign {
            kfunc::link(&mut object, function)?;
        }
        let place = pins.prepare(OBJECT, options.services)?;
        let loaded = Self::load_object(&object, &place, &features, accept_queue, options)
            .and_then(|loaded| pins.settle(&place).map(|()| loaded));
        match loaded {
            Ok((ebpf, maps, control)) => Ok(Self {
                ebpf,
                pins,
                xdp_mode: options.xdp_mode,
                conntrack: None,
                maps,
                control,
                features,
                takeover: place.takeover,
            }),
            Err(error) => {
                // Why it could not be loaded matters more.
                let _ = pins.give_up(&place);
                Err(error)
            }
        }
    }

    /// Makes free slots as good as new. Their ports must not point to them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear_slots(&mut self, slots: &BTreeSet<u32>) -> Result<(), DataPathError> {
        for slot in slots {
            if self.maps.state(*slot)?.validating != 0 {
                // The data path counts those that validate.
                self.control.set_state(*slot, State::Off, 0)?;
                self.control.stop_validating(*slot)?;
            }
        }
        self.maps.clear_slots(slots)
    }

    fn load_object(
        object: &[u8],
        place: &Place,
        features: &Features,
        accept_queue: AcceptQueue,
        options: &LoadOptions,
    ) -> Result<(Ebpf, Maps, Control), DataPathError> {
        let level = options.log.as_u8();
        let engine = match (features.assign, &features.engine) {
            (None, Engine::Kernel) => EngineKind::Kernel,
            _ => EngineKind::Reqsk,
        } as u32;
        let seed = random_u64();
        let mut loader = EbpfLoader::new();
        for name in BY_SLOT {
            loader.map_max_entries(name, place.slots);
        }
        let mut ebpf = loader
            // Nothing is to be relocated.
            .btf(None)
            .default_map_pin_directory(place.maps.path())
            .override_global("AYA_LOG_LEVEL", &level, false)
            .override_global("ENGINE", &engine, true)
            .override_global("HASH_SEED", &seed, true)
            .override_global("UNUSUAL_RATE", &options.unusual_rate, true)
            .override_global("SIGNATURES", &features.signatures, true)
            .override_global("SK_ACK_BACKLOG", &accept_queue.queued, true)
            .override_global("SK_MAX_ACK_BACKLOG", &accept_queue.most, true)
            .load(object)
            .map_err(|error| match permission(&error) {
                true => DataPathError::NotPermitted,
                false => DataPathError::Maps(one_line(&error)),
            })?;
        let maps = Maps::take(&mut ebpf)?;
        load_xdp(&mut ebpf, XDP)?;
        if features.assign.is_some() {
            for name in [TC, ANSWERS] {
                let program: &mut SchedClassifier = program(&mut ebpf, name)?;
                program.load().map_err(|error| refused(name, &error))?;
            }
        }
        // Last: when its loading begins, that of the others is over, which `cargo xtask bench size`
        // goes by.
        load_xdp(&mut ebpf, CONTROL)?;
        let control = Control::new(&ebpf)?;
        Ok((ebpf, maps, control))
    }
}

/// A number that nobody outside can know; one that was not random would only let
/// a forger choose which sources are counted together.
fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer has the length that is given.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}

pub(super) fn load_xdp(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DataPathError> {
    let program: &mut Xdp = program(ebpf, name)?;
    program.load().map_err(|error| refused(name, &error))
}

/// A program of the object.
pub(super) fn program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, DataPathError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| DataPathError::Object(format!("no program {name}")))
}

fn refused(program: &'static str, error: &dyn std::error::Error) -> DataPathError {
    DataPathError::Program {
        program,
        reason: one_line(error),
    }
}

/// Whether an error or one of its causes is EPERM.
fn permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the process holds `CAP_BPF` and `CAP_NET_ADMIN` without being root.
fn may_load() -> bool {
    // linux/capability.h.
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_BPF: u64 = 1 << 39;
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let needed = CAP_NET_ADMIN | CAP_BPF;
    effective & needed == needed
}

//! What the data path is told of limits, and of who makes cookies.

use syn_guard_common::abi::Settings;
use syn_guard_common::address::Address;
use syn_guard_common::sketch::heavy;

use super::engine::Making;
use super::{ControllerError, LimitOptions};
use crate::datapath::DataPath;
use crate::kernel::channels::receive_queues;
use crate::kernel::cpus;
use crate::kernel::interfaces::{Interface, InterfaceError, XdpMode, find};

/// Bits of a mapped IPv4 address before the IPv4 address.
const MAPPED_BITS: u32 = 96;
/// The rate that a source is called heavy by where it has no limit.
const USUAL_RATE: u64 = 200;

/// Keeps the data path told.
#[derive(Debug, Default)]
pub struct Limits {
    told: Option<Settings>,
}

impl Limits {
    /// Tells the data path, if it was told something else. On how many CPUs at a
    /// time packets of the guarded interfaces come may change at any time.
    ///
    /// # Errors
    /// The kernel refuses, or interfaces cannot be read.
    pub fn tell(
        &mut self,
        options: &LimitOptions,
        guarded: &[String],
        making: Making,
        datapath: &mut DataPath,
    ) -> Result<(), ControllerError> {
        let settings = settings(options, receiving_cpus(guarded)?, making);
        if self.told == Some(settings) {
            return Ok(());
        }
        let before = datapath.maps.settings()?;
        let masks = |settings: &Settings| (settings.ipv4_mask, settings.ipv6_mask);
        let other_sources = masks(&before) != masks(&settings);
        datapath.maps.set_settings(settings)?;
        if other_sources {
            datapath.maps.clear_sources()?;
        } else if settings.source_half_open != before.source_half_open {
            mark_sources(settings.source_half_open, datapath)?;
        }
        self.told = Some(settings);
        Ok(())
    }
}

/// Has the data path look at the sources that are over another limit now.
fn mark_sources(most_half_open: u64, datapath: &DataPath) -> Result<(), ControllerError> {
    let mut over = Vec::new();
    datapath.maps.each_source(|key, counts| {
        if most_half_open != 0 && counts.half_open >= most_half_open {
            over.push(*key);
        }
    })?;
    for key in over {
        datapath.control.mark_source(key)?;
    }
    Ok(())
}

/// On how many CPUs packets of these interfaces come at a time, at most.
fn receiving_cpus(guarded: &[String]) -> Result<u64, ControllerError> {
    let online = cpus::online();
    let mut sum = 0;
    for name in guarded {
        sum += match find(name) {
            Ok(interface) => cpus_of(&interface, receive_queues(name), online),
            // None come until it is back.
            Err(InterfaceError::NoSuchInterface { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(sum.clamp(1, online))
}

/// On how many CPUs at a time the program runs for packets of an interface, whose
/// driver says how many receive queues it uses, or does not: on one for each queue
/// where it runs in the driver of hardware. Elsewhere it may be on all: on a veth or
/// loopback on the sender's, on a bridge on those of the interfaces below, and
/// after the driver where receive packet steering (RPS) sends the packets.
fn cpus_of(interface: &Interface, used_queues: Option<u32>, online: u64) -> u64 {
    let mode = interface.xdp.map(|xdp| xdp.mode);
    let in_driver = matches!(mode, Some(XdpMode::Driver | XdpMode::Hardware));
    if interface.software || interface.loopback || !in_driver {
        online
    } else {
        u64::from(used_queues.unwrap_or(interface.receive_queues))
    }
}

/// The settings for these options, on so many CPUs. What is counted by each CPU
/// for itself gets an equal share of its limit.
fn settings(options: &LimitOptions, cpus: u64, making: Making) -> Settings {
    let cpus = cpus.max(1);
    let rate = match options.source_rate {
        0 => USUAL_RATE,
        rate => rate,
    };
    Settings {
        source_half_open: options.source_half_open,
        source_rate: options.source_rate,
        reply_rate: options.reply_rate.div_ceil(cpus),
        stray_rate: options.stray_rate,
        ipv4_mask: Address::mask(MAPPED_BITS + u32::from(options.ipv4_bits)),
        ipv6_mask: Address::mask(u32::from(options.ipv6_bits)),
        heavy: heavy(rate, cpus),
        engine: making.engine as u32,
        flags: making.flags,
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::interfaces::XdpProgram;
    use syn_guard_common::abi::EngineKind;

    const MAKING: Making = Making {
        engine: EngineKind::Reqsk,
        flags: 0,
    };

    #[test]
    fn limits_of_each_cpu_sum_up_to_the_limit() {
        let making = |engine| Making { engine, ..MAKING };
        let options = LimitOptions::default();
        let one = settings(&options, 1, making(EngineKind::Kernel));
        assert_eq!(
            (one.heavy, one.reply_rate, one.source_rate),
            (50, 10_000, 200)
        );
        let many = settings(&options, 64, making(EngineKind::Reqsk));
        assert_eq!((one.engine, many.engine), (1, 0));
        assert_eq!(
            (many.heavy, many.reply_rate, many.source_rate),
            (3, 157, 200)
        );
    }

    #[test]
    fn only_hardware_in_native_mode_receives_on_as_many_cpus_as_queues() {
        let attached = |mode| Some(XdpProgram { id: 1, mode });
        let card = Interface {
            receive_queues: 3,
            loopback: false,
            software: false,
            is_vrf: false,
            xdp: attached(XdpMode::Driver),
            ..find("lo").unwrap()
        };
        assert_eq!(cpus_of(&card, Some(2), 8), 2);
        assert_eq!(cpus_of(&card, None, 8), 3);
        let software = Interface {
            software: true,
            ..card.clone()
        };
        let loopback = Interface {
            loopback: true,
            ..card.clone()
        };
        let modes = [
            None,
            attached(XdpMode::Generic),
            attached(XdpMode::Multiple),
        ];
        let others = modes.map(|xdp| Interface {
            xdp,
            ..card.clone()
        });
        for interface in others.iter().chain([&software, &loopback]) {
            // A veth says 1, whatever sends to it.
            for queues in [Some(1), None] {
                assert_eq!(cpus_of(interface, queues, 8), 8, "{interface:?}");
            }
        }
    }

    #[test]
    fn no_limit_stays_none() {
        let options = LimitOptions {
            source_rate: 0,
            reply_rate: 0,
            source_half_open: 0,
            ..LimitOptions::default()
        };
        let told = settings(&options, 2, MAKING);
        assert_eq!((told.source_rate, told.reply_rate), (0, 0));
        assert_eq!(told.heavy, 25, "sources are still told apart");
    }

    #[test]
    fn sources_are_cut_as_configured() {
        let options = LimitOptions {
            ipv4_bits: 24,
            ipv6_bits: 48,
            ..LimitOptions::default()
        };
        let told = settings(&options, 1, MAKING);
        let source = |text: &str| {
            let address: std::net::IpAddr = text.parse().unwrap();
            std::net::IpAddr::from(told.source_of(&address.into())).to_string()
        };
        assert_eq!(source("198.51.100.9"), "198.51.100.0");
        assert_eq!(source("2001:db8:1:2::9"), "2001:db8:1::");
    }
}

//! What the data path is told of limits.

use syn_guard_common::abi::Settings;
use syn_guard_common::address::Address;
use syn_guard_common::sketch::heavy;

use super::{ControllerError, LimitOptions};
use crate::datapath::DataPath;
use crate::kernel::channels::receive_queues;
use crate::kernel::cpus;
use crate::kernel::interfaces::{Interface, interfaces};

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
    /// Tells the data path, if it was told something else. Packets come on as
    /// many CPUs at a time as the guarded interfaces use receive queues, which may
    /// change at any time.
    ///
    /// # Errors
    /// The kernel refuses, or interfaces cannot be read.
    pub fn tell(
        &mut self,
        options: &LimitOptions,
        guarded: &[String],
        datapath: &mut DataPath,
    ) -> Result<(), ControllerError> {
        let settings = settings(options, receiving_cpus(guarded)?);
        if self.told == Some(settings) {
            return Ok(());
        }
        let before = datapath.maps.settings()?;
        let masks = |settings: &Settings| (settings.ipv4_mask, settings.ipv6_mask);
        let other_sources = masks(&before) != masks(&settings);
        datapath.maps.set_settings(settings)?;
        if other_sources {
            datapath.maps.clear_sources();
        } else if settings.source_half_open != before.source_half_open {
            mark_sources(settings.source_half_open, datapath)?;
        }
        self.told = Some(settings);
        Ok(())
    }
}

/// Has the data path look at the sources that are over another limit now.
fn mark_sources(most_half_open: u64, datapath: &DataPath) -> Result<(), ControllerError> {
    let over = datapath
        .maps
        .sources()
        .into_iter()
        .filter(|source| most_half_open != 0 && source.counts.half_open >= most_half_open);
    for source in over {
        datapath.control.mark_source(source.key)?;
    }
    Ok(())
}

/// On how many CPUs packets of these interfaces come at a time, at most.
fn receiving_cpus(guarded: &[String]) -> Result<u64, ControllerError> {
    let online = cpus::online();
    let mut queues = 0;
    let mut silent = Vec::new();
    for name in guarded {
        match receive_queues(name) {
            Some(used) => queues += u64::from(used),
            None => silent.push(name),
        }
    }
    if !silent.is_empty() {
        queues += interfaces()?
            .iter()
            .filter(|interface| silent.contains(&&interface.name))
            .map(|interface| queues_of(interface, online))
            .sum::<u64>();
    }
    Ok(queues.clamp(1, online))
}

/// The receive queues of an interface whose driver does not say how many it uses.
/// A bridge or a VLAN has none: its packets come as those of the interfaces below
/// do. So it is with loopback, and whoever sends.
const fn queues_of(interface: &Interface, online: u64) -> u64 {
    if interface.software || interface.loopback {
        online
    } else {
        interface.receive_queues as u64
    }
}

/// The settings for these options, on so many CPUs. What is counted by each CPU
/// for itself gets an equal share of its limit.
fn settings(options: &LimitOptions, cpus: u64) -> Settings {
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
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_each_cpu_sum_up_to_the_limit() {
        let options = LimitOptions::default();
        let one = settings(&options, 1);
        assert_eq!(
            (one.heavy, one.reply_rate, one.source_rate),
            (50, 10_000, 200)
        );
        let many = settings(&options, 64);
        assert_eq!(
            (many.heavy, many.reply_rate, many.source_rate),
            (3, 157, 200)
        );
    }

    #[test]
    fn what_has_no_queues_of_its_own_receives_on_every_cpu() {
        let card = Interface {
            receive_queues: 3,
            loopback: false,
            software: false,
            ..interfaces().unwrap().swap_remove(0)
        };
        let bridge = Interface {
            software: true,
            ..card.clone()
        };
        let loopback = Interface {
            loopback: true,
            ..card.clone()
        };
        let queues = [card, bridge, loopback].map(|interface| queues_of(&interface, 8));
        assert_eq!(queues, [3, 8, 8]);
    }

    #[test]
    fn no_limit_stays_none() {
        let options = LimitOptions {
            source_rate: 0,
            reply_rate: 0,
            source_half_open: 0,
            ..LimitOptions::default()
        };
        let told = settings(&options, 2);
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
        let told = settings(&options, 1);
        let source = |text: &str| {
            let address: std::net::IpAddr = text.parse().unwrap();
            std::net::IpAddr::from(told.source_of(&address.into())).to_string()
        };
        assert_eq!(source("198.51.100.9"), "198.51.100.0");
        assert_eq!(source("2001:db8:1:2::9"), "2001:db8:1::");
    }
}

//! Attaching the programs to interfaces, taking over from an earlier
//! controller, and detaching.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpMode as Flags};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};

use super::error::one_line;
use super::features::Engine;
use super::load::program;
use super::object::{TC, XDP};
use super::{DataPath, DataPathError};
use crate::kernel::interfaces::XdpMode;
use crate::kernel::{bpf_owners, interfaces};

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the stack, after the driver made its buffers: several times slower.
    Generic,
}

impl AttachMode {
    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The programs on an interface. They stay there when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Where the XDP program runs.
    pub mode: AttachMode,
    /// Why not in the driver, when it is not.
    pub why_generic: Option<String>,
    /// Whether an earlier controller had attached it.
    pub taken_over: bool,
    xdp: Option<PinnedLink>,
    /// Held: the link lives as long as a descriptor or a pin.
    _tc: Option<PinnedLink>,
}

impl DataPath {
    /// Attaches the programs to an interface, or swaps the programs of an
    /// earlier controller that left them there.
    ///
    /// # Errors
    /// Says what is in the way; then nothing is attached to this interface
    /// but what was.
    pub fn attach(&mut self, interface: &str) -> Result<Attachment, DataPathError> {
        let index = interfaces::index_of(interface)?;
        let earlier_tc = self.pins.link(&tc_pin(interface)).is_some();
        let tc = self.attach_tc(interface)?;
        match self.attach_xdp(interface, index) {
            Ok((xdp, mode, why_generic, taken_over)) => Ok(Attachment {
                interface: interface.to_owned(),
                mode,
                why_generic,
                taken_over,
                xdp: Some(xdp),
                _tc: tc,
            }),
            Err(error) => {
                if !earlier_tc {
                    self.pins.unpin(&tc_pin(interface));
                }
                Err(error)
            }
        }
    }

    /// The interfaces that programs are attached to, also an earlier
    /// controller's.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        self.pins.interfaces()
    }

    /// Detaches an earlier controller's programs from all interfaces but
    /// these.
    pub fn detach_others(&self, interfaces: &[String]) {
        for interface in self.interfaces() {
            if !interfaces.contains(&interface) {
                self.detach(&interface);
            }
        }
    }

    /// Removes the pins of an interface's programs: once no [`Attachment`]
    /// holds them, they are detached.
    pub fn detach(&self, interface: &str) {
        self.pins.unpin(&xdp_pin(interface));
        self.pins.unpin(&tc_pin(interface));
    }

    /// Detaches XDP: no more SYNs are counted or answered.
    pub fn stop_answering(&self, attachment: &mut Attachment) {
        self.pins.unpin(&xdp_pin(&attachment.interface));
        // The last descriptor: with it the link goes.
        attachment.xdp = None;
    }

    /// Detaches everything and removes all pins.
    ///
    /// # Errors
    /// Something is left: the pin of a link, which then stays attached, or of
    /// a map, or somebody else's.
    pub fn remove(self, attachments: Vec<Attachment>) -> Result<(), DataPathError> {
        // The links close when this returns.
        let _held = attachments;
        self.pins.remove()
    }

    fn attach_tc(&mut self, interface: &str) -> Result<Option<PinnedLink>, DataPathError> {
        let name = tc_pin(interface);
        if !matches!(self.features.engine, Engine::Reqsk { .. }) {
            self.pins.unpin(&name);
            return Ok(None);
        }
        let failed = |error: &dyn std::error::Error| DataPathError::AttachTc {
            interface: interface.to_owned(),
            reason: one_line(error),
        };
        let earlier = self.pins.link(&name);
        let pins = self.pins.clone();
        let program: &mut SchedClassifier = program(&mut self.ebpf, TC)?;
        if let Some(earlier) = earlier {
            let swapped = SchedClassifierLink::try_from(FdLink::from(earlier))
                .map_err(|error| failed(&error))
                .and_then(|link| program.attach_to_link(link).map_err(|error| failed(&error)));
            pins.unpin(&name);
            if let Ok(id) = swapped {
                let link = program.take_link(id).map_err(|error| failed(&error))?;
                let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
                return pins.pin(link, &name).map(Some);
            }
            // Its interface is gone: the link leads nowhere.
        }
        let id = program
            .attach_with_options(
                interface,
                TcAttachType::Ingress,
                TcAttachOptions::TcxOrder(LinkOrder::default()),
            )
            .map_err(|error| failed(&error))?;
        let link = program.take_link(id).map_err(|error| failed(&error))?;
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        pins.pin(link, &name).map(Some)
    }

    #[allow(
        clippy::type_complexity,
        reason = "one private caller takes it apart at once"
    )]
    fn attach_xdp(
        &mut self,
        interface: &str,
        index: u32,
    ) -> Result<(PinnedLink, AttachMode, Option<String>, bool), DataPathError> {
        let name = xdp_pin(interface);
        let earlier = self.pins.link(&name);
        let pins = self.pins.clone();
        let program: &mut Xdp = program(&mut self.ebpf, XDP)?;
        if let Some(earlier) = earlier {
            let swapped = XdpLink::try_from(FdLink::from(earlier))
                .ok()
                .and_then(|link| program.attach_to_link(link).ok());
            pins.unpin(&name);
            if let Some(id) = swapped {
                let link = pin_xdp(&pins, program, id, interface, &name)?;
                let mode = match interfaces::xdp_program(index)? {
                    Some(attached) if attached.mode == XdpMode::Generic => AttachMode::Generic,
                    _ => AttachMode::Native,
                };
                return Ok((link, mode, None, true));
            }
        }
        if let Some(attached) = interfaces::xdp_program(index)? {
            return Err(busy(interface, attached.id));
        }
        let native = match program.attach_to_if_index(index, Flags::Driver) {
            Ok(id) => {
                let link = pin_xdp(&pins, program, id, interface, &name)?;
                return Ok((link, AttachMode::Native, None, false));
            }
            Err(error) => attach_reason(&error),
        };
        match program.attach_to_if_index(index, Flags::Skb) {
            Ok(id) => {
                let link = pin_xdp(&pins, program, id, interface, &name)?;
                Ok((link, AttachMode::Generic, Some(native), false))
            }
            Err(error) => Err(DataPathError::Attach {
                interface: interface.to_owned(),
                advice: advice(&native).to_owned(),
                native,
                generic: attach_reason(&error),
            }),
        }
    }
}

fn pin_xdp(
    pins: &super::PinDirectory,
    program: &mut Xdp,
    id: aya::programs::xdp::XdpLinkId,
    interface: &str,
    name: &str,
) -> Result<PinnedLink, DataPathError> {
    let failed = |error: &dyn std::error::Error| DataPathError::Attach {
        interface: interface.to_owned(),
        native: one_line(error),
        generic: "not tried".to_owned(),
        advice: String::new(),
    };
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    // An attachment by netlink, which aya falls back to, cannot be pinned; it
    // is dropped here, and so detached.
    let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
    pins.pin(link, name)
}

/// The name of the XDP link's pin.
fn xdp_pin(interface: &str) -> String {
    format!("xdp-{interface}")
}

/// The name of the TC link's pin.
fn tc_pin(interface: &str) -> String {
    format!("tc-{interface}")
}

fn busy(interface: &str, id: u32) -> DataPathError {
    let name = aya::programs::loaded_programs()
        .flatten()
        .find(|info| info.id() == id)
        .and_then(|info| info.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned());
    let holder = bpf_owners::who_holds_program(id)
        .map(|owner| format!(", held by {}, pid {}", owner.program, owner.pid))
        .unwrap_or_default();
    DataPathError::InterfaceBusy {
        interface: interface.to_owned(),
        program: format!("{name}, id {id}"),
        holder,
    }
}

fn attach_reason(error: &ProgramError) -> String {
    one_line(error)
}

/// What usually helps.
fn advice(reason: &str) -> &'static str {
    if reason.contains("os error 28") {
        "; on veth, the peer must not have more TX queues than this side has RX queues"
    } else if reason.contains("os error 34") || reason.contains("os error 22") {
        "; a large MTU or LRO may be in the way: lower the MTU or `ethtool -K IFACE lro off`"
    } else {
        ""
    }
}

//! Attaching the programs to interfaces, taking over from an earlier
//! controller, and detaching.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpMode as Flags};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp};

use super::error::one_line;
use super::load::{load_xdp, program};
use super::object::{ANSWERS, TC, XDP, XDP_GENERIC};
use super::xdp_mode::{AttachMode, XdpModeChoice, advice, errno};
use super::{DataPath, DataPathError};
use crate::kernel::interfaces::{XdpMode, XdpProgram};
use crate::kernel::{bpf_owners, interfaces, veth};

/// Why a veth takes no program in native mode.
const NO_XDP_AT_PEER: &str = "native mode: the peer of this veth runs no native XDP program, \
    without which it does not receive what is sent back";

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
    /// Held: a link lives as long as a descriptor or a pin.
    _tc: [Option<PinnedLink>; 2],
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
        let names = [tc_pin(interface), answers_pin(interface)];
        let earlier = names.each_ref().map(|name| self.pins.link(name).is_some());
        let take_back = |datapath: &Self| {
            for (name, _) in names.iter().zip(earlier).filter(|(_, earlier)| !earlier) {
                datapath.pins.unpin(name);
            }
        };
        let tc = self
            .attach_tc(interface, TC, TcAttachType::Ingress)
            .and_then(|ack| {
                let answers = self.attach_tc(interface, ANSWERS, TcAttachType::Egress);
                answers.map(|answers| [ack, answers])
            });
        let tc = match tc {
            Ok(tc) => tc,
            Err(error) => {
                take_back(self);
                return Err(error);
            }
        };
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
                take_back(self);
                Err(error)
            }
        }
    }

    /// Whether what the program sends back from an interface is lost by now.
    #[must_use]
    pub fn loses_answers(&self, attachment: &Attachment, index: u32) -> bool {
        // What cannot be read says nothing.
        attachment.mode == AttachMode::Native && veth::loses_answers(index).unwrap_or(false)
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
        self.pins.unpin(&answers_pin(interface));
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

    fn attach_tc(
        &mut self,
        interface: &str,
        which: &'static str,
        direction: TcAttachType,
    ) -> Result<Option<PinnedLink>, DataPathError> {
        let name = match direction {
            TcAttachType::Egress => answers_pin(interface),
            _ => tc_pin(interface),
        };
        if self.features.assign.is_none() {
            self.pins.unpin(&name);
            return Ok(None);
        }
        let failed = |error: &dyn std::error::Error| DataPathError::AttachTc {
            interface: interface.to_owned(),
            reason: one_line(error),
        };
        let earlier = self.pins.link(&name);
        let pins = self.pins.clone();
        let program: &mut SchedClassifier = program(&mut self.ebpf, which)?;
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
                direction,
                TcAttachOptions::TcxOrder(LinkOrder::default()),
            )
            .map_err(|error| failed(&error))?;
        let link = program.take_link(id).map_err(|error| failed(&error))?;
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        pins.pin(link, &name).map(Some)
    }

    /// The XDP program of a mode, loaded.
    fn xdp_for(&mut self, mode: AttachMode) -> Result<&mut Xdp, DataPathError> {
        if mode == AttachMode::Native {
            return program(&mut self.ebpf, XDP);
        }
        let generic: &mut Xdp = program(&mut self.ebpf, XDP_GENERIC)?;
        if generic.fd().is_err() {
            load_xdp(&mut self.ebpf, XDP_GENERIC)?;
        }
        program(&mut self.ebpf, XDP_GENERIC)
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
        let choice = self.xdp_mode;
        let attached = interfaces::xdp_program(index)?;
        let mode = attached.map(|attached| AttachMode::of(attached.mode));
        if let Some(earlier) = earlier {
            if mode.is_none_or(|mode| choice.allows(mode)) {
                let mode = mode.unwrap_or(AttachMode::Native);
                let program = self.xdp_for(mode)?;
                let swapped = XdpLink::try_from(FdLink::from(earlier))
                    .ok()
                    .and_then(|link| program.attach_to_link(link).ok());
                pins.unpin(&name);
                if let Some(id) = swapped {
                    let link = pin_xdp(&pins, program, id, interface, &name)?;
                    return Ok((link, mode, None, true));
                }
            } else {
                pins.unpin(&name);
                drop(earlier);
            }
            wait_until_detached(index)?;
        }
        if let Some(attached) = interfaces::xdp_program(index)? {
            return Err(busy(interface, attached));
        }
        let mut tried = Vec::new();
        let mut advised = "";
        for (mode, flags) in [
            (AttachMode::Native, Flags::Driver),
            (AttachMode::Generic, Flags::Skb),
        ] {
            if !choice.allows(mode) {
                continue;
            }
            if mode == AttachMode::Native && veth::loses_answers(index)? {
                tried.push(NO_XDP_AT_PEER.to_owned());
                advised = "; attach one there";
                continue;
            }
            let program = self.xdp_for(mode)?;
            match program.attach_to_if_index(index, flags) {
                Ok(id) => {
                    let link = pin_xdp(&pins, program, id, interface, &name)?;
                    let why_not_native = (!tried.is_empty()).then(|| tried.join("; ") + advised);
                    return Ok((link, mode, why_not_native, false));
                }
                Err(error) => {
                    tried.push(format!("{} mode: {}", mode.name(), one_line(&error)));
                    let number = errno(&error);
                    if advised.is_empty() || number == Some(libc::EEXIST) {
                        advised = advice(number);
                    }
                }
            }
        }
        let otherwise = if choice == XdpModeChoice::Native {
            "; or `--xdp-mode generic`, which is several times slower"
        } else {
            ""
        };
        Err(DataPathError::Attach {
            interface: interface.to_owned(),
            reason: tried.join("; "),
            advice: format!("{advised}{otherwise}"),
        })
    }
}

/// Waits until a link that was just let go is gone: the kernel may do that
/// later. What is still there then is somebody else's.
fn wait_until_detached(index: u32) -> Result<(), DataPathError> {
    for _ in 0..100 {
        if interfaces::xdp_program(index)?.is_none() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
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
        reason: one_line(error),
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

/// The name of the pin of the link for what leaves the host. No interface has a colon in
/// its name (`dev_valid_name`, Linux 6.18).
fn answers_pin(interface: &str) -> String {
    format!("tc-{interface}:answers")
}

fn busy(interface: &str, attached: XdpProgram) -> DataPathError {
    let id = attached.id;
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
        program: format!("{name}, id {id}, in {} mode", attached.mode),
        // `xdp off` would only take the mode away that the driver prefers.
        keyword: match attached.mode {
            XdpMode::Driver => "xdpdrv",
            XdpMode::Generic => "xdpgeneric",
            XdpMode::Hardware => "xdpoffload",
            XdpMode::Multiple => "xdp",
        },
        holder,
    }
}

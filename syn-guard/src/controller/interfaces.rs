//! The interfaces that the programs are attached to.

use tracing::{info, warn};

use super::ControllerError;
use crate::datapath::{Attachment, DataPath, DataPathError, one_line};
use crate::kernel::interfaces::{self, InterfaceError, check, default_route, find, index_of};

/// The guarded interfaces.
pub struct Interfaces {
    attached: Vec<(u32, Attachment)>,
    gone: Vec<Gone>,
}

/// An interface that went away.
struct Gone {
    name: String,
    /// Why it could not be guarded when it was back: said once.
    said: Option<String>,
}

/// What became of a guarded interface.
#[derive(Debug)]
enum Presence {
    There,
    /// No interface has its name, or another one has it.
    Gone,
    /// It is there, and cannot be guarded any more.
    Unguardable(InterfaceError),
    /// It could not be found out, which says nothing.
    Unknown(InterfaceError),
}

/// What the index of its name says of an interface that had `index`.
fn presence(index: u32, now: Result<u32, InterfaceError>) -> Presence {
    match now {
        Ok(now) if now == index => Presence::There,
        Ok(_) | Err(InterfaceError::NoSuchInterface { .. }) => Presence::Gone,
        Err(error @ (InterfaceError::VrfPort(_) | InterfaceError::Vrf(_))) => {
            Presence::Unguardable(error)
        }
        Err(error) => Presence::Unknown(error),
    }
}

/// The named interfaces, or those of the default routes that can be guarded;
/// each once.
///
/// # Errors
/// One of the named does not exist or cannot be guarded, there is no default
/// route, or none whose interface can be guarded.
pub fn choose_interfaces(names: &[String]) -> Result<Vec<String>, ControllerError> {
    let mut names = if names.is_empty() {
        guardable(default_route()?, check)?
    } else {
        for name in names {
            check(name)?;
        }
        names.to_vec()
    };
    names.sort();
    names.dedup();
    Ok(names)
}

/// Those of the default routes' interfaces that can be guarded: a tunnel may
/// well be among them, and whoever named nothing need not know of it.
fn guardable(
    names: Vec<String>,
    check: impl Fn(&str) -> Result<(), InterfaceError>,
) -> Result<Vec<String>, ControllerError> {
    let mut kept = Vec::new();
    let mut skipped = None;
    for name in names {
        match check(&name) {
            Ok(()) => kept.push(name),
            Err(
                error @ (InterfaceError::NotEthernet(_)
                | InterfaceError::VrfPort(_)
                | InterfaceError::Vrf(_)),
            ) => {
                warn!("not guarded: {error}");
                skipped = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match (kept.is_empty(), skipped) {
        (false, _) => Ok(kept),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(ControllerError::NoInterface),
    }
}

impl Interfaces {
    /// Attaches to these interfaces. When one fails, those before it are
    /// detached again, but for those that an earlier guard had attached.
    pub fn attach(names: &[String], datapath: &mut DataPath) -> Result<Self, ControllerError> {
        // A link whose interface has another name now would be in the way.
        for name in datapath.interfaces() {
            if matches!(index_of(&name), Err(InterfaceError::NoSuchInterface { .. })) {
                datapath.detach(&name);
            }
        }
        let mut interfaces = Self {
            attached: Vec::new(),
            gone: Vec::new(),
        };
        for name in names {
            let attached = index_of(name)
                .map_err(ControllerError::from)
                .and_then(|index| Ok((index, attach(name, datapath)?)));
            match attached {
                Ok(attached) => interfaces.attached.push(attached),
                Err(error) => {
                    interfaces.take_back(datapath);
                    return Err(error);
                }
            }
        }
        Ok(interfaces)
    }

    /// Detaches what no earlier guard had attached; the rest stays.
    pub fn take_back(self, datapath: &DataPath) {
        for (_, attachment) in self.attached {
            if !attachment.taken_over {
                datapath.detach(&attachment.interface);
            }
        }
    }

    /// Notices interfaces that went away or came back; whether any came back.
    pub fn refresh(&mut self, datapath: &mut DataPath) -> bool {
        let gone = &mut self.gone;
        self.attached.retain(|(index, attachment)| {
            let interface = &attachment.interface;
            let now = find(interface).and_then(interfaces::guardable);
            match presence(*index, now.map(|now| now.index)) {
                Presence::Unguardable(error) => {
                    warn!(interface, "no longer guarded: {error}");
                    datapath.detach(interface);
                    gone.push(Gone {
                        name: interface.clone(),
                        said: Some(one_line(&error)),
                    });
                    false
                }
                Presence::There if datapath.loses_answers(attachment, *index) => {
                    warn!(
                        interface,
                        "the peer of this veth runs no native XDP program any more: attaching anew"
                    );
                    datapath.detach(interface);
                    gone.push(Gone {
                        name: interface.clone(),
                        said: None,
                    });
                    false
                }
                Presence::There => true,
                Presence::Unknown(error) => {
                    warn!(interface, "is it still there? {}", one_line(&error));
                    true
                }
                Presence::Gone => {
                    warn!(
                        interface,
                        "the interface is gone; it is guarded again when it comes back"
                    );
                    // It may only have another name.
                    datapath.detach(interface);
                    gone.push(Gone {
                        name: interface.clone(),
                        said: None,
                    });
                    false
                }
            }
        });
        let mut came_back = false;
        self.gone.retain_mut(|Gone { name, said }| {
            let attached = match find(name).and_then(interfaces::guardable) {
                Ok(found) => attach(name, datapath).map(|attachment| (found.index, attachment)),
                Err(error @ (InterfaceError::VrfPort(_) | InterfaceError::Vrf(_))) => {
                    Err(error.into())
                }
                Err(_) => {
                    *said = None;
                    return true;
                }
            };
            match attached {
                Ok(attached) => {
                    self.attached.push(attached);
                    came_back = true;
                    false
                }
                Err(error) => {
                    let text = one_line(&error);
                    if said.as_ref() != Some(&text) {
                        warn!(interface = name, "{text}");
                    }
                    *said = Some(text);
                    true
                }
            }
        });
        came_back
    }

    /// The attachments.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attached.iter().map(|(_, attachment)| attachment)
    }

    /// Detaches XDP everywhere.
    pub fn stop_answering(&mut self, datapath: &DataPath) {
        for (_, attachment) in &mut self.attached {
            datapath.stop_answering(attachment);
        }
    }

    /// Detaches everything.
    ///
    /// # Errors
    /// Something of it could not be removed.
    pub fn remove(self, datapath: DataPath) -> Result<(), DataPathError> {
        datapath.remove(
            self.attached
                .into_iter()
                .map(|(_, attachment)| attachment)
                .collect(),
        )
    }
}

fn attach(name: &str, datapath: &mut DataPath) -> Result<Attachment, ControllerError> {
    let attachment = datapath.attach(name)?;
    let mode = attachment.mode.name();
    if attachment.taken_over {
        info!(
            interface = name,
            mode, "took over from an earlier syn-guard"
        );
    } else {
        match &attachment.why_generic {
            None => info!(interface = name, mode, "attached"),
            Some(reason) => warn!(
                interface = name,
                mode, "attached in generic mode, which is several times slower: {reason}"
            ),
        }
    }
    Ok(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(name: &str) -> InterfaceError {
        InterfaceError::NoSuchInterface {
            name: name.to_owned(),
            there: Vec::new(),
        }
    }

    #[test]
    fn only_a_missing_or_another_interface_is_gone() {
        assert!(matches!(presence(7, Ok(7)), Presence::There));
        assert!(matches!(presence(7, Ok(8)), Presence::Gone));
        assert!(matches!(presence(7, Err(none("eth0"))), Presence::Gone));
        for kind in [InterfaceError::VrfPort, InterfaceError::Vrf] {
            let vrf = kind("eth0".to_owned());
            assert!(matches!(presence(7, Err(vrf)), Presence::Unguardable(_)));
        }
        let unreadable = InterfaceError::NoSuchIndex(7);
        assert!(matches!(presence(7, Err(unreadable)), Presence::Unknown(_)));
    }

    #[test]
    fn a_tunnel_among_the_default_routes_is_skipped() {
        let check = |name: &str| match name {
            "wg0" => Err(InterfaceError::NotEthernet(name.to_owned())),
            "old" => Err(none(name)),
            _ => Ok(()),
        };
        let choose = |names: &[&str]| {
            guardable(names.iter().map(|name| (*name).to_owned()).collect(), check)
        };
        assert_eq!(choose(&["wg0", "eth0"]).unwrap(), ["eth0"]);
        assert!(matches!(
            choose(&["wg0"]),
            Err(ControllerError::Interfaces(InterfaceError::NotEthernet(_)))
        ));
        assert!(matches!(choose(&[]), Err(ControllerError::NoInterface)));
        assert!(matches!(
            choose(&["eth0", "old"]),
            Err(ControllerError::Interfaces(_))
        ));
    }
}

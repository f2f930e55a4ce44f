//! The interfaces that the programs are attached to.

use tracing::{info, warn};

use super::ControllerError;
use crate::datapath::{Attachment, DataPath, one_line};
use crate::kernel::interfaces::{check, default_route, index_of};

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

/// The named interfaces, or those of the default routes; each once.
///
/// # Errors
/// One of them does not exist, or there is no default route.
pub fn choose_interfaces(names: &[String]) -> Result<Vec<String>, ControllerError> {
    let mut names = if names.is_empty() {
        default_route()?
    } else {
        names.to_vec()
    };
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(ControllerError::NoInterface);
    }
    for name in &names {
        check(name)?;
    }
    Ok(names)
}

impl Interfaces {
    /// Attaches to these interfaces. When one fails, pins of those before it
    /// are left.
    pub fn attach(names: &[String], datapath: &mut DataPath) -> Result<Self, ControllerError> {
        datapath.detach_others(names);
        let mut attached = Vec::new();
        for name in names {
            attached.push((index_of(name)?, attach(name, datapath)?));
        }
        Ok(Self {
            attached,
            gone: Vec::new(),
        })
    }

    /// Notices interfaces that went away or came back.
    pub fn refresh(&mut self, datapath: &mut DataPath) {
        let gone = &mut self.gone;
        self.attached.retain(|(index, attachment)| {
            let there = index_of(&attachment.interface).is_ok_and(|now| now == *index);
            if !there {
                warn!(
                    interface = attachment.interface,
                    "the interface is gone; it is guarded again when it comes back"
                );
                // It may only have another name.
                datapath.detach(&attachment.interface);
                gone.push(Gone {
                    name: attachment.interface.clone(),
                    said: None,
                });
            }
            there
        });
        self.gone.retain_mut(|Gone { name, said }| {
            let Ok(index) = index_of(name) else {
                *said = None;
                return true;
            };
            match attach(name, datapath) {
                Ok(attachment) => {
                    self.attached.push((index, attachment));
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
    pub fn remove(self, datapath: DataPath) {
        datapath.remove(
            self.attached
                .into_iter()
                .map(|(_, attachment)| attachment)
                .collect(),
        );
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
                mode,
                "attached in generic mode, which is several times slower: native mode: {reason}"
            ),
        }
    }
    Ok(attachment)
}

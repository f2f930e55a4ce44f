//! The interfaces that the programs are attached to.

use tracing::{info, warn};

use super::ControllerError;
use crate::datapath::{Attachment, DataPath};
use crate::kernel::interfaces::{default_route, index_of};

/// The guarded interfaces.
pub struct Interfaces {
    attached: Vec<(u32, Attachment)>,
    gone: Vec<String>,
}

impl Interfaces {
    /// Attaches to the named interfaces, or to those of the default routes.
    /// All or none.
    pub fn attach(names: &[String], datapath: &mut DataPath) -> Result<Self, ControllerError> {
        let mut names = if names.is_empty() { default_route()? } else { names.to_vec() };
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(ControllerError::NoInterface);
        }
        // Names first: a typing error should not attach to the others.
        for name in &names {
            index_of(name)?;
        }
        datapath.detach_others(&names);
        let mut attached = Vec::new();
        for name in names {
            attached.push((index_of(&name)?, attach(&name, datapath)?));
        }
        Ok(Self { attached, gone: Vec::new() })
    }

    /// Notices interfaces that went away or came back.
    pub fn refresh(&mut self, datapath: &mut DataPath) {
        let mut gone = Vec::new();
        self.attached.retain(|(index, attachment)| {
            let there = index_of(&attachment.interface).is_ok_and(|now| now == *index);
            if !there {
                warn!(
                    interface = attachment.interface,
                    "the interface is gone; it is guarded again when it comes back"
                );
                gone.push(attachment.interface.clone());
            }
            there
        });
        self.gone.append(&mut gone);
        self.gone.retain(|name| {
            let Ok(index) = index_of(name) else { return true };
            match attach(name, datapath) {
                Ok(attachment) => {
                    self.attached.push((index, attachment));
                    false
                }
                Err(error) => {
                    warn!(interface = name, "{error}");
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
        datapath.remove(self.attached.into_iter().map(|(_, attachment)| attachment).collect());
    }
}

fn attach(name: &str, datapath: &mut DataPath) -> Result<Attachment, ControllerError> {
    let attachment = datapath.attach(name)?;
    let mode = attachment.mode.name();
    if attachment.taken_over {
        info!(interface = name, mode, "took over from an earlier syn-guard");
    } else {
        match &attachment.why_generic {
            None => info!(interface = name, mode, "attached"),
            Some(reason) => warn!(
                interface = name,
                mode, "attached in generic mode, which is several times slower: native mode: {reason}"
            ),
        }
    }
    Ok(attachment)
}

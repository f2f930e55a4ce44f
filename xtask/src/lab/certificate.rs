//! A certificate for the server's addresses.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{Lab, SERVER_IPV4, SERVER_IPV6};
use crate::command;

/// A certificate that signs itself, and its key, in files of the lab.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, PEM; a client that trusts it trusts the server.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one for a day.
    pub fn new(lab: &Lab) -> Result<Self> {
        let made = Self {
            certificate: lab.path("certificate.pem"),
            key: lab.path("certificate-key.pem"),
        };
        command::output(
            Command::new("openssl")
                .args(["req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=lab"])
                .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
                .arg("-addext")
                .arg(format!("subjectAltName=IP:{SERVER_IPV4},IP:{SERVER_IPV6}"))
                .arg("-keyout")
                .arg(&made.key)
                .arg("-out")
                .arg(&made.certificate),
        )
        .context("making a certificate with openssl")?;
        Ok(made)
    }
}

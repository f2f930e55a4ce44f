//! docker with a container that serves a page.

use anyhow::Result;

use super::{
    Private,
    web::{self, FILES, NAME, SERVE},
};
use crate::lab::{Child, Lab, START};

/// The network of its containers: of the lab's addresses, and not of its routes.
const BRIDGE: &str = "10.255.254.1/24";

/// A running dockerd; dropping it ends it with its containers. Its rules end with the lab.
#[derive(Debug)]
pub struct Docker {
    _daemon: Child,
    private: Private,
}

impl Docker {
    /// Starts it, without a container; `None` where [`Private::for_test`] is.
    pub fn for_test(lab: &Lab) -> Result<Option<Self>> {
        Self::for_test_with(lab, &[])
    }

    /// Starts it with some more options of dockerd.
    pub fn for_test_with(lab: &Lab, options: &[&str]) -> Result<Option<Self>> {
        let Some(private) = Private::for_test(lab)? else {
            return Ok(None);
        };
        let group = format!("--cgroup-parent=/{}", lab.cleaner.name());
        let bridge = format!("--bip={BRIDGE}");
        let mut arguments = vec![
            "--data-root=/run/docker-data",
            "--storage-driver=vfs",
            // systemd, which makes them else, knows nothing of a process in here.
            "--exec-opt=native.cgroupdriver=cgroupfs",
            &group,
            &bridge,
        ];
        arguments.extend(options);
        let mut daemon = private.spawn("dockerd", &arguments)?;
        daemon.wait_for_line("API listen on", START)?;
        Ok(Some(Self {
            _daemon: daemon,
            private,
        }))
    }

    /// Runs a container whose page is published on [`PUBLISHED_PORT`](super::PUBLISHED_PORT).
    pub fn publish(&self) -> Result<()> {
        web::make_files(&self.private)?;
        self.private
            .shell(&format!("tar -C {FILES} -c . | docker import - {NAME}"))?;
        let ports = web::ports();
        let mut arguments = vec!["run", "-d", "--name", NAME, "-p", &ports, NAME];
        arguments.extend(SERVE);
        self.private.output("docker", &arguments).map(drop)
    }

    /// Ends the container; it stays and can be started again.
    pub fn stop(&self) -> Result<()> {
        self.private
            .output("docker", &["stop", "-t", "0", NAME])
            .map(drop)
    }

    /// Starts the container again.
    pub fn start(&self) -> Result<()> {
        self.private.output("docker", &["start", NAME]).map(drop)
    }

    /// The place where it runs.
    #[must_use]
    pub fn private(&self) -> &Private {
        &self.private
    }
}

//! podman with a container that serves a page.

use anyhow::Result;

use super::{
    Private,
    web::{self, FILES, NAME, SERVE},
};
use crate::lab::Lab;

/// Folders of its own, and of its two runtimes the one that needs no control groups.
const ENGINE: [&str; 6] = [
    "--root=/run/podman-data",
    "--runroot=/run/podman-run",
    "--network-config-dir=/run/podman-networks",
    "--storage-driver=vfs",
    "--runtime=crun",
    "--cgroup-manager=cgroupfs",
];
/// The limits are its own else, which a process with fewer rights may not set.
const CONTAINER: [&str; 3] = [
    "--cgroups=disabled",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
];

/// podman, of which nothing runs but containers; dropping it ends them. Its rules end with the lab.
#[derive(Debug)]
pub struct Podman {
    private: Private,
}

impl Podman {
    /// Makes a place for it, without a container; `None` where [`Private::for_test`] is.
    pub fn for_test(lab: &Lab) -> Result<Option<Self>> {
        let Some(private) = Private::for_test(lab)? else {
            return Ok(None);
        };
        private.shell("mkdir /run/podman-networks")?;
        Ok(Some(Self { private }))
    }

    /// Runs a container whose page is published on [`PUBLISHED_PORT`](super::PUBLISHED_PORT).
    pub fn publish(&self) -> Result<()> {
        web::make_files(&self.private)?;
        let ports = web::ports();
        let mut arguments = vec!["run", "-d", "--name", NAME, "-p", &ports];
        arguments.extend(CONTAINER);
        arguments.extend(["--rootfs", FILES]);
        arguments.extend(SERVE);
        self.podman(&arguments)
    }

    /// Ends the container; it stays and can be started again.
    pub fn stop(&self) -> Result<()> {
        self.podman(&["stop", "-t", "0", NAME])
    }

    /// Starts the container again.
    pub fn start(&self) -> Result<()> {
        self.podman(&["start", NAME])
    }

    /// The place where it runs.
    #[must_use]
    pub fn private(&self) -> &Private {
        &self.private
    }

    fn podman(&self, arguments: &[&str]) -> Result<()> {
        let mut all = ENGINE.to_vec();
        all.extend(arguments);
        self.private.output("podman", &all).map(drop)
    }
}

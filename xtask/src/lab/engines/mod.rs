//! Firewalls and container engines of Debian's on the lab's server: the programs themselves, as
//! their packages bring them, without their being installed on the machine.
//!
//! [`Private`] is the place where they run: it sees the machine's files with those of the unpacked
//! packages over them, writes into memory only, and takes everything along when it ends.

mod cgroups;
mod docker;
mod firewalld;
mod podman;
mod private;
mod ufw;
mod web;

pub(super) use self::cgroups::remove as remove_cgroups;
pub use self::{
    docker::Docker,
    firewalld::Firewalld,
    podman::Podman,
    private::Private,
    ufw::Ufw,
    web::{CONTAINER_PORT, PUBLISHED_PORT},
};

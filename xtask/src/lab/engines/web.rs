//! What the containers hold: busybox and a page.

use anyhow::Result;

use super::Private;
use crate::lab::PAGE;

/// The host's port that a container's service is published on.
pub const PUBLISHED_PORT: u16 = 8080;
/// The port of that service within the container.
pub const CONTAINER_PORT: u16 = 80;
/// The name of the container.
pub(super) const NAME: &str = "web";
/// The folder with its files.
pub(super) const FILES: &str = "/srv/syn-guard-lab";
/// The program in there that serves the page.
pub(super) const SERVE: [&str; 7] = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"];

/// Makes the container's files.
pub(super) fn make_files(private: &Private) -> Result<()> {
    let page = PAGE.trim_end();
    private
        .shell(&format!(
            "mkdir -p {FILES}/bin {FILES}/www
             cp /bin/busybox {FILES}/bin/
             echo '{page}' > {FILES}/www/index.html"
        ))
        .map(drop)
}

/// `HOST:CONTAINER`, as the engines' `-p` wants it.
pub(super) fn ports() -> String {
    format!("{PUBLISHED_PORT}:{CONTAINER_PORT}")
}

//! firewalld as it comes, the server's interface in its zone `public`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::Private;
use crate::lab::{Child, Lab, SERVER_INTERFACE, START, patiently};

/// A message bus of its own. Debian's configuration would want a user that comes with the package.
const BUS: &str = r#"<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy>
</busconfig>
"#;

/// A running firewalld; dropping it ends it. Its rules end with the lab.
#[derive(Debug)]
pub struct Firewalld {
    _daemon: Child,
    _bus: Child,
    private: Private,
}

impl Firewalld {
    /// Starts it and opens TCP ports; `None` where [`Private::for_test`] is.
    pub fn for_test(lab: &Lab, open: &[u16]) -> Result<Option<Self>> {
        let Some(private) = Private::for_test(lab)? else {
            return Ok(None);
        };
        private.shell(&format!(
            "mkdir /run/dbus
             cat > /run/dbus/lab.conf <<'END'\n{BUS}END\n"
        ))?;
        let mut bus = private.spawn(
            "dbus-daemon",
            &[
                "--config-file=/run/dbus/lab.conf",
                "--nofork",
                "--nopidfile",
                "--print-address",
            ],
        )?;
        bus.wait_for_line("unix:path", START)?;
        let daemon = private.spawn("firewalld", &["--nofork", "--nopid"])?;
        let firewalld = Self {
            _daemon: daemon,
            _bus: bus,
            private,
        };
        firewalld.wait()?;
        firewalld.tell(&[&format!("--add-interface={SERVER_INTERFACE}")])?;
        for port in open {
            firewalld.tell(&[&format!("--add-port={port}/tcp")])?;
        }
        firewalld.reload()?;
        Ok(Some(firewalld))
    }

    /// Reads its configuration again and makes all its rules anew.
    pub fn reload(&self) -> Result<()> {
        self.private.output("firewall-cmd", &["--reload"]).map(drop)
    }

    /// The place where it runs.
    #[must_use]
    pub fn private(&self) -> &Private {
        &self.private
    }

    fn tell(&self, what: &[&str]) -> Result<()> {
        let mut arguments = vec!["--permanent", "--zone=public"];
        arguments.extend(what);
        self.private.output("firewall-cmd", &arguments).map(drop)
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + patiently(START);
        loop {
            match self.private.output("firewall-cmd", &["--state"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

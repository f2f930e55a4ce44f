//! ufw as it comes.

use std::fmt::Write as _;

use anyhow::Result;

use super::Private;
use crate::lab::Lab;

/// What configuring the package would do.
const CONFIGURE: &str = "
cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
chmod 640 /etc/ufw/*.rules /etc/ufw/*.init
";

/// An enabled ufw. Its rules end with the lab.
#[derive(Debug)]
pub struct Ufw {
    private: Private,
}

impl Ufw {
    /// Enables it with some TCP ports allowed; `None` where [`Private::for_test`] is.
    pub fn for_test(lab: &Lab, allow: &[u16]) -> Result<Option<Self>> {
        let Some(private) = Private::for_test(lab)? else {
            return Ok(None);
        };
        let mut script = CONFIGURE.to_owned();
        for port in allow {
            writeln!(script, "ufw allow {port}/tcp")?;
        }
        script += "ufw --force enable\n";
        private.shell(&script)?;
        Ok(Some(Self { private }))
    }

    /// Reads its configuration again and makes all its rules anew.
    pub fn reload(&self) -> Result<()> {
        self.private.output("ufw", &["reload"]).map(drop)
    }

    /// The place where it runs.
    #[must_use]
    pub fn private(&self) -> &Private {
        &self.private
    }
}

//! The functions that netfilter calls, as `nft list hooks` shows them
//! (`CONFIG_NETFILTER_NETLINK_HOOK`, Linux 5.14).

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::super::netlink::{NetlinkError, attributes, collect};

/// `NFNL_SUBSYS_HOOK << 8 | NFNL_MSG_HOOK_GET`.
const HOOK_GET: u16 = 12 << 8;
/// Bytes of `struct nfgenmsg`.
pub(super) const NFGENMSG: usize = 4;
/// `NFNLA_HOOK_HOOKNUM`, `_PRIORITY`, `_FUNCTION_NAME` and `_MODULE_NAME`.
const HOOKNUM: u16 = 1;
const PRIORITY: u16 = 2;
const FUNCTION_NAME: u16 = 4;
const MODULE_NAME: u16 = 5;

/// A function that netfilter calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Lower ones come first.
    pub priority: i32,
    /// Its name, where the kernel tells.
    pub function: Option<String>,
    /// The module that it is in; none where it is built in.
    pub module: Option<String>,
}

/// The functions at a hook (`NF_INET_...`) of a protocol family (`NFPROTO_...`); none
/// where the kernel keeps no such list.
///
/// # Errors
/// The kernel refuses to tell, or they keep changing.
pub fn hooks(family: u8, hook: u32) -> Result<Vec<Hook>, NetlinkError> {
    // nfgenmsg: family, version, resource; then one attribute of 8 bytes.
    let mut request = vec![family, 0, 0, 0];
    request.extend(8_u16.to_ne_bytes());
    request.extend(HOOKNUM.to_ne_bytes());
    request.extend(hook.to_be_bytes());
    let found = collect(NETLINK_NETFILTER, HOOK_GET, &request, |_, payload| {
        let mut found = Hook {
            priority: 0,
            function: None,
            module: None,
        };
        for attribute in attributes(payload, NFGENMSG) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                PRIORITY => {
                    if let Ok(bytes) = value.try_into() {
                        found.priority = i32::from_be_bytes(bytes);
                    }
                }
                FUNCTION_NAME => found.function = text(value),
                MODULE_NAME => found.module = text(value),
                _ => {}
            }
        }
        Ok(Some(found))
    });
    match found {
        Err(error) if is_not_there(&error) => Ok(Vec::new()),
        found => found,
    }
}

/// Whether the kernel does not know the request (`nfnetlink_rcv_msg`: EINVAL where
/// nobody takes it), or has no netfilter at all.
pub(super) fn is_not_there(error: &NetlinkError) -> bool {
    let cause = match error {
        NetlinkError::Refused(cause) | NetlinkError::Open(cause) => cause,
        _ => return false,
    };
    matches!(
        cause.raw_os_error(),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::ENOENT)
    )
}

fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0);
    let bytes = value.get(..end.unwrap_or(value.len()))?;
    // The kernel calls a name that it does not know by its address: no name either.
    String::from_utf8(bytes.to_vec()).ok()
}

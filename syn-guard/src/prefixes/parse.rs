//! Prefixes as people write them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv6 address before a mapped IPv4 address (RFC 4291 section
/// 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Why a text is no prefix that can be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It is something else.
    #[error(
        "{0:?} is no prefix: expected an address or a prefix, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
    )]
    NoPrefix(String),
    /// It has more bits than its address.
    #[error("{text} has too many bits: an {family} prefix has {most} at most")]
    TooLong {
        /// As it was written.
        text: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Bits of an address.
        most: u8,
    },
    /// Bits are set behind the prefix.
    #[error("{text} has host bits set: did you mean {meant}?")]
    HostBits {
        /// As it was written.
        text: String,
        /// Without these bits.
        meant: IpNet,
    },
    /// An IPv4 prefix, mapped into IPv6.
    #[error("{text} is an IPv4 prefix written as IPv6: write {meant}")]
    Mapped {
        /// As it was written.
        text: String,
        /// As IPv4.
        meant: IpNet,
    },
}

/// Reads a prefix; an address alone is a prefix of all its bits.
///
/// # Errors
/// Says what is wrong and what was meant.
pub fn parse(text: &str) -> Result<IpNet, PrefixError> {
    let unknown = || PrefixError::NoPrefix(text.to_owned());
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| unknown())?;
    let (family, most) = match address {
        IpAddr::V4(_) => ("IPv4", 32),
        IpAddr::V6(_) => ("IPv6", 128),
    };
    let bits = match bits {
        None => most,
        // A sign is none of a number of bits.
        Some(bits) if bits.is_empty() || !bits.bytes().all(|it| it.is_ascii_digit()) => {
            return Err(unknown());
        }
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|bits| *bits <= most)
            .ok_or_else(|| PrefixError::TooLong {
                text: text.to_owned(),
                family,
                most,
            })?,
    };
    let prefix = IpNet::new(address, bits).map_err(|_| unknown())?;
    if let IpAddr::V6(address) = address
        && let Some(mapped) = address.to_ipv4_mapped()
        && let Some(bits) = bits.checked_sub(MAPPED_BITS)
        && let Ok(meant) = Ipv4Net::new(mapped, bits)
    {
        return Err(PrefixError::Mapped {
            text: text.to_owned(),
            meant: meant.trunc().into(),
        });
    }
    if prefix.trunc() != prefix {
        return Err(PrefixError::HostBits {
            text: text.to_owned(),
            meant: prefix.trunc(),
        });
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_addresses_are_read() {
        for (text, prefix) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), prefix, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_what_was_meant() {
        let says = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            says("198.51.100.7/24"),
            "198.51.100.7/24 has host bits set: did you mean 198.51.100.0/24?"
        );
        assert_eq!(
            says("2001:db8::1/32"),
            "2001:db8::1/32 has host bits set: did you mean 2001:db8::/32?"
        );
        assert_eq!(
            says("::ffff:192.0.2.0/120"),
            "::ffff:192.0.2.0/120 is an IPv4 prefix written as IPv6: write 192.0.2.0/24"
        );
        assert_eq!(
            says("::ffff:192.0.2.1"),
            "::ffff:192.0.2.1 is an IPv4 prefix written as IPv6: write 192.0.2.1/32"
        );
        assert_eq!(
            says("192.0.2.0/33"),
            "192.0.2.0/33 has too many bits: an IPv4 prefix has 32 at most"
        );
        assert_eq!(
            says("::/1290"),
            "::/1290 has too many bits: an IPv6 prefix has 128 at most"
        );
        for text in [
            "",
            "/",
            "/24",
            "host",
            "192.0.2/24",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/-1",
            "192.0.2.0/8/9",
            " 192.0.2.0",
            "192.0.2.0-192.0.2.9",
            "fe80::1%eth0",
        ] {
            assert!(says(text).contains("is no prefix: expected"), "{text}");
        }
    }
}

//! Where the running kernel's structures have their fields, read from its BTF
//! (linux/btf.h). aya 0.14 reads BTF for its own relocations only, which Rust
//! programs do not emit.

/// Bytes of `struct btf_type`, of a member and of an enumeration's value.
const TYPE: usize = 12;
const MEMBER: usize = 12;
/// `BTF_MAGIC`, in this machine's byte order.
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;

/// Byte offsets of two fields of a listener: connections that wait to be
/// accepted, and how many may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AcceptQueue {
    pub(super) queued: u32,
    pub(super) most: u32,
}

impl AcceptQueue {
    /// Reads them; none when the kernel has no such fields.
    pub(super) fn find(btf: &[u8]) -> Option<Self> {
        let mut found = [None; 2];
        each_member(btf, "sock", |name, offset| match name {
            b"sk_ack_backlog" => found[0] = Some(offset),
            b"sk_max_ack_backlog" => found[1] = Some(offset),
            _ => {}
        })?;
        let [Some(queued), Some(most)] = found else {
            return None;
        };
        Some(Self { queued, most })
    }
}

/// Calls `each` with the names and byte offsets of the members of a structure
/// that are no bit fields; none when there is no such structure.
fn each_member(btf: &[u8], structure: &str, mut each: impl FnMut(&[u8], u32)) -> Option<()> {
    if u16::from_ne_bytes(*btf.first_chunk()?) != MAGIC {
        return None;
    }
    let place = |at| Some(word(btf, at)? as usize);
    let (header, types, types_length) = (place(4)?, place(8)?, place(12)?);
    let (strings, strings_length) = (place(16)?, place(20)?);
    let mut types = btf.get(header + types..)?.get(..types_length)?;
    let strings = btf.get(header + strings..)?.get(..strings_length)?;
    while !types.is_empty() {
        let (name, info) = (word(types, 0)?, word(types, 4)?);
        let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
        let rest = types.get(TYPE..)?;
        if kind == KIND_STRUCT && string(strings, name)? == structure.as_bytes() {
            let has_bit_fields = info >> 31 != 0;
            for member in rest.get(..count * MEMBER)?.chunks_exact(MEMBER) {
                let offset = word(member, 8)?;
                let bits = if has_bit_fields { offset >> 24 } else { 0 };
                let offset = if has_bit_fields {
                    offset & 0x00ff_ffff
                } else {
                    offset
                };
                if bits == 0 && offset % 8 == 0 {
                    each(string(strings, word(member, 0)?)?, offset / 8);
                }
            }
            return Some(());
        }
        types = rest.get(more(kind, count)?..)?;
    }
    None
}

/// Bytes that follow a type of this kind.
fn more(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function,
        // float, type tag.
        2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Structure, union, data section, 64-bit enumeration.
        4 | 5 | 15 | 19 => count * MEMBER,
        // Enumeration, function's prototype.
        6 | 13 => count * 8,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn string(strings: &[u8], at: u32) -> Option<&[u8]> {
    strings.get(at as usize..)?.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::super::features::BTF_PATH;
    use super::*;

    #[test]
    fn the_running_kernel_has_both_fields() {
        let Ok(btf) = std::fs::read(BTF_PATH) else {
            eprintln!("skipped: no {BTF_PATH}");
            return;
        };
        let found = AcceptQueue::find(&btf).unwrap();
        assert_ne!(found.queued, found.most);
        assert!(
            found.queued > 0 && found.queued.is_multiple_of(4),
            "{found:?}"
        );
        assert!(each_member(&btf, "no_such_struct", |_, _| {}).is_none());
    }

    #[test]
    fn what_is_no_btf_has_no_fields() {
        assert_eq!(AcceptQueue::find(&[]), None);
        assert_eq!(AcceptQueue::find(&[0; 100]), None);
        let mut short = MAGIC.to_ne_bytes().to_vec();
        short.extend([1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0]);
        assert_eq!(AcceptQueue::find(&short), None);
    }
}

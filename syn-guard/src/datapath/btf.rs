//! What the running kernel's BTF (linux/btf.h) says: where structures have their
//! fields, and the ids of functions. aya reads BTF too, but makes some 20 MB of
//! values of it, and for relocations only, which Rust programs do not need.

/// Where the kernel describes its types.
pub(super) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Where modules do, each under its name.
const BTF_DIRECTORY: &str = "/sys/kernel/btf/";

/// Bytes of `struct btf_type`, of a member and of an enumeration's value.
const TYPE: usize = 12;
const MEMBER: usize = 12;
/// `BTF_MAGIC`, in this machine's byte order.
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_FUNCTION: u32 = 12;

/// Why the BTF cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It is something else.
    #[error("it is no BTF")]
    NoBtf,
    /// A type of a kind whose length nobody here knows.
    #[error("kind {0}")]
    Kind(u32),
    /// It ends too early.
    #[error("it is cut short")]
    Short,
}

/// The kernel's BTF.
pub(super) struct KernelBtf {
    bytes: Vec<u8>,
}

impl KernelBtf {
    /// Reads that of the running kernel.
    pub(super) fn read() -> std::io::Result<Self> {
        std::fs::read(BTF_PATH).map(|bytes| Self { bytes })
    }

    /// The ids of functions, in the order of their names; none for those that
    /// the kernel does not have.
    ///
    /// # Errors
    /// Some were not found, and not all that is there can be read.
    pub(super) fn functions<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<u32>; N], BtfError> {
        Types::of(&self.bytes)?.functions(names)
    }

    /// The places of a listener's queue; 0 when the kernel has no such fields.
    ///
    /// # Errors
    /// They were not found, and not all that is there can be read.
    pub(super) fn accept_queue(&self) -> Result<AcceptQueue, BtfError> {
        for one in Types::of(&self.bytes)? {
            let one = one?;
            if one.kind == KIND_STRUCT && one.is_called("sock") {
                return Ok(AcceptQueue::find(&one).unwrap_or_default());
            }
        }
        Ok(AcceptQueue::default())
    }
}

/// The BTF of a module, which goes on where the kernel's own ends.
pub(super) struct ModuleBtf {
    bytes: Vec<u8>,
    first_id: u32,
    first_string: u32,
}

impl ModuleBtf {
    /// Reads that of a loaded module. The inner error: the kernel's own cannot be read to
    /// its end.
    pub(super) fn read(
        kernel: &KernelBtf,
        module: &str,
    ) -> std::io::Result<Result<Self, BtfError>> {
        let bytes = std::fs::read(format!("{BTF_DIRECTORY}{module}"))?;
        Ok(Self::after(kernel, bytes))
    }

    fn after(kernel: &KernelBtf, bytes: Vec<u8>) -> Result<Self, BtfError> {
        let mut types = Types::of(&kernel.bytes)?;
        let first_string = types.strings.len() as u32;
        for one in &mut types {
            one?;
        }
        Ok(Self {
            bytes,
            first_id: types.next_id,
            first_string,
        })
    }

    /// The ids of the module's functions, in the order of their names.
    ///
    /// # Errors
    /// Some were not found, and not all that is there can be read.
    pub(super) fn functions<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<u32>; N], BtfError> {
        let mut types = Types::of(&self.bytes)?;
        types.next_id = self.first_id;
        types.first_string = self.first_string;
        types.functions(names)
    }
}

/// Byte offsets of two fields of a listener: connections that wait to be
/// accepted, and how many may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AcceptQueue {
    pub(super) queued: u32,
    pub(super) most: u32,
}

impl AcceptQueue {
    /// Reads them; none when the kernel has no such fields.
    fn find(sock: &Type) -> Option<Self> {
        let mut found = [None; 2];
        sock.each_member(|name, offset| match name {
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

/// The types, one after the other, up to the first that cannot be read.
struct Types<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
    /// 0 is `void`, which is not written down.
    next_id: u32,
    /// Where the strings begin: a module's come behind the kernel's.
    first_string: u32,
}

impl<'a> Types<'a> {
    fn of(btf: &'a [u8]) -> Result<Self, BtfError> {
        let magic = btf.first_chunk().ok_or(BtfError::NoBtf)?;
        if u16::from_ne_bytes(*magic) != MAGIC {
            return Err(BtfError::NoBtf);
        }
        Self::after_header(btf).ok_or(BtfError::Short)
    }

    fn after_header(btf: &'a [u8]) -> Option<Self> {
        let place = |at| Some(word(btf, at)? as usize);
        let (header, types, types_length) = (place(4)?, place(8)?, place(12)?);
        let (strings, strings_length) = (place(16)?, place(20)?);
        Some(Self {
            rest: btf.get(header + types..)?.get(..types_length)?,
            strings: btf.get(header + strings..)?.get(..strings_length)?,
            next_id: 1,
            first_string: 0,
        })
    }

    /// The ids of functions, in the order of their names.
    fn functions<const N: usize>(self, names: [&str; N]) -> Result<[Option<u32>; N], BtfError> {
        let mut found = [None; N];
        for one in self {
            let one = one?;
            if one.kind == KIND_FUNCTION
                && let Some(at) = names.iter().position(|name| one.is_called(name))
            {
                found[at] = Some(one.id);
                if found.iter().all(Option::is_some) {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn read(&mut self) -> Result<Type<'a>, BtfError> {
        let word = |at| word(self.rest, at).ok_or(BtfError::Short);
        let (name, info) = (word(0)?, word(4)?);
        let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
        let length = more(kind, count).ok_or(BtfError::Kind(kind))?;
        let (more, rest) = self
            .rest
            .get(TYPE..)
            .and_then(|after| after.split_at_checked(length))
            .ok_or(BtfError::Short)?;
        let one = Type {
            id: self.next_id,
            kind,
            has_bit_fields: info >> 31 != 0,
            name: name.checked_sub(self.first_string),
            more,
            strings: self.strings,
        };
        self.rest = rest;
        self.next_id += 1;
        Ok(one)
    }
}

impl<'a> Iterator for Types<'a> {
    type Item = Result<Type<'a>, BtfError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let one = self.read();
        if one.is_err() {
            self.rest = &[];
        }
        Some(one)
    }
}

/// A type or a function.
struct Type<'a> {
    id: u32,
    kind: u32,
    has_bit_fields: bool,
    /// Where its name is; none where it is the kernel's string.
    name: Option<u32>,
    /// What follows it: its members.
    more: &'a [u8],
    strings: &'a [u8],
}

impl Type<'_> {
    fn is_called(&self, name: &str) -> bool {
        let found = self.name.and_then(|name| self.strings.get(name as usize..));
        let after = found.and_then(|found| found.strip_prefix(name.as_bytes()));
        after.is_some_and(|after| after.first() == Some(&0))
    }

    /// Calls `each` with the names and byte offsets of a structure's members that
    /// are no bit fields; none when they cannot be read.
    fn each_member(&self, mut each: impl FnMut(&[u8], u32)) -> Option<()> {
        for member in self.more.chunks_exact(MEMBER) {
            let offset = word(member, 8)?;
            let (bits, offset) = if self.has_bit_fields {
                (offset >> 24, offset & 0x00ff_ffff)
            } else {
                (0, offset)
            };
            if bits == 0 && offset % 8 == 0 {
                each(string(self.strings, word(member, 0)?)?, offset / 8);
            }
        }
        Some(())
    }
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
    use super::*;

    #[test]
    fn the_running_kernel_has_both_fields() {
        let Ok(btf) = KernelBtf::read() else {
            eprintln!("skipped: no {BTF_PATH}");
            return;
        };
        let found = btf.accept_queue().unwrap();
        assert_ne!(found.queued, found.most);
        assert!(
            found.queued > 0 && found.queued.is_multiple_of(4),
            "{found:?}"
        );
    }

    #[test]
    fn functions_have_the_ids_that_aya_finds() {
        let (Ok(btf), Ok(aya)) = (KernelBtf::read(), aya::Btf::from_sys_fs()) else {
            eprintln!("skipped: no {BTF_PATH}");
            return;
        };
        let names = ["tcp_v4_rcv", "no_such_function", "tcp_check_req"];
        let expected = names.map(|name| {
            let kind = aya_obj::btf::BtfKind::Func;
            aya.id_by_type_name_kind(name, kind).ok()
        });
        assert_eq!(btf.functions(names), Ok(expected));
        assert!(expected[0].is_some() && expected[1].is_none());
    }

    #[test]
    fn what_is_no_btf_is_not_understood() {
        let mut short = MAGIC.to_ne_bytes().to_vec();
        short.extend([1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0]);
        for (bytes, why) in [
            (Vec::new(), BtfError::NoBtf),
            (vec![0; 100], BtfError::NoBtf),
            (short, BtfError::Short),
        ] {
            let btf = KernelBtf { bytes };
            assert_eq!(btf.accept_queue(), Err(why));
            assert_eq!(btf.functions(["tcp_v4_rcv"]), Err(why));
        }
    }

    /// A BTF of one function, `f`, and of what follows it.
    fn with_function(after: &[u32]) -> KernelBtf {
        let types: Vec<u32> = [1, KIND_FUNCTION << 24, 0]
            .iter()
            .chain(after)
            .copied()
            .collect();
        let length = u32::try_from(types.len() * 4).unwrap();
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, length, length, 3];
        let words = header.into_iter().chain(types);
        let mut bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        bytes.extend(b"\0f\0");
        KernelBtf { bytes }
    }

    #[test]
    fn a_modules_types_and_strings_come_behind_the_kernels() {
        // The kernel's: one function `f`, strings of 3 bytes. The module's: one whose
        // name is the kernel's string, and `g`.
        let kernel = with_function(&[]);
        let types = [1, KIND_FUNCTION << 24, 0, 4, KIND_FUNCTION << 24, 0];
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, 24, 24, 4];
        let words = header.into_iter().chain(types);
        let mut bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        bytes.extend(b"\0g\0\0");
        let module = ModuleBtf::after(&kernel, bytes).unwrap();
        assert_eq!(module.functions(["g", "f"]), Ok([Some(3), None]));
    }

    #[test]
    fn a_function_is_missing_only_where_all_could_be_read() {
        let unknown = with_function(&[0, 31 << 24, 0]);
        assert_eq!(unknown.functions(["f"]), Ok([Some(1)]));
        let refused = unknown.functions(["f", "g"]).unwrap_err();
        assert_eq!(refused, BtfError::Kind(31));
        assert_eq!(refused.to_string(), "kind 31");
        let cut = with_function(&[0, 1 << 24, 4]);
        assert_eq!(cut.functions(["g"]), Err(BtfError::Short));
        let whole = with_function(&[]);
        assert_eq!(whole.functions(["f", "g"]), Ok([Some(1), None]));
    }
}

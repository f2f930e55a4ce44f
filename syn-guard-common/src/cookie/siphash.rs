//! SipHash-1-3 (Aumasson and Bernstein, 2012, with one compression and three
//! finalisation rounds, as in Linux's `hsiphash` and Rust's hash maps) over a
//! few whole words and seven bytes, which share the last block with the length.

/// A secret key. It is neither printed nor compared.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Key {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

impl core::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Key(secret)")
    }
}

/// Bytes behind the whole words.
const REST: u64 = 7;

/// The hash of `words`, each taken as 8 little-endian bytes, and of the 7 lower
/// bytes of `rest`.
#[inline(always)]
#[must_use]
pub fn siphash13<const N: usize>(key: &Key, words: [u64; N], rest: u64) -> u64 {
    let mut state = [
        key.k0 ^ 0x736f_6d65_7073_6575,
        key.k1 ^ 0x646f_7261_6e64_6f6d,
        key.k0 ^ 0x6c79_6765_6e65_7261,
        key.k1 ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    let length = (N as u64) * 8 + REST;
    let last = (length << (8 * REST)) | (rest & ((1 << (8 * REST)) - 1));
    state[3] ^= last;
    round(&mut state);
    state[0] ^= last;
    state[2] ^= 0xff;
    round(&mut state);
    round(&mut state);
    round(&mut state);
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
const fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;

    #[test]
    fn agrees_with_the_siphasher_crate() {
        let key = Key {
            k0: 0x0706_0504_0302_0100,
            k1: 0x0f0e_0d0c_0b0a_0908,
        };
        let reference = |words: &[u64], rest: u64| {
            let mut hasher = siphasher::sip::SipHasher13::new_with_keys(key.k0, key.k1);
            words.iter().for_each(|word| hasher.write_u64(*word));
            hasher.write(&rest.to_le_bytes()[..7]);
            hasher.finish()
        };
        for rest in [0, 0x0102_0304_0506_0708, u64::MAX] {
            assert_eq!(siphash13(&key, [], rest), reference(&[], rest));
            assert_eq!(siphash13(&key, [1, 2], rest), reference(&[1, 2], rest));
            let words = [u64::MAX; 5];
            assert_eq!(siphash13(&key, words, rest), reference(&words, rest));
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key { k0: 42, k1: 43 }), "Key(secret)");
    }
}

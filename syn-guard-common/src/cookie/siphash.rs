//! SipHash-1-3 (Aumasson and Bernstein, 2012, with one compression and three
//! finalisation rounds, as in Linux's `hsiphash` and Rust's hash maps) over a
//! few whole words.

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

/// The hash of `words`, each taken as 8 little-endian bytes.
#[inline(always)]
#[must_use]
pub fn siphash13<const N: usize>(key: &Key, words: [u64; N]) -> u64 {
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
    let length = ((N as u64) * 8) << 56;
    state[3] ^= length;
    round(&mut state);
    state[0] ^= length;
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
        let reference = |words: &[u64]| {
            let mut hasher = siphasher::sip::SipHasher13::new_with_keys(key.k0, key.k1);
            words.iter().for_each(|word| hasher.write_u64(*word));
            hasher.finish()
        };
        assert_eq!(siphash13(&key, []), reference(&[]));
        assert_eq!(siphash13(&key, [1, 2, 3]), reference(&[1, 2, 3]));
        assert_eq!(siphash13(&key, [u64::MAX; 6]), reference(&[u64::MAX; 6]));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key { k0: 42, k1: 43 }), "Key(secret)");
    }
}

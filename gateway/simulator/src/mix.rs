//! Deterministic mixing of a seed and coordinates into noise.
//!
//! It is what makes the field a pure function of (seed, meter, time): no state, no clock, no
//! generator that must be advanced. It is not cryptographic; keys come from [`crate::field`].

/// SplitMix64's finaliser: one well-mixed word from one word.
#[must_use]
pub fn word(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Mixes a seed with two coordinates; different purposes use different `purpose` numbers.
#[must_use]
pub fn at(seed: u64, purpose: u64, place: u64) -> u64 {
    word(word(seed ^ purpose.wrapping_mul(0xA24B_AED4_963E_E407)) ^ place)
}

/// An evenly spread number in `low..=high`.
#[must_use]
pub fn between(noise: u64, low: u64, high: u64) -> u64 {
    low + (noise >> 11) % (high - low + 1)
}

/// Whether an event of `parts_per_million` happens for this noise.
#[must_use]
pub fn happens(noise: u64, parts_per_million: u32) -> bool {
    (noise >> 13) % 1_000_000 < u64::from(parts_per_million)
}

#[cfg(test)]
mod tests {
    use super::{at, between, happens};

    #[test]
    fn shares_are_kept_and_places_differ() {
        let hits = (0..100_000).filter(|i| happens(at(7, 1, *i), 10_000)).count();
        assert!((900..1_100).contains(&hits), "{hits} of 100,000 at 1 %");
        assert_ne!(at(7, 1, 1), at(7, 1, 2));
        assert_ne!(at(7, 1, 1), at(7, 2, 1));
        assert!((0..1_000).all(|i| (3..=5).contains(&between(at(1, 2, i), 3, 5))));
    }
}

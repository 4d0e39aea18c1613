//! From a seed to the moment of the kill: the same seed, the same moment.

use std::time::{SystemTime, UNIX_EPOCH};

/// A seed that nobody chose.
pub(super) fn draw() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed again.
    mixed(u64::try_from(since.as_nanos()).unwrap_or(0)) % 1_000_000
}

/// After how many acknowledged payments of `payments` the kill comes: in their middle third.
pub(super) fn moment(seed: u64, payments: u32) -> u32 {
    let third = u64::from(payments / 3).max(1);
    u32::try_from(third + mixed(seed) % third).unwrap_or(payments)
}

/// SplitMix64's finaliser: every bit of the input moves every bit of the output.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_moment_in_the_middle_and_seeds_spread_over_it() {
        let moments: std::collections::BTreeSet<u32> =
            (0..200).map(|seed| moment(seed, 300)).collect();
        assert!(moments.iter().all(|moment| (100..200).contains(moment)), "{moments:?}");
        assert!(moments.len() > 60, "{}", moments.len());
        assert_eq!(moment(7, 300), moment(7, 300));
    }

    #[test]
    fn a_seed_that_nobody_chose_is_another_each_time_and_short() {
        let drawn: std::collections::BTreeSet<u64> = (0..20)
            .map(|_| {
                std::thread::yield_now();
                draw()
            })
            .collect();
        assert!(drawn.len() > 10, "{drawn:?}");
        assert!(drawn.iter().all(|seed| *seed < 1_000_000), "{drawn:?}");
    }
}

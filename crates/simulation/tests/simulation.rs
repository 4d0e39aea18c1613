//! The simulation, run: nothing is lost by the rules as they are, and every planted bug is seen.
//!
//! `POSTHORN_SIMULATION=seed,endpoints,days` makes a longer run of the first test.

use std::collections::BTreeMap;

use simulation::{Failure, Mutation, Options, simulate};

/// Endpoints among which a bug must show itself.
const ENDPOINTS_FOR_A_BUG: u64 = 1_000;
/// Seeds that are tried for each, one after the other.
const SEEDS_FOR_A_BUG: u64 = 2;

/// A short run that stops at the first mistake.
const FOR_BUGS: Options =
    Options { seed: 1, first: 0, endpoints: 1, days: 30, threads: 2, shrinks: false, bug: None };

/// What the environment asks for, or what fits into a test.
fn options() -> Options {
    let Ok(asked) = std::env::var("POSTHORN_SIMULATION") else { return Options::default() };
    let numbers: Vec<u64> = asked
        .split(',')
        .map(|number| number.trim().parse().expect("POSTHORN_SIMULATION is seed,endpoints,days"))
        .collect();
    let [seed, endpoints, days] = numbers[..] else {
        panic!("POSTHORN_SIMULATION is seed,endpoints,days")
    };
    let days = u32::try_from(days).expect("POSTHORN_SIMULATION has too many days");
    Options { seed, endpoints, days, ..Options::default() }
}

#[test]
fn whatever_breaks_nothing_is_lost_passed_or_left_alone() {
    let options = options();
    println!("seed {}, {} days", options.seed, options.days);
    let tally = simulate(options).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{tally}");
    // It must have been worth it: everything that can happen did.
    assert_eq!(
        tally.deliveries,
        tally.delivered + tally.exhausted + tally.cancelled + tally.waiting
    );
    for (what, count) in [
        ("delivered", tally.delivered),
        ("exhausted", tally.exhausted),
        ("cancelled", tally.cancelled),
        ("duplicates", tally.duplicates),
        ("commands", tally.commands),
        ("turns lost", tally.fences_lost),
        ("decided again", tally.moved),
        ("found by the sweeper", tally.swept),
        ("deleted", tally.deleted),
        ("asked", tally.questions),
    ] {
        assert!(count > 0, "nothing was {what}: {tally}");
    }
}

#[test]
fn a_seed_gives_the_same_run_whatever_the_number_of_threads() {
    let options = Options { endpoints: 40, days: 20, ..Options::default() };
    let one = simulate(Options { threads: 1, ..options }).expect("holds");
    let three = simulate(Options { threads: 3, ..options }).expect("holds");
    assert_eq!(one, three);
    let other = simulate(Options { seed: 2, ..options }).expect("holds");
    assert_ne!(one, other);
}

#[test]
fn every_planted_bug_is_caught() {
    let mut caught: BTreeMap<String, String> = BTreeMap::new();
    let mut missed = Vec::new();
    for bug in Mutation::ALL {
        let mut options = Options { endpoints: ENDPOINTS_FOR_A_BUG, bug: Some(bug), ..FOR_BUGS };
        let found = (1..=SEEDS_FOR_A_BUG).find_map(|seed| {
            options.seed = seed;
            simulate(options).err()
        });
        match found {
            Some(failure) => {
                let Failure { seed, endpoint, violation, .. } = *failure;
                let line = format!("{} (seed {seed}, endpoint {endpoint})", violation.check);
                caught.insert(format!("{bug:?}"), line);
            }
            None => missed.push(bug),
        }
    }
    for (bug, check) in &caught {
        println!("{bug}: {check}");
    }
    assert_eq!(missed, [], "not caught");
}

#[test]
fn a_failing_run_is_made_small_and_fails_again() {
    let bug = Some(Mutation::AsideNotTimed);
    let options = Options { endpoints: 200, days: 30, bug, ..Options::default() };
    let failure = simulate(options).expect_err("a bug is planted");
    assert!(failure.size * 4 < failure.size_before, "{failure}");
    assert!(!failure.trace.is_empty());
    let again = Options { first: failure.endpoint, endpoints: 1, ..options };
    let again = simulate(again).expect_err("it fails again");
    assert_eq!(again.violation, failure.violation);
    assert_eq!(again.scenario, failure.scenario);
    assert!(failure.to_string().contains("posthorn simulate --seed 1 --first"), "{failure}");
}

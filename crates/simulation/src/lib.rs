//! The simulation: the product's rules under a virtual clock, with everything around them that can
//! break.
//!
//! The rules (`domain::endpoint`, `domain::wake`) are the product's own. Around them stand models:
//! PostgreSQL with its fence and versions, Restate with its inbox and timers, the relay, `notify`,
//! the worker's slices, merchants, operators, the sweeper. A scenario (payments, a merchant, what
//! breaks where, what operators order) comes from a seed. A witness counts from outside and says
//! which sentence is not true. A run is the same every time, and one that fails is made smaller
//! until nothing can be left out of it.
//!
//! Nothing here reads a clock, draws a number, sleeps or touches the world.

mod announcing;
mod breaking;
mod clock;
mod database;
mod dice;
mod mutation;
mod restate;
mod scenario;
mod script;
mod shell;
mod shrink;
mod sweeper;
mod tally;
mod violation;
mod witness;
mod world;

pub use mutation::Mutation;
pub use scenario::Deed;
pub use script::{DeliveryStanding, Replies, Reply, Script, Standing, Step, play};
pub use shrink::Failure;
pub use tally::Tally;
pub use violation::Violation;

use scenario::Scenario;
use world::World;

/// Days that a simulation may take, at most: its clock has room for a century, its queue has not.
pub const DAYS_MAX: u32 = 366;
/// Endpoints that a simulation may have, at most.
pub const ENDPOINTS_MAX: u64 = 1_000_000;

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Determines everything.
    pub seed: u64,
    /// The first endpoint: to see one again.
    pub first: u64,
    /// How many endpoints, 1 to [`ENDPOINTS_MAX`].
    pub endpoints: u64,
    /// Over how many days each, 1 to [`DAYS_MAX`]; nine quiet ones follow.
    pub days: u32,
    /// How many threads share the work.
    pub threads: u64,
    /// Is a scenario that fails made smaller? That takes some hundred runs of it.
    pub shrinks: bool,
    /// A bug to plant.
    pub bug: Option<Mutation>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, first: 0, endpoints: 2_000, days: 60, threads: 2, shrinks: true, bug: None }
    }
}

/// Runs a simulation. The same options give the same result, whatever the number of threads.
///
/// # Errors
/// The first endpoint at which a sentence is not true, with its scenario made as small as can be.
pub fn simulate(options: Options) -> Result<Tally, Box<Failure>> {
    let Options { seed, first, endpoints, days, threads, shrinks, bug } = options;
    let (days, threads) = (days.clamp(1, DAYS_MAX), threads.clamp(1, 64));
    let last = first.saturating_add(endpoints.clamp(1, ENDPOINTS_MAX));
    // What a thread did, or the first endpoint at which it found a mistake.
    let share = |thread: u64| {
        let mut tally = Tally::default();
        for endpoint in (first..last).filter(|endpoint| endpoint % threads == thread) {
            let scenario = Scenario::generate(seed, endpoint, days);
            tally += World::new(&scenario, bug, false).run().0.map_err(|_| endpoint)?;
        }
        Ok(tally)
    };
    let shares: Vec<Result<Tally, u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|t| scope.spawn(move || share(t))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(share) => share,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect()
    });
    if let Some(endpoint) = shares.iter().filter_map(|share| share.err()).min() {
        let scenario = Scenario::generate(seed, endpoint, days);
        return Err(Box::new(Failure::of(scenario, days, bug, shrinks)));
    }
    let mut tally = Tally::default();
    shares.into_iter().flatten().for_each(|part| tally += part);
    Ok(tally)
}

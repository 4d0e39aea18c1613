//! Very many events at once at a healthy endpoint: what is of it in Restate meanwhile, and how long
//! somebody else waits.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, Request, invocations_of, until};
use sqlx::{Connection, PgConnection};

use crate::{id_of, pay};

/// An unoptimised build delivers 50 to 200 a second to one endpoint.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two payments of somebody else.
const PACE: Duration = Duration::from_millis(100);
/// Between two looks at Restate.
const SAMPLE: Duration = Duration::from_millis(100);

pub(crate) async fn measure(events: i64) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let api = lab.api()?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let (busy, other) = (Receiver::start().await?, Receiver::start().await?);
    let endpoint = api.merchant("busy", busy.url()).await?;
    api.merchant("other", other.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // What is slow only once, such as the first connection, is no figure of ours.
    api.payment("other", 1).await?;
    other.wait_for(1, PATIENCE).await?;

    let began = Instant::now();
    pay(&mut db, "busy", events).await?;
    println!("{events} events were written, in one transaction, in {:.1?}", began.elapsed());
    let delivered = AtomicBool::new(false);
    let (most, made) = tokio::try_join!(
        async {
            let most = watch(&restate, &endpoint, &mut db).await?;
            delivered.store(true, Ordering::Relaxed);
            Ok(most)
        },
        pay_beside(&api, &delivered),
    )?;
    let took = began.elapsed();
    let rate = f64::from(u32::try_from(events)?) / took.as_secs_f64();
    println!("all were delivered {took:.1?} after the transaction began ({rate:.0}/s)");
    until("Restate has nothing left of it", PATIENCE, async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    println!("most invocations of the endpoint seen meanwhile: {most}; left: 0");
    say_what_arrived(&busy.requests(), usize::try_from(events)?)?;
    other.wait_for(made.len() + 1, PATIENCE).await?;
    say_latencies(&other.requests(), &made)
}

/// Until nothing waits at `endpoint`; the most invocations that were seen in any sample.
async fn watch(restate: &Api, endpoint: &str, db: &mut PgConnection) -> anyhow::Result<usize> {
    let id = id_of(endpoint)?;
    let begun = Instant::now();
    let mut most = 0;
    loop {
        most = most.max(invocations_of(restate, endpoint).await?.len());
        let waits = "select exists (select from deliveries where endpoint_id = $1)";
        let waits: bool = sqlx::query_scalar(waits).bind(id).fetch_one(&mut *db).await?;
        if !waits {
            return Ok(most);
        }
        ensure!(begun.elapsed() < PATIENCE, "not delivered within {PATIENCE:?}");
        tokio::time::sleep(SAMPLE).await;
    }
}

/// Pays for somebody else until `ended`; the payments, and when each call began.
async fn pay_beside(api: &Api, ended: &AtomicBool) -> anyhow::Result<HashMap<String, Instant>> {
    let mut made = HashMap::new();
    let mut pace = tokio::time::interval(PACE);
    while !ended.load(Ordering::Relaxed) {
        pace.tick().await;
        let began = Instant::now();
        made.insert(api.payment("other", 1).await?, began);
    }
    Ok(made)
}

fn say_what_arrived(requests: &[Request], events: usize) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let mut first: Vec<i64> = Vec::new();
    for request in requests {
        if seen.insert(request.header("webhook-id").to_owned()) {
            first.push(request.json()["data"]["amount"].as_i64().context("an amount")?);
        }
    }
    let late = first.windows(2).filter(|pair| pair[0] > pair[1]).count();
    println!(
        "its merchant got {} of {events}, {} of them twice, {late} out of order",
        first.len(),
        requests.len() - first.len(),
    );
    ensure!(first.len() == events, "{} arrived", first.len());
    Ok(())
}

fn say_latencies(requests: &[Request], made: &HashMap<String, Instant>) -> anyhow::Result<()> {
    let began = |request: &Request| Some(request.at - *made.get(&request.payment())?);
    let mut took: Vec<Duration> = requests.iter().filter_map(began).collect();
    took.sort_unstable();
    let of_hundred = |n: usize| took[(took.len() - 1) * n / 100];
    ensure!(!took.is_empty(), "nothing of the other arrived");
    println!(
        "{} payments of another merchant meanwhile, from the call to the request: p50 {:.0?}, \
         p99 {:.0?}, slowest {:.0?}",
        took.len(),
        of_hundred(50),
        of_hundred(99),
        of_hundred(100),
    );
    Ok(())
}

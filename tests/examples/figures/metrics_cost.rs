//! What metrics cost: what is counted of one attempt, and a scrape beside many endpoints.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use observability::metrics::{WaitedFor, worker};
use posthorn_tests::{Answer, Api, Lab, Receiver, until};

const PATIENCE: Duration = Duration::from_secs(600);
const ROUNDS: u32 = 200_000;
const SCRAPES: usize = 200;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) async fn measure(endpoints: i64) -> anyhow::Result<()> {
    for (what, trace) in [("with a trace as its example", Some(TRACE)), ("without a trace", None)] {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            observe(black_box(trace));
        }
        let ns = began.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS);
        println!("all that is counted of one attempt, {what}: {ns:.0} ns");
    }

    let lab = Lab::start().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    // Something waits at each of them: they compete for the 20 that have a series of their own.
    receiver.rule(|_| Some(Answer::Status(500)));
    for n in 0..endpoints {
        let merchant = format!("metrics-{n}");
        api.merchant(&merchant, receiver.url()).await?;
        api.payment(&merchant, 1).await?;
    }
    let (ports, count) = (lab.ports()?, f64::from(u32::try_from(endpoints)?));
    let scraped = Api::new(&format!("http://127.0.0.1:{}", ports.worker_health))?;
    until("the endpoints are in the worker's gauges", PATIENCE, async || {
        let text = scrape(&scraped).await?;
        let active =
            text.lines().find_map(|it| it.strip_prefix("posthorn_endpoints{status=\"active\"} "));
        let active: f64 = active.context("no such gauge")?.parse()?;
        ensure!(active >= count, "{active}");
        Ok(())
    })
    .await?;
    for (role, port) in [
        ("worker", ports.worker_health),
        ("relay", ports.relay_health),
        ("api", ports.http),
        ("data-service", ports.data_service),
    ] {
        let api = Api::new(&format!("http://127.0.0.1:{port}"))?;
        let (mut took, mut bytes, mut series) = (Vec::new(), 0, 0);
        for _ in 0..SCRAPES {
            let asked = Instant::now();
            let text = scrape(&api).await?;
            took.push(asked.elapsed());
            bytes = text.len();
            series = text.lines().filter(|line| !line.starts_with('#')).count();
        }
        took.sort();
        let (middle, last) = (took[SCRAPES / 2], took[SCRAPES - 1]);
        println!(
            "a scrape of the {role}, {endpoints} endpoints: {middle:.2?} (median of {SCRAPES}; \
             the slowest {last:.2?}), {bytes} bytes, {series} series"
        );
    }
    Ok(())
}

/// As the worker does it for an attempt that delivers: its look, its attempt, its settle.
fn observe(trace: Option<&str>) {
    let (worker, took) = (worker(), Duration::from_millis(3));
    worker.looked(took);
    let under_way = worker.attempt_begins();
    worker.first_attempt(WaitedFor::Nothing, 0.012, trace);
    worker.delivered(true, 0.015, trace);
    worker.attempt_ended("delivered", None, took, trace);
    drop(under_way);
    worker.settled("settled", took);
    worker.slice_ended("ended");
}

async fn scrape(api: &Api) -> anyhow::Result<String> {
    let text = api.get("/metrics").await?;
    Ok(text.as_str().context("no text")?.to_owned())
}

//! Under which conditions a run was made. A figure without them means nothing.

use std::process::Command;

use serde::Serialize;

use crate::config::{Config, Scenario, Via};
use crate::stack::Stack;
use crate::target::Target;

/// The conditions.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    pub scenario: String,
    pub via: &'static str,
    pub rate: Option<f64>,
    pub seconds: u64,
    pub endpoints: u32,
    pub burst: Option<u32>,
    pub refund_percent: u64,
    pub callers: u16,
    pub kill: Option<String>,
    /// Of the sources in the working directory.
    pub git_revision: String,
    pub build: &'static str,
    pub cores: usize,
    pub cpu: String,
    /// One, five and fifteen minutes, before the load began.
    pub load_average_before: String,
    pub load_average_after: String,
    /// Parts that say their version, with it.
    pub versions: Vec<(String, String)>,
}

impl Conditions {
    /// What can be known before the load begins.
    pub(crate) async fn read(config: &Config, stack: &Stack, target: &Target) -> Self {
        let scenario = match config.scenario {
            Scenario::Steady => "steady",
            Scenario::FlatOut => "flat out",
            Scenario::Burst => "burst",
        };
        Self {
            scenario: scenario.to_owned(),
            via: match config.via {
                Via::Grpc => "gRPC",
                Via::Sql => "SQL",
            },
            rate: (config.scenario != Scenario::FlatOut).then_some(config.rate),
            seconds: config.seconds,
            endpoints: config.endpoints,
            burst: (config.scenario == Scenario::Burst).then_some(config.burst),
            refund_percent: config.refund_percent,
            callers: config.concurrency,
            kill: config.kill.clone(),
            git_revision: git_revision(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: cpu(),
            load_average_before: load_average(),
            load_average_after: String::new(),
            versions: versions(stack, target).await,
        }
    }
}

/// One, five and fifteen minutes.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The processor, as it calls itself.
pub fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Of the sources in the working directory.
pub fn git_revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(revision), Some(changes)) if changes.is_empty() => revision,
        (Some(revision), _) => format!("{revision} with changes"),
        (None, _) => "unknown".to_owned(),
    }
}

async fn versions(stack: &Stack, target: &Target) -> Vec<(String, String)> {
    let mut versions = vec![("Posthorn".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some(url) = &target.database_url
        && let Ok(store) = store::Store::new(url, "posthorn bench", 1)
        && let Ok(version) = store.server_version().await
    {
        versions.push(("PostgreSQL".to_owned(), version));
    }
    let services = stack.services().unwrap_or_default();
    for port in services.iter().filter(|s| s.name == "restate").flat_map(|s| &s.ports) {
        // Its admin port says it; the others answer something else, or nothing.
        if let Some(version) = restate_version(*port).await {
            versions.push(("Restate".to_owned(), version));
        }
    }
    versions
}

async fn restate_version(port: u16) -> Option<String> {
    let timeout = std::time::Duration::from_secs(1);
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().build().ok()?;
    let answer = client.get(format!("http://127.0.0.1:{port}/version")).send().await.ok()?;
    let answer: serde_json::Value = answer.json().await.ok()?;
    answer["version"].as_str().map(str::to_owned)
}

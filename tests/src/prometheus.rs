//! A Prometheus that scrapes a lab: Debian's own, where it is installed.
//!
//! It dies with the test process, and its data with it. Without `prometheus` there is none, and
//! whoever needs one says loudly that a test was skipped; `scripts/prerequisites test` installs it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use stack::Ports;
use tempfile::TempDir;

use crate::lab::{bound_to_us, spawn_bound};
use crate::{Api, Lab, until};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    api: Api,
    child: Child,
    _dir: TempDir,
}

impl Prometheus {
    /// Is `program` of Debian's package here? Says loudly that `test` is skipped when it is not.
    pub fn has(program: &str, test: &str) -> bool {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            eprintln!("SKIPPED: {test}: there is no {program}; scripts/prerequisites test");
        }
        found
    }

    /// Starts one that scrapes every role of `lab` each second, by the configuration that is shipped.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("posthorn-prometheus-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.path().join("prometheus.yaml");
        std::fs::write(&config, shipped(&lab.ports()?)?)?;
        let mut command = bound_to_us(Path::new("prometheus"))?;
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--enable-feature=exemplar-storage", "--log.level=warn"])
            .stdin(Stdio::null());
        let child = spawn_bound(command)?;
        let api = Api::new(&format!("http://127.0.0.1:{port}"))?;
        until("prometheus is ready", START_LIMIT, async || api.get("/-/ready").await.map(drop))
            .await?;
        Ok(Self { api, child, _dir: dir })
    }

    /// A GET of its API, such as `rules`; what is under `data`.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut answer = self.api.get(&format!("/api/v1/{path}")).await?;
        Ok(answer["data"].take())
    }

    /// What `expression` is now: the values that are numbers.
    ///
    /// # Errors
    /// When it cannot be read, or gives no number.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<f64>> {
        let data = self.get(&format!("query?query={}", percent(expression))).await?;
        let series = data["result"].as_array().context("no result")?;
        let number = |one: &Value| one["value"][1].as_str()?.parse::<f64>().ok();
        let values: Vec<f64> =
            series.iter().filter_map(number).filter(|value| value.is_finite()).collect();
        ensure!(!values.is_empty(), "no data for {expression}: {data}");
        Ok(values)
    }

    /// The exemplars of `series` of the last minutes, as they are told.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn exemplars(&self, series: &str) -> anyhow::Result<Value> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let (start, end) = (now - 600, now + 60);
        let query = percent(series);
        self.get(&format!("query_exemplars?query={query}&start={start}&end={end}")).await
    }
}

/// The configuration that is shipped, with the ports of this stack, and faster.
fn shipped(here: &Ports) -> anyhow::Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observability").canonicalize()?;
    let text = std::fs::read_to_string(folder.join("prometheus.yaml"))?;
    let there = Ports::default();
    let mut left = vec![
        (there.http, here.http),
        (there.relay_health, here.relay_health),
        (there.worker_health, here.worker_health),
        (there.data_service, here.data_service),
        (there.simulator, here.simulator),
        (there.traces, here.traces),
    ];
    let mut lines = Vec::new();
    for line in text.replace("_interval: 15s", "_interval: 1s").lines() {
        let of_line = |(there, _): &(u16, u16)| line.contains(&format!("127.0.0.1:{there}\""));
        let line = match left.iter().position(of_line).map(|at| left.remove(at)) {
            Some((there, here)) => line.replace(&format!(":{there}\""), &format!(":{here}\"")),
            None => line.replace("- alerts/", &format!("- {}/alerts/", folder.display())),
        };
        lines.push(line);
    }
    ensure!(left.is_empty(), "observability/prometheus.yaml does not scrape {left:?}");
    Ok(lines.join("\n"))
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a URL's query: whatever is not plain is escaped.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

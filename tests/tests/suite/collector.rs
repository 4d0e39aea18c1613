//! The collector's configuration that is shipped, in a real collector: Jaeger is one, and has every
//! component that the configuration names.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Api, Lab, Receiver, Traces, binary, until};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::merchant;
use crate::observed::root;
use crate::traces::{jaeger, of_caller, pay};

const SOON: Duration = Duration::from_secs(60);
/// Payments of which nothing is to be said.
const WELL: usize = 20;
/// One in a hundred is kept, and what is slow: a machine that is busy makes some slow.
const KEPT_MAX: usize = 10;
/// Traces that a policy is for, of each policy; by chance, one in a hundred of them would be kept.
const SPECIAL: usize = 20;
/// Traces that no policy is for but the last: that it keeps none of so many happens once in a billion.
const ORDINARY: usize = 2_000;

#[test]
fn the_collectors_configuration_is_one_that_a_collector_takes() -> anyhow::Result<()> {
    let Some(jaeger) = jaeger("the collector's configuration") else { return Ok(()) };
    let config = root().join("observability/collector.yaml");
    let mut validate = std::process::Command::new(jaeger);
    let output = validate.args(["validate", "--config"]).arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn free() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program that ends with the test.
fn start(program: &Path, arguments: &[String], variable: (&str, &str)) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).env(variable.0, variable.1).kill_on_drop(true);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A collector with the configuration that is shipped, and a role that shows what it keeps.
struct Collecting {
    /// Where spans go: by gRPC as ours, by HTTP and JSON as a test writes them.
    grpc: u16,
    http: u16,
    shows: u16,
    _running: [Child; 2],
    _folder: tempfile::TempDir,
}

impl Collecting {
    async fn start(jaeger: &Path) -> anyhow::Result<Self> {
        let (grpc, http, shows, shown) = (free()?, free()?, free()?, free()?);
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("collector.yaml");
        let shipped = std::fs::read_to_string(root().join("observability/collector.yaml"))?;
        let endpoint = "grpc: { endpoint: 0.0.0.0:4317 }";
        ensure!(shipped.contains(endpoint) && shipped.contains("decision_wait: 30s"));
        let both =
            format!("grpc: {{ endpoint: {} }}\n      http: {{ endpoint: {} }}", at(grpc), at(http));
        // What a merchant's retries ask for, and no test.
        let here = shipped.replace("decision_wait: 30s", "decision_wait: 2s").replace(
            // Its own figures have one port, and there may be two collectors.
            "\nservice:\n",
            "\nservice:\n  telemetry: { metrics: { level: none } }\n",
        );
        std::fs::write(&config, here.replace(endpoint, &both))?;
        let role =
            ["traces", "--listen", &at(shows), "--otlp-listen", &at(shown)].map(str::to_owned);
        let role = start(&binary()?, &role, ("POSTHORN_LOG", "error"))?;
        let config = ["--config".to_owned(), config.display().to_string()];
        let collector = start(jaeger, &config, ("TRACES_ENDPOINT", &at(shown)))?;
        until("the collector takes spans", SOON, async || {
            tokio::net::TcpStream::connect(at(grpc)).await?;
            tokio::net::TcpStream::connect(at(http)).await?;
            tokio::net::TcpStream::connect(at(shows)).await?;
            Ok(())
        })
        .await?;
        Ok(Self { grpc, http, shows, _running: [role, collector], _folder: folder })
    }

    /// Sends `count` traces of one span each, of a service of their own.
    async fn send(&self, service: &str, count: usize, span: &OneSpan) -> anyhow::Result<()> {
        let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let spans: Vec<Value> = (0..count)
            .map(|_| {
                let id = Uuid::new_v4().simple().to_string();
                json!({
                    "traceId": id,
                    "spanId": &id[..16],
                    "name": service,
                    "kind": 5,
                    "startTimeUnixNano": began.as_nanos().to_string(),
                    "endTimeUnixNano": (began + span.took).as_nanos().to_string(),
                    "attributes": [
                        { "key": "posthorn.attempt.number",
                          "value": { "intValue": span.number.to_string() } },
                        { "key": "posthorn.outcome", "value": { "stringValue": span.outcome } },
                    ],
                    "status": { "code": if span.is_error { 2 } else { 0 } },
                })
            })
            .collect();
        let name = json!({ "key": "service.name", "value": { "stringValue": service } });
        let body = json!({ "resourceSpans": [{
            "resource": { "attributes": [name] },
            "scopeSpans": [{ "spans": spans }],
        }] });
        let collector = Api::new(&format!("http://{}", at(self.http)))?;
        collector.post("/v1/traces", &body).await?;
        Ok(())
    }

    /// How many traces of this service were kept.
    async fn kept(&self, service: &str) -> anyhow::Result<usize> {
        let shown = Api::new(&format!("http://{}", at(self.shows)))?;
        let path = format!("/api/traces?service={service}&lookback=1h&limit=1500");
        Ok(shown.get(&path).await?["data"].as_array().map_or(0, Vec::len))
    }
}

/// What the policies look at.
#[derive(Clone, Copy)]
struct OneSpan {
    number: u32,
    outcome: &'static str,
    is_error: bool,
    took: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_keeps_what_it_is_for_and_of_the_rest_one_in_a_hundred_is_kept()
-> anyhow::Result<()> {
    let Some(jaeger) = jaeger("what each policy keeps") else { return Ok(()) };
    let collecting = Collecting::start(&jaeger).await?;
    let took = Duration::from_millis(900);
    let well = OneSpan { number: 1, outcome: "delivered", is_error: false, took };
    // Each of these is for one policy alone.
    let special = [
        ("failed", OneSpan { is_error: true, ..well }),
        ("tried-again", OneSpan { number: 2, ..well }),
        ("our-fault", OneSpan { outcome: "fault", ..well }),
        ("gone", OneSpan { outcome: "gone", ..well }),
        ("slow", OneSpan { took: Duration::from_millis(1_100), ..well }),
    ];
    collecting.send("the-rest", ORDINARY, &well).await?;
    for (service, span) in &special {
        collecting.send(service, SPECIAL, span).await?;
    }
    for (service, _) in special {
        until(&format!("all of {service} are kept"), SOON, async || {
            let kept = collecting.kept(service).await?;
            ensure!(kept == SPECIAL, "{kept} of {SPECIAL}");
            Ok(())
        })
        .await?;
    }
    // They came first, so it was decided on them first.
    let kept = collecting.kept("the-rest").await?;
    ensure!((1..ORDINARY / 20).contains(&kept), "{kept} of {ORDINARY} were kept");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_keeps_a_failure_and_few_of_what_went_well() -> anyhow::Result<()> {
    let Some(jaeger) = jaeger("the collector's choice") else { return Ok(()) };
    let collecting = Collecting::start(&jaeger).await?;
    let shows = collecting.shows;
    let to_it = format!("http://{}", at(collecting.grpc));
    let lab = Lab::start_with(&[("POSTHORN_OTLP_ENDPOINT", &to_it)]).await?;
    let api = lab.api()?;
    let (well, failing) = (Receiver::start().await?, Receiver::start().await?);
    let (takes_all, fails) = (merchant("collected"), merchant("collected-failing"));
    api.merchant(&takes_all, well.url()).await?;
    api.merchant(&fails, failing.url()).await?;
    failing.script([Answer::Status(500)]);
    let mut went_well = Vec::new();
    for _ in 0..WELL {
        let (id, header) = of_caller();
        pay(&lab, &takes_all, &header).await?;
        went_well.push(id);
    }
    well.wait_for(WELL, SOON).await?;
    let (failed, header) = of_caller();
    pay(&lab, &fails, &header).await?;
    // The last one: when its trace was decided on, so were the others'.
    let kept = |trace: &posthorn_tests::Trace| trace.only("attempt 1").map(drop);
    Traces::new(shows)?.read(&failed, kept).await?;
    let shown = Api::new(&format!("http://{}", at(shows)))?;
    let mut kept = 0;
    for id in went_well {
        let (status, _) = shown.send("GET", &format!("/api/traces/{id}"), &[], "").await?;
        kept += usize::from(status == 200);
    }
    ensure!(kept < KEPT_MAX, "{kept} of {WELL} were kept");
    Ok(())
}

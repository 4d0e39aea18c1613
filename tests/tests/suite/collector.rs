//! The collector's configuration that is shipped, in a real collector: Jaeger is one, and has every
//! component that the configuration names.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Api, Lab, Receiver, Traces, binary, until};
use tokio::process::{Child, Command};

use crate::merchant;
use crate::observed::root;
use crate::traces::{jaeger, of_caller, pay};

const SOON: Duration = Duration::from_secs(60);
/// Payments of which nothing is to be said.
const WELL: usize = 20;
/// One in a hundred is kept, and what is slow: a machine that is busy makes some slow.
const KEPT_MAX: usize = 10;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_keeps_a_failure_and_few_of_what_went_well() -> anyhow::Result<()> {
    let Some(jaeger) = jaeger("the collector's choice") else { return Ok(()) };
    let (takes, shows, shown) = (free()?, free()?, free()?);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("collector.yaml");
    let shipped = std::fs::read_to_string(root().join("observability/collector.yaml"))?;
    let here = shipped
        .replace("0.0.0.0:4317", &at(takes))
        // What a merchant's retries ask for, and no test.
        .replace("decision_wait: 30s", "decision_wait: 2s");
    std::fs::write(&config, here)?;
    let role = ["traces", "--listen", &at(shows), "--otlp-listen", &at(shown)].map(str::to_owned);
    let _role = start(&binary()?, &role, ("POSTHORN_LOG", "error"))?;
    let config = ["--config".to_owned(), config.display().to_string()];
    let _collector = start(&jaeger, &config, ("TRACES_ENDPOINT", &at(shown)))?;
    until("the collector takes spans", SOON, async || {
        tokio::net::TcpStream::connect(at(takes)).await?;
        Ok(())
    })
    .await?;

    let to_it = format!("http://{}", at(takes));
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

//! `posthorn health`: asks a role of this machine whether it is ready, for a container's health
//! check: the image holds this binary and nothing else that could ask.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

/// Docker gives a check three seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// What must answer with success, such as http://127.0.0.1:9101/readyz.
    url: reqwest::Url,
}

pub(crate) async fn health(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    // To this machine alone: no proxy, and nobody there redirects.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()?;
    let answer = client.get(args.url.clone()).send().await?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{} answered {status}: {}", args.url, answer.text().await.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

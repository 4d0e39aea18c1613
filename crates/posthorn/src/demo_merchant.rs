//! `posthorn demo-merchant`: what `up` makes for its first payment, for a stack that another started.

use std::process::ExitCode;

use clap::Args;

use crate::say::say;

#[derive(Debug, Args)]
pub(crate) struct DemoMerchantArgs {
    /// The api role's HTTP/JSON front.
    #[arg(long, env = "POSTHORN_API_URL", default_value = "http://127.0.0.1:3001")]
    api_url: String,
    /// Where its webhooks go.
    #[arg(long, default_value = "http://127.0.0.1:4001/webhooks/demo")]
    url: String,
}

pub(crate) async fn demo_merchant(args: &DemoMerchantArgs) -> anyhow::Result<ExitCode> {
    crate::up::demo_merchant(&args.api_url, &args.url).await?;
    say!("The merchant demo has its endpoint at {}.", args.url);
    Ok(ExitCode::SUCCESS)
}

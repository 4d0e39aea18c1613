//! `posthorn migrate`: the schema, brought up to date; nothing when it is.

use std::process::ExitCode;

use clap::Args;
use store::Store;

use crate::say::say;

/// One statement at a time.
const CONNECTIONS: u32 = 1;

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

pub(crate) async fn migrate(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    Store::new(&args.database_url, "posthorn-migrate", CONNECTIONS)?.migrate().await?;
    say!("The schema is up to date.");
    Ok(ExitCode::SUCCESS)
}

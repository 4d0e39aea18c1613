//! `posthorn secrets`: the keys that seal secrets, made anew and taken into use.
//!
//! A ring rotates in four steps: `new-key` in front of the key file, the roles started again with
//! it, `reencrypt`, the old key taken out. Nothing is ever unreadable on the way: the first key
//! seals, all of them open.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use delivery::KeyConfig;
use delivery::secrets::{KeyRing, SealError, Sealed};
use store::{SealedSecret, SealedUnder, Store};

use crate::say::{self, say};

/// One statement at a time.
const CONNECTIONS: u32 = 1;
/// Read in one go.
const PAGE: i64 = 500;

#[derive(Args)]
pub(crate) struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Subcommand)]
enum SecretsCommand {
    /// Print a line with a new random key, to be put in front of the key file.
    NewKey {
        /// Its id: 1 to 32 of A-Z a-z 0-9 _ -
        key_id: String,
    },
    /// Seal with the ring's first key everything that another key sealed. Safe to repeat.
    Reencrypt(ReencryptArgs),
}

#[derive(Args)]
struct ReencryptArgs {
    #[command(flatten)]
    keys: KeyConfig,
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

pub(crate) async fn secrets(args: &SecretsArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        SecretsCommand::NewKey { key_id } => {
            say::text(&*KeyRing::generate_line(key_id)?);
            Ok(ExitCode::SUCCESS)
        }
        SecretsCommand::Reencrypt(args) => reencrypt(args).await,
    }
}

/// Fails (exit status 1) when something is left that the ring's first key did not seal.
async fn reencrypt(args: &ReencryptArgs) -> anyhow::Result<ExitCode> {
    let ring = args.keys.key_ring()?;
    let store = Store::new(&args.database_url, "posthorn-secrets", CONNECTIONS)?;
    let (mut sealed_again, mut failed) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = store.sealed_with_another_key(ring.sealing_key_id(), after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.endpoint_id, last.version));
        for old in &page {
            match seal(&ring, old) {
                // False: it was rotated meanwhile, and what is there now is newer.
                Ok(sealed) => sealed_again += u64::from(store.seal_again(old, &sealed).await?),
                Err(error) => {
                    failed += 1;
                    eprintln!("posthorn: {}: {error}", place(old));
                }
            }
        }
    }
    let left = store.sealed_with_another_key(ring.sealing_key_id(), None, 1).await?;
    say!(
        "Sealed {sealed_again} again with `{}`; {failed} could not be opened.",
        ring.sealing_key_id()
    );
    if left.is_empty() {
        say!(
            "Nothing is sealed with another key, save the answers that are kept for idempotency \
             keys: take the others out of the ring in 24 hours. Sooner, a repeat of a call that \
             made a secret is not shown it again."
        );
        return Ok(ExitCode::SUCCESS);
    }
    let left = left.first().map(place).context("nothing left")?;
    say!(
        "Something is still sealed with another key ({left}): keep the others, and run it again once every role has the new ring."
    );
    Ok(ExitCode::FAILURE)
}

fn seal(ring: &KeyRing, old: &SealedUnder) -> Result<SealedSecret, SealError> {
    let SealedSecret { key_id, ciphertext } = old.sealed.clone();
    let sealed = Sealed { key_id, ciphertext };
    let endpoint = old.endpoint_id;
    let Sealed { key_id, ciphertext } = match old.version {
        Some(version) => {
            let secret = ring.open(&sealed, endpoint, version)?;
            ring.seal(&secret, endpoint, version)?
        }
        None => ring.seal_headers(&ring.open_headers(&sealed, endpoint)?, endpoint)?,
    };
    Ok(SealedSecret { key_id, ciphertext })
}

fn place(of: &SealedUnder) -> String {
    match of.version {
        Some(version) => format!("secret {version} of {}", of.endpoint_id),
        None => format!("the headers of {}", of.endpoint_id),
    }
}

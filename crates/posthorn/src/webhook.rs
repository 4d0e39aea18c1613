//! `posthorn webhook sign|verify`: what the product does with a body, for a body on standard input.
//!
//! A secret comes from a file or the environment, never as an argument, and is never printed. The
//! body is taken byte for byte: a line break at its end is part of it.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use delivery::limits::REQUEST_BODY_BYTES_MAX;
use delivery::secrets::Secret;
use delivery::sign::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};
use delivery::verify::{TOLERANCE_S, VerifyingKey, Webhook, verify};
use domain::EventId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::say::say;

#[derive(Args)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Subcommand)]
enum WebhookCommand {
    /// Sign the body on standard input; prints the three headers.
    Sign(SignArgs),
    /// Verify the body on standard input by its three headers. Exit status 1: not accepted.
    Verify(VerifyArgs),
}

// Not `Debug`: one of the options is a secret.
#[derive(Args)]
struct SecretArgs {
    /// A file with a secret a line: whsec_… (HMAC-SHA256) or whsk_… (ed25519); to verify also
    /// whpk_…
    #[arg(long, env = "POSTHORN_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Where secrets are taken from when there is no file.
const SECRET_VARIABLE: &str = "POSTHORN_WEBHOOK_SECRET";

#[derive(Args)]
struct SignArgs {
    #[command(flatten)]
    secrets: SecretArgs,
    /// The event's id, without a dot. Default: a new one.
    #[arg(long)]
    id: Option<String>,
    /// Seconds since 1970. Default: now.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    timestamp: Option<i64>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    secrets: SecretArgs,
    /// The header webhook-id.
    #[arg(long)]
    id: String,
    /// The header webhook-timestamp.
    #[arg(long)]
    timestamp: String,
    /// The header webhook-signature.
    #[arg(long)]
    signature: String,
    /// How far the timestamp may be from now, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = TOLERANCE_S)]
    tolerance: u64,
    /// Take this for now: seconds since 1970. For a webhook that was kept.
    #[arg(long, value_name = "SECONDS")]
    at: Option<i64>,
}

pub(crate) fn webhook(args: &WebhookArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        WebhookCommand::Sign(args) => sign(args),
        WebhookCommand::Verify(args) => check(args),
    }
}

fn sign(args: &SignArgs) -> anyhow::Result<ExitCode> {
    let secrets: Vec<Secret> = args.secrets.parse()?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => EventId::from(Uuid::now_v7()).to_string(),
    };
    let is_header = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(is_header, "--id must be visible ASCII");
    ensure!(!id.contains('.'), "--id must not contain a dot: the signed bytes would be ambiguous");
    let timestamp = args.timestamp.unwrap_or_else(now_s);
    let body = read_body()?;
    let signature = signature(&secrets, &id, timestamp, &body).context("no secret to sign with")?;
    let timestamp = timestamp.to_string();
    let headers =
        [(ID_HEADER, &id), (TIMESTAMP_HEADER, &timestamp), (SIGNATURE_HEADER, &signature)];
    if args.json {
        let object: serde_json::Map<_, _> = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.as_str().into()))
            .collect();
        say!("{}", serde_json::Value::from(object));
    } else {
        for (name, value) in headers {
            say!("{name}: {value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys: Vec<VerifyingKey> = args.secrets.parse()?;
    let body = read_body()?;
    let webhook = Webhook {
        id: &args.id,
        timestamp: &args.timestamp,
        signature: &args.signature,
        body: &body,
    };
    match verify(&keys, &webhook, args.at.unwrap_or_else(now_s), args.tolerance) {
        Ok(scheme) => {
            say!("accepted: signed by {}", scheme.as_str());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say!("rejected: {} ({error})", error.code());
            Ok(ExitCode::FAILURE)
        }
    }
}

impl SecretArgs {
    fn parse<T: std::str::FromStr<Err = delivery::secrets::SecretError>>(
        &self,
    ) -> anyhow::Result<Vec<T>> {
        let text = match &self.secret_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => match std::env::var(SECRET_VARIABLE) {
                Ok(text) => text,
                Err(_) => bail!("no secret: set {SECRET_VARIABLE} or name a --secret-file"),
            },
        };
        let secrets: Vec<T> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(!secrets.is_empty(), "there is no secret in what was given");
        Ok(secrets)
    }
}

fn read_body() -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = u64::try_from(REQUEST_BODY_BYTES_MAX)? + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut body)?;
    ensure!(
        body.len() <= REQUEST_BODY_BYTES_MAX,
        "the body is larger than {REQUEST_BODY_BYTES_MAX} bytes, which is never delivered"
    );
    Ok(body)
}

fn now_s() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

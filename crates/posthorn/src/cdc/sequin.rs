//! Sequin's management API, as far as a switch needs it.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::SwitchArgs;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The names that our configuration gives.
const SINK: &str = "webhook-events";
const DATABASE: &str = "posthorn";

/// A client of the API.
pub(super) struct Sequin {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Sequin {
    pub(super) fn new(args: &SwitchArgs) -> anyhow::Result<Self> {
        // Beside us: no proxy, and it does not redirect.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        let base = args.sequin_url.trim_end_matches('/').to_owned();
        Ok(Self { client, base, token: args.sequin_token.clone() })
    }

    /// Does it answer, and take our token?
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        self.send(Method::GET, "/api/sinks", None).await.map(|_| ())
    }

    /// Makes database, slot, functions and sink as the configuration says; what is there is brought
    /// up to date.
    pub(super) async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.send(Method::POST, "/api/config/apply", Some(json!({ "yaml": yaml }))).await?;
        // One that an operator paused stays paused otherwise.
        let path = format!("/api/sinks/{SINK}");
        self.send(Method::PUT, &path, Some(json!({ "status": "active" }))).await?;
        Ok(())
    }

    /// Ends the sink, and with the database its reader of the slot. What is gone already is fine.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        for path in [format!("/api/sinks/{SINK}"), format!("/api/postgres_databases/{DATABASE}")] {
            self.send(Method::DELETE, &path, None).await?;
        }
        Ok(())
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.request(method.clone(), &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("no Sequin at {}", self.base))?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND && method == Method::DELETE {
            return Ok(Value::Null);
        }
        let text = answer.text().await?;
        if !status.is_success() {
            let excerpt: String = text.chars().take(500).collect();
            bail!("Sequin answered {method} {path} with {status}: {excerpt}");
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

/// The text with `${NAME}` and `${NAME:-default}` replaced, as Sequin does it when it reads the file
/// itself.
pub(super) fn interpolated(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<String> {
    let mut made = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').context("a ${ without its }")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside, None),
        };
        let value = variable(name).or(default).with_context(|| format!("{name} is not set"))?;
        made.push_str(before);
        made.push_str(&value);
        rest = after;
    }
    Ok(made + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_with_defaults_and_a_missing_one_is_named() {
        let variable = |name: &str| (name == "HOST").then(|| "db".to_owned());
        let made = interpolated("a: ${HOST}\nb: ${PORT:-5432}\nc: $x", variable);
        assert_eq!(made.expect("made"), "a: db\nb: 5432\nc: $x");
        // What is set beats the default.
        assert_eq!(interpolated("${HOST:-other}:1", variable).expect("made"), "db:1");
        assert!(interpolated("a: ${HOST", variable).is_err());
        let error = interpolated("p: ${PASSWORD}", variable).expect_err("missing");
        assert_eq!(error.to_string(), "PASSWORD is not set");
    }
}

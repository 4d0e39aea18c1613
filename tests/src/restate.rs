//! What Restate says about itself, by its admin API.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Api;

/// Restate's invocations of one endpoint that are not over.
///
/// # Errors
/// When Restate does not answer.
pub async fn invocations_of(restate: &Api, endpoint: &str) -> anyhow::Result<Vec<Value>> {
    let query = format!(
        "select id, target_handler_name, status from sys_invocation
         where target_service_key = '{endpoint}' and status <> 'completed'"
    );
    let body = json!({ "query": query }).to_string();
    let accept = [("accept", "application/json")];
    let (status, answer) = restate.send("POST", "/query", &accept, body).await?;
    ensure!(status == 200, "{status} {answer}");
    Ok(answer["rows"].as_array().cloned().unwrap_or_default())
}

//! What Restate is told when producers are switched: the other topic's subscription beside the one
//! that stands, then without it.
//!
//! Two subscriptions stand only while both producers announce; a record that comes twice costs an
//! extra look. What the one that goes had not read any more is made good by a wake of everybody who
//! has due work.

use std::time::Duration;

use store::Store;

use crate::call::WakeCall;
use crate::config::RegisterConfig;
use crate::register::{
    Beside, CLUSTER, RegisterError, Registered, SINK, Topic, items, subscription, text, topic_of,
};
use crate::restate::{Http, Ingress, RestateError};

/// Endpoints of one round.
const LIMIT: u16 = 1_000;
/// Rounds, at most: a million endpoints that have due work.
const ROUNDS_MAX: u32 = 1_000;
/// Another sweeper's round takes this long.
const PAUSE: Duration = Duration::from_millis(200);

/// Subscribes `topic` beside whatever else is subscribed.
///
/// # Errors
/// When Restate is away, or refuses.
pub async fn subscribe_beside(config: &RegisterConfig, topic: &Topic) -> Result<(), RegisterError> {
    let admin = Http::new(&config.restate_admin_url)?;
    let mut registered = Registered::default();
    subscription(&admin, config, topic, Beside::Another, &mut registered).await
}

/// The topics that Restate subscribes to our handler.
///
/// # Errors
/// When Restate is away.
pub async fn subscribed_topics(restate_admin_url: &str) -> Result<Vec<String>, RestateError> {
    topics_read(&Http::new(restate_admin_url)?).await
}

/// The same, by a client that is there.
pub(crate) async fn topics_read(admin: &Http) -> Result<Vec<String>, RestateError> {
    let known = admin.get("/subscriptions").await?;
    let ours = items(&known, "subscriptions").filter(|it| text(it, "sink") == SINK);
    Ok(ours.map(|it| topic_of(&text(it, "source")).to_owned()).collect())
}

/// Ends the subscriptions to `topic`.
///
/// # Errors
/// When Restate is away, or refuses.
pub async fn unsubscribe(restate_admin_url: &str, topic: &str) -> Result<(), RestateError> {
    let admin = Http::new(restate_admin_url)?;
    let source = format!("kafka://{CLUSTER}/{topic}");
    let known = admin.get("/subscriptions").await?;
    for subscription in items(&known, "subscriptions") {
        if text(subscription, "sink") == SINK && text(subscription, "source") == source {
            let path = format!("/subscriptions/{}", text(subscription, "id"));
            admin.send(reqwest::Method::DELETE, &path, None::<&()>, None).await?;
        }
    }
    Ok(())
}

/// Wakes every endpoint that has due work now; how many.
///
/// # Errors
/// When the database or Restate is away.
pub async fn wake_left_alone(
    store: &Store,
    restate_ingress_url: &str,
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let ingress = Ingress::new(restate_ingress_url)?;
    let mut woken = 0;
    for _ in 0..ROUNDS_MAX {
        let Some(round) = store.endpoints_left_alone(Duration::ZERO, LIMIT).await? else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for left_alone in &round {
            let key = format!("switch-{}", left_alone.fence);
            ingress.wake(left_alone.endpoint, WakeCall::Swept, &key).await?;
        }
        woken += round.len();
        if round.len() < usize::from(LIMIT) {
            break;
        }
    }
    Ok(woken)
}

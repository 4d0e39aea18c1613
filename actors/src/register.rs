//! Registration with Restate: the worker's deployment, the Kafka cluster, the one subscription.
//!
//! Idempotent: whatever is there already stays. A second subscription to the same topic would mean
//! every record twice, so it looks before it creates. What still runs on builds that nobody serves
//! any more is ended: PostgreSQL knows what it had to do, and the sweeper comes by.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::RegisterConfig;
use crate::restate::{Http, RestateError, reach};
use crate::serve::BUILD_ID;

/// The cluster's name inside Restate.
pub(crate) const CLUSTER: &str = "posthorn";
/// The consumer group's name, followed by the topic's name and id. Fixed, so that a subscription made
/// anew goes on where the last one was. Restate drops records whose offset it has seen under the
/// same subscription and group: of a topic that begins at offset 0 again, it would drop them all.
const GROUP: &str = "posthorn-restate";
/// The one consumer of a Restate of one node: after a crash of Restate or of Kafka it takes its
/// place in the group over at once, where it would otherwise wait until it is given up itself.
const CONSUMER: &str = "restate";
/// The object.
const SERVICE: &str = "Endpoint";
/// The handler that takes the records.
pub(crate) const SINK: &str = "service://Endpoint/notify";

/// Why the registration failed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Restate could not be asked, or refused.
    #[error("registering with Restate: {0}")]
    Restate(#[from] RestateError),
    /// Another topic is subscribed, which another producer feeds.
    #[error(
        "Restate subscribes {0} to the same handler, and nothing was changed there: to let another \
         producer announce, type `posthorn cdc switch relay` or `posthorn cdc switch sequin`; to \
         register workers, `posthorn register` without --topic"
    )]
    OtherSubscription(String),
}

/// What the registration found or made.
#[derive(Debug, Clone, Default)]
pub struct Registered {
    /// The deployment's id.
    pub deployment: String,
    /// The subscription's id.
    pub subscription: String,
    /// The consumer group by which it reads.
    pub group: String,
    /// The subscription was made just now.
    pub is_subscribed_anew: bool,
    /// Topics that are subscribed beside this one: a switch of producers has begun and not ended.
    pub beside: Vec<String>,
    /// Sentences about what was made; empty when all was there.
    pub made: Vec<String>,
}

/// A topic that Restate is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id: another topic of this name gets a subscription of its own.
    pub id: Uuid,
}

impl Topic {
    /// The consumer group by which Restate reads it.
    pub fn group(&self) -> String {
        format!("{GROUP}-{}-{}", self.name, self.id)
    }

    fn source(&self) -> String {
        format!("kafka://{CLUSTER}/{}", self.name)
    }
}

/// May a subscription to another topic stand beside this one?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// No: it is another producer's.
    Nobody,
    /// While producers are switched.
    Another,
}

/// Registers the worker, the cluster and the subscription to `topic`, as far as they are not there.
///
/// # Errors
/// When Restate is away, cannot reach the worker, or subscribes another topic that may not stand
/// beside.
pub async fn register(
    config: &RegisterConfig,
    topic: &Topic,
    beside: Beside,
) -> Result<Registered, RegisterError> {
    let admin = Http::new(&config.restate_admin_url)?;
    let mut registered = Registered::default();
    deployment(&admin, config, &mut registered).await?;
    retire_old_builds(&admin, config, &mut registered).await?;
    subscribe(&admin, config, topic, beside, &mut registered).await?;
    Ok(registered)
}

/// The same, but leaves the workers as Restate knows them: which build and which address get new work
/// is decided by who deploys them. One of which Restate knows none (its data is gone) is registered.
///
/// # Errors
/// As [`register`].
pub async fn keep_subscribed(
    config: &RegisterConfig,
    topic: &Topic,
    beside: Beside,
) -> Result<Registered, RegisterError> {
    let admin = Http::new(&config.restate_admin_url)?;
    let mut registered = Registered::default();
    if Serving::of(&admin).await?.is_none() {
        deployment(&admin, config, &mut registered).await?;
    }
    subscribe(&admin, config, topic, beside, &mut registered).await?;
    Ok(registered)
}

async fn subscribe(
    admin: &Http,
    config: &RegisterConfig,
    topic: &Topic,
    beside: Beside,
    registered: &mut Registered,
) -> Result<(), RegisterError> {
    cluster(admin, config, registered).await?;
    subscription(admin, config, topic, beside, registered).await
}

/// Where Restate sends new work: the deployment of its newest revision of the service.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) deployment: String,
    pub(crate) uri: String,
}

impl Serving {
    /// None: Restate does not know the service.
    pub(crate) async fn of(admin: &Http) -> Result<Option<Self>, RestateError> {
        let known = admin.get("/services").await?;
        let service = items(&known, "services").find(|service| text(service, "name") == SERVICE);
        let Some(deployment) = service.map(|service| text(service, "deployment_id")) else {
            return Ok(None);
        };
        let known = admin.get("/deployments").await?;
        Ok(items(&known, "deployments").find(|known| text(known, "id") == deployment).map(
            |known| Self { uri: text(known, "uri").trim_end_matches('/').to_owned(), deployment },
        ))
    }

    pub(crate) fn is_this_build(&self) -> bool {
        self.uri.ends_with(&format!("/{BUILD_ID}"))
    }
}

/// New code is a new URL: the path carries the build's id, so that what runs keeps its code.
async fn deployment(
    admin: &Http,
    config: &RegisterConfig,
    registered: &mut Registered,
) -> Result<(), RestateError> {
    let uri = format!("{}/{}", config.worker_url.trim_end_matches('/'), BUILD_ID);
    let before = admin.get("/deployments").await?;
    let known =
        items(&before, "deployments").any(|known| text(known, "uri").trim_end_matches('/') == uri);
    let mut body = json!({ "uri": uri, "force": false, "breaking": false });
    let answer = admin.post("/deployments", &body).await?;
    registered.deployment = text(&answer, "id");
    if !known {
        registered.made.push(format!("the worker's deployment {uri}"));
    }
    // Of one that it knows already Restate changes nothing, and new work goes where it went since.
    if Serving::of(admin).await?.is_none_or(|it| it.deployment != registered.deployment) {
        body["force"] = true.into();
        admin.post("/deployments", &body).await?;
        registered.made.push(format!("new work goes to {uri} again"));
    }
    Ok(())
}

/// Ends what is pinned to other builds at this worker's address, where only this one is served, and
/// to deployments at other addresses where nobody answers.
async fn retire_old_builds(
    admin: &Http,
    config: &RegisterConfig,
    registered: &mut Registered,
) -> Result<(), RestateError> {
    let base = format!("{}/", config.worker_url.trim_end_matches('/'));
    let answer = admin.get("/deployments").await?;
    for old in items(&answer, "deployments") {
        let (id, uri) = (text(old, "id"), text(old, "uri"));
        if id == registered.deployment {
            continue;
        }
        if !uri.starts_with(&base) && reach(&uri).await.is_ok() {
            continue;
        }
        let query = format!(
            "select id from sys_invocation where pinned_deployment_id = '{id}' \
             and status <> 'completed'"
        );
        let pinned = admin.post("/query", &json!({ "query": query })).await?;
        let mut ended = 0;
        for invocation in items(&pinned, "rows") {
            let path = format!("/invocations/{}/kill", text(invocation, "id"));
            admin.send(reqwest::Method::PATCH, &path, None::<&()>, None).await?;
            ended += 1;
        }
        let path = format!("/deployments/{id}?force=true");
        admin.send(reqwest::Method::DELETE, &path, None::<&()>, None).await?;
        registered.made.push(format!("removed the deployment {uri}, ending {ended} invocations"));
    }
    Ok(())
}

async fn cluster(
    admin: &Http,
    config: &RegisterConfig,
    registered: &mut Registered,
) -> Result<(), RestateError> {
    let body = json!({
        "name": CLUSTER,
        "properties": { "bootstrap.servers": config.kafka },
    });
    match admin.post("/kafka-clusters", &body).await {
        Ok(_) => {
            registered.made.push(format!("the Kafka cluster {CLUSTER} at {}", config.kafka));
            Ok(())
        }
        Err(RestateError::Refused { status, .. }) if status == reqwest::StatusCode::CONFLICT => {
            let path = format!("/kafka-clusters/{CLUSTER}");
            let before = admin.get(&path).await?;
            let servers = before["properties"]["bootstrap.servers"].as_str();
            if servers != Some(config.kafka.as_str()) {
                let body = json!({ "properties": { "bootstrap.servers": config.kafka } });
                admin.send(reqwest::Method::PATCH, &path, Some(&body), None).await?;
                registered.made.push(format!("the Kafka cluster's new address {}", config.kafka));
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

pub(crate) async fn subscription(
    admin: &Http,
    config: &RegisterConfig,
    topic: &Topic,
    beside: Beside,
    registered: &mut Registered,
) -> Result<(), RegisterError> {
    let source = topic.source();
    let options = options(config, topic);
    registered.group = text(&options, "group.id");
    let before = admin.get("/subscriptions").await?;
    for known in items(&before, "subscriptions") {
        if text(known, "sink") != SINK {
            continue;
        }
        if text(known, "source") != source {
            let other = text(known, "source");
            if beside == Beside::Nobody {
                return Err(RegisterError::OtherSubscription(other));
            }
            registered.beside.push(topic_of(&other).to_owned());
            continue;
        }
        let id = text(known, "id");
        if registered.subscription.is_empty() && is_as_wanted(&options, &known["options"]) {
            registered.subscription = id;
            continue;
        }
        let path = format!("/subscriptions/{id}");
        admin.send(reqwest::Method::DELETE, &path, None::<&()>, None).await?;
        let why = if known["options"]["group.id"] == options["group.id"] {
            "with other options, or a second one"
        } else {
            "to a topic that is gone"
        };
        registered.made.push(format!("removed the subscription {why}"));
    }
    if !registered.subscription.is_empty() {
        return Ok(());
    }
    let body = json!({ "source": source, "sink": SINK, "options": options });
    let answer = admin.post("/subscriptions", &body).await?;
    registered.subscription = text(&answer, "id");
    registered.is_subscribed_anew = true;
    registered.made.push(format!("the subscription of {} to Endpoint/notify", topic.name));
    Ok(())
}

/// How the subscription reads.
fn options(config: &RegisterConfig, topic: &Topic) -> Value {
    let mut options = json!({
        "group.id": topic.group(),
        "auto.offset.reset": "earliest",
        // The defaults make the first wake after a kill of Restate wait 44 s, these 6 s.
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "1500",
        // A broker that is back is found at once, not after the default's 10 s.
        "reconnect.backoff.ms": "50",
        "reconnect.backoff.max.ms": "500",
    });
    if config.restate_is_one_node {
        options["group.instance.id"] = CONSUMER.into();
    }
    options
}

/// Restate adds options of its own to those that it was given.
fn is_as_wanted(options: &Value, all: &Value) -> bool {
    // One that is there and not wanted is as wrong as one that is missing.
    let place = "group.instance.id";
    let mut options_of_ours = options.as_object().into_iter().flatten();
    all[place] == options[place]
        && options_of_ours.all(|(name, value)| all.get(name) == Some(value))
}

/// The topic of a subscription's source.
pub(crate) fn topic_of(source: &str) -> &str {
    source.strip_prefix("kafka://").and_then(|it| it.split_once('/')).map_or(source, |it| it.1)
}

pub(crate) fn items<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

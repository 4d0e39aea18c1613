//! What a running stack exposes is what is defined and documented; every panel shows something, and
//! every alert can be evaluated, by a real Prometheus.
//!
//! One stack for both, with merchants that take, refuse, fail and never answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use observability::metrics::{ALL, Kind};
use posthorn_tests::{Answer, Api, Lab, Prometheus, Receiver, until};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::observed::{Target, dashboards, root};

/// Who exposes something.
const ROLES: [&str; 6] = ["api", "data-service", "relay", "simulator", "traces", "worker"];
/// The gauges that are looked up come every 15 s; a machine that is busy takes longer.
const LOOKED_UP: Duration = Duration::from_secs(90);

/// A stack with something of everything to be seen, and an endpoint at which something waits.
struct Busy {
    lab: Lab,
    endpoint: String,
    // The first one takes what comes; the others refuse, fail and hang as long as the stack runs.
    merchants: Vec<Receiver>,
}

/// What outlasts the test that happens to come first: its own runtime ends with it.
fn outlasting() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Runtime::new().expect("a runtime can be started"));
    &RUNTIME
}

async fn busy() -> anyhow::Result<&'static Busy> {
    static BUSY: OnceCell<Busy> = OnceCell::const_new();
    BUSY.get_or_try_init(async || {
        let lab = Lab::start_with(&[("POSTHORN_LOG_FORMAT", "json")]).await?;
        let api = lab.api()?;
        let mut merchants = Vec::new();
        let mut endpoint = String::new();
        for (name, answer) in [
            ("takes", Answer::Status(200)),
            ("refuses", Answer::Status(404)),
            ("fails", Answer::Status(500)),
            ("hangs", Answer::Hang),
        ] {
            let receiver = outlasting().spawn(Receiver::start()).await??;
            receiver.script(std::iter::repeat_n(answer, 10_000));
            endpoint = api.merchant(name, receiver.url()).await?;
            for amount in 1..=5 {
                api.payment(name, amount).await?;
            }
            merchants.push(receiver);
        }
        Ok(Busy { lab, endpoint, merchants })
    })
    .await
}

/// A family, as it is exposed.
#[derive(Default)]
struct Exposed {
    /// What `# TYPE` says of it.
    kinds: BTreeSet<String>,
    /// The names of its labels, of every sample.
    labels: BTreeSet<String>,
    roles: BTreeSet<&'static str>,
}

/// What a role's `/metrics` says, by the family's name, beside what others said.
async fn expose(
    role: &'static str,
    port: u16,
    families: &mut BTreeMap<String, Exposed>,
) -> anyhow::Result<()> {
    let api = Api::new(&format!("http://127.0.0.1:{port}"))?;
    let text = api.get("/metrics").await?;
    let text = text.as_str().context("not a text")?;
    ensure!(text.ends_with("# EOF\n"), "OpenMetrics ends with EOF");
    let mut family = String::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').context("a type without a kind")?;
            name.clone_into(&mut family);
            families.entry(family.clone()).or_default().kinds.insert(kind.to_owned());
        } else if !line.starts_with('#') {
            let exposed = families.entry(family.clone()).or_default();
            exposed.roles.insert(role);
            let set = line.split_once('{').map_or("", |(_, rest)| rest);
            let set = if line.split(' ').next().is_some_and(|name| name.contains('{')) {
                set.split("} ").next().unwrap_or_default()
            } else {
                ""
            };
            exposed.labels.extend(set.split("\",").filter_map(|label| {
                Some(label.split_once('=')?.0.to_owned()).filter(|name| name != "le")
            }));
        }
    }
    Ok(())
}

/// The roles that a definition names in its words.
fn named(roles: &'static str) -> BTreeSet<&'static str> {
    match roles {
        // `up` gives each of them one.
        "every role" | "every role with an OTLP endpoint" => ROLES.into(),
        "every role with a database" => ["api", "data-service", "relay", "worker"].into(),
        some => some.split(", ").collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_exposed_as_it_is_defined_by_a_running_stack_and_no_other()
-> anyhow::Result<()> {
    let ports = busy().await?.lab.ports()?;
    let at = [
        ports.http,
        ports.data_service,
        ports.relay_health,
        ports.simulator,
        ports.traces,
        ports.worker_health,
    ];
    until("every family is exposed", LOOKED_UP, async || {
        let mut all = BTreeMap::new();
        for (role, port) in ROLES.into_iter().zip(at) {
            expose(role, port, &mut all).await?;
        }
        for definition in ALL {
            let family = definition.family();
            let Exposed { kinds, labels, roles } =
                all.remove(&family).with_context(|| format!("{family} is missing"))?;
            let defined: BTreeSet<String> =
                definition.labels.iter().map(|label| (*label).to_owned()).collect();
            ensure!(labels == defined, "{family}: {labels:?}, not {defined:?}");
            let kind = format!("{:?}", definition.kind).to_lowercase();
            ensure!(kinds == [kind.clone()].into(), "{family}: {kinds:?}, not {kind}");
            let named = named(definition.roles);
            ensure!(roles == named, "{family}: exposed by {roles:?}, not by {named:?}");
        }
        ensure!(all.is_empty(), "defined nowhere: {:?}", all.keys());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_data_and_every_alert_can_be_evaluated_by_a_real_prometheus()
-> anyhow::Result<()> {
    if !Prometheus::has("prometheus", "the dashboards against a real Prometheus") {
        return Ok(());
    }
    let busy = busy().await?;
    let prometheus = Prometheus::start(&busy.lab).await?;
    let api = busy.lab.api()?;
    for Target { board, panel, expression } in dashboards()?.iter().flat_map(|b| b.targets.iter()) {
        let expression =
            expression.replace("$__rate_interval", "1m").replace("$endpoint", &busy.endpoint);
        until(&format!("{board}: {panel}"), LOOKED_UP, async || {
            // A rate needs something that happens while Prometheus looks; one after the other, so
            // that none waits for another of its line.
            let takes = &busy.merchants[0];
            let count = takes.accepted().len();
            api.payment("takes", 1).await?;
            takes.wait_for(count + 1, LOOKED_UP).await?;
            prometheus.query(&expression).await.map(drop)
        })
        .await?;
    }
    // Every role's, the traces' and the simulator's among them.
    until("every role is scraped", LOOKED_UP, async || {
        let up = prometheus.query("count(up == 1)").await?;
        ensure!(up == [6.0], "{up:?} roles are scraped");
        Ok(())
    })
    .await?;
    let names = prometheus.get("label/endpoint/values").await?;
    ensure!(names.as_array().is_some_and(|names| names.contains(&busy.endpoint.clone().into())));
    // Each group has its own time, and begins somewhere within it.
    until("every rule is evaluated", LOOKED_UP, async || {
        every_rule_is_evaluated(&prometheus).await
    })
    .await?;
    let exemplars =
        prometheus.exemplars("posthorn_commit_to_attempt_seconds_bucket").await?.to_string();
    ensure!(exemplars.contains("trace_id"), "{exemplars}");
    Ok(())
}

async fn every_rule_is_evaluated(prometheus: &Prometheus) -> anyhow::Result<()> {
    let groups = prometheus.get("rules").await?;
    let rules: Vec<&Value> = groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    ensure!(rules.len() > 15, "{groups}");
    for rule in rules {
        ensure!(rule["health"] == "ok", "{rule}");
        // All roles answer, and nothing was forgotten.
        let healthy = ["PosthornRoleDown", "PosthornSlotUnread", "PosthornSweeperFound"];
        let is_one = healthy.iter().any(|name| rule["name"] == *name);
        ensure!(!is_one || rule["state"] != "firing", "{rule}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_did_not_deliver_is_one_line_of_json_with_its_delivery_and_its_trace()
-> anyhow::Result<()> {
    let log = busy().await?.lab.dir().join("log/worker.log");
    until("the line is in the worker's log", LOOKED_UP, async || {
        let text = std::fs::read_to_string(&log)?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let line = lines.iter().find(|line| line["class"] == "refused").context("no line")?;
        let starts = |name: &str, with: &str| {
            line[name].as_str().is_some_and(|text| text.starts_with(with) && text.len() > 30)
        };
        ensure!(line["level"] == "WARN" && line["status"] == 404, "{line}");
        ensure!(starts("delivery", "dlv_") && starts("trace_id", ""), "{line}");
        ensure!(starts("invocation", "inv_"), "{line}");
        Ok(())
    })
    .await
}

#[test]
fn names_in_dashboards_and_alerts_are_those_of_the_catalogue() -> anyhow::Result<()> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for definition in ALL {
        let series = definition.series();
        if definition.kind == Kind::Histogram {
            known.extend(["bucket", "count", "sum"].map(|part| format!("{series}_{part}")));
        } else {
            known.insert(series);
        }
    }
    let folder = root().join("observability");
    let mut texts = vec![std::fs::read_to_string(folder.join("alerts/posthorn.rules.yaml"))?];
    for board in dashboards()? {
        texts.extend(board.targets.into_iter().map(|target| target.expression));
    }
    let mut count = 0;
    for text in &texts {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')) {
            if word.starts_with("posthorn_") || word.starts_with("process_") {
                count += 1;
                ensure!(known.contains(word), "there is no {word}");
            }
        }
    }
    ensure!(count > 60, "only {count} names were looked at");
    Ok(())
}

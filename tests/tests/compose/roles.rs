//! Our roles and jobs, started with exactly the environment and the command lines of the compose
//! file, against real PostgreSQL, Kafka and Restate; only names and ports become those of loopback.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use posthorn_tests::{Api, Lab, binary, until};
use serde_json::{Value, json};

use crate::file::{services, words};

const SOON: Duration = Duration::from_secs(60);
const ROLES: [&str; 5] = ["api", "data-service", "worker", "relay", "simulator"];

/// What stands in the compose file, and what it is on this machine.
struct Here {
    names: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Here {
    fn of(lab: &Lab) -> anyhow::Result<Self> {
        let ports = lab.ports()?;
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("database_url"), lab.database_url()?)?;
        let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
        std::fs::write(path("secret_keys"), format!("compose-1:{key}\n"))?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut names = vec![
            ("kafka:9092".to_owned(), at(ports.kafka)),
            ("restate:8080".to_owned(), at(ports.restate_ingress)),
            ("restate:9070".to_owned(), at(ports.restate_admin)),
            // Nobody takes the traces: that stops nothing.
            ("jaeger:4317".to_owned(), "127.0.0.1:9".to_owned()),
            ("/run/secrets/".to_owned(), format!("{}/", folder.path().display())),
            ("/data/ledger".to_owned(), path("ledger")),
        ];
        for (port, places) in [
            (3002, &["data-service:3002", "0.0.0.0:3002"][..]),
            (9080, &["worker:9080", "0.0.0.0:9080"]),
            (9102, &["0.0.0.0:9102"]),
            (9101, &["0.0.0.0:9101"]),
            (4001, &["172.30.80.40:4001", "0.0.0.0:4001"]),
            (13001, &[]),
            (15051, &[]),
        ] {
            let free = at(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
            let itself = format!("127.0.0.1:{port}");
            let places = places.iter().map(|place| (*place).to_owned()).chain([itself]);
            names.extend(places.map(|place| (place, free.clone())));
        }
        names.push(("172.30.80.40/32".to_owned(), "127.0.0.1/32".to_owned()));
        Ok(Self { names, folder })
    }

    fn text(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (there, here)| replaced(&text, there, here))
    }

    /// The service's own command, or its health check, with its environment and no other.
    fn command(&self, service: &Value, line: &[String]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary()?);
        command.env_clear().stdin(Stdio::null()).current_dir(self.folder.path());
        for (name, value) in service["environment"].as_object().into_iter().flatten() {
            let value = value.as_str().with_context(|| format!("{name} is no text"))?;
            command.env(name, self.text(value));
        }
        command.args(line.iter().map(|word| self.text(word)));
        Ok(command)
    }

    /// A job, to its end; twice, because a job is started again whenever the stack is.
    fn job(&self, name: &str) -> anyhow::Result<()> {
        let service = &services()?[name];
        for _ in 0..2 {
            let done = self.command(service, &words(&service["command"]))?.output()?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(done.status.success(), "{name}: {} {said}", done.status);
        }
        Ok(())
    }

    fn role(&self, name: &str) -> anyhow::Result<Role> {
        let service = &services()?[name];
        let log = self.folder.path().join(format!("{name}.log"));
        let output = std::fs::File::create(&log)?;
        let mut command = self.command(service, &words(&service["command"]))?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn()?;
        let health = words(&service["healthcheck"]["test"]);
        ensure!(health.len() > 2, "{name} has no health check");
        Ok(Role { name: name.to_owned(), child, log, health: health[2..].to_vec() })
    }
}

/// Replaces whole names: `127.0.0.1:4001` does not stand in `127.0.0.1:40012`.
fn replaced(text: &str, there: &str, here: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(there) {
        let (before, after) = (&rest[..at], &rest[at + there.len()..]);
        made.push_str(before);
        let is_whole = !(there.ends_with(|c: char| c.is_ascii_digit())
            && after.starts_with(|c: char| c.is_ascii_digit()));
        made.push_str(if is_whole { here } else { there });
        rest = after;
    }
    made + rest
}

/// A role that runs; it ends with the test.
struct Role {
    name: String,
    child: Child,
    log: std::path::PathBuf,
    health: Vec<String>,
}

impl Role {
    /// By the health check that the compose file has for it.
    async fn until_healthy(&self, here: &Here) -> anyhow::Result<()> {
        until(&format!("{} is healthy", self.name), SOON, async || {
            let asked = here.command(&Value::Null, &self.health)?.output()?;
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            ensure!(asked.status.success(), "{said}");
            Ok(())
        })
        .await
        .with_context(|| std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_the_compose_file_deliver_a_payment() -> anyhow::Result<()> {
    let lab = Lab::start_parts().await?;
    let here = Here::of(&lab)?;
    here.job("migrate")?;
    here.job("topics")?;
    let roles: Vec<Role> = ROLES.iter().map(|name| here.role(name)).collect::<Result<_, _>>()?;
    for role in &roles {
        role.until_healthy(&here).await?;
    }
    here.job("register-relay")?;
    here.job("demo-merchant")?;
    let api = Api::new(&format!("http://{}", here.text("127.0.0.1:13001")))?;
    // As the reference design's reader types it.
    api.post("/payments", &json!({ "amount": 1000, "currency": "USD" })).await?;
    let simulator = Api::new(&format!("http://{}", here.text("127.0.0.1:4001")))?;
    until("the merchant has it", SOON, async || {
        let stats = simulator.get("/stats").await?;
        let distinct = stats["endpoints"]["demo"]["distinct"].as_u64();
        if distinct != Some(1) {
            bail!("{stats}");
        }
        Ok(())
    })
    .await?;
    the_other_topic_is_refused(&here)?;
    Ok(())
}

/// Behind our relay, Sequin's registration is refused: two subscriptions would see each event twice.
fn the_other_topic_is_refused(here: &Here) -> anyhow::Result<()> {
    let service = &services()?["register-sequin"];
    let done = here.command(service, &words(&service["command"]))?.output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(!done.status.success() && said.contains("cdc switch sequin"), "{said}");
    Ok(())
}

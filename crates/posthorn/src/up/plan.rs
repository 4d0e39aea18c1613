//! What `up` is going to do, found out before it does anything: ports, room, parts, variables.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use actors::RegisterConfig;
use stack::{
    Kafka, Ports, PortsError, Postgres, Restate, StackError, StateDir, Tracing, wait_until_gone,
};

use super::UpArgs;
use super::roles::{ROLES, Role};
use super::tracing_to::TracingTo;

/// Everything that is known before the first start.
pub(super) struct Plan {
    pub(super) args: UpArgs,
    pub(super) dir: StateDir,
    pub(super) ports: Ports,
    pub(super) postgres: Postgres,
    pub(super) kafka: Kafka,
    pub(super) restate: Restate,
    pub(super) tracing_to: TracingTo,
    secret_keys: String,
}

/// What was killed a moment ago may still hold its port.
const PORTS_PATIENCE: Duration = Duration::from_secs(3);

async fn wait_until_free(ports: &Ports, unused: &[&str]) -> Result<(), StackError> {
    let deadline = Instant::now() + PORTS_PATIENCE;
    loop {
        match ports.check_free(unused) {
            Err(PortsError::Taken { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return Ok(answer?),
        }
    }
}

impl Plan {
    /// Looks at everything that could be in the way.
    ///
    /// # Errors
    /// The first thing that is.
    pub(super) async fn look(
        args: UpArgs,
        dir: StateDir,
    ) -> Result<(Self, Option<TcpListener>), StackError> {
        // An `up` that was killed took its children with it; they may be about to go.
        wait_until_gone(&Postgres::data_of(&dir)).await?;
        for folder in ["kafka", "restate"] {
            wait_until_gone(&dir.path().join(folder)).await?;
        }
        for role in &ROLES {
            wait_until_gone(&dir.path().join("run").join(role.name)).await?;
        }
        let (ports, guard) = Ports::choose(&args.ports, &args.port, &dir.ports_file())?;
        wait_until_free(&ports, TracingTo::unused_ports(&args)).await?;
        dir.check_room()?;
        let postgres = Postgres::find(&dir, ports.postgres)?;
        let kafka = Kafka::find(&dir, ports.kafka, ports.kafka_controller)?;
        let tracing_to = TracingTo::choose(&args, &dir, &ports)?;
        let ratio = args.trace_ratio;
        let of_restate = tracing_to.endpoint(&ports).map(|endpoint| Tracing { endpoint, ratio });
        let restate = Restate::find(&dir, &ports, of_restate)?;
        let secret_keys = dir.secret_keys()?.display().to_string();
        let plan = Self { args, dir, ports, postgres, kafka, restate, tracing_to, secret_keys };
        Ok((plan, guard))
    }

    /// The roles that are started.
    pub(super) fn roles(&self) -> impl Iterator<Item = &'static Role> {
        let takes_traces = matches!(self.tracing_to, TracingTo::OurRole);
        ROLES.iter().filter(move |role| role.name != TracingTo::ROLE || takes_traces)
    }

    /// What every role is told, by variables.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let ports = &self.ports;
        let on = |port: u16| format!("127.0.0.1:{port}");
        let ledger = self.dir.path().join("run/simulator/ledger");
        let mut variables = vec![
            ("POSTHORN_DATABASE_URL", self.postgres.url()),
            ("POSTHORN_KAFKA", self.kafka.bootstrap()),
            ("POSTHORN_RESTATE_INGRESS_URL", self.restate.ingress_url()),
            ("POSTHORN_RESTATE_ADMIN_URL", self.restate.admin_url()),
            // Of Restate's own command line tool.
            ("RESTATE_ADMIN_URL", self.restate.admin_url()),
            ("POSTHORN_DATA_SERVICE_URL", format!("http://{}", on(ports.data_service))),
            ("POSTHORN_WORKER_URL", self.worker_url()),
            ("POSTHORN_RESTATE_IS_ONE_NODE", "true".to_owned()),
            ("POSTHORN_SECRET_KEYS_FILE", self.secret_keys.clone()),
            ("POSTHORN_ALLOW_NETWORKS", self.args.allow_networks.clone()),
            ("POSTHORN_ALLOW_HTTP", "true".to_owned()),
            ("POSTHORN_GRPC_LISTEN", on(ports.grpc)),
            ("POSTHORN_HTTP_LISTEN", on(ports.http)),
            ("POSTHORN_DATA_SERVICE_LISTEN", on(ports.data_service)),
            ("POSTHORN_SIMULATOR_LISTEN", on(ports.simulator)),
            ("POSTHORN_SIMULATOR_LEDGER", ledger.display().to_string()),
            ("POSTHORN_RELAY_LISTEN", on(ports.relay_health)),
            ("POSTHORN_WORKER_LISTEN", on(ports.worker)),
            ("POSTHORN_WORKER_HEALTH_LISTEN", on(ports.worker_health)),
            ("POSTHORN_TRACES_LISTEN", on(ports.traces)),
            ("POSTHORN_TRACES_OTLP_LISTEN", on(ports.otlp)),
        ];
        // For what is typed in the shell that has these.
        variables.push(("POSTHORN_DIR", self.dir.path().display().to_string()));
        variables.push(("POSTHORN_API_URL", format!("http://{}", on(ports.http))));
        if let Some(endpoint) = self.tracing_to.endpoint(ports) {
            variables.push(("POSTHORN_OTLP_ENDPOINT", endpoint));
            variables.push(("POSTHORN_TRACE_RATIO", self.args.trace_ratio.to_string()));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What Restate is to know.
    pub(super) fn registration(&self) -> RegisterConfig {
        RegisterConfig {
            restate_admin_url: self.restate.admin_url(),
            worker_url: self.worker_url(),
            kafka: self.kafka.bootstrap(),
            restate_is_one_node: true,
        }
    }

    fn worker_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.worker)
    }

    /// Where to look, and what to type.
    pub(super) fn what_next(&self) -> String {
        let ports = &self.ports;
        let restate = self.restate.admin_url();
        let environment = self.dir.path().join("environment").display().to_string();
        if self.args.no_roles {
            return format!(
                "Roles are yours to start, such as:\n  \
                   set -a; . {environment}; set +a; posthorn worker\n"
            );
        }
        let cli = self.restate.cli().map_or_else(
            || "restate".to_owned(),
            |cli| format!("RESTATE_ADMIN_URL={restate} {}", cli.display()),
        );
        let http = format!("http://localhost:{}", ports.http);
        format!(
            "  payments (HTTP/JSON)  {http}\n  \
               payments (gRPC)       localhost:{grpc}\n  \
               what arrived          http://localhost:{simulator}/stats\n  \
               Restate               {restate}\n\
             {traces}  \
               the database's URL    in {environment}\n\n\
             Try next:\n  \
               curl -X POST {http}/payments -H 'Content-Type: application/json' \
             -d '{{\"amount\": 1000, \"currency\": \"USD\"}}'\n  \
               curl http://localhost:{simulator}/stats\n  \
               {cli} invocations list\n",
            grpc = ports.grpc,
            simulator = ports.simulator,
            traces = self.tracing_to.where_to_look(ports),
        )
    }
}

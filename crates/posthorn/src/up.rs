//! `posthorn up`: every part and every role on this machine, for development.
//!
//! What can be refused is refused before anything starts; then parts, schema, roles,
//! registration, in the order in which they need each other, and side by side where they do not.
//! It ends when it is told to, in order, and leaves nothing running however it ends.

mod demo;
mod plan;
mod registration;
mod roles;
mod tracing_to;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use observability::{OtlpEndpoint, shutdown_signal, trace_ratio};
use stack::{Board, PortChoice, Progress, StateDir, Supervisor};
use store::Store;
use tokio_util::sync::CancellationToken;

pub(crate) use self::demo::merchant as demo_merchant;
use self::plan::Plan;
use self::registration::Registration;
pub(crate) use self::roles::ROLES;
use self::tracing_to::{Traces, TracingTo};

/// The schema is brought up to date by one statement at a time.
const MIGRATE_CONNECTIONS: u32 = 1;
/// What the other roles stand on, together or one after the other: all of it is stopped within 15 s;
/// the limits, the roles' among them, add up to 13. Who takes traces hears the last of the others.
const ORDER_OF_STOP: [&[&str]; 3] =
    [&["restate"], &[TracingTo::ROLE, "jaeger", "kafka"], &["postgres"]];

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where everything lies: data, logs, what was fetched.
    #[arg(long, env = "POSTHORN_DIR", default_value = ".posthorn", value_name = "FOLDER")]
    dir: PathBuf,
    /// Where fetched parts lie, when several stacks are to share them. None: in --dir.
    #[arg(long, env = "POSTHORN_PARTS_DIR", value_name = "FOLDER")]
    parts_dir: Option<PathBuf>,
    /// The documented ports (default), free ones (auto: drawn once, remembered in --dir), or free
    /// ones of a range such as 21000-21999.
    #[arg(long, env = "POSTHORN_PORTS", default_value = "default")]
    ports: PortChoice,
    /// Another port for one part, such as kafka=9192. Repeat it for more, or separate by commas.
    #[arg(long, env = "POSTHORN_PORT", value_name = "NAME=NUMBER", value_delimiter = ',')]
    port: Vec<String>,
    /// Start the parts alone: roles are then started by hand, with .posthorn/environment.
    #[arg(long)]
    no_roles: bool,
    /// Do not create the demo merchant and its payment.
    #[arg(long, env = "POSTHORN_NO_DEMO")]
    no_demo: bool,
    /// Networks, besides public ones, in which merchants may be: this is for development.
    #[arg(long, env = "POSTHORN_ALLOW_NETWORKS", default_value = "127.0.0.0/8,::1/128")]
    allow_networks: String,
    /// Where traces go, by OTLP over gRPC, such as http://127.0.0.1:4317, whatever --traces says.
    #[arg(long, env = "POSTHORN_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<OtlpEndpoint>,
    /// Who takes the traces of this stack and shows them. None: jaeger if it was built, else own.
    #[arg(long, env = "POSTHORN_TRACES", value_enum)]
    traces: Option<Traces>,
    /// Share of new traces that are kept, 0 to 1.
    #[arg(
        long,
        env = "POSTHORN_TRACE_RATIO",
        default_value_t = 1.0,
        value_parser = trace_ratio,
        value_name = "SHARE"
    )]
    trace_ratio: f64,
}

/// A stack while it runs.
struct Stack {
    plan: Plan,
    board: Board,
    progress: Progress,
    supervisor: Supervisor,
    registration: Registration,
    // Keeps a drawn block of ports ours.
    _guard: Option<TcpListener>,
}

pub(crate) async fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown_signal().context("cannot listen to signals")?;
    let progress = Progress::start();
    let dir = StateDir::open(&args.dir, args.parts_dir.as_deref())?;
    progress.print(&format!(
        "posthorn up: for development only (plain HTTP, no keys, merchants on {}). Everything lies \
         in {} and listens on loopback. Ctrl-C stops it.",
        args.allow_networks,
        dir.path().display()
    ));
    let (plan, guard) = Plan::look(args, dir).await?;
    let board = Board::new(plan.dir.path());
    let supervisor = Supervisor::new(board.clone(), progress.clone());
    let registration = Registration::new(&plan, &board, &progress)?;
    let stack = Stack { plan, board, progress, supervisor, registration, _guard: guard };
    let started = tokio::select! {
        started = stack.bring_up() => started,
        () = shutdown.cancelled() => Ok(()),
    };
    if started.is_ok() {
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = stack.registration.keep(), if !stack.plan.args.no_roles => match never {},
        }
    }
    stack.stop(&shutdown).await;
    started.map(|()| ExitCode::SUCCESS)
}

impl Stack {
    async fn bring_up(&self) -> anyhow::Result<()> {
        tokio::try_join!(self.postgres(), self.kafka(), self.restate(), self.jaeger())?;
        self.plan.dir.write_environment(&self.plan.environment())?;
        if !self.plan.args.no_roles {
            self.roles().await?;
        }
        self.board.set_ready(true);
        let seconds = self.progress.elapsed().as_secs_f64();
        self.progress.print(&format!("\nEverything is up after {seconds:.1} s.\n"));
        if !self.plan.args.no_roles && !self.plan.args.no_demo {
            match demo::demo(&self.plan).await {
                Ok(timeline) => self.progress.print(&timeline),
                // The stack is up: what went wrong is told, and nothing ends.
                Err(error) => self.progress.print(&format!("The demo did not work: {error:#}\n")),
            }
        }
        self.progress.print(&self.plan.what_next());
        Ok(())
    }

    async fn postgres(&self) -> anyhow::Result<()> {
        let service = self.plan.postgres.prepare(&self.progress).await?;
        self.supervisor.start(service).await?;
        self.timed("schema", "up to date", async {
            let url = self.plan.postgres.url();
            Store::new(&url, "posthorn-migrate", MIGRATE_CONNECTIONS)?.migrate().await?;
            anyhow::Ok(())
        })
        .await
    }

    async fn kafka(&self) -> anyhow::Result<()> {
        let service = self.plan.kafka.prepare(&self.progress).await?;
        self.supervisor.start(service).await?;
        Ok(())
    }

    async fn restate(&self) -> anyhow::Result<()> {
        let service = self.plan.restate.prepare(&self.progress).await?;
        self.supervisor.start(service).await?;
        Ok(())
    }

    async fn jaeger(&self) -> anyhow::Result<()> {
        if let TracingTo::Jaeger(jaeger) = &self.plan.tracing_to {
            self.supervisor.start(jaeger.prepare()?).await?;
        }
        Ok(())
    }

    async fn roles(&self) -> anyhow::Result<()> {
        let mut starting = tokio::task::JoinSet::new();
        for role in self.plan.roles() {
            starting.spawn(self.supervisor.start(role.service(&self.plan)?));
        }
        let started = async {
            while let Some(started) = starting.join_next().await {
                started.context("the start of a role was lost")??;
            }
            Ok(())
        };
        // The worker is ready when it is registered.
        tokio::try_join!(started, self.registration.first())?;
        Ok(())
    }

    /// Says how long something took.
    async fn timed(
        &self,
        name: &str,
        done: &str,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        self.progress.wait(name);
        let result = work.await;
        let took = self.progress.done(name).as_secs_f64();
        result.with_context(|| name.to_owned())?;
        self.progress.line(name, &format!("{done} after {took:.1} s"));
        Ok(())
    }

    /// Roles first, together; then what they stand on.
    async fn stop(&self, shutdown: &CancellationToken) {
        self.board.set_ready(false);
        let why = if shutdown.is_cancelled() { "Stopping." } else { "It did not start: stopping." };
        self.progress.print(&format!("\n{why} (Once more: at once.)"));
        let begun = self.progress.elapsed();
        let roles = ROLES.map(|role| role.name).into_iter().filter(|name| *name != TracingTo::ROLE);
        self.supervisor.stop(&roles.collect::<Vec<_>>()).await;
        for together in ORDER_OF_STOP {
            self.supervisor.stop(together).await;
        }
        let took = self.progress.elapsed().saturating_sub(begun).as_secs_f64();
        self.progress.print(&format!("Everything is stopped after {took:.1} s."));
    }
}

//! The roles, as services of a stack: processes of this binary, each with variables and a folder of
//! its own.

use std::time::Duration;

use nix::sys::signal::Signal;
use stack::{Kind, Launch, Ports, Probe, Service, StackError};

use super::plan::Plan;
use super::tracing_to::TracingTo;

/// A role starts in well under a second; one that first waits for a part gets some patience.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Roles stop together, before the parts: 15 s are for all of them.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// A role: its subcommand, which is its name, where it listens, and where it serves `/readyz`.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    pub(crate) name: &'static str,
    ports: fn(&Ports) -> Vec<u16>,
    health: fn(&Ports) -> u16,
}

/// In the order in which people think of them.
pub(crate) const ROLES: [Role; 6] = [
    Role { name: "api", ports: |ports| vec![ports.http, ports.grpc], health: |ports| ports.http },
    Role {
        name: "relay",
        ports: |ports| vec![ports.relay_health],
        health: |ports| ports.relay_health,
    },
    Role {
        name: "worker",
        ports: |ports| vec![ports.worker, ports.worker_health],
        health: |ports| ports.worker_health,
    },
    Role {
        name: "data-service",
        ports: |ports| vec![ports.data_service],
        health: |ports| ports.data_service,
    },
    Role {
        name: TracingTo::ROLE,
        ports: |ports| vec![ports.traces, ports.otlp],
        health: |ports| ports.traces,
    },
    Role {
        name: "simulator",
        ports: |ports| vec![ports.simulator],
        health: |ports| ports.simulator,
    },
];

impl Role {
    /// Where it serves `/readyz`.
    pub(crate) fn health_port(&self, ports: &Ports) -> u16 {
        (self.health)(ports)
    }

    /// The role as a process that is kept running.
    pub(super) fn service(&self, plan: &Plan) -> Result<Service, StackError> {
        let cwd = plan.dir.folder(&format!("run/{}", self.name))?;
        let mut launch = Launch::own(self.name, cwd, plan.dir.log(self.name)).env("NO_COLOR", "1");
        for (name, value) in plan.environment() {
            launch = launch.env(&name, value);
        }
        Ok(Service {
            name: self.name,
            kind: Kind::Role,
            before: None,
            launch,
            probes: vec![Probe::Http(self.health_port(&plan.ports), "/readyz")],
            ports: (self.ports)(&plan.ports),
            ready_within: READY_WITHIN,
            stop: Signal::SIGTERM,
            stop_within: STOP_WITHIN,
        })
    }
}

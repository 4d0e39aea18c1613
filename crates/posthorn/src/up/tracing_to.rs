//! Where the traces of a stack go: away, to Jaeger, to our own role that looks like it, or nowhere.

use clap::ValueEnum;
use stack::{Jaeger, Ports, StackError, StateDir};

use super::UpArgs;

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Traces {
    /// Jaeger itself, which `make jaeger` builds.
    Jaeger,
    /// The traces role, which has Jaeger's user interface.
    Own,
    /// Nobody: none are made.
    None,
}

/// Who takes the traces.
#[derive(Debug)]
pub(super) enum TracingTo {
    /// Nobody: none are made.
    Nobody,
    /// Somebody else, at this endpoint.
    Elsewhere(String),
    /// Jaeger itself, which `make jaeger` built.
    Jaeger(Jaeger),
    /// Our traces role.
    OurRole,
}

impl TracingTo {
    /// The name of our role.
    pub(super) const ROLE: &'static str = "traces";

    /// What was asked for; else Jaeger if it is there; else our role.
    ///
    /// # Errors
    /// When Jaeger is asked for and is not there, or its folder cannot be made.
    pub(super) fn choose(args: &UpArgs, dir: &StateDir, ports: &Ports) -> Result<Self, StackError> {
        if let Some(endpoint) = &args.otlp_endpoint {
            return Ok(Self::Elsewhere(endpoint.to_string()));
        }
        let jaeger = || Jaeger::find(dir, ports);
        match args.traces {
            Some(Traces::None) => Ok(Self::Nobody),
            Some(Traces::Own) => Ok(Self::OurRole),
            Some(Traces::Jaeger) => jaeger()?.map(Self::Jaeger).ok_or_else(|| {
                let hint = "`make jaeger` builds it, which takes some minutes; without --traces \
                            our own role is in its place";
                StackError::Missing { what: "Jaeger".to_owned(), hint: hint.to_owned() }
            }),
            None => Ok(jaeger()?.map_or(Self::OurRole, Self::Jaeger)),
        }
    }

    /// Ports on which nobody of this stack listens then: somebody else may.
    pub(super) fn unused_ports(args: &UpArgs) -> &'static [&'static str] {
        let is_none = args.traces == Some(Traces::None);
        if is_none || args.otlp_endpoint.is_some() { &["traces", "otlp"] } else { &[] }
    }

    /// Where spans are sent, by OTLP over gRPC.
    pub(super) fn endpoint(&self, ports: &Ports) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Elsewhere(endpoint) => Some(endpoint.clone()),
            Self::Jaeger(_) | Self::OurRole => Some(format!("http://127.0.0.1:{}", ports.otlp)),
        }
    }

    /// A line for people; empty when there is nothing to see here.
    pub(super) fn where_to_look(&self, ports: &Ports) -> String {
        match self {
            Self::Nobody | Self::Elsewhere(_) => String::new(),
            Self::Jaeger(_) | Self::OurRole => {
                format!("  traces (Jaeger)       http://localhost:{}\n", ports.traces)
            }
        }
    }
}

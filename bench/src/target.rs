//! Where the stack is that is measured: what the flags say, else what `up` wrote down, else the
//! documented ports.

use crate::config::Config;
use crate::stack::Stack;

/// Addresses of a stack.
#[derive(Debug)]
pub(crate) struct Target {
    /// The api role's HTTP/JSON front.
    pub api_url: String,
    /// The api role's gRPC front.
    pub grpc_url: String,
    /// The relay role, which remembers when it announced the last deliveries.
    pub relay_url: String,
    /// PostgreSQL, when it is known where.
    pub database_url: Option<String>,
}

impl Target {
    /// The stack that the configuration means.
    pub(crate) fn of(config: &Config, stack: &Stack) -> Self {
        let url = |flag: &Option<String>, variable: &str, documented: &str| {
            flag.clone().unwrap_or_else(|| {
                let listens = stack.variable(variable);
                format!("http://{}", listens.as_deref().unwrap_or(documented))
            })
        };
        let database_url = &config.database_url;
        Self {
            api_url: url(&config.api_url, "POSTHORN_HTTP_LISTEN", "127.0.0.1:3001"),
            grpc_url: url(&config.grpc_url, "POSTHORN_GRPC_LISTEN", "127.0.0.1:50051"),
            relay_url: url(&None, "POSTHORN_RELAY_LISTEN", "127.0.0.1:9101"),
            database_url: database_url.clone().or_else(|| stack.variable("POSTHORN_DATABASE_URL")),
        }
    }
}

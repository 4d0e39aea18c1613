//! What the role is told, by flags and by the environment; refused at start when wrong.

use clap::Args;

/// Options of the role.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// PostgreSQL, as a URL. Its user needs the attribute REPLICATION.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Kafka's bootstrap servers, host:port separated by commas.
    #[arg(long, env = "POSTHORN_KAFKA", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// Where health is served.
    #[arg(long, env = "POSTHORN_RELAY_LISTEN", default_value = "127.0.0.1:9101")]
    pub listen: std::net::SocketAddr,
    /// The replication slot. Slots belong to the whole server: a second installation on the same
    /// server needs another name.
    #[arg(long, env = "POSTHORN_RELAY_SLOT", default_value = "posthorn_relay", value_parser = slot_name)]
    pub slot: String,
}

/// Longest name of a slot, by PostgreSQL.
const SLOT_NAME_LENGTH_MAX: usize = 63;

// A slot's name is written into SQL as it is; PostgreSQL allows no other characters either.
fn slot_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.is_empty() || text.len() > SLOT_NAME_LENGTH_MAX || !text.chars().all(allowed) {
        return Err("must be 1 to 63 characters out of a-z 0-9 _".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_name_that_sql_could_misread_is_refused() {
        assert!(slot_name("posthorn_relay").is_ok());
        for bad in ["", "a b", "a'; drop", "Relay", &"x".repeat(64)] {
            assert!(slot_name(bad).is_err(), "{bad}");
        }
    }
}

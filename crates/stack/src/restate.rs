//! Restate: one node of four partitions, from npm, with its command line tool beside it.
//!
//! The data folder remembers which version made it: an older server must never open what a newer one
//! wrote. The node's name and the number of partitions are fixed for that folder's life.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::data_version::DataVersion;
use crate::fetch::Fetch;
use crate::{Kind, Launch, Ports, Probe, Progress, Service, StackError, StateDir, template};

const CONFIG: &str = include_str!("../../../compose/restate/restate.toml");
const MANIFEST: &[(&str, &str)] = &[
    ("package.json", include_str!("../../../compose/restate/package.json")),
    ("package-lock.json", include_str!("../../../compose/restate/package-lock.json")),
];
/// About one second when the machine is idle.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// 15 s are for all parts; what it has acknowledged is on the disk.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Restate in a state directory.
#[derive(Debug)]
pub struct Restate {
    home: PathBuf,
    parts: PathBuf,
    log: PathBuf,
    ports: Ports,
    tracing: Option<Tracing>,
}

/// Where Restate's own spans go.
#[derive(Debug)]
pub struct Tracing {
    /// By OTLP over gRPC.
    pub endpoint: String,
    /// Share of its traces that are kept, 0 to 1.
    pub ratio: f64,
}

impl Restate {
    /// Looks at what is there: binaries or what fetches them, data. Starts nothing.
    ///
    /// `tracing`: where its spans go; none: nowhere.
    ///
    /// # Errors
    /// When something is missing, or the data is another version's.
    pub fn find(
        dir: &StateDir,
        ports: &Ports,
        tracing: Option<Tracing>,
    ) -> Result<Self, StackError> {
        let restate = Self {
            home: dir.folder("restate")?,
            parts: dir.parts().to_owned(),
            log: dir.log("restate"),
            ports: ports.clone(),
            tracing,
        };
        restate.fetch().check(&restate.parts)?;
        restate.version().check()?;
        Ok(restate)
    }

    /// Where calls go in.
    pub fn ingress_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.restate_ingress)
    }

    /// Where it is administered; its UI is there as well.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.restate_admin)
    }

    /// The `restate` command line tool, once fetched.
    pub fn cli(&self) -> Option<PathBuf> {
        binary_in(&self.fetch().place(&self.parts), "restate")
    }

    /// Fetches what is missing, writes the configuration, and says how it is run.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn prepare(&self, progress: &Progress) -> Result<Service, StackError> {
        let place = self.fetch().fetch(&self.parts, progress).await?;
        let server = binary_in(&place, "restate-server").ok_or_else(|| StackError::Missing {
            what: format!("restate-server in {}", place.display()),
            hint: "there is none for this kind of processor, or that folder is broken: remove it \
                   and start again"
                .to_owned(),
        })?;
        let config = self.home.join("restate.toml");
        std::fs::write(&config, self.config()?)
            .map_err(StackError::file("cannot write", &config))?;
        self.version().write()?;
        let argv = [server.into_os_string(), "--config-file".into(), config.into()];
        let mut launch = Launch::new(argv, &self.home, &self.log)
            .env("RUST_LOG", "warn")
            .env("NO_COLOR", "1")
            .env("DO_NOT_TRACK", "1");
        if let Some(tracing) = &self.tracing {
            // It has no option of its own for this; its OpenTelemetry reads these.
            launch = launch
                .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
                .env("OTEL_TRACES_SAMPLER_ARG", tracing.ratio.to_string());
        }
        Ok(Service {
            name: "restate",
            kind: Kind::Part,
            before: None,
            launch,
            probes: Probe::of_part("restate", &self.ports),
            ports: vec![
                self.ports.restate_ingress,
                self.ports.restate_admin,
                self.ports.restate_node,
            ],
            ready_within: READY_WITHIN,
            stop: Signal::SIGTERM,
            stop_within: STOP_WITHIN,
        })
    }

    fn config(&self) -> Result<String, StackError> {
        let tracing = match &self.tracing {
            None => String::new(),
            Some(tracing) => format!("tracing-endpoint = {:?}\n", tracing.endpoint),
        };
        let values = [
            ("data", self.data().display().to_string()),
            ("node_port", self.ports.restate_node.to_string()),
            ("ingress_port", self.ports.restate_ingress.to_string()),
            ("admin_port", self.ports.restate_admin.to_string()),
            ("tracing", tracing),
        ];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        template::render("restate.toml", CONFIG, &values)
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn version(&self) -> DataVersion {
        DataVersion {
            product: "Restate",
            ours: restate_version(),
            data: self.data(),
            consequence: "what waits is in PostgreSQL, and goes out",
        }
    }

    fn fetch(&self) -> Fetch<'static> {
        Fetch {
            name: "restate",
            manifest: MANIFEST,
            commands: &[&["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]],
            hint: "install Node.js with npm (on Debian: apt-get install nodejs npm)",
            log: self.log.with_file_name("fetch-restate.log"),
        }
    }
}

/// The version that the manifest pins.
fn restate_version() -> String {
    let manifest: serde_json::Value = serde_json::from_str(MANIFEST[0].1).unwrap_or_default();
    let version = &manifest["optionalDependencies"]["@restatedev/restate-server-linux-x64"];
    version.as_str().unwrap_or_default().to_owned()
}

fn binary_in(place: &Path, name: &str) -> Option<PathBuf> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        _ => "arm64",
    };
    let binary = place.join(format!("node_modules/@restatedev/{name}-linux-{arch}/bin/{name}"));
    binary.is_file().then_some(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_manifest() {
        assert!(restate_version().starts_with("1."), "{}", restate_version());
    }
}

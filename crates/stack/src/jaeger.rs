//! Jaeger, when `make jaeger` has built it: in the place of our own traces role.
//!
//! Nothing is fetched here and nothing of it is kept: it holds traces in memory. When it is not
//! there, nobody misses it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{Kind, Launch, Ports, Probe, Service, StackError, StateDir, template};

const CONFIG: &str = include_str!("../../../compose/jaeger/jaeger.yaml");
/// Where `make jaeger` leaves it, in the parts folder.
const PLACE: &str = "jaeger-v1.76.0";
/// A tenth of a second when the machine is idle.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// It has nothing to save.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Jaeger in a state directory.
#[derive(Debug)]
pub struct Jaeger {
    home: PathBuf,
    place: PathBuf,
    log: PathBuf,
    port: u16,
    otlp_port: u16,
}

impl Jaeger {
    /// Jaeger, if it is in the parts folder.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn find(dir: &StateDir, ports: &Ports) -> Result<Option<Self>, StackError> {
        let place = dir.parts().join(PLACE);
        if !binary_in(&place).is_file() {
            return Ok(None);
        }
        let (home, log) = (dir.folder("jaeger")?, dir.log("jaeger"));
        Ok(Some(Self { home, place, log, port: ports.traces, otlp_port: ports.otlp }))
    }

    /// Writes the configuration, and says how it is run.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn prepare(&self) -> Result<Service, StackError> {
        let values = [
            ("ui", self.place.join("ui").display().to_string()),
            ("port", self.port.to_string()),
            ("otlp_port", self.otlp_port.to_string()),
        ];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = template::render("jaeger.yaml", CONFIG, &values)?;
        let config = self.home.join("jaeger.yaml");
        std::fs::write(&config, text).map_err(StackError::file("cannot write", &config))?;
        let argv = [binary_in(&self.place).into_os_string(), "--config".into(), config.into()];
        Ok(Service {
            name: "jaeger",
            kind: Kind::Part,
            before: None,
            launch: Launch::new(argv, &self.home, &self.log),
            probes: vec![Probe::Http(self.port, "/api/services")],
            ports: vec![self.port, self.otlp_port],
            ready_within: READY_WITHIN,
            stop: Signal::SIGTERM,
            stop_within: STOP_WITHIN,
        })
    }
}

fn binary_in(place: &Path) -> PathBuf {
    place.join("jaeger")
}

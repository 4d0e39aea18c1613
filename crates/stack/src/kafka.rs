//! Apache Kafka: one broker that is its own controller, as a list of jars from Maven.
//!
//! The data folder is formatted when it is new or was emptied, and remembers which version made it: an older Kafka must never
//! open what a newer one wrote.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::data_version::DataVersion;
use crate::fetch::{Fetch, on_path};
use crate::{
    Before, Kind, Launch, Probe, Progress, Service, StackError, StateDir, secrets, template,
};

const CONFIG: &str = include_str!("../../../compose/kafka/server.properties");
const MANIFEST: &[(&str, &str)] = &[("pom.xml", include_str!("../../../compose/kafka/pom.xml"))];
/// What Kafka 4 needs.
const JAVA_MIN: u32 = 17;
/// Small, and quick to start; the second compiler would take a core for a minute.
const JAVA_OPTIONS: [&str; 8] = [
    "-Xms256m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
];
/// 3 s when the machine is idle; a build on both cores makes it several times that.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// 15 s are for all parts.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Kafka in a state directory.
#[derive(Debug)]
pub struct Kafka {
    home: PathBuf,
    parts: PathBuf,
    log: PathBuf,
    java: PathBuf,
    port: u16,
    controller_port: u16,
}

impl Kafka {
    /// Looks at what is there: Java, jars or what fetches them, data. Starts nothing.
    ///
    /// # Errors
    /// When something is missing, or the data is another version's.
    pub fn find(dir: &StateDir, port: u16, controller_port: u16) -> Result<Self, StackError> {
        let kafka = Self {
            home: dir.folder("kafka")?,
            parts: dir.parts().to_owned(),
            log: dir.log("kafka"),
            java: find_java()?,
            port,
            controller_port,
        };
        kafka.fetch().check(&kafka.parts)?;
        kafka.version().check()?;
        Ok(kafka)
    }

    /// Kafka's bootstrap address.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Fetches what is missing, formats the data folder at the first start, writes the configuration
    /// at every one, and says how it is run.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn prepare(&self, progress: &Progress) -> Result<Service, StackError> {
        let jars = self.fetch().fetch(&self.parts, progress).await?.join("libs/*");
        let config = self.home.join("server.properties");
        let data = self.data().display().to_string();
        let values = [
            ("port", self.port.to_string()),
            ("controller_port", self.controller_port.to_string()),
            ("data", data),
        ];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = template::render("server.properties", CONFIG, &values)?;
        std::fs::write(&config, text).map_err(StackError::file("cannot write", &config))?;
        self.version().write()?;
        let id = secrets::cluster_id()?;
        let format = ["kafka.tools.StorageTool", "format", "-t", &id, "-c"];
        let before = Before {
            file: self.data().join("meta.properties"),
            otherwise: self.java_launch(&jars, &format, &config),
            what: "formatting a new data folder",
        };
        Ok(Service {
            name: "kafka",
            kind: Kind::Part,
            before: Some(before),
            launch: self.java_launch(&jars, &["kafka.Kafka"], &config),
            probes: vec![Probe::Kafka(self.port)],
            ports: vec![self.port, self.controller_port],
            ready_within: READY_WITHIN,
            stop: Signal::SIGTERM,
            stop_within: STOP_WITHIN,
        })
    }

    fn java_launch(&self, jars: &Path, arguments: &[&str], config: &Path) -> Launch {
        let mut argv = vec![self.java.clone().into_os_string()];
        argv.extend(JAVA_OPTIONS.iter().map(Into::into));
        argv.extend(["-cp".into(), jars.into()]);
        argv.extend(arguments.iter().map(Into::into));
        argv.push(config.into());
        Launch::new(argv, &self.home, &self.log)
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn version(&self) -> DataVersion {
        DataVersion {
            product: "Kafka",
            ours: kafka_version().to_owned(),
            data: self.data(),
            consequence: "what waits is in PostgreSQL, and goes out",
        }
    }

    fn fetch(&self) -> Fetch<'static> {
        Fetch {
            name: "kafka",
            manifest: MANIFEST,
            commands: &[&[
                "mvn",
                "--batch-mode",
                "--quiet",
                "--strict-checksums",
                "dependency:copy-dependencies",
                "-DoutputDirectory=libs",
                "-DincludeScope=runtime",
            ]],
            hint: "install Maven (on Debian: apt-get install maven)",
            log: self.log.with_file_name("fetch-kafka.log"),
        }
    }
}

/// The version that the manifest pins.
fn kafka_version() -> &'static str {
    let (_, pom) = MANIFEST[0];
    let version = pom.split_once("<kafka.version>").and_then(|(_, rest)| rest.split_once('<'));
    version.map_or("", |(version, _)| version)
}

fn find_java() -> Result<PathBuf, StackError> {
    let hint = format!(
        "install Java {JAVA_MIN} or later (on Debian: apt-get install default-jre-headless)"
    );
    let missing = |what: String| StackError::Missing { what, hint: hint.clone() };
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let java = home
        .filter(|java| java.is_file())
        .or_else(|| on_path("java"))
        .ok_or_else(|| missing("Java".to_owned()))?;
    let output = std::process::Command::new(&java)
        .arg("-version")
        .output()
        .map_err(|error| missing(format!("a Java that runs ({}: {error})", java.display())))?;
    // openjdk version "17.0.15" 2025-04-15
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.split('"').nth(1).unwrap_or_default().to_owned();
    let major = version.split(|letter: char| !letter.is_ascii_digit()).next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= JAVA_MIN => Ok(java),
        _ => Err(missing(format!("Java {JAVA_MIN} ({} is {version:?})", java.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_manifest() {
        assert!(kafka_version().starts_with("4."), "{}", kafka_version());
    }
}

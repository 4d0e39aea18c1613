//! Which part listens where. All on loopback; chosen once, remembered beside the data.
//!
//! With `auto`, stacks on one machine stay apart: ports come in blocks below the range from which
//! the system draws the ports of outgoing connections, and the first of a block is held for as long
//! as its `up` runs, so two of them can never choose the same one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::StackError;

/// Ports in a block: the guard and one for each name, rounded up.
const BLOCK: u16 = 20;
/// Below 32768, where Linux starts to draw the ports of outgoing connections.
const AUTO: RangeInclusive<u16> = 12000..=31999;

/// Where everything listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "a name for each part is all there is to say")]
pub struct Ports {
    pub postgres: u16,
    pub kafka: u16,
    pub kafka_controller: u16,
    pub restate_ingress: u16,
    pub restate_admin: u16,
    pub restate_node: u16,
    pub grpc: u16,
    pub http: u16,
    pub data_service: u16,
    pub simulator: u16,
    pub worker: u16,
    pub relay_health: u16,
    pub worker_health: u16,
    pub traces: u16,
    pub otlp: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            postgres: 5432,
            kafka: 9092,
            kafka_controller: 9093,
            restate_ingress: 8080,
            restate_admin: 9070,
            restate_node: 5122,
            grpc: 50051,
            http: 3001,
            data_service: 3002,
            simulator: 4001,
            worker: 9080,
            relay_health: 9101,
            worker_health: 9102,
            traces: 16686,
            otlp: 4317,
        }
    }
}

/// How ports are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortChoice {
    /// The documented ones.
    Default,
    /// Free ones, drawn once and remembered.
    Auto(RangeInclusive<u16>),
}

/// Why ports cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The text is no choice.
    #[error("{0:?} is none of: default, auto, a range such as 21000-21999")]
    Choice(String),
    /// There is no such port.
    #[error("{0:?} is no port of ours; write name=number with one of: {1}")]
    Name(String, String),
    /// Somebody listens there.
    #[error(
        "port {port} ({name}) is taken{by}; stop what listens there, choose another with --port {name}=N, or all with --ports auto"
    )]
    Taken {
        /// Which of ours.
        name: String,
        /// The port.
        port: u16,
        /// Who has it, if that can be seen.
        by: String,
    },
    /// Two of ours have the same.
    #[error("port {port} is both {first} and {second}; choose another with --port {second}=N")]
    Twice {
        /// The port.
        port: u16,
        /// One.
        first: String,
        /// And the other.
        second: String,
    },
    /// No block is free.
    #[error("no free block of {BLOCK} ports between {first} and {last}")]
    NoneFree {
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
    },
}

impl FromStr for PortChoice {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || PortsError::Choice(text.to_owned());
        match text {
            "default" => Ok(Self::Default),
            "auto" => Ok(Self::Auto(AUTO)),
            range => {
                let (first, last) = range.split_once('-').ok_or_else(refuse)?;
                let first: u16 = first.parse().map_err(|_| refuse())?;
                let last: u16 = last.parse().map_err(|_| refuse())?;
                if first < 1024 || last.saturating_sub(first) < BLOCK {
                    return Err(refuse());
                }
                Ok(Self::Auto(first..=last))
            }
        }
    }
}

impl Ports {
    /// Each port with its name.
    pub fn named(&self) -> BTreeMap<String, u16> {
        // A struct of numbers always becomes a map of numbers.
        let value = serde_json::to_value(self).unwrap_or_default();
        serde_json::from_value(value).unwrap_or_default()
    }

    /// The same with `name=number` in place of one.
    ///
    /// # Errors
    /// When there is no such name, or that is no port.
    pub fn with(&self, assignment: &str) -> Result<Self, PortsError> {
        let mut named = self.named();
        let refuse = || {
            let names: Vec<String> = self.named().into_keys().collect();
            PortsError::Name(assignment.to_owned(), names.join(", "))
        };
        let (name, port) = assignment.split_once('=').ok_or_else(refuse)?;
        let port: u16 = port.parse().map_err(|_| refuse())?;
        match named.get_mut(&name.replace('-', "_")) {
            Some(slot) if port != 0 => *slot = port,
            _ => return Err(refuse()),
        }
        let value = serde_json::to_value(named).map_err(|_| refuse())?;
        serde_json::from_value(value).map_err(|_| refuse())
    }

    /// Looks whether every port is free now, but the `unused`, by name.
    ///
    /// # Errors
    /// The first that is taken, or given twice.
    pub fn check_free(&self, unused: &[&str]) -> Result<(), PortsError> {
        let mut seen: BTreeMap<u16, String> = BTreeMap::new();
        let used = self.named().into_iter().filter(|(name, _)| !unused.contains(&&**name));
        for (name, port) in used {
            if let Some(first) = seen.insert(port, name.clone()) {
                return Err(PortsError::Twice { port, first, second: name });
            }
            if !is_free(port) {
                return Err(PortsError::Taken { name, port, by: listener_of(port) });
            }
        }
        Ok(())
    }

    /// The ports of a state directory, and the guard that keeps a drawn block ours; both are
    /// remembered in `file`.
    ///
    /// # Errors
    /// When an assignment is refused, no block is free, or `file` cannot be used.
    pub fn choose(
        choice: &PortChoice,
        assignments: &[String],
        file: &Path,
    ) -> Result<(Self, Option<TcpListener>), StackError> {
        let (mut ports, block, guard) = match choice {
            PortChoice::Default => (Self::default(), None, None),
            PortChoice::Auto(range) => {
                let (block, guard) = match Remembered::read(file)?.and_then(|known| known.block) {
                    // Taken by another: `check_free` says which port it is.
                    Some(block) => (block, bind(block)),
                    None => draw(range)?,
                };
                (Self::in_block(block), Some(block), guard)
            }
        };
        for assignment in assignments {
            ports = ports.with(assignment)?;
        }
        Remembered { block, ports: ports.clone() }.write(file)?;
        Ok((ports, guard))
    }

    /// The ports that were chosen for a state directory last, from `file`.
    ///
    /// # Errors
    /// When there are none, or they cannot be understood.
    pub fn chosen(file: &Path) -> Result<Self, StackError> {
        match Remembered::read(file)? {
            Some(known) => Ok(known.ports),
            None => Err(StackError::file("cannot find", file)(std::io::ErrorKind::NotFound.into())),
        }
    }

    fn in_block(block: u16) -> Self {
        Self {
            postgres: block + 1,
            kafka: block + 2,
            kafka_controller: block + 3,
            restate_ingress: block + 4,
            restate_admin: block + 5,
            restate_node: block + 6,
            grpc: block + 7,
            http: block + 8,
            data_service: block + 9,
            simulator: block + 10,
            worker: block + 11,
            relay_health: block + 12,
            worker_health: block + 13,
            traces: block + 14,
            otlp: block + 15,
        }
    }
}

fn draw(range: &RangeInclusive<u16>) -> Result<(u16, Option<TcpListener>), StackError> {
    let (first, last) = (*range.start(), *range.end());
    let blocks = (last - first + 1) / BLOCK;
    let mut random = [0_u8; 2];
    getrandom::fill(&mut random)?;
    let start = u16::from_le_bytes(random) % blocks;
    (0..blocks)
        .map(|step| first + (start + step) % blocks * BLOCK)
        .find_map(|block| {
            let guard = bind(block)?;
            Ports::in_block(block).check_free(&[]).ok().map(|()| (block, Some(guard)))
        })
        .ok_or_else(|| PortsError::NoneFree { first, last }.into())
}

/// What is remembered beside the data.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    // The guard's port, when the block was drawn.
    block: Option<u16>,
    #[serde(flatten)]
    ports: Ports,
}

impl Remembered {
    fn read(file: &Path) -> Result<Option<Self>, StackError> {
        match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|source| StackError::Json { path: file.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StackError::file("cannot read", file)(error)),
        }
    }

    fn write(&self, file: &Path) -> Result<(), StackError> {
        let write = || std::fs::write(file, serde_json::to_string_pretty(self)?);
        write().map_err(StackError::file("cannot write", file))
    }
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

// Somebody who listens on all addresses takes the port on loopback as well, and the other way
// round: both are tried, since our parts must be alone there.
/// The first of `ports` on which somebody listens, and who, if that can be seen.
pub(crate) fn first_taken(ports: &[u16]) -> Option<(u16, String)> {
    let port = ports.iter().copied().find(|port| !is_free(*port))?;
    Some((port, listener_of(port)))
}

fn is_free(port: u16) -> bool {
    bind(port).is_some() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// " by pid 12 (java)", when /proc shows it to us; empty otherwise.
fn listener_of(port: u16) -> String {
    let inode = |line: &str| -> Option<String> {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?.rsplit_once(':')?.1.to_owned();
        let state = fields.nth(1)?;
        let listens = state == "0A" && u16::from_str_radix(&local, 16) == Ok(port);
        listens.then(|| fields.nth(5).map(str::to_owned)).flatten()
    };
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(inode).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let Ok(processes) = std::fs::read_dir("/proc") else { return String::new() };
    processes
        .flatten()
        // Not `self`, which is one of the numbers.
        .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
        .find_map(|process| {
            let holds = std::fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
                std::fs::read_link(fd.path())
                    .is_ok_and(|target| inodes.iter().any(|inode| target.as_os_str() == &**inode))
            });
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            let pid = process.file_name();
            holds.then(|| format!(" by pid {} ({})", pid.display(), name.trim()))
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = Ports::default().with(&format!("kafka={port}")).unwrap().check_free(&[]);
        // Another default port may be taken on this machine, too: look at this one alone.
        if let Err(PortsError::Taken { name, .. }) = &error
            && name != "kafka"
        {
            return;
        }
        let text = error.unwrap_err().to_string();
        assert!(text.contains(&format!("port {port} (kafka) is taken by pid")), "{text}");
        let ports = Ports::default().with(&format!("otlp={port}")).unwrap();
        let refused = ports.check_free(&["otlp"]).err().map(|error| error.to_string());
        assert!(!refused.is_some_and(|text| text.contains("(otlp)")), "nobody asked for it");
    }

    #[test]
    fn a_port_is_assigned_by_its_name() {
        let ports = Ports::default().with("data-service=4242").unwrap();
        assert_eq!(ports.data_service, 4242);
        assert!(Ports::default().with("kafak=4242").is_err());
        assert!(Ports::default().with("kafka=0").is_err());
    }

    #[test]
    fn two_stacks_draw_different_blocks_and_each_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let choice = PortChoice::Auto(AUTO);
        let (one, one_guard) = Ports::choose(&choice, &[], &dir.path().join("one")).unwrap();
        let (two, two_guard) = Ports::choose(&choice, &[], &dir.path().join("two")).unwrap();
        assert!(one_guard.is_some() && two_guard.is_some());
        assert_ne!(one, two);
        drop(one_guard);
        let (again, _guard) = Ports::choose(&choice, &[], &dir.path().join("one")).unwrap();
        assert_eq!(again, one);
        assert_eq!(Ports::chosen(&dir.path().join("two")).unwrap(), two);
    }
}

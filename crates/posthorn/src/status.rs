//! `posthorn status`: what `up` runs, from the file that it keeps; who is dead is shown as dead, and
//! who lives is asked whether it can do its work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use stack::{Kind, Ports, Probe, ServiceStatus, StackError, State, StateDir, Status};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::say;
use crate::up::ROLES;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The state directory of the `up` that is asked about.
    #[arg(long, env = "POSTHORN_DIR", default_value = ".posthorn", value_name = "FOLDER")]
    dir: PathBuf,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Fails (exit status 1) unless everything is ready.
pub(crate) async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut status = match Status::read(&args.dir) {
        Ok(status) => status,
        Err(StackError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            anyhow::bail!("nothing was ever started in {}: run `posthorn up`", args.dir.display())
        }
        Err(error) => return Err(error.into()),
    };
    look_for_the_dead(&mut status, StateDir::is_in_use(&args.dir));
    ask(&mut status, &args.dir).await;
    let text = if args.json {
        serde_json::to_string_pretty(&status)? + "\n"
    } else {
        table(&status, OffsetDateTime::now_utc())
    };
    say::text(text);
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file is as old as the last change that `up` lived to write.
fn look_for_the_dead(status: &mut Status, up_runs: bool) {
    for service in &mut status.services {
        let lives = service
            .pid
            .and_then(|pid| i32::try_from(pid).ok())
            .is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(nix::Error::ESRCH));
        if !up_runs || (!lives && service.pid.is_some()) {
            service.pid = None;
            service.state = if up_runs { State::Restarting } else { State::Stopped };
        }
    }
    status.ready &= up_runs && status.services.iter().all(|service| service.state == State::Ready);
}

/// What runs may be unable to do its work: it is the one to ask. All are asked at once, each for as
/// long as one question may take.
async fn ask(status: &mut Status, dir: &Path) {
    let Ok(ports) = Ports::chosen(&dir.join("ports.json")) else { return };
    let mut answers = JoinSet::new();
    for (place, service) in status.services.iter().enumerate() {
        if service.state == State::Ready {
            for probe in probes(service, &ports) {
                answers.spawn(async move { (place, probe.ask().await) });
            }
        }
    }
    while let Some(answer) = answers.join_next().await {
        if let Ok((place, Err(why))) = answer {
            let service = &mut status.services[place];
            service.state = State::NotReady;
            service.why = Some(why);
            status.ready = false;
        }
    }
}

fn probes(service: &ServiceStatus, ports: &Ports) -> Vec<Probe> {
    match service.kind {
        Kind::Part => Probe::of_part(&service.name, ports),
        Kind::Role => ROLES
            .iter()
            .filter(|role| role.name == service.name)
            .map(|role| Probe::Http(role.health_port(ports), "/readyz"))
            .collect(),
    }
}

fn table(status: &Status, now: OffsetDateTime) -> String {
    let mut rows = vec![
        ["NAME", "KIND", "STATE", "PID", "PORT", "RESTARTS", "SINCE", "LOG"].map(str::to_owned),
    ];
    for service in &status.services {
        let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
        rows.push([
            service.name.clone(),
            match service.kind {
                Kind::Part => "part",
                Kind::Role => "role",
            }
            .to_owned(),
            match service.state {
                State::Starting => "starting",
                State::Ready => "ready",
                State::NotReady => "not ready",
                State::Restarting => "restarting",
                State::Stopped => "stopped",
            }
            .to_owned(),
            service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            ports.join(","),
            service.restarts.to_string(),
            // Of one that runs and cannot do its work, nobody knows since when.
            service.why.as_ref().map_or_else(|| ago(now - service.since), |_| "-".to_owned()),
            service.log.display().to_string(),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for service in &status.services {
        if let Some(why) = &service.why {
            let since = ago(now - service.since);
            let name = &service.name;
            text.push_str(&format!("{name}, which was ready {since} ago, is not: {why}\n"));
        }
    }
    let all = if status.ready { "Everything is ready." } else { "Not everything is ready." };
    text.push_str(&format!("{all} State directory: {}\n", status.dir.display()));
    text
}

fn ago(span: time::Duration) -> String {
    match span.whole_seconds() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_with(pid: Option<u32>) -> Status {
        serde_json::from_value(serde_json::json!({
            "ready": true, "pid": 1, "dir": "/srv/p", "since": "2026-01-01T00:00:00Z",
            "services": [{
                "name": "kafka", "kind": "part", "pid": pid, "ports": [9092, 9093],
                "state": "ready", "restarts": 0, "log": "/srv/p/log/kafka.log",
                "since": "2026-01-01T00:00:00Z"
            }]
        }))
        .unwrap()
    }

    #[test]
    fn what_lives_is_ready() {
        let mut status = status_with(Some(std::process::id()));
        look_for_the_dead(&mut status, true);
        assert!(status.ready);
    }

    #[test]
    fn a_process_that_is_gone_is_not_ready_whatever_the_file_says() {
        // Linux never gives a process a number this large.
        let mut status = status_with(Some(0x7fff_fff0));
        look_for_the_dead(&mut status, true);
        assert!(!status.ready);
        assert_eq!(status.services[0].state, State::Restarting);
    }

    #[test]
    fn nothing_is_ready_when_the_up_that_wrote_the_file_is_gone() {
        let mut status = status_with(Some(std::process::id()));
        look_for_the_dead(&mut status, false);
        assert!(!status.ready);
        assert_eq!(status.services[0].pid, None);
    }
}

//! The supervisor with processes of the test's own.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;
use posthorn_stack::{Board, Kind, Launch, Probe, Progress, Service, Supervisor};

#[tokio::test]
async fn a_port_that_was_lost_between_the_look_and_the_start_is_named()
-> Result<(), Box<dyn std::error::Error>> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let dir = tempfile::tempdir()?;
    let service = Service {
        name: "late",
        kind: Kind::Role,
        before: None,
        // Whatever it is: it ends at once, as what cannot listen does.
        launch: Launch::new(["/bin/false"], dir.path(), dir.path().join("log")),
        probes: vec![Probe::Http(port, "/")],
        ports: vec![port],
        ready_within: Duration::from_secs(5),
        stop: Signal::SIGTERM,
        stop_within: Duration::from_secs(1),
    };
    let supervisor = Supervisor::new(Board::new(dir.path()), Progress::start());
    let refused = supervisor.start(service).await.expect_err("nobody can listen there twice");
    let said = refused.to_string();
    assert!(said.contains(&format!("port {port} was free a moment ago")), "{said}");
    assert!(said.contains(&format!("by pid {}", std::process::id())), "{said}");
    Ok(())
}

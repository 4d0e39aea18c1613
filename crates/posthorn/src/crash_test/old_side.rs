//! The old design as a process: started, killed with -9, started again at once, as a supervisor does.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use stack::{Launch, Probe};
use tokio::process::Child;

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The process. It dies with us.
#[derive(Debug)]
pub(super) struct OldSide {
    launch: Launch,
    address: SocketAddr,
    child: Child,
}

impl OldSide {
    /// Starts it, on a free port; its log lies in `dir`.
    pub(super) async fn start(
        dir: &Path,
        receiver: &str,
        database_url: &str,
    ) -> anyhow::Result<Self> {
        // Free now; nobody else draws it before it is taken a moment later.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let arguments =
            ["--listen", &address.to_string(), "--receiver", receiver].map(String::from);
        let log = dir.join("log/old-design.log");
        let mut launch = Launch::own("old-design", dir, log)
            // By the environment, where nobody else on the machine reads it.
            .env("POSTHORN_DATABASE_URL", database_url);
        launch.argv.extend(arguments.map(Into::into));
        let child = launch.spawn().await.context("the old design did not start")?;
        let mut side = Self { launch, address, child };
        side.until_ready().await?;
        Ok(side)
    }

    /// Where it takes payments.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it with -9 and starts it again at once.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        self.child = self.launch.spawn().await.context("the old design did not start again")?;
        Ok(())
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let probe = Probe::Http(self.address.port(), "/readyz");
        while let Err(why) = probe.ask().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("the old design ended with {status}; see {}", self.launch.log.display());
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("the old design did not start: {why}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

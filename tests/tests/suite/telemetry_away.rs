//! Where traces go is silent, dead, a black hole, slow: nothing is delivered later or never. (That no memory grows,
//! `observability::exporting` shows: it takes far more spans than a stack makes in a test.)

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Api, Lab, Receiver, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::{merchant, shared_lab};

const PAYMENTS: usize = 150;
/// What makes the slow one slow, with each piece; nothing is waited for by it. A batch of hundreds of
/// spans still gets through within its three seconds.
const SLOWNESS: Duration = Duration::from_millis(50);
/// For all of them, on a machine that does much else: some seconds when it is idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that listens where traces go; it ends when it is dropped.
struct Collector {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Collector {
    /// Takes connections, and never reads from them.
    async fn silent(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    /// Passes everything on to `behind`, each piece a while later.
    async fn slow(address: SocketAddr, behind: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let Ok(behind) = TcpStream::connect(("127.0.0.1", behind)).await else { continue };
                let (from, to) = connection.into_split();
                let (back, forth) = behind.into_split();
                passing.spawn(pass(from, forth));
                passing.spawn(pass(back, to));
            }
        });
        Ok(Self { address, _tasks: tasks })
    }
}

/// A place whose connections nobody takes, and no more fit: whoever connects hears nothing.
async fn black_hole(address: SocketAddr) -> anyhow::Result<(TcpListener, Vec<TcpStream>)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(1)?;
    let mut waiting = Vec::new();
    let briefly = Duration::from_millis(300);
    while let Ok(fits) = tokio::time::timeout(briefly, TcpStream::connect(address)).await {
        waiting.push(fits?);
    }
    Ok((listener, waiting))
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(SLOWNESS).await;
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Payments at a merchant of their own, all of them delivered.
async fn all_are_delivered(lab: &Lab, name: &str) -> anyhow::Result<Duration> {
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant(name);
    api.merchant(&merchant, receiver.url()).await?;
    let began = std::time::Instant::now();
    for amount in 1..=PAYMENTS {
        api.payment(&merchant, i64::try_from(amount)?).await?;
    }
    receiver.wait_for(PAYMENTS, PATIENCE).await?;
    ensure!(receiver.requests().len() == PAYMENTS, "each of them once");
    Ok(began.elapsed())
}

fn lines(lab: &Lab, wanted: &str) -> anyhow::Result<usize> {
    let log = std::fs::read_to_string(lab.dir().join("log/worker.log"))?;
    Ok(log.lines().filter(|line| line.contains(wanted)).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_nobody_takes_cost_no_delivery() -> anyhow::Result<()> {
    let takes_them = shared_lab().await?;
    let silent = Collector::silent("127.0.0.1:0".parse()?).await?;
    let address = silent.address;
    let endpoint = format!("http://{address}");
    let lab = Lab::start_with(&[("POSTHORN_OTLP_ENDPOINT", &endpoint)]).await?;
    let with_silent = all_are_delivered(&lab, "away-silent").await?;
    drop(silent);
    let with_dead = all_are_delivered(&lab, "away-dead").await?;
    until("it is said that spans are lost", PATIENCE, async || {
        ensure!(lines(&lab, "traces cannot be sent")? == 1, "once, however many were lost");
        Ok(())
    })
    .await?;

    let hole = black_hole(address).await?;
    let with_hole = all_are_delivered(&lab, "away-hole").await?;
    drop(hole);
    let slow = Collector::slow(address, takes_them.ports()?.otlp).await?;
    ensure!(slow.address == address);
    let with_slow = all_are_delivered(&lab, "away-slow").await?;
    let (api, receiver, after) = (lab.api()?, Receiver::start().await?, merchant("away-after"));
    api.merchant(&after, receiver.url()).await?;
    until("spans arrive again", PATIENCE, async || {
        // Something to send: it is over when nothing was lost for a while.
        api.payment(&after, 1).await?;
        ensure!(lines(&lab, "traces are sent again")? >= 1);
        Ok(())
    })
    .await?;
    // From the first that was lost to the last it is one story.
    ensure!(lines(&lab, "traces cannot be sent")? == 1);
    let metrics = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.worker_health))?;
    let metrics = metrics.get("/metrics").await?.to_string();
    let counted = "posthorn_spans_dropped_total{reason=\\\"not_taken\\\"} ";
    ensure!(metrics.contains(counted) && !metrics.contains(&format!("{counted}0")), "{metrics}");
    eprintln!(
        "{PAYMENTS} payments: silent {with_silent:?}, dead {with_dead:?}, black hole \
         {with_hole:?}, slow {with_slow:?}"
    );
    Ok(())
}

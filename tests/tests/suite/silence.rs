//! A connection to the database on which nothing comes any more, and nobody says so: as after a
//! failover behind a proxy. Who waits is told, and the next one gets a connection that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::until;
use sqlx::{Connection, PgConnection};
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::shared_lab;
use crate::turn::bench;

/// A way to PostgreSQL whose connections of the past may fall silent.
struct Way {
    port: u16,
    /// Of the connections that are there; new ones have their own.
    is_silent: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Way {
    async fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let is_silent = Arc::new(AtomicBool::new(false));
        let of_old = Arc::clone(&is_silent);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                // One that comes after the silence is not of it.
                let may_fall = (!of_old.load(Ordering::SeqCst)).then(|| Arc::clone(&of_old));
                passing.spawn(pass(here, there, may_fall));
            }
        });
        Ok(Self { port: address.port(), is_silent, _task: task })
    }
}

/// Passes what comes to and fro until one side ends; once silent, it holds both and passes nothing.
async fn pass(mut here: TcpStream, mut there: TcpStream, is_silent: Option<Arc<AtomicBool>>) {
    let silence = async {
        loop {
            if is_silent.as_ref().is_some_and(|it| it.load(Ordering::SeqCst)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let fell = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut here, &mut there) => false,
        () = silence => true,
    };
    if fell {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_connection_owes_is_given_up_and_the_pool_is_whole_again()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let way = Way::to(lab.ports()?.postgres).await?;
    let url = lab.database_url()?;
    let there = format!(":{}/", lab.ports()?.postgres);
    ensure!(url.contains(&there), "{url}");
    let store = Store::new(&url.replace(&there, &format!(":{}/", way.port)), "silence", 2)?;
    let (one, two) = tokio::join!(store.ping(), store.ping());
    one.and(two)?;
    // A connection that goes back is asked whether it lives, by the pool itself and for as long as that
    // takes: silence must find all of them back.
    until("what was lent is back", Duration::from_secs(20), async || {
        let [used, idle, _] = store.pool_sizes();
        ensure!(used == 0 && idle > 0, "{used} used, {idle} idle");
        Ok(())
    })
    .await?;
    way.is_silent.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;

    // Both are trusted: they were at work just now.
    let began = Instant::now();
    let round = async || {
        let sweep = store.endpoints_left_alone(Duration::from_secs(60), 10);
        tokio::time::timeout(Duration::from_secs(30), sweep).await.context("no end")
    };
    let asked = tokio::time::timeout(Duration::from_secs(30), store.ping());
    let (swept, asked) = tokio::join!(round(), asked);
    for error in [swept?.map(drop).err(), asked?.err()].into_iter().flatten() {
        ensure!(error.is_away() && error.to_string().contains("no answer within 12 s"), "{error}");
    }
    ensure!(began.elapsed() > Duration::from_secs(10), "nothing was silent");
    // As many as the pool has, at the same time, and none waits for what is silent.
    let again = Instant::now();
    let (swept, asked) = tokio::join!(round(), store.ping());
    swept??;
    asked?;
    ensure!(again.elapsed() < Duration::from_secs(4), "{:?}", again.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_leaves_no_statement_at_the_server() -> anyhow::Result<()> {
    const GIVEN_UP: usize = 20;
    let mut bench = bench("given_up", 1).await?;
    let store = Store::new(&bench.url, "posthorn-gives-up", 4)?;
    let mut holder = PgConnection::connect(&bench.url).await?;
    let mut held = holder.begin().await?;
    sqlx::query("select from endpoint_runtime for update").execute(&mut *held).await?;
    for _ in 0..GIVEN_UP {
        let look = store.look(bench.endpoint, 50, Uuid::new_v4());
        let looked = tokio::time::timeout(Duration::from_millis(100), look).await;
        ensure!(looked.is_err(), "it did not wait");
    }
    // The server's own limit for a statement is 10 s.
    let begun = Instant::now();
    let theirs = "pg_stat_activity where application_name = 'posthorn-gives-up'";
    while bench.count(theirs).await? > 0 {
        ensure!(begun.elapsed() < Duration::from_secs(6), "some are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

//! A connection to the database on which nothing comes any more, and nobody says so: as after a
//! failover behind a proxy. Who waits is told, and the next one gets a connection that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::until;
use sqlx::{Connection, PgConnection};
use store::{Order, Store, Told};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::shared_lab;
use crate::turn::bench;

/// A way to PostgreSQL whose connections of the past may fall silent.
struct Way {
    /// Of the connections that are there; new ones have their own.
    is_silent: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Way {
    /// To the database at `url`, whose answers come `late`; its URL.
    async fn to(url: &str, late: Duration) -> anyhow::Result<(Self, String)> {
        let (before, behind) = url.split_once("@127.0.0.1:").context("where it is")?;
        let (port, name) = behind.split_once('/').context("its name")?;
        let port = port.parse()?;
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
                passing.spawn(pass(here, there, may_fall, late));
            }
        });
        let url = format!("{before}@127.0.0.1:{}/{name}", address.port());
        Ok((Self { is_silent, _task: task }, url))
    }
}

/// Passes what comes to and fro until one side ends; once silent, it holds both and passes nothing.
async fn pass(
    mut here: TcpStream,
    mut there: TcpStream,
    is_silent: Option<Arc<AtomicBool>>,
    late: Duration,
) {
    let silence = async {
        loop {
            if is_silent.as_ref().is_some_and(|it| it.load(Ordering::SeqCst)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (mut from_here, mut to_here) = here.split();
    let (mut from_there, mut to_there) = there.split();
    let fell = tokio::select! {
        _ = tokio::io::copy(&mut from_here, &mut to_there) => false,
        _ = pass_late(&mut from_there, &mut to_here, late) => false,
        () = silence => true,
    };
    if fell {
        std::future::pending::<()>().await;
    }
}

async fn pass_late(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    late: Duration,
) -> std::io::Result<()> {
    let mut piece = [0; 8192];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        tokio::time::sleep(late).await;
        to.write_all(&piece[..length]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_connection_owes_is_given_up_and_the_pool_is_whole_again()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (way, url) = Way::to(&lab.database_url()?, Duration::ZERO).await?;
    let store = Store::new(&url, "silence", 2)?;
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
async fn a_connection_that_falls_silent_on_its_way_back_to_the_pool_costs_it_no_place()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (way, url) = Way::to(&lab.database_url()?, Duration::from_millis(100)).await?;
    let store = Store::new(&url, "silence-behind", 1)?;
    store.ping().await?;
    // Its answer has come; what the pool asks it now is still on the way.
    way.is_silent.store(true, Ordering::SeqCst);
    // Who asks for a connection waits for one for 5 s.
    store.ping().await.context("the only connection did not come back")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_a_transaction_that_falls_silent_is_given_up() -> anyhow::Result<()> {
    let mut bench = bench("silent_inside", 1).await?;
    let (way, url) = Way::to(&bench.url, Duration::ZERO).await?;
    let store = Store::new(&url, "silence-inside", 1)?;
    sqlx::query("begin").execute(&mut bench.db).await?;
    sqlx::query("select from endpoint_runtime for update").execute(&mut bench.db).await?;
    let (endpoint, id) = (bench.endpoint, Uuid::now_v7());
    let order = Order { endpoint, id, actor: "ada", told: Told::Pause };
    let told = tokio::time::timeout(Duration::from_secs(30), store.command(&order));
    let silence = async {
        until("the command waits", Duration::from_secs(8), async || {
            let mut db = PgConnection::connect(&bench.url).await?;
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
                 and application_name = 'silence-inside')",
            )
            .fetch_one(&mut db)
            .await?;
            ensure!(waits, "not yet");
            Ok(())
        })
        .await?;
        way.is_silent.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (told, fell) = tokio::join!(told, silence);
    fell?;
    let error = told.context("no end")?.err().context("it was answered")?;
    ensure!(error.is_away() && error.to_string().contains("no answer within 12 s"), "{error}");
    sqlx::query("rollback").execute(&mut bench.db).await?;
    // The place in the pool is free, and the same command is taken.
    store.command(&order).await?;
    ensure!(bench.count("endpoint_commands").await? == 1, "it is done once");
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

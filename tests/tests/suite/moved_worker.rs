//! The worker at another address and back again: what Restate has known before is no reason to send
//! work where nobody is.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, until};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{crash, merchant};

const SOON: Duration = Duration::from_secs(30);
/// Well before the sweeper, which could not help here.
const DELIVERED: Duration = Duration::from_secs(30);

/// The worker's other address: everything is passed on to `port`, until the task is aborted.
async fn also_at(port: u16) -> anyhow::Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        // Whoever is passed on goes when this task goes.
        let mut passed_on = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            passed_on.spawn(async move {
                let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    Ok((url, task))
}

/// Registers the worker at `worker_url`; what is said.
pub(crate) fn register(lab: &Lab, worker_url: &str) -> anyhow::Result<String> {
    let ports = lab.ports()?;
    let admin = format!("http://127.0.0.1:{}", ports.restate_admin);
    let kafka = format!("127.0.0.1:{}", ports.kafka);
    lab.posthorn(&[
        "register",
        "--database-url",
        &lab.database_url()?,
        "--restate-admin-url",
        &admin,
        "--kafka",
        &kafka,
        "--worker-url",
        worker_url,
        "--restate-is-one-node",
    ])
}

/// Gives all new work to the stack's own worker again.
pub(crate) async fn is_at_home_again(lab: &Lab) -> anyhow::Result<()> {
    let here = format!("http://127.0.0.1:{}", lab.ports()?.worker);
    until("the stack's own worker has the work again", SOON, async || {
        register(lab, &here).map(drop)
    })
    .await
}

/// Waits until the worker is ready, or is not and says `why`.
async fn worker_is(lab: &Lab, why: Option<&str>) -> anyhow::Result<()> {
    let health = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.worker_health))?;
    until("the worker says how it is", SOON, async || {
        let (status, said) = health.send("GET", "/readyz", &[], "").await?;
        match why {
            None => ensure!(status == 200, "{status} {said}"),
            Some(why) => {
                ensure!(status == 503 && said.to_string().contains(why), "{status} {said}")
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_to_an_address_of_before_gets_the_work() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("moved");
    api.merchant(&merchant, receiver.url()).await?;
    let here = format!("http://127.0.0.1:{}", lab.ports()?.worker);
    let (elsewhere, mut task) = also_at(lab.ports()?.worker).await?;

    let outcome = async {
        let said = register(&lab, &elsewhere)?;
        ensure!(said.contains(&format!("the worker's deployment {elsewhere}")), "{said}");
        api.payment(&merchant, 1).await?;
        receiver.wait_for(1, DELIVERED).await?;
        worker_is(&lab, None).await?;

        task.abort();
        let _ = (&mut task).await;
        worker_is(&lab, Some("where nobody listens")).await?;
        api.payment(&merchant, 2).await?;
        let said = register(&lab, &here)?;
        ensure!(said.contains(&format!("new work goes to {here}")), "{said}");
        ensure!(said.contains(&format!("removed the deployment {elsewhere}")), "{said}");
        worker_is(&lab, None).await
    }
    .await;
    // The stack's own worker gets the work again, whatever came of it; until then somebody listens.
    let is_at_home = is_at_home_again(&lab).await;
    task.abort();
    outcome.and(is_at_home)?;
    api.payment(&merchant, 3).await?;
    let arrived = receiver.wait_for(3, DELIVERED).await?;
    let payments: Vec<String> = arrived.iter().map(|request| request.payment()).collect();
    ensure!(payments.len() == 3, "{payments:?}");
    let admin = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let known = admin.get("/deployments").await?;
    ensure!(known["deployments"].as_array().context("deployments")?.len() == 1, "{known}");
    Ok(())
}

//! Which traces are made: a share of the new ones, and of a caller's those that the caller samples.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Lab, Receiver, until};

use crate::log_lines::lines;
use crate::merchant;
use crate::traces::{begins_well, hasten, of_caller, pay, turns};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn at_a_share_of_none_only_a_callers_trace_is_made_and_only_it_is_named_in_the_log()
-> anyhow::Result<()> {
    let lab = Lab::start_with(&[("POSTHORN_TRACE_RATIO", "0")]).await?;
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("ratio");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(&lab, &endpoint).await?;
    // Each fails once: a trace that is kept is named in the line.
    let mut unseen = Vec::new();
    for header in [None, Some(of_caller().1.replace("-01", "-00"))] {
        receiver.script([Answer::Status(500)]);
        unseen.push(match header {
            None => api.payment(&merchant, 1).await?,
            Some(header) => pay(&lab, &merchant, &header).await?,
        });
        receiver.wait_for(unseen.len(), SOON).await?;
    }
    receiver.script([Answer::Status(500)]);
    let (id, header) = of_caller();
    let seen = pay(&lab, &merchant, &header).await?;
    receiver.wait_for(3, SOON).await?;
    let is_whole = |trace: &posthorn_tests::Trace| {
        begins_well(trace, "POST /payments")?;
        ensure!(turns(trace)?.len() == 2);
        Ok(())
    };
    traces.read(&id, is_whole).await?;
    // It is the last one: what was made before it is not late.
    for service in ["posthorn-api", "posthorn-relay", "posthorn-worker"] {
        let found = async |payment| traces.find(service, "posthorn.payment.id", payment).await;
        ensure!(found(&seen).await? == [&*id], "{service}");
        for payment in &unseen {
            ensure!(found(payment).await?.is_empty(), "{service} made a trace");
        }
    }
    until("a line for each of three failures", SOON, async || {
        let about = ["an attempt did not deliver", &endpoint];
        ensure!(lines(&lab, "worker", &about)?.len() == 3);
        let named = lines(&lab, "worker", &[&about[..], &["trace_id"]].concat())?;
        ensure!(named.len() == 1 && named[0].contains(&id), "{named:#?}");
        Ok(())
    })
    .await
}

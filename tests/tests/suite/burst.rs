//! A burst at one merchant: nobody else waits behind it, and nothing of it stays behind.

use std::time::Duration;

use anyhow::ensure;
pub(crate) use posthorn_tests::invocations_of;
use posthorn_tests::{Api, Receiver, until};
use sqlx::{Connection, PgConnection};

use crate::{merchant, shared_lab};

const BURST: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_leaves_no_invocation_behind_and_others_do_not_wait_behind_it() -> anyhow::Result<()>
{
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let (busy, other) = (Receiver::start().await?, Receiver::start().await?);
    let (busy_name, other_name) = (merchant("burst"), merchant("beside"));
    let endpoint = api.merchant(&busy_name, busy.url()).await?;
    api.merchant(&other_name, other.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select $1, n, 'USD' from generate_series(1, $2) n",
    )
    .bind(&busy_name)
    .bind(i32::try_from(BURST)?)
    .execute(&mut db)
    .await?;
    // The other merchant's payment is made after the burst and arrives before its end.
    api.payment(&other_name, 1).await?;
    other.wait_for(1, Duration::from_secs(30)).await?;
    let arrived = busy.accepted().len();
    ensure!(arrived < BURST / 4, "{arrived} of the burst arrived before the other's payment");

    busy.wait_for(BURST, Duration::from_secs(180)).await?;
    ensure!(busy.accepted().len() == BURST, "{} arrived", busy.accepted().len());
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    until("Restate has nothing left of it", Duration::from_secs(30), async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

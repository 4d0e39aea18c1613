//! Behind a CDC that is not ours, which was away: it announces some thousand deliveries that
//! finished meanwhile, before it comes to what waits.

use std::time::{Duration, Instant};

use posthorn_tests::Receiver;
use sqlx::{Connection, PgConnection};

use crate::foreign_cdc::{Foreign, Record, records};
use crate::merchant;

/// Old ones, at as many endpoints as there are merchants.
const OLD: i64 = 6_000;
const MERCHANTS: usize = 20;
/// Less than the minute after which the sweeper would come.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(50);
/// Finished rows, and the contract's record of each.
const FINISHED: &str = "
    with made as (insert into finished_deliveries (id, sequence, endpoint_id, event_id, merchant_id,
            event_type, object_id, occurred_at, xid, created_at, attempts, refusals, poisonous,
            state, reason)
        select uuidv7(), nextval('delivery_sequence'), e.id, uuidv7(), e.merchant_id,
            'payment.succeeded', 'pay_' || uuidv7(), now(), pg_current_xact_id(), now(), 1, 0, false,
            'delivered', 'delivered'
        from endpoints e, generate_series(1, $2) where e.merchant_id = $1
        returning *)
    select 'ep_' || endpoint_id as key, json_build_object('delivery_id', 'dlv_' || id,
        'endpoint_id', 'ep_' || endpoint_id)::text as value from made";

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_records_about_what_finished_long_ago_do_not_hold_up_what_waits()
-> anyhow::Result<()> {
    let foreign = Foreign::start().await?;
    let mut db = PgConnection::connect(&foreign.lab.database_url()?).await?;
    let (api, receiver) = (foreign.lab.api()?, Receiver::start().await?);
    let mut merchants = Vec::new();
    let mut old: Vec<Record> = Vec::new();
    for _ in 0..MERCHANTS {
        let merchant = merchant("backlog");
        api.merchant(&merchant, receiver.url()).await?;
        let finished = sqlx::query_as(FINISHED)
            .bind(&merchant)
            .bind(OLD / MERCHANTS as i64)
            .fetch_all(&mut db)
            .await?;
        old.extend::<Vec<Record>>(finished);
        merchants.push(merchant);
    }
    foreign.send_at_once(&old).await?;
    let begun = Instant::now();
    for merchant in &merchants {
        api.payment(merchant, 1).await?;
        foreign.send(&records(&mut db, merchant).await?).await?;
    }
    receiver.wait_for(MERCHANTS, BEFORE_THE_SWEEPER).await?;
    println!("{MERCHANTS} arrived within {:?} behind {OLD} old records", begun.elapsed());
    Ok(())
}

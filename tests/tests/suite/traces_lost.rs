//! An attempt whose outcome could not be kept: its trace and the log say so, and it never looks like
//! a success, though the merchant has the webhook.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Lab, Receiver, Span, Trace, until};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::log_lines::lines;
use crate::traces::{of_caller, pay, rest};
use crate::{crash, merchant, shared_lab};

/// A step that is stuck is tried again after some seconds, by a timer.
const SOON: Duration = Duration::from_secs(90);
/// Long enough for what is done to its turn meanwhile, and shorter than an attempt may take.
const LATE: Duration = Duration::from_secs(5);

/// A merchant that answers late, and one payment for it, whose request is under way.
struct UnderWay<'a> {
    lab: &'a Lab,
    receiver: Receiver,
    endpoint: String,
    id: Uuid,
    trace: String,
    db: PgConnection,
}

impl<'a> UnderWay<'a> {
    async fn at(lab: &'a Lab, test: &str, late: Duration) -> anyhow::Result<Self> {
        let (api, receiver) = (lab.api()?, Receiver::start().await?);
        let merchant = merchant(test);
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        let id = Uuid::parse_str(endpoint.trim_start_matches("ep_"))?;
        receiver.script([Answer::Late(late)]);
        let (trace, header) = of_caller();
        pay(lab, &merchant, &header).await?;
        until("the request is under way", SOON, async || {
            ensure!(receiver.requests().len() == 1);
            Ok(())
        })
        .await?;
        let db = PgConnection::connect(&lab.database_url()?).await?;
        Ok(Self { lab, receiver, endpoint, id, trace, db })
    }

    /// The line that tells it, with what it is about; `kind`: why.
    async fn is_said(&self, message: &str, kind: &str) -> anyhow::Result<()> {
        let mut parts = vec![message, &self.endpoint, &self.trace, "delivery=dlv_"];
        parts.extend([kind]);
        until(&format!("a line with {parts:?}"), SOON, async || {
            let lines = lines(self.lab, "worker", &parts)?;
            ensure!(!lines.is_empty(), "none");
            Ok(())
        })
        .await
    }

    /// Both turns are the first attempt: the one that was lost is an error, and settled nothing.
    async fn is_shown(&self, kind: &str) -> anyhow::Result<()> {
        self.receiver.wait_for(2, SOON).await?;
        let traces = self.lab.traces()?;
        let trace = traces
            .read(&self.trace, |trace| {
                ensure!(trace.named("settle").len() == 2);
                ensure!(trace.named("process webhook-wakes").len() == 2);
                Ok(())
            })
            .await?;
        let (lost, again) = first_two(&trace)?;
        lost.adds_up(&trace.below(lost), rest()?)?;
        for span in [lost, trace.one_below(lost, "settle")?] {
            ensure!(span.tag("error.type") == kind, "{span:?}");
            ensure!(span.tag("otel.status_code") == "ERROR", "{span:?}");
        }
        ensure!(lost.tag("posthorn.outcome") == "delivered", "{lost:?}");
        ensure!(lost.tag("posthorn.disposition") == "not settled", "{lost:?}");
        ensure!(again.tag("posthorn.disposition") == "delivered", "{again:?}");
        for turn in [lost, again] {
            ensure!(trace.one_below(turn, "attempt 1")?.tag("error.type").is_empty());
        }
        for span in [again, trace.one_below(again, "settle")?] {
            ensure!(span.tag("error.type").is_empty(), "{span:?}");
        }
        Ok(())
    }
}

fn first_two(trace: &Trace) -> anyhow::Result<(&Span, &Span)> {
    match trace.named("process webhook-wakes")[..] {
        [lost, again] => Ok((lost, again)),
        _ => anyhow::bail!("not two turns: {}", trace.outline()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_the_database_did_not_take_is_an_error_of_its_turn() -> anyhow::Result<()> {
    let mut shop = UnderWay::at(shared_lab().await?, "lost-database", LATE).await?;
    // The same that a server says while it goes down.
    let refuses = format!(
        "create or replace function goes_down() returns trigger language plpgsql
             as 'begin raise exception ''going down'' using errcode = ''57P01''; end';
         create trigger goes_down before insert on attempts for each row
             when (new.endpoint_id = '{}') execute function goes_down()",
        shop.id
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuses)).execute(&mut shop.db).await?;
    let said = async {
        shop.is_said("did not take a statement", "settle").await?;
        shop.is_said("an attempt was not settled", "database").await
    }
    .await;
    sqlx::raw_sql("drop trigger goes_down on attempts").execute(&mut shop.db).await?;
    said?;
    shop.is_shown("database").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_a_turn_that_was_lost_is_an_error_of_its_turn() -> anyhow::Result<()> {
    let mut shop = UnderWay::at(shared_lab().await?, "lost-fence", LATE).await?;
    let stolen = "update endpoint_runtime set fence = gen_random_uuid() where endpoint_id = $1";
    sqlx::query(stolen).bind(shop.id).execute(&mut shop.db).await?;
    shop.is_said("an attempt was not settled", "fence_lost").await?;
    shop.is_shown("fence_lost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_taken_away_while_its_request_is_under_way_is_an_error() -> anyhow::Result<()>
{
    let lab = crash::lab().await?;
    let under_way = UnderWay::at(&lab, "lost-taken", LATE).await?;
    lab.kill("restate").await?;
    under_way.is_said("an attempt was not settled", "cut_short").await
}

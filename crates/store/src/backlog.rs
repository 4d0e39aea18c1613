//! How much waits, where, and since when; how endpoints stand; what PostgreSQL keeps for a slot.
//!
//! Read only, for the gauges of operators. What it costs follows what waits and how many endpoints
//! there are, not history; whoever calls pauses in proportion. Names of endpoints leave here for a
//! few only, the rest is summed up.

use domain::EndpointId;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Store, StoreError};

/// Endpoints that are named, of those with the most that waits, with the most that is due, and with
/// the oldest that is due.
const NAMED_MAX: i32 = 20;

/// What waits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backlog {
    /// Could be sent now.
    pub due: i64,
    /// Refused, until their time comes.
    pub aside: i64,
    /// Their whole endpoint waits for its time.
    pub backoff: i64,
    /// Their endpoint is paused or disabled.
    pub held: i64,
    /// Seconds since what is due the longest became due.
    pub oldest_due_s: f64,
    /// Age of what waits the longest, in seconds.
    pub oldest_waiting_s: f64,
    /// The endpoints that are worst, by what waits, by what is due, and by for how long.
    pub named: Vec<EndpointBacklog>,
    /// All others together.
    pub rest: Sums,
}

/// What waits at some endpoints together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// How many deliveries wait.
    pub waiting: i64,
    /// How many of them could be sent now.
    pub due: i64,
    /// Seconds since the oldest of these became due; 0 when none is.
    pub due_s: f64,
}

/// What waits at one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointBacklog {
    /// Which one.
    pub endpoint: EndpointId,
    /// Whose it is.
    pub merchant_id: String,
    /// What waits there.
    pub sums: Sums,
}

/// How many endpoints stand how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standings {
    /// `active`, `paused`, `disabled_` and why.
    pub status: String,
    /// `closed`, `open`, `half_open`.
    pub breaker: String,
    /// Code of the fault of ours that stands in the way, of the endpoint or of one of its deliveries;
    /// empty when none does.
    pub fault: String,
    /// How many.
    pub count: i64,
}

/// What PostgreSQL keeps for a slot of this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSize {
    /// The slot.
    pub slot: String,
    /// Somebody streams from it.
    pub active: bool,
    /// Bytes of WAL that its reader has not confirmed.
    pub lag_bytes: i64,
    /// Bytes of WAL that are kept for it.
    pub retained_bytes: i64,
}

impl Store {
    /// What waits.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let rows = sqlx::query(BACKLOG).bind(NAMED_MAX).fetch_all(&self.pool).await?;
        let mut backlog = Backlog::default();
        for row in &rows {
            match row.try_get::<&str, _>("kind")? {
                "named" => backlog.named.push(endpoint_of(row)?),
                "rest" => backlog.rest = sums_of(row)?,
                _ => {
                    backlog.due = row.try_get("due")?;
                    backlog.aside = row.try_get("aside")?;
                    backlog.backoff = row.try_get("backoff")?;
                    backlog.held = row.try_get("held")?;
                    backlog.oldest_due_s = row.try_get("due_s")?;
                    backlog.oldest_waiting_s = row.try_get("waiting_s")?;
                }
            }
        }
        Ok(backlog)
    }

    /// How many endpoints stand how.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn standings(&self) -> Result<Vec<Standings>, StoreError> {
        sqlx::query(
            "select
                 case r.state #>> '{status,is}'
                     when 'disabled' then 'disabled_' || (r.state #>> '{status,reason}')
                     else coalesce(r.state #>> '{status,is}', 'active') end as status,
                 case when r.state #>> '{breaker,is}' is distinct from 'open' then 'closed'
                     when r.not_before > clock_timestamp() then 'open'
                     else 'half_open' end as breaker,
                 coalesce(r.state #>> '{fault,fault}', r.state #>> '{blocked,fault}', f.fault, '')
                     as fault,
                 count(*) as count
             from endpoint_runtime r
             join endpoints e on e.id = r.endpoint_id and e.deleted_at is null
             left join (select distinct on (d.endpoint_id) d.endpoint_id, d.fault from deliveries d
                 where d.fault is not null order by d.endpoint_id, d.fault_since) f
                 on f.endpoint_id = r.endpoint_id
             group by 1, 2, 3",
        )
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(Standings {
                status: row.try_get("status")?,
                breaker: row.try_get("breaker")?,
                fault: row.try_get("fault")?,
                count: row.try_get("count")?,
            })
        })
        .collect()
    }

    /// What PostgreSQL keeps for each logical slot of this database; one of our relay's that is not
    /// there, though it should be, is one that nobody streams from.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn slot_sizes(&self) -> Result<Vec<SlotSize>, StoreError> {
        sqlx::query(
            "select slot_name::text as slot, active,
                 -- Of one that lost its WAL nothing is kept.
                 coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint
                     as lag_bytes,
                 coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
                     as retained_bytes
             from pg_replication_slots where database = current_database()
             union all
             select p.slot, false, 0, 0 from (select slot from relay_progress
                 order by committed_at desc nulls last limit 1) p
             where not exists (select from pg_replication_slots s where s.slot_name = p.slot)
                 and not exists (select from cdc_producer c where c.name = 'sequin')",
        )
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(SlotSize {
                slot: row.try_get("slot")?,
                active: row.try_get("active")?,
                lag_bytes: row.try_get::<i64, _>("lag_bytes")?.max(0),
                retained_bytes: row.try_get::<i64, _>("retained_bytes")?.max(0),
            })
        })
        .collect()
    }

    /// Age in seconds of the oldest delivery that waits and lies behind what the relay has
    /// confirmed, to the second; 0 when there is none, no relay was ever here, or Sequin announces.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_lag_s(&self) -> Result<f64, StoreError> {
        // An id is also a time: the primary key finds what is younger.
        let row = sqlx::query(
            "select coalesce(extract(epoch from clock_timestamp() - min(d.created_at)), 0)::float8
             from deliveries d
             where d.id > (select uuidv7_floor(max(p.committed_at) + interval '1 second')
                 from relay_progress p)
                 and d.created_at > (select max(p.committed_at) from relay_progress p)
                 and not exists (select from cdc_producer c where c.name = 'sequin')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// Records that lie parked.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn parked_count(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("select count(*) from parked_records").fetch_one(&self.pool).await?;
        Ok(row.try_get(0)?)
    }

    /// Connections to the database: used, idle, and how many there may be.
    pub fn pool_sizes(&self) -> [u32; 3] {
        let (size, idle) = (self.pool.0.size(), self.pool.0.num_idle());
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        [size - idle, idle, self.pool.0.options().get_max_connections()]
    }
}

/// One pass over what waits, summed up by endpoint; then the sums, and the few that are named.
const BACKLOG: &str = "
    with each_one as (
        select d.endpoint_id, d.merchant_id, d.created_at,
            case when not r.may_send then 'held'
                when r.not_before > clock_timestamp() then 'backoff'
                when d.next_attempt_at > clock_timestamp() then 'aside'
                else 'due' end as state,
            greatest(d.created_at, d.next_attempt_at, r.not_before) as due_at
        from deliveries d join endpoint_runtime r on r.endpoint_id = d.endpoint_id
    ),
    per_endpoint as (
        select endpoint_id, min(merchant_id) as merchant_id, count(*) as waiting,
            count(*) filter (where state = 'due') as due,
            count(*) filter (where state = 'aside') as aside,
            count(*) filter (where state = 'backoff') as backoff,
            count(*) filter (where state = 'held') as held,
            min(created_at) as oldest,
            min(due_at) filter (where state = 'due') as due_at
        from each_one group by endpoint_id
    ),
    told as materialized (
        select *, greatest(coalesce(
                extract(epoch from clock_timestamp() - due_at), 0), 0)::float8 as due_s,
            row_number() over (order by waiting desc, endpoint_id) <= $1
                or due > 0 and (row_number() over (order by due desc, endpoint_id) <= $1
                    or row_number() over (order by due_at, endpoint_id) <= $1) as is_named
        from per_endpoint
    )
    select 'all' as kind, null::uuid as endpoint_id, null as merchant_id,
        coalesce(sum(waiting), 0)::bigint as waiting, coalesce(sum(due), 0)::bigint as due,
        coalesce(sum(aside), 0)::bigint as aside, coalesce(sum(backoff), 0)::bigint as backoff,
        coalesce(sum(held), 0)::bigint as held, coalesce(max(due_s), 0) as due_s,
        coalesce(extract(epoch from clock_timestamp() - min(oldest)), 0)::float8 as waiting_s
    from told
    union all
    select 'rest', null, null, coalesce(sum(waiting), 0)::bigint, coalesce(sum(due), 0)::bigint,
        0, 0, 0, coalesce(max(due_s), 0), 0
    from told where not is_named
    union all
    select 'named', endpoint_id, merchant_id, waiting, due, 0, 0, 0, due_s, 0
    from told where is_named";

fn endpoint_of(row: &PgRow) -> Result<EndpointBacklog, StoreError> {
    Ok(EndpointBacklog {
        endpoint: row.try_get::<Uuid, _>("endpoint_id")?.into(),
        merchant_id: row.try_get("merchant_id")?,
        sums: sums_of(row)?,
    })
}

fn sums_of(row: &PgRow) -> Result<Sums, StoreError> {
    Ok(Sums {
        waiting: row.try_get("waiting")?,
        due: row.try_get("due")?,
        due_s: row.try_get("due_s")?,
    })
}

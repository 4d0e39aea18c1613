//! The end of deliveries that are not attempted again: skipped, expired, or of a deleted endpoint.
//! Settling an attempt ends its delivery in `migrations/0005_look_and_settle.sql`.

/// The statement that moves the `$chosen` of `deliveries` to `finished_deliveries`: `$1` their state
/// there, `$2` the reason; the choice has what follows.
macro_rules! end_unsent {
    ($chosen:literal) => {
        concat!(
            "with chosen as (",
            $chosen,
            "), ended as (delete from deliveries d using chosen c where d.id = c.id returning d.*)
             insert into finished_deliveries (id, sequence, endpoint_id, event_id, merchant_id,
                 event_type, object_id, occurred_at, traceparent, xid, created_at, attempts,
                 refusals, first_attempt_at, poisonous, state, reason)
             select d.id, d.sequence, d.endpoint_id, d.event_id, d.merchant_id, d.event_type,
                 d.object_id, d.occurred_at, d.traceparent, d.xid, d.created_at, d.attempts,
                 d.refusals, d.first_attempt_at, d.poisonous, $1, $2
             from ended d"
        )
    };
}
pub(super) use end_unsent;

-- The outbox. A payment's insert, or its change of state, writes a domain event; a domain event
-- writes one delivery for each endpoint of its merchant that asked for its type. All in the
-- caller's transaction: a delivery exists if and only if the payment committed. Fan-out happens
-- here and nowhere else.
--
-- Statement triggers with transition tables: a statement that changes a thousand rows writes its
-- events, and their deliveries, in one statement each.

-- The trace of the caller's transaction, or null: set_config('posthorn.traceparent', …, true).
-- One that is malformed is dropped: telemetry never refuses a payment. One expression without a FROM,
-- for the reason that uuidv7() has.
create function current_traceparent() returns text
    language sql stable
    as $$
        select substring(current_setting('posthorn.traceparent', true)
            from '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$')
    $$;

create function payments_write_events_of_insert() returns trigger
    language plpgsql
    as $$
begin
    insert into domain_events (event_type, object_id, merchant_id, traceparent)
    select 'payment.' || n.status, 'pay_' || n.id, n.merchant_id, current_traceparent()
    from new_payments n;
    return null;
end
$$;

create function payments_write_events_of_update() returns trigger
    language plpgsql
    as $$
begin
    insert into domain_events (event_type, object_id, merchant_id, traceparent)
    select 'payment.' || n.status, 'pay_' || n.id, n.merchant_id, current_traceparent()
    from new_payments n
    join old_payments o using (id)
    where n.status is distinct from o.status;
    return null;
end
$$;

create function domain_events_write_deliveries() returns trigger
    language plpgsql
    as $$
begin
    insert into deliveries
        (endpoint_id, event_id, merchant_id, event_type, object_id, occurred_at, traceparent)
    select e.id, n.id, n.merchant_id, n.event_type, n.object_id, n.occurred_at, n.traceparent
    from new_events n
    join endpoints e on e.merchant_id = n.merchant_id
        and e.deleted_at is null
        and (e.event_types = '{}' or n.event_type = any (e.event_types))
    order by n.id, e.id;
    return null;
end
$$;

create trigger payments_write_events_of_insert
    after insert on payments
    referencing new table as new_payments
    for each statement execute function payments_write_events_of_insert();

create trigger payments_write_events_of_update
    after update on payments
    referencing old table as old_payments new table as new_payments
    for each statement execute function payments_write_events_of_update();

create trigger domain_events_write_deliveries
    after insert on domain_events
    referencing new table as new_events
    for each statement execute function domain_events_write_deliveries();

-- Where an endpoint stands begins with the endpoint, however it was made.
create function endpoints_write_runtime() returns trigger
    language plpgsql
    as $$
begin
    insert into endpoint_runtime (endpoint_id, state) values (new.id, '{}');
    return null;
end
$$;

create trigger endpoints_write_runtime
    after insert on endpoints
    for each row execute function endpoints_write_runtime();

-- What change data capture reads: inserts into the outbox and nothing else. The publication is
-- older than any slot that names it; the other way round the slot can never be read.
create publication posthorn_deliveries for table deliveries with (publish = 'insert');

-- The two transactions of an endpoint's turn. Both lock the endpoint's runtime row first, so they
-- are ordered; both are volatile plpgsql at read committed, so each statement in them has a fresh
-- snapshot: a single statement that waited for the lock would see what was there before it waited.

-- Of an endpoint's deliveries that stepped aside on a fault of ours: the one that has been so for the
-- longest, and how many others there are, counted up to 1,000. No row: there is none.
create function faulty(p_endpoint uuid)
    returns table (id uuid, fault text, since timestamptz, others int)
    language sql stable
    as $$
        select d.id, d.fault, d.fault_since,
            (select count(*)::int - 1 from (select from deliveries o
                where o.endpoint_id = p_endpoint and o.fault is not null limit 1001) counted)
        from deliveries d
        where d.endpoint_id = p_endpoint and d.fault is not null
        order by d.fault_since limit 1
    $$;

-- A look: take the turn (a new fence), then read where the endpoint stands and what is due.
-- One row; none when there is no such endpoint.
create function look(p_endpoint uuid, p_limit int, p_fence uuid)
    returns table (
        looked_at timestamptz,
        state jsonb, version bigint, may_send boolean, not_before timestamptz,
        merchant_id text, url text, ordering text, policy jsonb, config_version bigint,
        headers_key_id text, headers_ciphertext bytea, send_traceparent boolean,
        secret_versions int[], secret_key_ids text[], secret_ciphertexts bytea[],
        -- The earliest time at which something that steps aside comes back.
        next_due timestamptz,
        -- What stepped aside on a fault of ours, for people.
        faulty_id uuid, faulty_fault text, faulty_since timestamptz, faulty_others int,
        ids uuid[], event_ids uuid[], event_types text[], object_ids text[],
        occurred_ats timestamptz[], created_ats timestamptz[], traceparents text[],
        attempts int[], refusals int[], first_attempt_ats timestamptz[], poisonous bool[],
        -- Of what stepped aside on a fault of ours: its code, for people.
        faults text[]
    )
    language plpgsql volatile
    -- A plan made while nothing waited must still be right when a hundred thousand do.
    set enable_seqscan = off
    set enable_bitmapscan = off
    set plan_cache_mode = force_generic_plan
    as $$
declare
    r endpoint_runtime%rowtype;
begin
    -- Nothing is lost when a look is: whoever comes next takes a fence of its own.
    perform set_config('synchronous_commit', 'off', true);
    update endpoint_runtime u set fence = p_fence, looked_at = clock_timestamp()
        where u.endpoint_id = p_endpoint
        returning * into r;
    if not found then
        return;
    end if;
    looked_at := r.looked_at;
    state := r.state;
    version := r.version;
    may_send := r.may_send;
    not_before := r.not_before;
    select e.merchant_id, e.url, e.ordering, e.policy, e.config_version,
            e.headers_key_id, e.headers_ciphertext, e.send_traceparent
        into merchant_id, url, ordering, policy, config_version,
            headers_key_id, headers_ciphertext, send_traceparent
        from endpoints e where e.id = p_endpoint and e.deleted_at is null;
    if not found then
        return;
    end if;
    if may_send and (not_before is null or not_before <= looked_at) then
        select array_agg(s.version order by s.version desc),
               array_agg(s.key_id order by s.version desc),
               array_agg(s.ciphertext order by s.version desc)
            into secret_versions, secret_key_ids, secret_ciphertexts
            from endpoint_secrets s
            where s.endpoint_id = p_endpoint
                and (s.expires_at is null or s.expires_at > looked_at);
        select array_agg(d.id), array_agg(d.event_id), array_agg(d.event_type),
               array_agg(d.object_id), array_agg(d.occurred_at), array_agg(d.created_at),
               array_agg(d.traceparent), array_agg(d.attempts), array_agg(d.refusals),
               array_agg(d.first_attempt_at), array_agg(d.poisonous), array_agg(d.fault)
            into ids, event_ids, event_types, object_ids, occurred_ats, created_ats, traceparents,
                attempts, refusals, first_attempt_ats, poisonous, faults
            from (
                -- In line and back in line, each by an index of its own, merged by sequence.
                select * from (
                    (select * from deliveries i
                        where i.endpoint_id = p_endpoint and i.next_attempt_at is null
                        order by i.sequence limit p_limit)
                    union all
                    (select * from deliveries a
                        where a.endpoint_id = p_endpoint and a.next_attempt_at <= looked_at
                        order by a.next_attempt_at limit p_limit)
                ) both_kinds
                order by sequence limit p_limit
            ) d;
        select min(d.next_attempt_at) into next_due from deliveries d
            where d.endpoint_id = p_endpoint and d.next_attempt_at > looked_at;
    end if;
    -- Where nobody is aside, and everything is read that is due, there is no need to ask.
    if next_due is not null or not may_send or not_before > looked_at then
        select f.id, f.fault, f.since, f.others
            into faulty_id, faulty_fault, faulty_since, faulty_others
            from faulty(p_endpoint) f;
    end if;
    return next;
end
$$;

-- The last look of a wake, which begins after the one before it was acknowledged: is anything due
-- that it did not see? It takes no turn and locks nothing, since most often there is nothing; when
-- there is, or when something has happened since (`version`), a look follows. One row; none when
-- there is no such endpoint or it was deleted.
create function anything_due(p_endpoint uuid)
    returns table (asked_at timestamptz, version bigint, is_due boolean, next_due timestamptz)
    -- Stable: all of it is read in the snapshot of the statement that calls it.
    language plpgsql stable
    set enable_seqscan = off
    set enable_bitmapscan = off
    set plan_cache_mode = force_generic_plan
    as $$
declare
    may_send boolean;
begin
    asked_at := clock_timestamp();
    select r.version, r.may_send and (r.not_before is null or r.not_before <= asked_at)
        into version, may_send
        from endpoint_runtime r join endpoints e on e.id = r.endpoint_id
        where r.endpoint_id = p_endpoint and e.deleted_at is null;
    if not found then
        return;
    end if;
    is_due := false;
    if may_send then
        select min(d.next_attempt_at) into next_due from deliveries d
            where d.endpoint_id = p_endpoint and d.next_attempt_at is not null;
        is_due := coalesce(next_due <= asked_at, false) or exists (
            select from deliveries d
            where d.endpoint_id = p_endpoint and d.next_attempt_at is null);
    end if;
    return next;
end
$$;

-- Settling an attempt: the attempt, what becomes of the delivery, what happened to the endpoint and
-- the fold, in one transaction. Answers
--   settled     all of it is written (or was, by an earlier call with the same attempt);
--   fence_lost  somebody looked since: the attempt is kept, nothing else;
--   moved       the fold is newer than the one decided on: nothing is written, decide again, by the
--               policy as it is now.
create function settle(
    p_endpoint uuid, p_fence uuid, p_version bigint,
    p_delivery uuid, p_attempt uuid, p_started_at timestamptz, p_duration_us bigint,
    p_class text, p_code text, p_status int, p_detail jsonb,
    -- finish, step_aside or stay; then its particulars.
    p_disposition text, p_refused boolean,
    p_finished_state text, p_finished_reason text, p_next_attempt_at timestamptz,
    -- Deliveries that failed while others got through: their 5xx are refusals from now on.
    p_poisonous uuid[],
    -- The journal's new events, in order, and their fold; no events, no change.
    p_schema_version int, p_events jsonb, p_events_at timestamptz,
    p_state jsonb, p_may_send boolean, p_not_before timestamptz
) returns table (
        answer text, version bigint, state jsonb, config_version bigint,
        -- Of one that moved: the command that came in between may have changed them.
        ordering text, policy jsonb
    )
    language plpgsql volatile
    set enable_seqscan = off
    set plan_cache_mode = force_generic_plan
    as $$
declare
    r endpoint_runtime%rowtype;
    attempt_number int;
    is_mine boolean;
    is_kept boolean;
    event_count int := jsonb_array_length(p_events);
begin
    select * into r from endpoint_runtime u where u.endpoint_id = p_endpoint for update;
    if not found then
        return;
    end if;
    is_mine := r.fence = p_fence;
    version := r.version;
    state := r.state;
    select e.config_version into config_version from endpoints e where e.id = p_endpoint;

    -- One that was only kept by an earlier call did not count then, and does not now.
    select a.fence_lost into is_kept from attempts a
        where a.delivery_id = p_delivery and a.id = p_attempt;
    if found then
        answer := case when is_mine and not is_kept then 'settled' else 'fence_lost' end;
        return next;
        return;
    end if;
    if is_mine and r.version <> p_version then
        answer := 'moved';
        select e.ordering, e.policy into ordering, policy from endpoints e where e.id = p_endpoint;
        return next;
        return;
    end if;

    select coalesce(max(a.number), 0) + 1 into attempt_number
        from attempts a where a.delivery_id = p_delivery;
    insert into attempts (delivery_id, number, id, endpoint_id, started_at, class, code, status,
            duration_us, detail, fence_lost)
        values (p_delivery, attempt_number, p_attempt, p_endpoint, p_started_at, p_class, p_code,
            p_status, p_duration_us, p_detail, not is_mine);
    if not is_mine then
        answer := 'fence_lost';
        return next;
        return;
    end if;

    if p_disposition = 'finish' then
        with ended as (delete from deliveries d where d.id = p_delivery returning d.*)
        insert into finished_deliveries (id, sequence, endpoint_id, event_id, merchant_id,
            event_type, object_id, occurred_at, traceparent, xid, created_at, attempts, refusals,
            first_attempt_at, poisonous, state, reason)
        select d.id, d.sequence, d.endpoint_id, d.event_id, d.merchant_id, d.event_type,
            d.object_id, d.occurred_at, d.traceparent, d.xid, d.created_at, d.attempts + 1,
            d.refusals + p_refused::int, coalesce(d.first_attempt_at, p_started_at), d.poisonous,
            p_finished_state, p_finished_reason
        from ended d;
    else
        update deliveries d set
            attempts = d.attempts + 1,
            refusals = d.refusals + p_refused::int,
            first_attempt_at = coalesce(d.first_attempt_at, p_started_at),
            next_attempt_at = case p_disposition when 'step_aside' then p_next_attempt_at
                else d.next_attempt_at end,
            -- Until it gets further than to our fault.
            fault = case when p_class <> 'fault' then null
                when p_disposition = 'step_aside' then p_code else d.fault end,
            fault_since = case when p_class <> 'fault' then null
                when p_disposition = 'step_aside' then coalesce(d.fault_since, p_started_at)
                else d.fault_since end
        where d.id = p_delivery;
    end if;

    if p_poisonous <> '{}' then
        update deliveries d set poisonous = true
            where d.id = any (p_poisonous) and d.endpoint_id = p_endpoint;
    end if;

    if event_count > 0 then
        insert into endpoint_events (endpoint_id, version, schema_version, event, occurred_at)
        select p_endpoint, r.version + e.ordinality, p_schema_version, e.value, p_events_at
        from jsonb_array_elements(p_events) with ordinality e;
        version := r.version + event_count;
        state := p_state;
        update endpoint_runtime u set state = p_state, version = settle.version,
            may_send = p_may_send, not_before = p_not_before
        where u.endpoint_id = p_endpoint;
    end if;
    answer := 'settled';
    return next;
end
$$;

-- Few: those of the last day are looked for.
create index endpoints_by_deletion on endpoints (deleted_at) where deleted_at is not null;

-- Endpoints that have work which is due since `p_idle`, may send, and at which nobody looked for as
-- long. Both count: an endpoint at which nobody looked for a day is not neglected in the moment in
-- which something becomes due. A deleted endpoint comes whatever else its row says: what waits there
-- is cancelled, and one at which nobody looked since left an object behind. In a healthy system
-- there are none. It hops from endpoint to endpoint
-- along the two indexes of what waits, and reads of each only who has waited longest: so its cost
-- follows the endpoints that have something waiting, not what waits and not what ever was.
create function endpoints_left_alone(p_idle interval, p_limit int)
    returns table (endpoint_id uuid, fence uuid)
    language sql volatile
    set enable_seqscan = off
    set enable_bitmapscan = off
    as $$
        with recursive in_line (endpoint_id, due_at) as (
            (select d.endpoint_id, d.created_at from deliveries d where d.next_attempt_at is null
                order by d.endpoint_id, d.sequence limit 1)
            union all
            select n.endpoint_id, n.created_at
            from in_line w cross join lateral (
                select d.endpoint_id, d.created_at from deliveries d
                where d.next_attempt_at is null and d.endpoint_id > w.endpoint_id
                order by d.endpoint_id, d.sequence limit 1) n
        ),
        aside (endpoint_id, due_at) as (
            (select d.endpoint_id, d.next_attempt_at from deliveries d
                where d.next_attempt_at is not null
                order by d.endpoint_id, d.next_attempt_at limit 1)
            union all
            select n.endpoint_id, n.next_attempt_at
            from aside w cross join lateral (
                select d.endpoint_id, d.next_attempt_at from deliveries d
                where d.next_attempt_at is not null and d.endpoint_id > w.endpoint_id
                order by d.endpoint_id, d.next_attempt_at limit 1) n
        ),
        due (endpoint_id, due_at) as (
            select w.endpoint_id, min(w.due_at)
            from (select * from in_line union all select * from aside
                union all
                select e.id, e.deleted_at
                from endpoints e join endpoint_runtime r on r.endpoint_id = e.id
                where e.deleted_at > clock_timestamp() - interval '1 day'
                    and r.looked_at <= e.deleted_at) w
            group by w.endpoint_id
        )
        select r.endpoint_id, r.fence
        from due
        join endpoint_runtime r using (endpoint_id)
        join endpoints e on e.id = r.endpoint_id
        where (r.may_send or e.deleted_at is not null)
            -- Null is nobody's wait: `greatest` passes over it.
            and greatest(due.due_at, case when e.deleted_at is null then r.not_before end,
                r.looked_at) < clock_timestamp() - p_idle
        order by r.looked_at
        limit p_limit
    $$;

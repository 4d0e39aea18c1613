-- Ids are UUIDv7: their first 48 bits are milliseconds since 1970, so an id is also a time, and a
-- table partitioned by id is partitioned by time.

-- PostgreSQL 18 brings uuidv7(); for 15 to 17 this adds one (RFC 9562, section 5.7): a random UUID
-- of version 4 whose first 48 bits become the time and whose version becomes 7. Twelve more bits
-- are microseconds, so that ids drawn one after the other in one process ascend.
--
-- One expression without a FROM: that the planner puts in the place of the call; anything more would
-- be planned anew by every statement that draws an id.
do $$
begin
    if not exists (select from pg_proc where proname = 'uuidv7' and pronargs = 0) then
        create function uuidv7() returns uuid
            language sql volatile parallel safe
            as $f$
                select (
                    overlay(
                        lpad(to_hex(trunc(
                            extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0')
                        placing '7' from 13 for 0)
                    || substr(gen_random_uuid()::text, 20)
                )::uuid
            $f$;
    end if;
end
$$;

-- The smallest id that can have been drawn at `at`: the bound of a partition.
create function uuidv7_floor(at timestamptz) returns uuid
    language sql immutable parallel safe
    as $$
        select encode(
            substring(int8send((extract(epoch from at) * 1000)::bigint) from 3)
                || '\x70008000000000000000'::bytea,
            'hex')::uuid
    $$;

-- Creates the weekly partitions of `parent` that are missing between this week and `weeks` weeks
-- ahead, and returns how many it created. A week begins on Monday, UTC.
--
-- A new partition takes the whole table for itself, for a moment. It must get it at once: while it
-- waits for somebody who reads, everybody who pays waits behind it. There are weeks left to try.
create function create_partitions_ahead(parent regclass, weeks int) returns int
    language plpgsql
    set lock_timeout = '100ms'
    as $$
declare
    monday timestamptz := date_trunc('week', now(), 'UTC');
    partition_name text;
    created int := 0;
begin
    for week in 0..weeks loop
        partition_name := parent::text || '_' || to_char(monday at time zone 'UTC', 'YYYYMMDD');
        if to_regclass(partition_name) is null then
            execute format(
                'create table %I partition of %s for values from (%L) to (%L)',
                partition_name, parent,
                uuidv7_floor(monday), uuidv7_floor(monday + interval '7 days'));
            created := created + 1;
        end if;
        monday := monday + interval '7 days';
    end loop;
    return created;
end
$$;

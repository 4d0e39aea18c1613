-- How far the relay came, by its own account: what is needed to know which deliveries to announce
-- again when its slot, or all of Kafka's data, is gone.
create table relay_progress (
    slot text primary key,
    -- When the last commit that Kafka has acknowledged, and the slot has confirmed, was made. It is
    -- written late (at most once a second) and never early: what committed before it is on Kafka.
    committed_at timestamptz,
    -- The ids of the topics that have it. Other ids are topics that were deleted and made anew, or
    -- another Kafka, or one that lost its data.
    kafka_topics text,
    -- Everything that waits must be announced again, and what finished since `owed_since`. Written
    -- before a slot is made anew, taken back when all of it is on Kafka: a relay that dies between
    -- the two starts over.
    owed boolean not null default false,
    owed_since timestamptz,
    -- The database's time when the debt was written: what is announced again covers all before it.
    owed_at timestamptz
);

-- The tables, in the order in which a payment meets them. Constraints are named: the store maps
-- each name to an error of the domain. They are exactly as narrow as the domain's types, so that
-- whatever is written here can also be read and sent; tests hold the two together. Times are
-- bounded to what a body can carry: four digits of a year, and no infinity.

create table merchants (
    merchant_id text primary key
        constraint merchants_id_form check (merchant_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name text not null,
    created_at timestamptz not null default now()
        constraint merchants_created_at_range
            check (created_at >= '2000-01-01Z' and created_at < '10000-01-01Z')
);

create table payments (
    id uuid primary key default uuidv7(),
    merchant_id text not null
        constraint payments_merchant_exists references merchants,
    amount bigint not null
        constraint payments_amount_range check (amount between 1 and 99999999999),
    currency text not null
        constraint payments_currency_known
            check (currency in (
                'AED', 'AFN', 'ALL', 'AMD', 'AOA', 'ARS', 'AUD', 'AWG', 'AZN', 'BAM', 'BBD',
                'BDT', 'BGN', 'BHD', 'BIF', 'BMD', 'BND', 'BOB', 'BRL', 'BSD', 'BTN', 'BWP',
                'BYN', 'BZD', 'CAD', 'CDF', 'CHF', 'CLP', 'CNY', 'COP', 'CRC', 'CUP', 'CVE',
                'CZK', 'DJF', 'DKK', 'DOP', 'DZD', 'EGP', 'ERN', 'ETB', 'EUR', 'FJD', 'FKP',
                'GBP', 'GEL', 'GHS', 'GIP', 'GMD', 'GNF', 'GTQ', 'GYD', 'HKD', 'HNL', 'HTG',
                'HUF', 'IDR', 'ILS', 'INR', 'IQD', 'IRR', 'ISK', 'JMD', 'JOD', 'JPY', 'KES',
                'KGS', 'KHR', 'KMF', 'KPW', 'KRW', 'KWD', 'KYD', 'KZT', 'LAK', 'LBP', 'LKR',
                'LRD', 'LSL', 'LYD', 'MAD', 'MDL', 'MGA', 'MKD', 'MMK', 'MNT', 'MOP', 'MRU',
                'MUR', 'MVR', 'MWK', 'MXN', 'MYR', 'MZN', 'NAD', 'NGN', 'NIO', 'NOK', 'NPR',
                'NZD', 'OMR', 'PAB', 'PEN', 'PGK', 'PHP', 'PKR', 'PLN', 'PYG', 'QAR', 'RON',
                'RSD', 'RUB', 'RWF', 'SAR', 'SBD', 'SCR', 'SDG', 'SEK', 'SGD', 'SHP', 'SLE',
                'SOS', 'SRD', 'SSP', 'STN', 'SVC', 'SYP', 'SZL', 'THB', 'TJS', 'TMT', 'TND',
                'TOP', 'TRY', 'TTD', 'TWD', 'TZS', 'UAH', 'UGX', 'USD', 'UYU', 'UZS', 'VED',
                'VES', 'VND', 'VUV', 'WST', 'XAF', 'XCD', 'XCG', 'XOF', 'XPF', 'YER', 'ZAR',
                'ZMW', 'ZWG')),
    status text not null default 'succeeded'
        constraint payments_status_known
            check (status in ('pending', 'succeeded', 'failed', 'cancelled', 'refunded')),
    created_at timestamptz not null default now()
        constraint payments_created_at_range
            check (created_at >= '2000-01-01Z' and created_at < '10000-01-01Z'),
    updated_at timestamptz not null default now()
        constraint payments_updated_at_range
            check (updated_at >= '2000-01-01Z' and updated_at < '10000-01-01Z')
);
create index payments_by_merchant on payments (merchant_id, id desc);

-- Facts that committed. `payload` is null when the data service has the object.
create table domain_events (
    id uuid primary key default uuidv7(),
    event_type text not null
        constraint domain_events_type_form
            check (event_type ~ '^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$' and length(event_type) <= 128),
    object_id text not null
        constraint domain_events_object_length check (length(object_id) between 1 and 256),
    merchant_id text not null,
    -- Larger would be refused by the delivery; so it is refused here, where the caller hears of it.
    -- A body has 256 KiB, of which its type, its timestamp and what is around them take up to 189.
    payload jsonb
        constraint domain_events_payload_size check (octet_length(payload::text) <= 261955),
    traceparent text
        constraint domain_events_traceparent_form
            check (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
    occurred_at timestamptz not null default clock_timestamp()
        constraint domain_events_occurred_at_range
            check (occurred_at >= '2000-01-01Z' and occurred_at < '10000-01-01Z')
) partition by range (id);
create table domain_events_default partition of domain_events default;
create index domain_events_by_object on domain_events (object_id);

create table endpoints (
    id uuid primary key default uuidv7(),
    merchant_id text not null
        constraint endpoints_merchant_exists references merchants,
    url text not null
        constraint endpoints_url_length check (length(url) between 1 and 2048),
    -- Empty: every event of the merchant.
    event_types text[] not null default '{}',
    ordering text not null default 'ordered'
        constraint endpoints_ordering_known check (ordering in ('ordered', 'strict', 'unordered')),
    -- What differs from the domain's defaults; parsed and validated by the domain.
    policy jsonb not null default '{}',
    config_version bigint not null default 1,
    created_at timestamptz not null default now()
        constraint endpoints_created_at_range
            check (created_at >= '2000-01-01Z' and created_at < '10000-01-01Z'),
    updated_at timestamptz not null default now()
        constraint endpoints_updated_at_range
            check (updated_at >= '2000-01-01Z' and updated_at < '10000-01-01Z'),
    deleted_at timestamptz
);
create index endpoints_by_merchant on endpoints (merchant_id) where deleted_at is null;

create table endpoint_secrets (
    endpoint_id uuid not null references endpoints,
    version int not null,
    -- Which key of the ring sealed it; the endpoint and the version are the associated data.
    key_id text not null,
    ciphertext bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    primary key (endpoint_id, version)
);

-- Where an endpoint stands: the fold of its journal, and whose turn it is. This row's lock orders
-- everything that changes the endpoint. Its updates touch no index, hence the fill factor. Nothing may
-- refer to it: a foreign key's locks would hide from `Store::fences` that a look is under way.
create table endpoint_runtime (
    endpoint_id uuid primary key references endpoints,
    -- The fold, as the domain writes it, and the number of the last event in it.
    state jsonb not null,
    version bigint not null default 0,
    -- Two facts of the state that the look needs in SQL.
    may_send boolean not null default true,
    not_before timestamptz,
    -- Whoever looked last holds this; a settle with another one is a zombie's.
    fence uuid not null default gen_random_uuid(),
    looked_at timestamptz not null default '-infinity'
) with (fillfactor = 50);

-- The journal: an endpoint's own events.
create table endpoint_events (
    endpoint_id uuid not null references endpoints,
    version bigint not null,
    schema_version int not null,
    event jsonb not null,
    occurred_at timestamptz not null,
    -- The command that caused it, and who asked; null when an attempt did.
    command_id uuid,
    actor text,
    primary key (endpoint_id, version)
);
create unique index endpoint_events_by_command on endpoint_events (command_id, version)
    where command_id is not null;

-- Its order is that of an endpoint's deliveries: what committed before another began has the
-- smaller number (cache 1).
create sequence delivery_sequence as bigint cache 1;

-- The outbox: what still waits. One row per event and endpoint, written in the transaction that
-- wrote the event. It has all that the topic's record needs.
create table deliveries (
    id uuid primary key default uuidv7(),
    sequence bigint not null default nextval('delivery_sequence'),
    endpoint_id uuid not null,
    event_id uuid not null,
    merchant_id text not null,
    event_type text not null,
    object_id text not null,
    occurred_at timestamptz not null
        constraint deliveries_occurred_at_range
            check (occurred_at >= '2000-01-01Z' and occurred_at < '10000-01-01Z'),
    traceparent text,
    -- The transaction that wrote it, in full: when it has left the snapshot, every reader sees the row.
    xid xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default clock_timestamp()
        constraint deliveries_created_at_range
            check (created_at >= '2000-01-01Z' and created_at < '10000-01-01Z'),
    -- Requests made so far, and how many of them were refusals of this event.
    attempts int not null default 0,
    refusals int not null default 0,
    first_attempt_at timestamptz
        constraint deliveries_first_attempt_at_range
            check (first_attempt_at >= '2000-01-01Z' and first_attempt_at < '10000-01-01Z'),
    -- Null: in line. Otherwise it stepped aside until then.
    next_attempt_at timestamptz
        constraint deliveries_next_attempt_at_range
            check (next_attempt_at >= '2000-01-01Z' and next_attempt_at < '10000-01-01Z'),
    poisonous boolean not null default false,
    -- It stepped aside on a fault of ours: its code, and since when. Null: not so, or no longer.
    fault text,
    fault_since timestamptz
) with (
    fillfactor = 80,
    -- Rows come and go all day: dead ones are swept early, or every look wades through them.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
create index deliveries_in_line on deliveries (endpoint_id, sequence) where next_attempt_at is null;
create index deliveries_aside on deliveries (endpoint_id, next_attempt_at)
    where next_attempt_at is not null;
create index deliveries_faulty on deliveries (endpoint_id, fault_since) where fault is not null;
-- For who asks what became of an event. Its time says nothing: a writer may bring its own.
create index deliveries_by_event on deliveries (event_id);

-- What has ended. The transaction that ends a delivery moves its row here.
create table finished_deliveries (
    id uuid primary key,
    sequence bigint not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    merchant_id text not null,
    event_type text not null,
    object_id text not null,
    occurred_at timestamptz not null,
    traceparent text,
    xid xid8 not null,
    created_at timestamptz not null,
    attempts int not null,
    refusals int not null,
    first_attempt_at timestamptz,
    poisonous boolean not null,
    state text not null
        constraint finished_deliveries_state_known
            check (state in ('delivered', 'exhausted', 'cancelled')),
    reason text not null,
    finished_at timestamptz not null default clock_timestamp()
) partition by range (id);
create table finished_deliveries_default partition of finished_deliveries default;
create index finished_deliveries_by_event on finished_deliveries (event_id);
-- What may come back in bulk; the many that were delivered are not in it.
create index finished_deliveries_redeliverable on finished_deliveries (endpoint_id, finished_at)
    where state in ('exhausted', 'cancelled');
create index finished_deliveries_by_time on finished_deliveries using brin (finished_at);

-- One HTTP request each. `number` counts within the delivery and is drawn when it is settled.
create table attempts (
    delivery_id uuid not null,
    number int not null,
    id uuid not null,
    endpoint_id uuid not null,
    started_at timestamptz not null,
    class text not null,
    code text,
    status int,
    duration_us bigint not null,
    -- What is kept for people: address, split of the time, excerpt of the answer, a sentence.
    detail jsonb not null default '{}',
    -- It was made by a run that had lost its turn: it happened, and it decided nothing.
    fence_lost boolean not null default false,
    primary key (delivery_id, number)
) partition by range (delivery_id);
create table attempts_default partition of attempts default;

-- Records of the topic that could not be understood. Nothing is dropped: here they lie.
create table parked_records (
    id uuid primary key default uuidv7(),
    topic text not null,
    partition int not null,
    record_offset bigint not null,
    -- SHA-256 of the value: a topic that was made anew has the same offsets again.
    digest bytea not null,
    key text not null,
    -- The first bytes of the value.
    excerpt bytea not null,
    reason text not null,
    parked_at timestamptz not null default now(),
    constraint parked_records_once unique (topic, partition, record_offset, digest)
);

create table api_keys (
    id uuid primary key default uuidv7(),
    merchant_id text references merchants,
    -- HMAC of the secret part; the key itself is shown once and never stored.
    secret_hash bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- What a write answered to a key of the caller's, so that a repeat gets the same answer.
create table idempotency_keys (
    operation text not null,
    merchant_id text not null,
    key text not null
        constraint idempotency_keys_length check (length(key) between 1 and 255),
    request_hash bytea not null,
    -- Null until the transaction that holds the key has its answer.
    response jsonb,
    created_at timestamptz not null default now(),
    primary key (operation, merchant_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

select create_partitions_ahead('domain_events', 4),
       create_partitions_ahead('finished_deliveries', 4),
       create_partitions_ahead('attempts', 4);

-- Who announces deliveries: our relay, or a CDC that is not ours. No row: the relay. A relay that is
-- not the one stands by, and lets go of its slot.
create table cdc_producer (
    is_only boolean primary key default true constraint cdc_producer_is_one check (is_only),
    name text not null
        constraint cdc_producer_known check (name in ('relay', 'sequin')),
    since timestamptz not null default now()
);

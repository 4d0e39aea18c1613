-- What an endpoint's webhooks carry beside the event: which signatures, which headers of the
-- merchant's own, whether our trace. The look (0005) reads it for every slice.

alter table endpoints
    -- Which kinds of secret a rotation makes. What really signs is every secret that is live.
    add column signature_scheme text not null default 'v1'
        constraint endpoints_signature_scheme_known
            check (signature_scheme in ('v1', 'v1a', 'both')),
    -- Names are shown; values may be credentials and lie here sealed like a secret.
    add column header_names text[] not null default '{}',
    add column headers_key_id text,
    add column headers_ciphertext bytea,
    add constraint endpoints_headers_sealed
        check ((headers_key_id is null) = (headers_ciphertext is null)),
    -- Off: a merchant learns nothing of our traces.
    add column send_traceparent boolean not null default false;

-- Of an ed25519 secret: what the merchant verifies with; it is no secret and can be shown again.
alter table endpoint_secrets add column public_key text;

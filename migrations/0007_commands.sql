-- What each command of an operator came to, by its id: a repeat changes nothing and hears the same.
-- The journal has the events; a command that changed nothing made none and stands only here.
create table endpoint_commands (
    command_id uuid primary key,
    endpoint_id uuid not null references endpoints,
    -- What was asked, as the store spells it: the same id with another command is a mistake.
    command jsonb not null,
    actor text not null
        constraint endpoint_commands_actor_length check (length(actor) between 1 and 200),
    answer jsonb not null,
    created_at timestamptz not null default clock_timestamp()
);

-- Acts on many jobs, which dashboards run in batches. below is where the next batch begins, and left counts
-- by reason the jobs that were left as they were.

create table queue.operations (
    id               bigint      not null generated always as identity,
    created_at       timestamptz not null default clock_timestamp(),
    stop_asked_at    timestamptz,
    ended_at         timestamptz,
    counted          bigint      not null,
    changed          bigint      not null default 0,
    asked_to_stop    bigint      not null default 0,
    below            bigint,
    counted_at_least boolean     not null,
    action           text        not null,
    who              text        not null,
    role             text        not null,
    why              text,
    stopped_by       text,
    error            text,
    filter           jsonb       not null,
    left_out         jsonb       not null default '{}',
    primary key (id)
);

-- Serves operations/many/next.sql: the operations that have not ended.
create index operations_open on queue.operations (id) where ended_at is null;

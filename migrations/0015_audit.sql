-- What people did, or were refused, by dashboards. jobs is the number of jobs that an act on many changed.

create table queue.audit (
    id      bigint      not null generated always as identity,
    at      timestamptz not null default clock_timestamp(),
    jobs    bigint,
    refused boolean     not null default false,
    who     text        not null,
    role    text        not null,
    what    text        not null,
    target  text        not null,
    why     text,
    primary key (id)
);

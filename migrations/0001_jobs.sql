-- A job is one immutable row in jobs, and one narrow row in exactly one of the state tables.

-- Job ids and places in line. Both come from this sequence, so that an immediate job's place is its id.
create sequence queue.job_seq;

create table queue.jobs (
    id            bigint      not null,
    created_at    timestamptz not null default clock_timestamp(),
    unique_until  timestamptz,
    priority      smallint    not null,
    attempts_max  smallint    not null check (attempts_max > 0),
    crashes_max   smallint    not null check (crashes_max > 0),
    unique_states smallint,
    kind          text collate "C" not null,
    queue         text collate "C" not null,
    unique_key    bytea,
    tags          text[],
    args          jsonb       not null,
    constraint jobs_pkey primary key (id),
    constraint jobs_unique_whole check ((unique_key is null) = (unique_states is null))
);

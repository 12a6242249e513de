-- Recurring jobs, and the outcome of each of their due times.
--
-- schedule, zone  when to enqueue, as text, and in which time zone; only the programs parse them
-- missed          what to do about missed due times; the newest missed_max are decided one by one
-- overlap         what to do about a due time while an earlier job is unfinished
-- source          the program or configuration that declares it; null if added at run time
-- next_at         the first undecided due time; null if there is none

create table queue.schedules (
    created_at   timestamptz not null default statement_timestamp(),
    updated_at   timestamptz not null default statement_timestamp(),
    paused_at    timestamptz,
    next_at      timestamptz,
    jitter_ms    bigint      not null check (jitter_ms >= 0),
    missed_max   integer     not null check (missed_max > 0),
    priority     smallint    not null,
    attempts_max smallint    not null check (attempts_max > 0),
    crashes_max  smallint    not null check (crashes_max > 0),
    name         text collate "C" not null,
    schedule     text        not null,
    zone         text        not null,
    missed       text        not null check (missed in ('skip', 'once', 'all')),
    overlap      text        not null check (overlap in ('allow', 'skip', 'queue')),
    source       text,
    kind         text collate "C" not null,
    queue        text collate "C" not null,
    tags         text[]      not null,
    args         jsonb       not null,
    limits       jsonb,
    constraint schedules_pkey primary key (name)
);

-- Serves recurring/lock_due.sql and recurring/next_due.sql.
create index schedules_due on queue.schedules (next_at) where paused_at is null;

-- One row per recurring job and due time. The transaction that inserts it decides the due time. It does
-- not reference its job, so clearing jobs makes nothing due again.
--
-- due_at  null if run by hand
-- since   set if the row stands for all due times from this one to due_at
create table queue.firings (
    id       bigint      not null generated always as identity,
    due_at   timestamptz,
    since    timestamptz,
    fired_at timestamptz not null default clock_timestamp(),
    job_id   bigint,
    schedule text collate "C" not null,
    outcome  text        not null check (outcome in ('enqueued', 'missed', 'overlap', 'failed')),
    reason   text,
    constraint firings_pkey primary key (id),
    constraint firings_once unique (schedule, due_at)
);

-- Serves recurring/clear_firings.sql.
create index firings_clear on queue.firings (fired_at);

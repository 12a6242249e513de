-- The state of a job is the table that holds its narrow row.
--
-- attempt   claims so far; it names a run, and a run is ended only under its number
-- spent     runs that count against attempts_max
-- crashes   runs that ended with the death of their process
-- frees_key whether a claim of the job frees its unique key

create type queue.outcome as enum ('done', 'discarded', 'cancelled');

create table queue.scheduled (
    job_id    bigint      not null,
    due_at    timestamptz not null,
    attempt   integer     not null default 0,
    priority  smallint    not null,
    spent     smallint    not null default 0,
    crashes   smallint    not null default 0,
    frees_key boolean     not null default false,
    queue     text collate "C" not null,
    kind      text collate "C" not null,
    constraint scheduled_pkey primary key (job_id)
);

-- Serves promote.sql.
create index scheduled_promote on queue.scheduled (due_at, job_id);

create table queue.ready (
    job_id    bigint      not null,
    seq       bigint      not null,
    ready_at  timestamptz not null default clock_timestamp(),
    attempt   integer     not null default 0,
    priority  smallint    not null,
    spent     smallint    not null default 0,
    crashes   smallint    not null default 0,
    frees_key boolean     not null default false,
    queue     text collate "C" not null,
    kind      text collate "C" not null,
    constraint ready_pkey primary key (job_id)
);

-- Serves claim.sql.
create index ready_claim on queue.ready (queue, priority, seq);

create table queue.claimed (
    job_id              bigint      not null,
    seq                 bigint      not null,
    claimed_at          timestamptz not null default clock_timestamp(),
    process_id          uuid        not null,
    attempt             integer     not null,
    spent               smallint    not null,
    crashes             smallint    not null,
    cancel_requested_at timestamptz,
    constraint claimed_pkey primary key (job_id)
);

create table queue.failed (
    job_id    bigint      not null,
    failed_at timestamptz not null default clock_timestamp(),
    attempt   integer     not null,
    spent     smallint    not null,
    crashes   smallint    not null,
    queue     text collate "C" not null,
    kind      text collate "C" not null,
    constraint failed_pkey primary key (job_id)
);

create table queue.finished (
    job_id      bigint        not null,
    started_at  timestamptz,
    finished_at timestamptz   not null default clock_timestamp(),
    attempt     integer       not null,
    outcome     queue.outcome not null,
    constraint finished_pkey primary key (job_id)
);

-- Serves clear_finished.sql and the list of finished jobs. Rows are inserted in its order.
create index finished_clear on queue.finished (finished_at);

-- One row per run that failed, crashed or was cancelled. A successful run has only its finished row.
create table queue.attempts (
    job_id     bigint      not null,
    attempt    integer     not null,
    started_at timestamptz not null,
    ended_at   timestamptz not null default clock_timestamp(),
    process    text        not null,
    ending     text        not null
        check (ending in ('error', 'panic', 'timeout', 'crash', 'cancelled', 'undecodable')),
    error      text        not null,
    backtrace  text,
    constraint attempts_pkey primary key (job_id, attempt)
);

-- Serves inspect/stats_endings.sql and inspect/stats_error_kinds.sql. It costs successful runs nothing.
create index attempts_recent on queue.attempts (ended_at);

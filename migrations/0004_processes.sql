-- One row per live process, updated by its heartbeat.

create table queue.processes (
    id           uuid        not null,
    started_at   timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    stopping_at  timestamptz,
    pid          integer     not null,
    name         text        not null,
    host         text        not null,
    version      text        not null,
    details      jsonb       not null,
    constraint processes_pkey primary key (id)
) with (fillfactor = 50);

-- Processes with an idle worker. Enqueueing notifies only while there is one.
create table queue.sleepers (
    process_id uuid not null,
    constraint sleepers_pkey primary key (process_id)
);

-- Queues that have had jobs or were paused.
create table queue.queues (
    name       text collate "C" not null,
    created_at timestamptz not null default clock_timestamp(),
    paused_at  timestamptz,
    constraint queues_pkey primary key (name)
);

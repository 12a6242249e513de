-- The tables of the example, next to those of the queue. May be run any number of times.

-- Two processes that start at once would both find the schema missing.
select pg_advisory_xact_lock(hashtextextended('pipeline.tables', 0));

create schema if not exists pipeline;

-- A folder as it was when it was walked, and the job and the batch that store its files.
create table if not exists pipeline.runs (
    id         bigint      not null generated always as identity primary key,
    started_at timestamptz not null default clock_timestamp(),
    job_id     bigint      not null unique,
    batch_id   bigint      not null,
    folder     bytea       not null
);

-- The files of a run with the jobs that store them, and the folders that could not be listed, with why.
create table if not exists pipeline.files (
    run_id bigint not null,
    job_id bigint,
    path   bytea  not null,
    error  text,
    primary key (run_id, path)
);

-- Where reports are delivered. Nothing here forbids a second report of a run: its step writes one.
create table if not exists pipeline.reports (
    id           bigint      not null generated always as identity primary key,
    run_id       bigint      not null,
    delivered_at timestamptz not null default clock_timestamp(),
    report       json        not null
);

create index if not exists reports_run on pipeline.reports (run_id);

-- The tables of the scan, next to those of the queue. May be run any number of times.

-- Two processes that start at once would both find the schema missing.
select pg_advisory_xact_lock(hashtextextended('scan.tables', 0));

create schema if not exists scan;

create table if not exists scan.runs (
    id         bigint      not null generated always as identity primary key,
    started_at timestamptz not null default clock_timestamp(),
    ended_at   timestamptz,
    job_id     bigint      not null unique,
    folder     bytea       not null
);

-- A file of a run, and the job that hashes it.
create table if not exists scan.files (
    job_id bigint not null primary key,
    run_id bigint not null references scan.runs,
    path   bytea  not null
);

-- For queries of the files of a run.
create index if not exists files_run on scan.files (run_id);

-- Folders that could not be listed.
create table if not exists scan.unlisted (
    run_id bigint not null references scan.runs,
    path   bytea  not null,
    error  text   not null
);

create table if not exists scan.digests (
    job_id    bigint      not null primary key references scan.files,
    bytes     bigint      not null,
    hashed_at timestamptz not null default clock_timestamp(),
    digest    bytea       not null check (length(digest) = 32)
);

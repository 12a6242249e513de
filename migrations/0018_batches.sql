-- Batches of jobs, and what jobs wait for.
--
-- A job may belong to one batch. It may wait for jobs of its batch, or for the end of another batch, as
-- the callbacks of a batch do: until then it is blocked, by the key '@after'.

alter table queue.jobs add column batch_id bigint;

-- Serves lists of the jobs of a batch. It costs jobs without a batch nothing.
create index jobs_batch on queue.jobs (batch_id, id) where batch_id is not null;

-- The ids come from job_seq, so that an id is either a job or a batch. The counts are those of ends that
-- were settled; the rest is in deltas.
--
-- closed_at     since when the batch ends as soon as all its jobs have
-- completed_at  when all its jobs had ended for the first time; no job may be added since
-- failed_at     when that was so with a failed or cancelled job
-- succeeded_at  when that was so without one; jobs that failed before may have been retried
create table queue.batches (
    id           bigint      not null,
    parent_id    bigint,
    created_at   timestamptz not null default clock_timestamp(),
    closed_at    timestamptz,
    cancelled_at timestamptz,
    completed_at timestamptz,
    failed_at    timestamptz,
    succeeded_at timestamptz,
    added        bigint      not null default 0,
    done         bigint      not null default 0,
    discarded    bigint      not null default 0,
    failed       bigint      not null default 0,
    cancelled    bigint      not null default 0,
    name         text,
    metadata     jsonb,
    constraint batches_pkey primary key (id)
);

-- Serves batches/sweep.sql.
create index batches_incomplete on queue.batches (id) where completed_at is null;

-- Serves batches/cancel.sql.
create index batches_parent on queue.batches (parent_id) where parent_id is not null;

-- Serves batches/clear.sql.
create index batches_clear on queue.batches (completed_at) where completed_at is not null;

-- job_id waits for the job or batch on_id.
--
-- rule  of a job: what happens to job_id if on_id fails or is cancelled. Of a batch: the end that makes
--       job_id start
create table queue.dependencies (
    on_id  bigint not null,
    job_id bigint not null,
    rule   text   not null
        check (rule in ('cancel', 'continue', 'hold', 'success', 'failure', 'completion')),
    constraint dependencies_pkey primary key (on_id, job_id)
);

-- Serves lists of what a job waits for, and clearing it.
create index dependencies_job on queue.dependencies (job_id);

-- What has changed for a target, a batch or a job that waits: how many jobs it has, and how they ended.
-- Rows are only added, so that ends wait for no other transaction; now and then a target's rows are
-- replaced by their sum.
create table queue.deltas (
    target    bigint  not null,
    added     integer not null default 0,
    done      integer not null default 0,
    discarded integer not null default 0,
    failed    integer not null default 0,
    cancelled integer not null default 0
);

-- Serves batches/look.sql and everything else that adds up the rows of a target.
create index deltas_target on queue.deltas (target);

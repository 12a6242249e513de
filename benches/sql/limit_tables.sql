-- The smallest tables in which a job has a state: one narrow row in one of three.
create schema queue_limit;
create table queue_limit.ready (job_id bigint not null);
create index ready_claim on queue_limit.ready (job_id);
create table queue_limit.claimed (job_id bigint primary key, process integer not null);
create table queue_limit.finished (job_id bigint primary key, finished_at timestamptz not null);

-- Bare inserts of the same rows, with the same indexes as in the queue.
create table queue_limit.new_jobs (like queue.jobs including all);
create table queue_limit.new_ready (like queue.ready including all);

-- A row per step.
create table queue_limit.steps (like queue.steps including all);
create sequence queue_limit.step_seq;

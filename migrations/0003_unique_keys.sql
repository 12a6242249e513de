-- A key that is taken, by the job that holds it. The row is removed when the job enters a state that is
-- not in held_in (a bit per state: scheduled 1, ready 2, claimed 4, blocked 8, failed 16, finished 32).

create table queue.unique_keys (
    key        bytea    not null,
    job_id     bigint   not null,
    held_until timestamptz,
    held_in    smallint not null,
    constraint unique_keys_pkey primary key (key)
);

-- Serves every transition that frees the key of a job.
create index unique_keys_release on queue.unique_keys (job_id);

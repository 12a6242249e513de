-- blocked -> ready (track 0), at an operator's request: the limits of the job and of its kind do not
-- apply. claim_limited.sql recognises the job by its row in bypasses with the time it became ready.
with freed as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, ready_at, attempt, priority, failures, crashes, frees_key, queue, kind)
    select job_id, nextval('queue.job_seq'), statement_timestamp(), attempt, priority, failures, crashes,
        frees_key, queue, kind
    from freed
    order by job_id
), marked as (
    insert into queue.bypasses (job_id, at)
    select job_id, statement_timestamp() from freed
    on conflict (job_id) do update set at = excluded.at
)
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', queue)
        from (select distinct queue from freed) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)
from freed

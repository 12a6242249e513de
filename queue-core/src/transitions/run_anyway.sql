-- blocked → ready (track 0), as an operator said: without regard to the limits it waits for. That it
-- was so is kept.
with freed as (
    delete from queue.blocked
    where job_id = any (array(
        select job_id from queue.blocked
        where job_id = any ($1) order by job_id for update skip locked
    ))
    returning *
), placed as (
    insert into queue.ready (job_id, seq, attempt, priority, spent, crashes, frees_key, queue, kind)
    select job_id, nextval('queue.job_seq'), attempt, priority, spent, crashes, frees_key, queue, kind
    from freed
    order by job_id
), marked as (
    insert into queue.bypasses (job_id)
    select job_id from freed
    on conflict (job_id) do update set at = clock_timestamp()
)
select job_id, (
    select count(*)
    from (
        select pg_notify('queue.wake', queue)
        from (select distinct queue from freed) as woken
        where exists (select from queue.sleepers)
    ) as notified
)
from freed

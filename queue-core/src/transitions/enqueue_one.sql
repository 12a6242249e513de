-- new → ready, one job in one round trip.
-- Locks nothing but its own new rows. Notifies only while some worker sleeps and none polls.
with job as (
    insert into queue.jobs (id, kind, queue, priority, attempts_max, crashes_max, args, limits)
    values (nextval('queue.job_seq'), $1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)
    returning id
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind, track)
    select id, id, $3, $2, $1, ($7 is not null)::integer
    from job
)
select id, (
    select pg_notify('queue.wake', case when $7 is null then $2 else '@' || $2 end)
    where exists (select from queue.idle_processes)
        and not exists (select from queue.pollers where queue = $2 and $1 = any (kinds))
)
from job

-- new → ready, one job in one round trip.
-- Locks nothing but its own new rows. Notifies only while some worker sleeps.
with job as (
    insert into queue.jobs (id, kind, queue, priority, attempts_max, crashes_max, args)
    values (nextval('queue.job_seq'), $1, $2, $3, $4, $5, $6::jsonb)
    returning id
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind)
    select id, id, $3, $2, $1
    from job
)
select id, (select pg_notify('queue.wake', $2) where exists (select from queue.sleepers))
from job

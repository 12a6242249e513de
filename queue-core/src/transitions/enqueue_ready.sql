-- new → ready, a chunk of jobs in one round trip, for jobs with nothing special about them.
with job as (
    insert into queue.jobs (id, kind, queue, priority, attempts_max, crashes_max, args)
    select nextval('queue.job_seq'), kind, queue, priority, attempts_max, crashes_max, args::jsonb
    from unnest($1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::smallint[], $6::text[])
        as wanted (kind, queue, priority, attempts_max, crashes_max, args)
    returning id, priority, queue, kind
), placed as (
    insert into queue.ready (job_id, seq, priority, queue, kind)
    select id, id, priority, queue, kind
    from job
)
select id, (
    select count(*)
    from (select pg_notify('queue.wake', name) from unnest($7::text[]) as name) as woken
    where exists (select from queue.idle_processes)
)
from job
order by id

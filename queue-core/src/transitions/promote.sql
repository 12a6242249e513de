-- scheduled -> ready, for jobs after the place ($3, $4) that are due at $1 (now, when null), with new
-- places in line. Skips rows that another dispatcher is promoting, so that any number of dispatchers may
-- run. Uses the time of the statement: an index cannot be searched by a value that may differ from row
-- to row.
--
-- Below its floor a dispatcher has promoted every job it saw. Without it, each promotion would read the
-- dead index entries of all jobs promoted since the last vacuum.
with due as (
    delete from queue.scheduled
    where ctid = any (array(
        select ctid
        from queue.scheduled
        where (due_at, job_id) > (coalesce($3, '-infinity'::timestamptz), $4)
            and due_at <= coalesce($1, statement_timestamp())
        order by due_at, job_id
        limit $2
        for update skip locked
    ))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track,
        tenant)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, queue.ready_track(limited, tenant), tenant
    from (
        select due.*, case when queue = any ((select queue.fair_queues())::text[]) then (
            select tenant from queue.jobs where jobs.id = due.job_id limit 1
        ) end as tenant
        from due
        order by due_at, job_id
    ) as due
), last as (
    select due_at, job_id
    from due
    order by due_at desc, job_id desc
    limit 1
)
select (select count(*) from due) as promoted, (select due_at from last), (select job_id from last), (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limited from due) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)

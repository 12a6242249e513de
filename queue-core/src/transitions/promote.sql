-- scheduled -> ready, for jobs that are due at $1 (now, when null), with new places in line. Skips rows
-- that another dispatcher is promoting, so that any number of dispatchers may run. Uses the time of the
-- statement: an index cannot be searched by a value that may differ from row to row.
with due as (
    delete from queue.scheduled
    where ctid = any (array(
        select ctid
        from queue.scheduled
        where due_at <= coalesce($1, statement_timestamp())
        order by due_at, job_id
        limit $2
        for update skip locked
    ))
    returning *
), placed as (
    insert into queue.ready
        (job_id, seq, attempt, priority, failures, crashes, frees_key, queue, kind, track)
    select job_id, nextval('queue.job_seq'), attempt, priority, failures, crashes, frees_key, queue,
        kind, limited::integer
    from (select * from due order by due_at, job_id) as due
)
select (select count(*) from due) as promoted, (
    select count(*)
    from (
        select pg_notify('queue.wake', case when limited then '@' || queue else queue end)
        from (select distinct queue, limited from due) as woken
        where exists (select from queue.idle_processes)
    ) as notified
)

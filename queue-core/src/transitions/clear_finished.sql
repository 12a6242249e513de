-- finished -> gone: up to $7 jobs that finished more than $1 ms ago, oldest first, with their
-- attempts, steps, progress, waits and keys. Begins at $2, so that it does not read again the rows that the last
-- call cleared or left. Only one kind ($3) or queue ($4), or all but some ($5, $6).
--
-- The limit in the lateral join keeps the planner from beginning with jobs. Uses the time of the
-- statement: an index cannot be searched by a value that may differ from row to row.
with old as (
    select finished.job_id, finished.finished_at
    from queue.finished
    cross join lateral (
        select
        from queue.jobs
        where jobs.id = finished.job_id
            and ($3::text is null or jobs.kind = $3)
            and ($4::text is null or jobs.queue = $4)
            and jobs.kind <> all ($5)
            and jobs.queue <> all ($6)
        limit 1
    ) as job
    where finished_at < statement_timestamp() - $1 * interval '1 millisecond'
        and finished_at >= coalesce($2::timestamptz, '-infinity')
    order by finished_at
    limit $7
    for update of finished skip locked
), cleared as (
    delete from queue.finished where job_id = any (array(select job_id from old))
), cleared_attempts as (
    delete from queue.attempts where job_id = any (array(select job_id from old))
), freed_keys as (
    delete from queue.unique_keys where job_id = any (array(select job_id from old))
), cleared_bypasses as (
    delete from queue.bypasses where job_id = any (array(select job_id from old))
), cleared_steps as (
    delete from queue.steps where job_id = any (array(select job_id from old))
), cleared_progress as (
    delete from queue.progress where job_id = any (array(select job_id from old))
), cleared_waits as (
    delete from queue.waits where job_id = any (array(select job_id from old))
), cleared_dependencies as (
    delete from queue.dependencies where job_id = any (array(select job_id from old))
), cleared_jobs as (
    delete from queue.jobs where id = any (array(select job_id from old))
)
select count(*), max(finished_at) from old

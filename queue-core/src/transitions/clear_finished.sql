-- finished -> gone: up to $7 jobs that finished more than $1 ms ago, oldest first. Begins at $2, so that
-- it does not read again the rows that the last call cleared or left. Only one kind ($3) or queue ($4),
-- or all but some ($5, $6). Continued by clear_jobs.sql.
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
), answer as (
    select count(*), max(finished_at)
    from old

-- finished → gone: up to $7 jobs that finished more than $1 ms ago, oldest first, with their
-- attempts and keys. Begins at $2, so that a pass does not walk again over what the last one
-- cleared or left. Narrowed to one kind ($3) or queue ($4), or to all but some ($5, $6).
--
-- The limit in the lateral keeps the planner from beginning with jobs. The time is that of the
-- statement because an index takes no value that may change from row to row.
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
), forgotten as (
    delete from queue.attempts where job_id = any (array(select job_id from old))
), freed as (
    delete from queue.unique_keys where job_id = any (array(select job_id from old))
), unmarked as (
    delete from queue.bypasses where job_id = any (array(select job_id from old))
), gone as (
    delete from queue.jobs where id = any (array(select job_id from old))
)
select count(*), max(finished_at) from old

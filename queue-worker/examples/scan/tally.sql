-- The progress of a run. One statement sees each job in one state, so the numbers are consistent.
-- A file without a digest is given up when its job will not run again by itself.
select
    count(*),
    count(digests.job_id),
    count(*) filter (
        where digests.job_id is null
            and (
                exists (select from queue.failed where failed.job_id = files.job_id)
                or exists (select from queue.finished where finished.job_id = files.job_id)
                or not exists (select from queue.jobs where jobs.id = files.job_id)
            )
    ),
    coalesce(sum(digests.bytes), 0)::bigint,
    coalesce(
        extract(epoch from max(digests.hashed_at) - min(runs.started_at)), 0
    )::double precision
from scan.files
join scan.runs on runs.id = files.run_id
left join scan.digests on digests.job_id = files.job_id
where files.run_id = $1

-- The files and folders of a run that have no digest, and why, by path.
select files.path, files.job_id, last.error
from scan.files
left join scan.digests on digests.job_id = files.job_id
left join lateral (
    select attempts.error
    from queue.attempts
    where attempts.job_id = files.job_id
    order by attempts.attempt desc
    limit 1
) as last on true
where files.run_id = $1
    and digests.job_id is null
union all
select path, null, error
from scan.unlisted
where run_id = $1
order by 1

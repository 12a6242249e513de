-- Writes how far running jobs are, over what was written before. Fenced by process and attempt: a value
-- whose claim is gone is not in the answer. The claim is locked against deletion until the commit, so that
-- the next run of the job reads the last value of this one. Locks rows of claimed and then of progress in
-- the order of job ids, in which the caller names the values.
with held as materialized (
    select entry.*
    from unnest($2::bigint[], $3::integer[], $4::text[], $5::text[])
        with ordinality as entry (job_id, attempt, name, value, place)
    cross join lateral (
        select
        from queue.claimed
        where claimed.job_id = entry.job_id
            and claimed.attempt = entry.attempt
            and claimed.process_id = $1
        limit 1
        for key share
    ) as claimed
), written as (
    insert into queue.progress (job_id, set_at, name, value)
    select job_id, statement_timestamp(), name, value::json
    from held
    on conflict (job_id, name) do update
    set set_at = excluded.set_at, value = excluded.value
)
select place
from held

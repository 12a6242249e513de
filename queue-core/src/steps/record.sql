-- Records finished steps of running jobs. Fenced by process and attempt: a step whose claim is gone is
-- not in the answer. The claim is locked against deletion until the commit, so that the next run of the
-- job sees every step of this one.
--
-- A step that is recorded already stays as it is, and is not new: an earlier statement was committed
-- although its answer was lost. If that statement is committed meanwhile, this one fails with a unique
-- violation, and finds the step when it is repeated; `on conflict` would write 48 bytes more of log for each
-- step. Locks rows of claimed in the order of job ids, in which the caller
-- names the steps.
with held as materialized (
    select step.*
    from unnest($2::bigint[], $3::integer[], $4::text[], $5::smallint[], $6::text[])
        with ordinality as step (job_id, attempt, name, occurrence, result, place)
    cross join lateral (
        select
        from queue.claimed
        where claimed.job_id = step.job_id
            and claimed.attempt = step.attempt
            and claimed.process_id = $1
        limit 1
        for key share
    ) as claimed
), recorded as (
    insert into queue.steps (job_id, finished_at, occurrence, name, result)
    select job_id, statement_timestamp(), occurrence, name, result::json
    from held
    where (
        select true
        from queue.steps
        where steps.job_id = held.job_id
            and steps.name = held.name
            and steps.occurrence = held.occurrence
        limit 1
    ) is null
    returning job_id, name, occurrence
)
select place,
    ((job_id, name, occurrence) in (select job_id, name, occurrence from recorded)) is true as is_new
from held

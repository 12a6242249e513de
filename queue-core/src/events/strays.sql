-- Opens the closed events for which some of the waits after $1, at most $2, still wait: their process died
-- before it could look for the event. Returns the last of these waits.
with walked as materialized (
    select job_id, event
    from queue.waits
    where job_id > $1
    order by job_id
    limit $2
), opened as (
    update queue.events
    set is_open = true
    where name = any (array(select event from walked))
        and not is_open
)
select max(job_id), array(
    select distinct event
    from walked
    where case when event like '@batch/%' then (
            select completed_at is not null
            from queue.batches
            where batches.id = substr(walked.event, 8)::bigint
        ) end
)
from walked

-- Returns in how many milliseconds the next recurring job is due, without those named in $1; no row
-- if none is planned.
select ceil(extract(epoch from next_at - clock_timestamp()) * 1000)::bigint
from queue.recurring_jobs
where paused_at is null
    and next_at is not null
    and name <> all ($1::text[])
order by next_at
limit 1

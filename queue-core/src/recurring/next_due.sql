-- Finds how many milliseconds remain until the next schedule is due that is not among $1; none
-- when there is none.
select ceil(extract(epoch from next_at - clock_timestamp()) * 1000)::bigint
from queue.recurring_jobs
where paused_at is null
    and next_at is not null
    and name <> all ($1::text[])
order by next_at
limit 1

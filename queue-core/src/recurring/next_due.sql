-- Returns in how many milliseconds the next recurring job is due, without those named in $1; null if
-- none is planned. Kinds that are not in $2 are due five seconds later, as in lock_due.sql.
with planned as (
    (
        select next_at
        from queue.recurring_jobs
        where paused_at is null
            and next_at is not null
            and name <> all ($1::text[])
            and ($2::text[] is null or kind = any ($2))
        order by next_at
        limit 1
    )
    union all
    (
        select next_at + interval '5 s'
        from queue.recurring_jobs
        where paused_at is null
            and next_at is not null
            and name <> all ($1::text[])
            and kind <> all ($2::text[])
        order by next_at
        limit 1
    )
)
select ceil(extract(epoch from min(next_at) - clock_timestamp()) * 1000)::bigint
from planned

-- Returns the last $2 firings of a recurring job, newest first: those of due times and those by hand.
select due_at, since, fired_at, outcome, job_id, reason
from (
    (
        select *
        from queue.firings
        where recurring_job = $1
            and due_at is not null
        order by due_at desc
        limit $2
    )
    union all
    (
        select *
        from queue.firings
        where recurring_job = $1
            and due_at is null
        order by fired_at desc
        limit $2
    )
) as recent
order by fired_at desc, due_at desc
limit $2

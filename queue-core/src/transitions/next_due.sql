-- Returns the first scheduled job after the place ($1, $2), with the milliseconds until it is due, and a
-- time shortly before now. A job of a transaction that is open may still appear after that time.
select ceil(extract(epoch from next.due_at - clock_timestamp()) * 1000)::bigint, next.due_at,
    next.job_id, statement_timestamp() - interval '1 second'
from (values (1)) as always
left join lateral (
    select due_at, job_id
    from queue.scheduled
    where (due_at, job_id) > (coalesce($1, '-infinity'::timestamptz), $2)
    order by due_at, job_id
    limit 1
) as next on true

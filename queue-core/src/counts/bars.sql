-- Returns the counts of the queue $1, or of all for '*', since $2, by spans of $3.
select date_bin($3, at, 'epoch'::timestamptz) as at, sum(done)::bigint as done,
    sum(discarded)::bigint as discarded, sum(cancelled)::bigint as cancelled,
    sum(failed)::bigint as failed, sum(retried)::bigint as retried,
    sum(waited_ms)::bigint as waited_ms, sum(ran_ms)::bigint as ran_ms
from (
    select *
    from queue.counts
    where queue = $1
        and at >= $2
    union all
    -- What was just appended is not in the sums over all queues yet.
    select *
    from queue.counts
    where $1 = '*'
        and span = 0
        and at >= $2
) as counted
group by 1
order by 1
